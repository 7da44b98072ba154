"""How patient the pages are with a connection: as long as it goes on, it may last; whoever dawdles is cut off.

The head of a request has to come soon, its body without long breaks and not drop by drop, and an answer has to be
taken. An upload of hours, a player that is paused for a minute and a page that listens for news stay.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.web.access.hosts import SOCKET, is_trusted

HEAD_S: Final = 10.0
"""From the first moment, or the end of the last answer, to the whole head of a request."""

STALL_S: Final = 20.0
"""The longest break in a body."""

SLOW_S: Final = 30.0
SLOW_BYTES: Final = 4096
"""A body has to bring so many bytes in so long, while they are read."""

UNREAD_S: Final = 120.0
"""So long an answer may wait for who asked for it. Players stop reading while they are paused, and ask again."""

MAX_CONNECTIONS: Final = 256
MAX_EACH: Final = 48
"""Of one address, unless many people come by it. One more, and its oldest idle one is closed, else the new one."""

_LOOK_S: Final = 2.0


class Patient(H11Protocol):
    """A connection that lasts as long as something happens on it."""

    trusted: ClassVar[tuple[str, ...]] = ()
    most: ClassVar[int] = MAX_CONNECTIONS

    @classmethod
    def made_for(cls, trusted: tuple[str, ...], n_files: int) -> type[Patient]:
        """The same where many people come from *trusted* addresses, and the process may open *n_files*."""
        return type("Patient", (cls,), {"trusted": trusted, "most": min(MAX_CONNECTIONS, n_files // 4)})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """It begins; there may be too many."""
        super().connection_made(transport)
        now = self.loop.time()
        self.born_s: float = now
        self.idle_since_s: float = now
        self.heard_s: float = now
        self.window_s: float = now
        self._unread_since_s: float | None = None
        self._window_bytes = 0
        self._look_at = self.loop.call_later(_LOOK_S, self._look)
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """No more is to be looked at."""
        self._look_at.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.heard_s = self.loop.time()
        self._window_bytes += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """An answer has gone out: the next request may come."""
        self.idle_since_s = self.window_s = self.heard_s = self.loop.time()
        self._window_bytes = 0
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP. Who works on the request that it belongs to hears that nobody waits for an answer."""
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    @property
    def host(self) -> str:
        """Who is on the other side; of a socket file it is not known."""
        return self.client[0] if self.client else SOCKET

    @property
    def idle(self) -> bool:
        """Whether it has no request, or but a part of a head."""
        return bool(self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE)

    def _make_room(self) -> None:
        others: list[Patient] = [one for one in self.connections if isinstance(one, Patient) and one is not self]
        mine = [one for one in others if one.host == self.host]
        too_many = len(mine) >= MAX_EACH and not is_trusted(self.host, self.trusted)
        if len(others) < self.most and not too_many:
            return
        pool = mine if too_many else others  # another's is not closed for one who has many
        idle: list[Patient] = [one for one in pool if one.idle]
        (min(idle, key=_age) if idle else self).transport.abort()

    def _look(self) -> None:
        now = self.loop.time()
        if self.transport.is_closing() and not self.flow.write_paused:
            return
        if self._dawdles(now):
            self.transport.abort()
            return
        self._look_at = self.loop.call_later(_LOOK_S, self._look)

    def _dawdles(self, now: float) -> bool:
        if self.flow.write_paused:
            self._unread_since_s = self._unread_since_s or now
            return now - self._unread_since_s > UNREAD_S
        self._unread_since_s = None
        if self.idle:
            return now - self.idle_since_s > HEAD_S
        if self.conn.their_state is not h11.SEND_BODY or self.flow.read_paused:
            self.heard_s = self.window_s = now
            self._window_bytes = 0
            return False
        if now - self.heard_s > STALL_S:
            return True
        if now - self.window_s > SLOW_S:
            slow = self._window_bytes < SLOW_BYTES
            self.window_s, self._window_bytes = now, 0
            return slow
        return False


def _age(connection: Patient) -> float:
    return connection.born_s
