"""Takes one file from a folder to another: whole, never over a file, and never away before it is there.

Links are not followed, in no part of a path below its root: whoever can write to a share could lead us out of it.
A crash at any point leaves the file in one of the two places or, equal, in both; the next call with *resumed* goes on.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from daemon.failpoints import reached
from daemon.outputs.notes import folder_in
from daemon.source import content_differs
from storage.records import Fingerprint

_BLOCK_BYTES: Final = 1 << 20
_NOREPLACE: Final = 1
"""RENAME_NOREPLACE (linux/fs.h)."""

_COARSEST_NS: Final = 2_000_000_000
"""FAT keeps the time of a file in steps of two seconds."""

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK})
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Taken(Exception):
    """Raised where another file has the name that was to be given."""


class Changed(Exception):
    """Raised where the file is not the one that was to go."""


class Gone(Exception):
    """Raised where the file is neither here nor there."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path, and the folder that it is in without a link on the way."""

    root: bytes
    path: bytes


@dataclass(frozen=True, slots=True)
class Errand:
    """A file, where it goes, and the name beside that under which it is written if it has to be copied.

    *expected*: what it must be, None: anything.
    """

    source: Place
    target: Place
    temporary: bytes
    expected: Fingerprint | None = None


def new_temporary() -> bytes:
    """A name that nothing has."""
    return f".tr-{secrets.token_hex(8)}.part".encode()


def carry(errand: Errand, *, resumed: bool) -> Fingerprint:
    """The file is at its target, on disk, and no more at its source; what it is there.

    *resumed*: an earlier call may have got somewhere. Raises Taken, Changed, Gone;
    then it is where it was. OSError too: then it may be under way, for a call with *resumed*.
    """
    target, source = errand.target, errand.source
    name, new_name = os.path.basename(source.path), os.path.basename(target.path)
    with (
        _old_folder(source) as folder,
        _made_folder(target, source) as new_folder,
    ):
        there = None if folder is None else _status(folder, name)
        here = _status(new_folder, new_name)
        if resumed:
            _remove(new_folder, errand.temporary)
        if there is None and here is None:
            raise Gone(os.fsdecode(source.path))
        if there is not None and folder is not None:
            if not stat.S_ISREG(there.st_mode):
                raise Changed(f"{os.fsdecode(source.path)} is no regular file")
            if errand.expected is not None and content_differs(Fingerprint.of(there), errand.expected):
                raise Changed(f"{os.fsdecode(source.path)} changed since it was transcribed")
            if here is None or not (resumed and _is_the_same((folder, name), (new_folder, new_name))):
                _bring(errand, there, (folder, new_folder), resumed=resumed)
            else:
                _remove(folder, name)
                reached("move.finished")
        elif not resumed or (errand.expected is not None and here is not None and not may_be(here, errand.expected)):
            raise Gone(os.fsdecode(source.path))
        _sync(new_folder)
        if folder is not None:
            _sync(folder)
        reached("move.synced")
        return Fingerprint.of(os.stat(new_name, dir_fd=new_folder, follow_symlinks=False))


def _bring(errand: Errand, there: os.stat_result, folders: tuple[int, int], *, resumed: bool) -> None:
    (folder, new_folder), source = folders, os.fsdecode(errand.source.path)
    name, new_name = os.path.basename(errand.source.path), os.path.basename(errand.target.path)
    try:
        _rename((folder, name), (new_folder, new_name), resumed=resumed)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        reached("move.renamed")
        moved = _status(new_folder, new_name)
        if moved is not None and errand.expected is not None and not os.path.samestat(there, moved):
            _rename((new_folder, new_name), (folder, name), resumed=False)
            raise Changed(f"{source} was replaced at that moment")
        return
    if not os.access(b".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True):
        # Else each try would copy all of it, and the file could never leave.
        raise PermissionError(errno.EACCES, f"nothing may be removed from the folder of {source}")
    before = _copy((folder, name), (new_folder, errand.temporary))
    reached("move.copied")
    try:
        _rename((new_folder, errand.temporary), (new_folder, new_name), resumed=resumed)
    except BaseException as error:
        if isinstance(error, Exception):
            _remove(new_folder, errand.temporary)
        raise
    _sync(new_folder)  # before the only other copy goes
    reached("move.placed")
    now = _status(folder, name)
    if now is None or Fingerprint.of(now) != before:
        raise Changed(f"{source} changed while it was copied")
    _remove(folder, name)
    reached("move.removed")


_Named = tuple[int, bytes]
"""A name in an open folder."""


def _rename(old: _Named, new: _Named, *, resumed: bool) -> None:
    """*old* is *new*, over nothing but, where *resumed*, a name that we only reserved. Raises Taken."""
    try:
        _give_name(old, new)
    except FileExistsError:
        if not (resumed and _is_reserved(new)):
            raise Taken(os.fsdecode(new[1])) from None
        os.rename(old[1], new[1], src_dir_fd=old[0], dst_dir_fd=new[0])


def _give_name(old: _Named, new: _Named) -> None:
    try:
        _rename_over_nothing(old, new)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        _link_or_reserve(old, new)


def _rename_over_nothing(old: _Named, new: _Named) -> None:
    """As rename(2), but never over a file. EINVAL where the filesystem cannot promise that."""
    reached("move.rename")
    if _libc.renameat2(old[0], ctypes.c_char_p(old[1]), new[0], ctypes.c_char_p(new[1]), _NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _link_or_reserve(old: _Named, new: _Named) -> None:
    try:
        os.link(old[1], new[1], src_dir_fd=old[0], dst_dir_fd=new[0], follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _reserve_and_rename(old, new)
    else:
        os.unlink(old[1], dir_fd=old[0])


def _reserve_and_rename(old: _Named, new: _Named) -> None:
    os.close(os.open(new[1], os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=new[0]))
    try:
        os.rename(old[1], new[1], src_dir_fd=old[0], dst_dir_fd=new[0])
    except OSError:
        if _is_reserved(new):
            _remove(*new)
        raise


def _is_reserved(new: _Named) -> bool:
    # An empty file holds nothing that could be lost.
    status = _status(*new)
    return status is not None and stat.S_ISREG(status.st_mode) and status.st_size == 0


def _copy(old: _Named, new: _Named) -> Fingerprint:
    """*new* has the content, the times, the mode and, as far as we may, the owner of *old*, on disk and read again."""
    with _opened(old) as source:
        before = os.fstat(source)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        target = os.open(new[1], flags, 0o600, dir_fd=new[0])
        try:
            digest = _pour(source, target)
            _dress(source, before, target)
            os.fsync(target)
            # What is still in memory would be compared with itself.
            os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
            if _digest(target) != digest:
                raise OSError(errno.EIO, "what was copied reads back as something else")
        except Exception:
            _remove(*new)
            raise
        finally:
            os.close(target)
        return Fingerprint.of(before)


def _pour(source: int, target: int) -> str:
    digest = hashlib.sha256()
    offset = 0
    while block := os.pread(source, _BLOCK_BYTES, offset):
        digest.update(block)
        with memoryview(block) as rest:
            done = 0
            while done < len(rest):
                done += os.pwrite(target, rest[done:], offset + done)
        offset += len(block)
    return digest.hexdigest()


def _digest(fd: int) -> str:
    digest = hashlib.sha256()
    offset = 0
    while block := os.pread(fd, _BLOCK_BYTES, offset):
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()


def _dress(source: int, before: os.stat_result, target: int) -> None:
    with suppress(OSError):  # not ours to give, or a filesystem without owners and modes
        os.fchown(target, before.st_uid, before.st_gid)
    with suppress(OSError):
        os.fchmod(target, stat.S_IMODE(before.st_mode))
    with suppress(OSError):
        _copy_attributes(source, target)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def _copy_attributes(source: int, target: int) -> None:
    for name in os.listxattr(source):
        with suppress(OSError):
            os.setxattr(target, name, os.getxattr(source, name))


def _is_the_same(old: _Named, new: _Named) -> bool:
    """Whether *new* is all of *old*: another name of it, or as much as a crash left of a copy that was whole."""
    one, other = _status(*old), _status(*new)
    if one is None or other is None or one.st_size != other.st_size or not stat.S_ISREG(other.st_mode):
        return False
    if os.path.samestat(one, other):
        return True
    with _opened(old) as first, _opened(new) as second:
        return _digest(first) == _digest(second)


@contextmanager
def _opened(place: _Named) -> Generator[int]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(place[1], flags, dir_fd=place[0])
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _old_folder(source: Place) -> Generator[int | None]:
    """The folder of *source*, open; None where it is gone."""
    try:
        opened = folder_in(source.root, os.path.dirname(source.path))
        fd = opened.__enter__()
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        opened.__exit__(None, None, None)


@contextmanager
def _made_folder(target: Place, source: Place) -> Generator[int]:
    """The folder of *target*, made where it is missing as those of *source* are, open. Its root must be there."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    fd = os.open(target.root, flags)
    try:
        for part in os.path.dirname(target.path)[len(target.root) :].split(b"/"):
            if not part:
                continue
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=fd)
                _dress_folder(part, fd, os.path.dirname(source.path))
                _sync(fd)
                reached("move.folder_made")
            try:
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=fd)
            except NotADirectoryError:
                words = f"{os.fsdecode(part)} on the way to {os.fsdecode(target.path)} is a link or a file"
                raise OSError(errno.ENOTDIR, words) from None
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _dress_folder(name: bytes, parent: int, like: bytes) -> None:
    """Whoever may use the folder *like* may use this one."""
    try:
        status = os.stat(like)
    except FileNotFoundError:
        status = os.stat(".", dir_fd=parent)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        mode = stat.S_IMODE(status.st_mode)
        try:
            os.fchown(fd, -1, status.st_gid)
        except OSError:
            mode &= ~0o070  # it keeps our group, which may be another one
        with suppress(OSError):
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def may_be(status: os.stat_result, expected: Fingerprint) -> bool:
    """Whether the file can be a copy of what is expected, on a disk that keeps times less exactly maybe."""
    now = Fingerprint.of(status)
    return now.size_bytes == expected.size_bytes and abs(now.mtime_ns - expected.mtime_ns) <= _COARSEST_NS


def _status(folder: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove(folder: int, name: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _sync(folder: int) -> None:
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # CIFS and some FUSE filesystems cannot sync a folder
            raise
    finally:
        os.close(fd)
