"""A recording for a player: opened by the number of its job, as long as it still is what was transcribed.

Nothing is followed that leads elsewhere, and no path is taken from an address. A share that does not answer holds up
only who asked for a recording on it.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from daemon.shares import NoAnswer, within
from daemon.source import content_differs
from daemon.web.errors import Declined
from storage.records import Fingerprint

OPEN_S: Final = 5.0
"""How long a share may take to give a recording."""

MOST_OPEN: Final = 32
"""Recordings that are played at once; each has an open file."""

MOST_READING: Final = 8
"""Reads at once: those that hang in a dead share take no thread from the pages."""

CHUNK_BYTES: Final = 256 * 1024

MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "wav": "audio/wav",
        "wave": "audio/wav",
        "bwf": "audio/wav",
        "flac": "audio/flac",
        "mp3": "audio/mpeg",
        "mpga": "audio/mpeg",
        "mp2": "audio/mpeg",
        "ogg": "audio/ogg",
        "oga": "audio/ogg",
        "opus": "audio/ogg",
        "m4a": "audio/mp4",
        "m4b": "audio/mp4",
        "m4r": "audio/mp4",
        "aac": "audio/aac",
        "weba": "audio/webm",
        "webm": "video/webm",
        "mp4": "video/mp4",
        "m4v": "video/mp4",
        "mov": "video/mp4",
        "qt": "video/mp4",
        "mkv": "video/x-matroska",
        "mka": "audio/x-matroska",
        "ogv": "video/ogg",
        "ogx": "video/ogg",
        "3gp": "video/3gpp",
        "3g2": "video/3gpp2",
    }
)
"""What browsers may play, by extension. Everything else is only given to be saved."""

_HEADERS: Final = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; media-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")

_reading: Final = anyio.CapacityLimiter(MOST_READING)
open_recordings: Final = threading.BoundedSemaphore(MOST_OPEN)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a file, from *first* on."""

    first: int
    length: int


def extension_of(name: bytes) -> str:
    """The extension of *name*, in lower case."""
    return os.path.splitext(name)[1][1:].decode("ascii", "replace").lower()


def media_type_of(name: bytes) -> str:
    """What a browser may take *name* for; "" where it would not play it."""
    return MEDIA_TYPES.get(extension_of(name), "")


def open_below(root: bytes, place: bytes) -> int:
    """A descriptor on *place* below the folder *root*; no part of it is followed where it is a link. Raises OSError."""
    *folders, name = place.split(b"/")
    if not name or any(part in (b"", b".", b"..") for part in (*folders, name)):
        raise FileNotFoundError(place)
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = inner
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=fd)
    finally:
        os.close(fd)


def opened(inbox: bytes, path: bytes, known: tuple[Fingerprint, ...]) -> tuple[int, Fingerprint]:
    """The recording at *path*, opened, if it is one of those *known*. Raises Declined."""
    root = inbox if path.startswith(inbox.rstrip(b"/") + b"/") else os.path.dirname(path)
    given_up = threading.Event()

    def look() -> tuple[int, Fingerprint]:
        fd = open_below(root, path[len(root.rstrip(b"/")) + 1 :])
        try:
            status = os.fstat(fd)
            if given_up.is_set() or not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(path)
            now = Fingerprint.of(status)
            if all(content_differs(now, one) for one in known):
                raise Declined(410, "other_recording")
            return fd, now
        except BaseException:
            os.close(fd)
            raise

    try:
        return within(OPEN_S, "audio", look)
    except NoAnswer as error:
        given_up.set()
        raise Declined(503, "no_share") from error
    except OSError as error:
        raise Declined(404, "no_recording") from error


def stretch_of(header: str, size: int) -> Stretch | None:
    """The bytes that *header* (Range) asks for; None for all of them. Raises ValueError where there are none such."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None  # several at once, or another unit: all of it may be given instead (RFC 9110, section 14.2)
    first, last = found.groups()
    if not first:
        n_bytes = min(int(last), size)
        if n_bytes == 0:
            raise ValueError(header)
        return Stretch(size - n_bytes, n_bytes)
    end = min(int(last) if last else size - 1, size - 1)
    if int(first) >= size or (last and int(last) < int(first)):
        raise ValueError(header)
    return Stretch(int(first), end - int(first) + 1)


def answer(fd: int, fingerprint: Fingerprint, name: bytes, asked: Mapping[str, str], *, save: bool) -> Response:
    """The recording *fd*, which belongs to the answer from now on, or as much of it as *asked*, the headers, want."""
    size = fingerprint.size_bytes
    tag = f'"{size:x}-{fingerprint.mtime_ns & (2**64 - 1):x}-{fingerprint.inode & (2**64 - 1):x}"'
    media_type = media_type_of(name)
    headers = _HEADERS | {"ETag": tag, "Content-Disposition": _disposition(name, save=save or not media_type)}
    try:
        if asked.get("if-none-match") == tag:
            os.close(fd)
            return Response(status_code=304, headers=headers)
        header = asked.get("range", "") if asked.get("if-range", tag) == tag else ""
        stretch = stretch_of(header, size)
    except ValueError:
        os.close(fd)
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    status = 200 if stretch is None else 206
    if stretch is not None:
        headers["Content-Range"] = f"bytes {stretch.first}-{stretch.first + stretch.length - 1}/{size}"
    stretch = stretch or Stretch(0, size)
    headers["Content-Length"] = str(stretch.length)
    if not open_recordings.acquire(blocking=False):
        os.close(fd)
        raise Declined(503, "many_players")
    return _Recording(fd, stretch, status, headers, media_type or "application/octet-stream")


def _disposition(name: bytes, *, save: bool) -> str:
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name.decode("ascii", "replace"))[:100]
    kind = "attachment" if save else "inline"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"


class _Recording(StreamingResponse):
    """Bytes of an open file, which is closed once they are sent or nobody wants them any more."""

    def __init__(self, fd: int, stretch: Stretch, status: int, headers: Mapping[str, str], media_type: str) -> None:
        self._fd = fd
        super().__init__(self._chunks(stretch), status, headers, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a HEAD request gets the headers alone."""
        try:
            if scope["method"] == "HEAD":
                await Response(status_code=self.status_code, headers=dict(self.headers))(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
        finally:
            os.close(self._fd)
            open_recordings.release()

    async def _chunks(self, stretch: Stretch) -> AsyncIterator[bytes]:
        place, end = stretch.first, stretch.first + stretch.length
        while place < end:
            read = partial(os.pread, self._fd, min(CHUNK_BYTES, end - place), place)
            chunk = await anyio.to_thread.run_sync(read, limiter=_reading)
            if not chunk:
                raise EOFError("the recording became shorter while it was played")
            yield chunk
            place += len(chunk)
