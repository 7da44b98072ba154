"""The bytes of a request into an upload, without holding up anybody: the disk is touched on threads of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from daemon.web.uploads.sink import Sink

MOST_AT_ONCE: Final = 8
"""Uploads that touch a disk at the same time: those that hang in a dead share take no thread from the pages."""

_BUFFER: Final = 1 << 20

P = ParamSpec("P")
T = TypeVar("T")

_limiter: Final = anyio.CapacityLimiter(MOST_AT_ONCE)


async def apart(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What *work* gives, which may block: done on one of MOST_AT_ONCE threads."""
    return await anyio.to_thread.run_sync(partial(work, *arguments, **named), limiter=_limiter)


class Buffer:
    """Collects small pieces before they are written. `flush` at the end."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = bytearray()

    async def add(self, content: bytes) -> None:
        """Take *content*. Raises UploadError."""
        self._held += content
        if len(self._held) >= _BUFFER:
            await self.flush()

    async def flush(self) -> None:
        """All that was added is written. Raises UploadError."""
        if self._held:
            content, self._held = bytes(self._held), bytearray()
            await apart(self._sink.write, content)


async def pour(stream: AsyncIterator[bytes], sink: Sink) -> None:
    """Write all of *stream*; what came before it broke off is written too. Closes *sink*. Raises UploadError."""
    buffer = Buffer(sink)
    try:
        try:
            async for content in stream:
                await buffer.add(content)
        finally:
            with anyio.CancelScope(shield=True):
                await buffer.flush()
    finally:
        with anyio.CancelScope(shield=True):
            await apart(sink.close)
