"""A folder of an inbox, opened from its top without following a link, and how a file gets its name in it.

Every call may hang with a dead share. Knows no upload and no HTTP.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

from daemon.failpoints import reached
from daemon.outputs.access import access_for
from daemon.web.uploads.names import numbered

MOST_NAMES: Final = 1000
"""So many files of one name in a folder, and the next is refused."""

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV})
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class NoSuchFolder(Exception):
    """Raised where the folder is not there, or is a link."""


class Folder:
    """An open folder. Everything in it is reached through its descriptor, whatever becomes of its path."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._here = f"/proc/self/fd/{fd}"

    def free_bytes(self) -> int:
        """The room on its disk. Raises OSError."""
        found = os.fstatvfs(self._fd)
        return found.f_bavail * found.f_frsize

    def make(self, part: str) -> None:
        """An empty file *part* is there, for nobody else to look at. Raises OSError."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(part, flags, 0o600, dir_fd=self._fd))

    def open_part(self, part: str, flags: int) -> int:
        """The descriptor of *part*, which we made. Raises OSError."""
        fd = os.open(part, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ESTALE, "it is no file any more")
        return fd

    def status(self, name: str) -> os.stat_result | None:
        """What *name* is; None where nothing has that name."""
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Nothing has that name. Raises OSError."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            pass

    def share(self, part: str) -> None:
        """Who may read the folder may read *part*, which is on disk when this returns. Raises OSError."""
        access = access_for(os.fsencode(self._here), os.fsencode(f"{self._here}/{part}/none"))
        fd = self.open_part(part, os.O_RDWR)
        try:
            access.give_to(fd)
            os.fsync(fd)
        finally:
            os.close(fd)
        reached("upload.synced")

    def name(self, part: str, wanted: str, number: int) -> bool:
        """Give *part* the name that `numbered` says; False where that is taken. Nothing is replaced. Raises OSError."""
        name = numbered(wanted, number)
        try:
            os.link(part, name, src_dir_fd=self._fd, dst_dir_fd=self._fd, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._reserve_and_rename(part, name)
        reached("upload.linked")
        return True

    def _reserve_and_rename(self, part: str, name: str) -> bool:
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self._fd))
        except FileExistsError:
            return False
        os.rename(part, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        return True

    def sync(self) -> None:
        """Its names are on disk. Raises OSError."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBADF):  # CIFS and some FUSE filesystems cannot
                raise


@contextmanager
def opened(inbox: bytes, folders: Sequence[str]) -> Generator[Folder]:
    """The folder that *folders* lead to from *inbox*. Raises NoSuchFolder, OSError."""
    fd = _open_top(inbox)
    try:
        for name in folders:
            fd = _step_down(fd, name)
        yield Folder(fd)
    finally:
        os.close(fd)


def _open_top(inbox: bytes) -> int:
    try:
        return os.open(inbox, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        raise NoSuchFolder("the folder of the inbox is not there") from None


def _step_down(fd: int, name: str) -> int:
    try:
        return_fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
    except (FileNotFoundError, NotADirectoryError):
        raise NoSuchFolder(f"there is no folder {name!r}") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NoSuchFolder(f"{name!r} is a link, not a folder") from None
        raise
    os.close(fd)
    return return_fd
