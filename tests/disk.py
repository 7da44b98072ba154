"""The disk under a daemon that runs inside a test: counts its calls, refuses them, and can lose power.

While it is installed, what the program does to names and contents through `os`, and every commit to the history, is a
call with a number. A call can be made to fail, or to be the last thing that the process does. Once it is "killed"
every further call raises `Killed` and changes nothing, so that no ``finally`` cleans up what a real SIGKILL would
leave. What is not here: writes through file objects, and SQLite's own files, which count as safe once committed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy.orm import Session

from daemon import failpoints
from storage.jobs import JobStore


class Killed(BaseException):
    """Raised where the process ends; nothing in the program catches it."""


_open: Final = os.open
_fsync: Final = os.fsync
_link: Final = os.link
_rename: Final = os.rename
_replace: Final = os.replace
_unlink: Final = os.unlink

DATABASE: Final = "transcribed.db"
"""SQLite syncs the folder when it makes its log."""

_Undo = Callable[[], None]
_Identity = tuple[int, int]


@dataclass
class Disk:
    """*kill_at* is the number of the last call; *refuse* gives the error of a call, if it is to fail.

    *refuse* is asked with the name of the call and the path that it changes, as text.
    """

    grave: Path
    kill_at: int | None = None
    refuse: Callable[[str, str], OSError | None] = lambda _call, _path: None
    n_calls: int = 0
    killed: bool = False
    working: bool = False
    """Whether the program is at work; what happens else is done by people and by the test."""
    places: list[str] = field(default_factory=list[str])
    """What was done, in order: the calls and the places of `daemon.failpoints`."""
    _unsynced_names: list[tuple[_Identity, _Undo]] = field(default_factory=list[tuple[_Identity, _Undo]])
    _unsynced_files: dict[_Identity, str] = field(default_factory=dict[_Identity, str])
    _n_buried: int = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """From now on the program works on this disk."""
        self.grave.mkdir(exist_ok=True)
        for name in ("open", "fsync", "link", "rename", "replace", "unlink"):
            patch.setattr(os, name, getattr(self, f"_{name}"))
        write = JobStore._write  # pyright: ignore[reportPrivateUsage]  # every commit passes here

        @contextlib.contextmanager
        def committed(store: JobStore) -> Generator[Session]:
            self._before("commit", "")
            with write(store) as session:
                yield session
            self._after("commit")

        patch.setattr(JobStore, "_write", committed)
        failpoints.listen(self._reached)

    def remove(self) -> None:
        """Nobody listens to the program any more; the patches are their owner's to undo."""
        failpoints.listen(None)

    def revive(self) -> None:
        """Another process may use the disk; what the dead one did stays."""
        self.killed = False
        self.kill_at = None

    def lose_power(self) -> None:
        """Names that were not synced with their folder are as before; files that were not synced are empty."""
        for _, undo in reversed(self._unsynced_names):
            undo()
        for identity, path in self._unsynced_files.items():
            if os.path.lexists(path) and _identity(os.lstat(path)) == identity:
                os.truncate(path, 0)
        self._unsynced_names.clear()
        self._unsynced_files.clear()

    def _reached(self, place: str) -> None:
        self._before(place, "")

    def _before(self, call: str, path: str) -> None:
        if not self.working:
            return
        if self.killed:
            raise Killed
        self.n_calls += 1
        self.places.append(call)
        if self.kill_at is not None and self.n_calls >= self.kill_at:
            self.killed = True
            raise Killed
        error = self.refuse(call, path)
        if error is not None:
            raise error

    def _after(self, call: str) -> None:
        """A second chance to die: after the call had its effect and before the program knows."""
        self._before(f"after {call}", "")

    def _open(self, path: Any, flags: int, mode: int = 0o777, **kwargs: Any) -> int:
        path = _placed(path, kwargs)
        if not self.working or not flags & os.O_CREAT or os.path.lexists(path):
            return _open(path, flags, mode, **kwargs)
        self._before("create", _text(path))
        fd = _open(path, flags, mode, **kwargs)
        where = _absolute(path)
        if DATABASE not in where:
            self._unsynced_names.append((_folder_of(where), lambda: _gone(where)))
            self._unsynced_files[_identity(os.fstat(fd))] = where
        self._after("create")
        return fd

    def _fsync(self, fd: int) -> None:
        if not self.working:
            _fsync(fd)
            return
        status = os.fstat(fd)
        self._before("fsync of a folder" if stat.S_ISDIR(status.st_mode) else "fsync", "")
        _fsync(fd)
        identity = _identity(status)
        self._unsynced_names = [(folder, undo) for folder, undo in self._unsynced_names if folder != identity]
        self._unsynced_files.pop(identity, None)
        self._after("fsync")

    def _link(self, source: Any, target: Any, **kwargs: Any) -> None:
        source, target = _placed(source, kwargs, "src_dir_fd"), _placed(target, kwargs, "dst_dir_fd")
        if not self.working:
            _link(source, target, **kwargs)
            return
        self._before("link", _text(target))
        _link(source, target, **kwargs)
        where = _absolute(target)
        self._unsynced_names.append((_folder_of(where), lambda: _gone(where)))
        self._follow(where)
        self._after("link")

    def _rename(self, source: Any, target: Any, **kwargs: Any) -> None:
        source, target = _placed(source, kwargs, "src_dir_fd"), _placed(target, kwargs, "dst_dir_fd")
        if not self.working:
            _rename(source, target, **kwargs)
            return
        self._before("rename", _text(target))
        before = self._bury(_absolute(target))
        _rename(source, target, **kwargs)
        was, where = _absolute(source), _absolute(target)

        def undo() -> None:
            if os.path.lexists(where):
                _rename(where, was)
            if before is not None:
                _link(before, where)

        self._unsynced_names.append((_folder_of(where), undo))
        self._follow(where)
        self._after("rename")

    _replace = _rename

    def _unlink(self, path: Any, **kwargs: Any) -> None:
        path = _placed(path, kwargs)
        if not self.working or not os.path.lexists(path):
            _unlink(path, **kwargs)  # or it says that nothing is there
            return
        self._before("unlink", _text(path))
        where = _absolute(path)
        before = self._bury(where)
        _unlink(path, **kwargs)

        def undo() -> None:
            if before is not None and not os.path.lexists(where):
                _link(before, where)

        self._unsynced_names.append((_folder_of(where), undo))
        self._after("unlink")

    def _follow(self, path: str) -> None:
        """A file that is not synced has this name now."""
        identity = _identity(os.lstat(path))
        if identity in self._unsynced_files:
            self._unsynced_files[identity] = path

    def _bury(self, path: str) -> str | None:
        """A second name for the file at *path*, so that a power cut can bring it back."""
        if not os.path.isfile(path):
            return None
        self._n_buried += 1
        kept = str(self.grave / f"{os.getpid()}-{self._n_buried}")
        _link(path, kept)
        return kept


def _placed(path: Any, kwargs: dict[str, Any], name: str = "dir_fd") -> Any:
    """*path* as it is without an open folder to start from, which is taken out of *kwargs*."""
    folder = kwargs.pop(name, None)
    return path if folder is None else os.path.join(os.readlink(f"/proc/self/fd/{folder}"), _text(path))


def _absolute(path: Any) -> str:
    return os.path.abspath(_text(path))


def _text(path: Any) -> str:
    return os.fsdecode(path)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _folder_of(path: str) -> _Identity:
    return _identity(os.stat(os.path.dirname(path)))


def _gone(path: str) -> None:
    if os.path.lexists(path):
        _unlink(path)
