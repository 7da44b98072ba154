"""Which filesystem a folder is on, and what that means for watching it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

MOUNTINFO: Final = Path("/proc/self/mountinfo")

_NETWORK: Final = frozenset(
    """
    nfs nfs4 cifs smb2 smb3 smbfs 9p drvfs virtiofs vboxsf vmhgfs ceph glusterfs lustre davfs afs ncpfs gpfs beegfs
    prl_fs
    """.split()
)

_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")

LOCAL_SETTLE_S: Final = 3.0
"""Long enough for a copy's pause between two writes on a local disk."""

NETWORK_SETTLE_S: Final = 15.0
"""Clients cache attributes: NFS for 3 to 60 s (nfs(5), acregmin/acregmax), CIFS for 1 s and more (actimeo)."""

EVENTS_SCAN_S: Final = 30.0
"""Where events wake us, the scan is for what they lost."""

POLL_SCAN_S: Final = 5.0
"""Where nothing wakes us, the scan is how files are found."""


def filesystem_of(folder: Path, mountinfo: bytes | None = None) -> str:
    """The type of the filesystem that *folder* is on, as the kernel names it (proc(5)); ``unknown`` without /proc."""
    if mountinfo is None:
        try:
            mountinfo = MOUNTINFO.read_bytes()
        except OSError:
            return "unknown"
    target = os.fsencode(os.path.realpath(folder))
    best, found = -1, "unknown"
    for line in mountinfo.splitlines():
        before, _, after = line.partition(b" - ")
        mount_point = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), before.split(b" ")[4])
        inside = target == mount_point or target.startswith(mount_point.rstrip(b"/") + b"/")
        if inside and len(mount_point) >= best:  # the last of equals hides those below it
            best, found = len(mount_point), after.split(b" ")[0].decode()
    return found


def is_network(filesystem: str) -> bool:
    """Whether files there may be written by another machine, whose writes raise no event here.

    An unknown FUSE filesystem counts as one: most forward to a server.
    """
    return filesystem in _NETWORK or filesystem.startswith("fuse.") or filesystem == "fuse"
