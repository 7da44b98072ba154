"""The control socket: how the command line asks the running daemon, and has it change things (it is the one writer).

One JSON object a line each way. Only root and the daemon's own user are heard. Knows no command: they come in by name.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from daemon.errors import TranscribedError
from storage.errors import StorageError

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "control.sock"

_MAX_LINE_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 10.0
_UCRED: Final = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED

Request = Mapping[str, Any]  # JSON
Answer = Any  # JSON
Command = Callable[[Request], Answer]


class NoDaemon(Exception):
    """Raised when no daemon answers on the socket."""


class Refused(Exception):
    """Raised when the daemon says no; the message is its reason."""


@contextmanager
def _short_address(folder: Path) -> Generator[str]:
    """An address for the socket in *folder* that fits the 108 bytes of a sockaddr_un, however deep the folder is."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


class _Connection(socketserver.StreamRequestHandler):
    timeout = _TIMEOUT_S
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # always made by a _Server

    def handle(self) -> None:
        """Answer requests until the other side closes or falls silent."""
        if not self._may_ask():
            return
        try:
            while line := self.rfile.readline(_MAX_LINE_BYTES):
                self.wfile.write(self._answer(line))
        except OSError:
            return  # gone or too slow: nothing is half done

    def _may_ask(self) -> bool:
        _pid, uid, _gid = _UCRED.unpack(self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return uid in (0, os.geteuid())

    def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
            command = self.server.commands[request["command"]]
        except (ValueError, LookupError, TypeError, RecursionError):
            return _line({"error": "no such command"})
        try:
            return _line({"result": command(request)})
        except (TranscribedError, StorageError) as error:
            return _line({"error": str(error)})
        except Exception:
            log.exception("control command failed", extra={"event": "bug"})
            return _line({"error": "internal error; the log has it"})


def _line(answer: Mapping[str, Answer]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128  # a connection that finds no room fails at once (unix(7)), as if no daemon were there
    commands: Mapping[str, Command]

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is no news."""


class ControlServer:
    """Answers on the socket in *folder* until closed."""

    def __init__(self, folder: Path, commands: Mapping[str, Command]) -> None:
        """Raises OSError. The caller holds the lock of *folder*, so a socket that is there is a dead one."""
        self._path = folder / SOCKET_NAME
        self._path.unlink(missing_ok=True)
        with _short_address(folder) as address:
            self._server = _Server(address, _Connection, bind_and_activate=False)
            self._server.commands = commands
            try:
                # The socket file takes its mode from here; a umask would hit the files that other threads make.
                os.fchmod(self._server.fileno(), 0o600)
                self._server.server_bind()
                self._server.server_activate()
            except BaseException:
                self._server.server_close()
                raise
        self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._thread.ident is not None:
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the loop, which else looks up twice a second
            self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


def ask(folder: Path, command: str, **arguments: object) -> Answer:
    """What the daemon with its state in *folder* answers. Raises NoDaemon, Refused."""
    try:
        with _short_address(folder) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_TIMEOUT_S)
            sock.connect(address)
            sock.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with sock.makefile("rb") as answers:
                line = answers.readline()
    except OSError as error:
        raise NoDaemon(f"no daemon answers in {folder}: {error.strerror or error}") from error
    if not line.endswith(b"\n"):
        raise NoDaemon(f"the daemon in {folder} closed the connection; are you its user, or root?")
    answer = json.loads(line)
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["result"]
