"""The bytes of a recording, read from an open descriptor. Knows nothing of audio.

Everything here reads with pread(2): the offset of a descriptor is shared with the process that sent it. Nothing is
mapped into memory: a recording that shrinks while it is read gives a short read, not SIGBUS.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable
from typing import Final

_HASH_BLOCK_BYTES: Final = 1024 * 1024

_BEAT_S: Final = 0.5


class Pulse:
    """Tells the daemon that work goes on, at most twice a second. Only real work may call it."""

    def __init__(self, send: Callable[[float], None]) -> None:
        self._send = send
        self._decoded_s = 0.0
        self._last = 0.0

    def beat(self, decoded_s: float | None = None) -> None:
        """Something was done; *decoded_s* seconds of audio are decoded by now, if that is what was done."""
        if decoded_s is not None:
            self._decoded_s = decoded_s
        now = time.monotonic()
        if now - self._last >= _BEAT_S:
            self._last = now
            self._send(self._decoded_s)


def sha256(fd: int, pulse: Pulse) -> str:
    """The SHA-256 of the bytes of *fd* from its start to its end, in hexadecimal."""
    digest = hashlib.sha256()
    offset = 0
    while block := os.pread(fd, _HASH_BLOCK_BYTES, offset):
        digest.update(block)
        offset += len(block)
        pulse.beat()
    return digest.hexdigest()


class DescriptorFile:
    """A read-only binary file made from a descriptor, with an offset of its own; does not close the descriptor.

    *read* raises what the system says. *readinto*, which libsndfile calls from C where no exception can pass, reads as
    empty instead and leaves the reason in *error*.
    """

    def __init__(self, fd: int, name: str, pulse: Pulse) -> None:
        self.name = name
        self.error: OSError | None = None
        self._fd = fd
        self._pulse = pulse
        self._size = os.fstat(fd).st_size
        self._offset = 0
        # A parser that reads in circles must not look alive for ever.
        self._beats_until = 4 * self._size + (64 << 20)

    def read(self, size: int = -1) -> bytes:
        """Up to *size* bytes from the current offset; fewer only at the end."""
        want = max(0, self._size - self._offset) if size < 0 else size
        data = os.pread(self._fd, want, self._offset)
        self._advance(len(data))
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill *buffer*; the number of bytes read."""
        try:
            n_read = os.preadv(self._fd, [buffer], self._offset)
        except OSError as error:
            self.error = error
            return 0
        self._advance(n_read)
        return n_read

    def _advance(self, n_bytes: int) -> None:
        self._offset += n_bytes
        self._beats_until -= n_bytes
        if self._beats_until > 0:
            self._pulse.beat()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the offset as lseek(2) does; the new offset."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"seek to {base + offset}, before the start of {self.name}")
        self._offset = base + offset
        return self._offset

    def tell(self) -> int:
        """The current offset."""
        return self._offset

    def seekable(self) -> bool:
        """Always true."""
        return True

    def readable(self) -> bool:
        """Always true."""
        return True
