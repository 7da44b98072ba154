"""The recording of a job: opened once, and checked against what its job was made for."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from daemon.errors import RecordingError, SourceBlocked, SourceChanged, SourceVanished, telling
from daemon.intake.examine import open_recording
from storage.records import Fingerprint


class Source:
    """An opened recording. Everything is read from this one descriptor, whatever happens to the path."""

    def __init__(
        self,
        path: bytes,
        expected: Fingerprint,
        touching: Callable[[], AbstractContextManager[object]] = nullcontext[None],
    ) -> None:
        """Open *path*. Raises SourceVanished, SourceChanged, SourceBlocked, or RecordingError for what is no file.

        Whatever may hang because the share of *path* is dead is done inside *touching*.
        """
        self.path = path
        self._touching = touching
        with touching():
            self._open(expected)

    def _open(self, expected: Fingerprint) -> None:
        path = self.path
        try:
            self.fd = open_recording(path)
        except OSError as error:
            raise _blocked(path, error) from error
        try:
            status = os.fstat(self.fd)
            if not stat.S_ISREG(status.st_mode):
                raise telling(RecordingError(f"{os.fsdecode(path)} is not a regular file"), "not_audio")
            self.fingerprint = Fingerprint.of(status)
            if content_differs(self.fingerprint, expected):
                raise SourceChanged("the recording changed after its job was made")
        except BaseException:
            os.close(self.fd)
            raise

    def check_unchanged(self, sha256: str, digest: Callable[[int], str]) -> Fingerprint:
        """The fingerprint of what is at the path now, which has the content *sha256*; it is ours from now on.

        A file that only looks different (chmod, touch, copied over with itself) is read again with *digest* to be
        sure. Raises SourceChanged or SourceVanished.
        """
        try:
            with self._touching():
                now = Fingerprint.of(os.lstat(self.path))
            if now == self.fingerprint:
                return now
            if now.size_bytes == self.fingerprint.size_bytes:
                self.fingerprint = self._read_again(sha256, digest)
                return self.fingerprint
        except OSError as error:
            raise _blocked(self.path, error) from error
        raise SourceChanged("the recording changed while it was transcribed; its new content is transcribed instead")

    def _read_again(self, sha256: str, digest: Callable[[int], str]) -> Fingerprint:
        with self._touching():
            fd = open_recording(self.path)
        try:
            before = Fingerprint.of(os.fstat(fd))
            if digest(fd) == sha256 and Fingerprint.of(os.fstat(fd)) == before:
                return before
        finally:
            os.close(fd)
        raise SourceChanged("the recording changed while it was transcribed; its new content is transcribed instead")

    def outdated(self) -> bool:
        """Whether something else than *fingerprint* is at the path now; False where nothing is."""
        try:
            with self._touching():
                return Fingerprint.of(os.lstat(self.path)) != self.fingerprint
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptor."""
        # A dead share answers an error to that too; nothing was written through it.
        with self._touching(), suppress(OSError):
            os.close(self.fd)


def content_differs(now: Fingerprint, expected: Fingerprint) -> bool:
    """Whether the file of *now* may hold other bytes than that of *expected*."""
    # A chmod changes ctime, a rename there and back the device: neither is new content.
    return (now.size_bytes, now.mtime_ns, now.inode) != (expected.size_bytes, expected.mtime_ns, expected.inode)


def _blocked(path: bytes, error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return SourceVanished("the recording is gone")
    return SourceBlocked(f"cannot open {os.fsdecode(path)}: {error.strerror}")
