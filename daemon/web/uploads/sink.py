"""Where the bytes of an upload go: an open file that takes no more than was promised."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from daemon.web.uploads.trouble import UploadError, in_words

_CHUNK: Final = 1 << 20


class Sink:
    """Takes the bytes of an upload in their order. For one thread at a time."""

    def __init__(
        self, fd: int, offset: int, limit: int, check: Callable[[], None], on_close: Callable[[], None]
    ) -> None:
        self._file = open(fd, "wb", buffering=0)  # noqa: SIM115  # closed by `close`
        self._file.seek(offset)
        self._limit = limit
        self._check = check
        self._on_close = on_close
        self._closed = False
        self.offset = offset

    def write(self, content: bytes) -> None:
        """Add *content*. Raises UploadError; what was written before stays."""
        if self.offset + len(content) > self._limit:
            raise UploadError("large", f"more than {self._limit} bytes came")
        self._check()
        rest = memoryview(content)
        with in_words():
            while rest:
                n_written = self._file.write(rest[:_CHUNK])
                self.offset += n_written or 0
                rest = rest[n_written or 0 :]

    def close(self) -> None:
        """No more comes. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        try:
            with suppress(OSError):  # a dead share; what is there shows when it goes on
                self._file.close()
        finally:
            self._on_close()
