"""Serves an application on sockets, in a thread of its own.

Nobody can hold it up: as served here by default, a connection lives for a few seconds, there are only so many, and no
request has a body. Heavy to import (some 20 MB): only where something is to be served.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.pages.listening import BACKLOG, SocketFile, is_at, open_listener, parse, take_inherited

log = logging.getLogger(__name__)

CONNECTION_S: Final = 10.0
"""How long a connection may last, whatever is said on it: an answer takes milliseconds."""

MAX_CONNECTIONS: Final = 32
"""One more, and the oldest is closed."""

MAX_HEAD_BYTES: Final = 8192
"""The longest request line with all headers."""

_END_S: Final = 2


class Impatient(H11Protocol):
    """A connection with an end, for answers that take milliseconds. uvicorn itself waits for ever for a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """It begins, and its end is set."""
        super().connection_made(transport)
        self.born_s: float = self.loop.time()
        self._end = self.loop.call_later(CONNECTION_S, transport.abort)
        if len(self.connections) > MAX_CONNECTIONS:
            ours: list[Impatient] = [one for one in self.connections if isinstance(one, Impatient)]
            min(ours, key=lambda one: one.born_s).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended by itself."""
        self._end.cancel()
        super().connection_lost(exc)


class _UvicornServer(uvicorn.Server):
    """uvicorn's, which wakes ten times a second to see whether it should end; this one is told."""

    async def main_loop(self) -> None:
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if not self.should_exit:
            await self._end.wait()

    def end(self) -> None:
        """Ask it to end, from any thread."""
        self.should_exit = True
        try:
            self._loop.call_soon_threadsafe(self._end.set)
        except (AttributeError, RuntimeError):
            return  # not begun, and then it sees should_exit; or ended


class Serving:
    """An application on *sockets*, which belong to it from now on; *files* are removed when it ends."""

    def __init__(
        self,
        app: ASGIApp,
        sockets: Sequence[socket.socket],
        files: Sequence[Path] = (),
        http: type[H11Protocol] = Impatient,
    ) -> None:
        self._sockets = list(sockets)
        self._files = list(files)
        self._server = _UvicornServer(
            uvicorn.Config(
                app,
                http=http,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,  # ours
                log_level="error",  # its warnings can be called forth by whoever connects
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_graceful_shutdown=_END_S,
            )
        )
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Begin to answer. Who connected before is answered then."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more; returns within some seconds. May be called more than once, and before `start`."""
        self._server.end()
        if self._thread.ident is not None:
            self._thread.join(_END_S + 3.0)
        for sock in self._sockets:
            sock.close()
        for file in self._files:
            file.unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            self._server.run(sockets=self._sockets)
        except Exception:
            # The recordings do not need these pages: the daemon goes on without.
            log.exception("What was served over HTTP ended", extra={"event": "bug"})


def serve(
    listen: str,
    environment: MutableMapping[str, str],
    app: ASGIApp,
    *,
    anywhere: bool = False,
    http: type[H11Protocol] = Impatient,
) -> Serving | None:
    """*app*, served at *listen* (``web.listen``; "" is nowhere) and on the sockets that systemd opened.

    None where there is neither. The variables that tell of systemd's sockets are removed from *environment*. Other
    machines may reach it only with *anywhere*: then *app* has a login. *http* says how patient it is with connections.
    Raises CannotListen, whose message is for the operator.
    """
    sockets = take_inherited(environment, anywhere=anywhere)
    files: list[Path] = []
    address = parse(listen, anywhere=anywhere) if listen else None
    if address is not None and not any(is_at(sock, address) for sock in sockets):
        sockets.append(open_listener(address))
        files += [address.path] if isinstance(address, SocketFile) else []
    if not sockets:
        return None
    serving = Serving(app, sockets, files, http)
    serving.start()
    log.info("Serving on %s", _places(sockets), extra={"event": "web_ready"})
    return serving


def _places(sockets: Sequence[socket.socket]) -> str:
    return ", ".join(_place(sock.getsockname()) for sock in sockets)


def _place(name: Any) -> str:
    return f"port {name[1]} of {name[0]}" if isinstance(name, tuple) else str(name)
