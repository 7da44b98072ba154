"""Framed JSON messages over a Unix socket pair, with file descriptors where needed.

Owns the wire format between the daemon and its child processes; knows nothing of what the messages mean.
A frame is a 4-byte big-endian length, the number of its descriptors in one byte, and *length* bytes of UTF-8 JSON (an
object). Descriptors travel with the first byte of their frame (SCM_RIGHTS, unix(7)); they are counted because one read
may bring them together with an earlier frame that has none.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_HEADER: Final = struct.Struct(">IB")

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""A frame holds at most one recording's segments; anything larger is a broken peer."""

_MAX_FDS: Final = 4

Message = dict[str, Any]  # JSON: each receiver checks the keys that it reads


class ChannelClosed(Exception):
    """Raised when the other end is gone."""


class ChannelTimeout(Exception):
    """Raised when no whole message came in time."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message and the descriptors that came with it; the receiver owns (and closes) them."""

    message: Message
    fds: tuple[int, ...] = ()


class Channel:
    """One end of a socket pair. Any number of threads may send; one may receive."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._send_lock = threading.Lock()
        self._closed = False
        self._buffer = bytearray()
        self._fds: list[int] = []

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """Our end, and the socket to hand to a child process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), theirs

    @classmethod
    def from_fd(cls, fd: int) -> Channel:
        """The end that a child process was given as descriptor *fd*."""
        return cls(socket.socket(fileno=fd))

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send *message* whole, with *fds* duplicated to the receiver. Raises ChannelClosed."""
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        if len(body) > MAX_FRAME_BYTES:
            raise ValueError(f"a message of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
        if len(fds) > _MAX_FDS:
            raise ValueError(f"a message with {len(fds)} descriptors is over the limit of {_MAX_FDS}")
        frame = _HEADER.pack(len(body), len(fds)) + body
        with self._send_lock:
            try:
                sent = socket.send_fds(self._sock, [frame], list(fds)) if fds else self._sock.send(frame)
                if sent < len(frame):
                    self._sock.sendall(memoryview(frame)[sent:])
            except OSError as error:
                raise ChannelClosed(f"the other end is gone: {error}") from error

    def receive(self, timeout_s: float | None = None) -> Received:
        """The next message. Raises ChannelTimeout after *timeout_s*, ChannelClosed when the other end is gone.

        After a timeout the channel is still good: what has come of a message is kept for the next call.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            received = self._take()
            if received is not None:
                return received
            if self._closed:  # the number of our descriptor may be another file's by now
                raise ChannelClosed("our end is closed")
            # poll, not settimeout: a timeout on the socket would also hit the threads that send.
            wait_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            try:
                if not self._readable.poll(wait_ms):
                    raise ChannelTimeout
                data, fds, _flags, _address = socket.recv_fds(self._sock, 1 << 16, _MAX_FDS)
            except OSError as error:
                raise ChannelClosed(f"the other end is gone: {error}") from error
            if not data:
                raise ChannelClosed("the other end closed")
            self._buffer += data
            for fd in fds:
                os.set_inheritable(fd, False)
            self._fds += fds

    def _take(self) -> Received | None:
        if len(self._buffer) < _HEADER.size:
            return None
        length, n_fds = _HEADER.unpack_from(self._buffer)
        if length > MAX_FRAME_BYTES:
            raise ChannelClosed(f"the other end announced a message of {length} bytes")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        try:
            message = json.loads(self._buffer[_HEADER.size : end].decode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise ChannelClosed(f"the other end sent no JSON: {error}") from error
        del self._buffer[:end]
        fds = tuple(self._fds[:n_fds])
        del self._fds[:n_fds]
        return Received(message, fds)

    def close(self) -> None:
        """Close our end; the other end sees ChannelClosed."""
        self._closed = True
        for fd in self._fds:
            os.close(fd)
        self._fds = []
        try:
            # Wakes a thread of ours that is inside receive(); close() alone would leave it there.
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()
