"""Which filesystem a folder is on, and whether that is one of the network."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Mount:
    id: bytes
    parent: bytes
    point: bytes
    filesystem: str

    def holds(self, path: bytes) -> bool:
        return path == self.point or path.startswith(self.point.rstrip(b"/") + b"/")


def filesystem_of(folder: Path, mountinfo: bytes | None = None, *, follow: bool = True) -> str:
    """The type of the filesystem that *folder* is on, as the kernel names it (proc(5)); ``unknown`` without /proc.

    Unless *follow*, links on the way are not seen, and the folder is not touched.
    """
    if mountinfo is None:
        try:
            mountinfo = MOUNTINFO.read_bytes()
        except OSError:
            return "unknown"
    target = os.fsencode(os.path.realpath(folder) if follow else os.path.abspath(folder))
    on_the_way = [mount for mount in _mounts(mountinfo) if mount.holds(target)]
    ids = {mount.id for mount in on_the_way}
    found: _Mount | None = None
    below = [mount for mount in on_the_way if mount.parent not in ids or mount.parent == mount.id]
    while below:
        # As the kernel walks the path: the first mount point on it counts, which hides those that were there before.
        shortest = min(len(mount.point) for mount in below)
        found = [mount for mount in below if len(mount.point) == shortest][-1]
        ids.discard(found.id)
        below = [mount for mount in on_the_way if mount.parent == found.id and mount.id in ids]
    return found.filesystem if found is not None else "unknown"


def _mounts(mountinfo: bytes) -> list[_Mount]:
    found: list[_Mount] = []
    for line in mountinfo.split(b"\n"):
        before, separator, after = line.partition(b" - ")
        fields = before.split(b" ")
        if separator and len(fields) > 4:
            point = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), fields[4])
            found.append(_Mount(fields[0], fields[1], point, after.split(b" ")[0].decode("ascii", "replace")))
    return found


def is_network(filesystem: str) -> bool:
    """Whether files there may be written by another machine, whose writes raise no event here.

    An unknown FUSE filesystem counts as one: most forward to a server.
    """
    return filesystem in _NETWORK or filesystem.startswith("fuse.") or filesystem == "fuse"
