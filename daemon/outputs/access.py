"""Who may read a transcript: whoever may read its recording.

The group is that of the folder, as on a share where people work together, and the owner that of the recording where we
may give files away (only root may). The mode:

- With a default ACL on the folder (acl(5)), what that says: somebody decided it on purpose.
- Otherwise the owner reads and writes. The group and the others may read it if they may read the recording; the group
  may write it if it may write the folder, where it could replace it anyway.

The umask of the service has no say: it knows nothing of the folder.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_DEFAULT_ACL: Final = "system.posix_acl_default"
_ACL_VERSION: Final = struct.Struct("<I")
_ACL_ENTRY: Final = struct.Struct("<HHI")  # tag, permissions, id: linux/posix_acl_xattr.h
_GROUP_OBJ, _MASK, _OTHER = 0x04, 0x10, 0x20


@dataclass(frozen=True, slots=True)
class Access:
    """Owner, group and mode of a file to be; *uid* is -1 where it stays ours."""

    uid: int
    gid: int
    mode: int

    def give_to(self, fd: int) -> None:
        """Let the open file *fd* have them, as far as we may and the filesystem can."""
        mode = self.mode
        if not (_group_is(fd, self.gid) or _done(lambda: os.fchown(fd, -1, self.gid))):
            mode = mode & ~0o070 | (mode & 0o004) << 3  # it keeps our group, which is one of the others
        _done(lambda: os.fchmod(fd, mode))
        if self.uid >= 0:
            _done(lambda: os.fchown(fd, self.uid, -1))


def access_for(folder: bytes, recording: bytes) -> Access:
    """The access to a transcript of *recording* in *folder*. Raises OSError where the folder cannot be looked at."""
    place = os.stat(folder)
    try:
        source = os.lstat(recording)
    except OSError:
        source = place  # gone meanwhile: whoever may list the folder
    uid = source.st_uid if os.geteuid() == 0 and stat.S_ISREG(source.st_mode) else -1
    by_acl = _default_acl(folder)
    return Access(uid, place.st_gid, _mode(source, place) if by_acl is None else by_acl)


def _mode(source: os.stat_result, place: os.stat_result) -> int:
    mode = 0o600 | source.st_mode & 0o004
    # The bits of the recording are for its own group; to the group of the folder it may be one of the others.
    mode |= source.st_mode & 0o040 if source.st_gid == place.st_gid else (source.st_mode & 0o004) << 3
    if mode & 0o040 and place.st_mode & stat.S_IWGRP:
        mode |= 0o020
    return mode


def _default_acl(folder: bytes) -> int | None:
    """The mode that the default ACL of *folder* gives to a file; None where it has none."""
    try:
        value = os.getxattr(folder, _DEFAULT_ACL)
    except OSError:
        return None
    if len(value) < _ACL_VERSION.size or (len(value) - _ACL_VERSION.size) % _ACL_ENTRY.size:
        return None
    permissions: dict[int, int] = {tag: bits for tag, bits, _id in _ACL_ENTRY.iter_unpack(value[_ACL_VERSION.size :])}
    # Where there is a mask, it is what the group bits of the mode stand for.
    group = permissions.get(_MASK, permissions.get(_GROUP_OBJ, 0))
    return 0o600 | (group & 0o6) << 3 | permissions.get(_OTHER, 0) & 0o6


def _done(change: Callable[[], None]) -> bool:
    try:
        change()
    except OSError:
        return False  # not ours to give, or a filesystem without owners and modes
    return True


def _group_is(fd: int, gid: int) -> bool:
    return os.fstat(fd).st_gid == gid
