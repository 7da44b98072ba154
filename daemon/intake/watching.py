"""How an inbox is watched: by events or by polling, how often it is searched, when a file in it is finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from daemon.config import InboxConfig
from daemon.intake.mounts import is_network

LOCAL_SETTLE_S: Final = 3.0
"""Long enough for a copy's pause between two writes on a local disk."""

NETWORK_SETTLE_S: Final = 15.0
"""Clients cache attributes: NFS for 3 to 60 s (nfs(5), acregmin/acregmax), CIFS for 1 s and more (actimeo)."""

EVENTS_SCAN_S: Final = 30.0
"""Where events wake us, the scan is for what they lost."""

POLL_SCAN_S: Final = 5.0
"""Where nothing wakes us, the scan is how files are found."""


@dataclass(frozen=True, slots=True)
class Watching:
    """How an inbox is watched, and why. With *leases* the kernel can say who has a file open for writing."""

    events: bool
    reason: str
    settle_s: float
    scan_interval_s: float
    leases: bool


def choose_watching(config: InboxConfig, filesystem: str) -> Watching:
    """How to watch a folder on *filesystem*: as forced by the configuration, else by what the filesystem can do."""
    network = is_network(filesystem)
    events = config.watch == "events" or (config.watch == "auto" and not network)
    reason = f"watch = {config.watch!r}" if config.watch != "auto" else f"the folder is on {filesystem}"
    return Watching(
        events,
        reason,
        config.settle_s or (NETWORK_SETTLE_S if network else LOCAL_SETTLE_S),
        config.scan_interval_s or (EVENTS_SCAN_S if events else POLL_SCAN_S),
        leases=not network,
    )
