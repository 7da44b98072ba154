"""Looks after the history while it is in use: that its file is the one we opened, its reserve, its nightly snapshot."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from daemon.clock import monotonic_s, utc_now
from daemon.config.schema import DatabaseConfig
from daemon.health import HistoryHealth
from daemon.sidecars import Sidecars
from daemon.versions import VersionFiles
from storage.errors import StorageDamaged, StorageError
from storage.jobs import JobStore
from storage.mending import Identity
from storage.snapshots import DAILY, Snapshots, count_jobs, newest_versions, standing

log = logging.getLogger(__name__)

LOOK_S: Final = 3.0
"""How often the file is looked at: what is written into one without a name is lost with us."""

FIRST_SNAPSHOT_S: Final = 600.0
"""After the start: there is enough to do then, and one that ends at once need not begin with a copy."""

RETRY_SNAPSHOT_S: Final = 3600.0

_FREE_RATIO: Final = 2.0
"""A snapshot is taken where this many times the size of the database is free: the disk is not filled up with it."""


@dataclass(frozen=True, slots=True)
class KeptHistory:
    """The open history and what belongs to it."""

    store: JobStore
    path: Path
    identity: Identity
    sidecars: Sidecars
    versions: VersionFiles | None = None


class Keeper:
    """An actor. A snapshot runs in a thread of its own, so that the looks go on."""

    def __init__(
        self,
        history: KeptHistory,
        health: HistoryHealth,
        config: DatabaseConfig,
        *,
        started: float,
        utc: Callable[[], datetime] = utc_now,
    ) -> None:
        """*started* is the monotonic time at which the daemon began."""
        self._history = history
        self._health = health
        self._config = config
        self._utc = utc
        self._snapshots = Snapshots.beside(history.path)
        self._not_before = started + FIRST_SNAPSHOT_S
        self._copying: threading.Thread | None = None

    def step(self, now: float) -> float:
        """Look at the file, the reserve and the clock."""
        if not self._health.lost and Identity.of(self._history.path).database != self._history.identity.database:
            self._health.lose(
                f"{self._history.path} was deleted or replaced while it was in use; leave it to the daemon"
            )
        self._health.restock()
        if self._is_due(now):
            self._not_before = now + RETRY_SNAPSHOT_S
            self._copying = threading.Thread(target=self._copy, name="snapshot", daemon=True)
            self._copying.start()
        return LOOK_S

    def close(self, limit_s: float = 5.0) -> None:
        """Wait a little for a snapshot; what it has written by then is removed by the next one."""
        if self._copying is not None:
            self._copying.join(limit_s)

    def _is_due(self, now: float) -> bool:
        if not self._config.snapshots or self._health.lost or now < self._not_before:
            return False
        if self._copying is not None and self._copying.is_alive():
            return False
        at = self._utc()
        newest = max((snapshot.at for snapshot in self._snapshots.all() if snapshot.kind == DAILY), default=None)
        # One from the future was taken under a clock that was wrong.
        return newest is None or newest < last_time(self._config.snapshot_time, at) or newest > at + timedelta(days=1)

    def _copy(self) -> None:
        try:
            self.take_snapshot()
        except StorageDamaged as error:
            self._health.lose(str(error))
        except StorageError as error:
            log.warning("No snapshot of the history: %s", error, extra={"event": "snapshot_failed"})
        except Exception:
            log.exception("taking a snapshot failed", extra={"event": "bug"})

    def take_snapshot(self) -> None:
        """Take one, remove the surplus, and the sidecars that it makes needless. Raises StorageError."""
        path = self._history.path
        if _free_bytes(path.parent) < _FREE_RATIO * path.stat().st_size:
            raise StorageError(f"there is too little room beside {path} for one; make some")
        began = monotonic_s()
        snapshot = self._snapshots.take()
        n_jobs = count_jobs(snapshot)
        wall_s = monotonic_s() - began
        n_dropped = self._history.sidecars.drop_known(partial(standing, snapshot))
        if self._history.versions is not None:
            n_dropped += self._history.versions.drop_known(partial(newest_versions, snapshot))
        removed = self._snapshots.prune(self._config.snapshots)
        self._history.store.note(
            "snapshot", {"path": str(snapshot), "n_jobs": n_jobs, "wall_s": round(wall_s, 3)}, self._utc()
        )
        log.info(
            "Snapshot of the history: %s, %d jobs, %.1f s; %d older ones removed",
            *(snapshot, n_jobs, wall_s, len(removed)),
            extra={"event": "snapshot", "n_jobs": n_jobs, "wall_s": round(wall_s, 3), "n_sidecars": n_dropped},
        )


def last_time(clock_time: str, at: datetime) -> datetime:
    """When it was last *clock_time* (HH:MM, in the local zone of this machine) at or before *at*."""
    hour, minute = (int(part) for part in clock_time.split(":"))
    local = datetime.fromtimestamp(at.timestamp()).replace(hour=hour, minute=minute, second=0, microsecond=0)  # noqa: DTZ006  # local on purpose
    found = datetime.fromtimestamp(time.mktime(local.timetuple()), UTC)
    if found > at:
        found = datetime.fromtimestamp(time.mktime((local - timedelta(days=1)).timetuple()), UTC)
    return found


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
