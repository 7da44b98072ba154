"""Sockets that are listened at: where they may be, how they are opened, and those that systemd opened.

Nothing but loopback addresses and socket files is accepted, unless the caller has a login behind them. Knows nothing of
what is served, and is light: the check of the configuration imports it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import stat
from collections.abc import MutableMapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FIRST_FD: Final = 3
"""Where descriptors from systemd begin (sd_listen_fds(3))."""

_PATH_MAX_BYTES: Final = 107
"""The room of sockaddr_un, less the zero at its end (unix(7))."""

_MODE: Final = 0o660
"""Who is in the service's group may read: a web server in front of it, for instance."""

BACKLOG: Final = 32
"""Who connects while so many wait is refused."""

_REMEDY: Final = (
    "write 127.0.0.1:8765, [::1]:8765, or the whole path of a socket; for other machines put a web server with a login "
    "in front of it"
)


class CannotListen(Exception):
    """Raised where a socket cannot be had; the message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP port at an address of this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A socket in the file system."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Address = Port | SocketFile


def parse(listen: str, *, anywhere: bool = False) -> Address:
    """The address that *listen* is. Raises ValueError, which says what is wrong with it and what would be right.

    *anywhere*: it may be one that other machines can reach.
    """
    if listen.startswith("/"):
        return _socket_file(listen)
    match = re.fullmatch(r"(?:\[(?P<six>[^\]]*)\]|(?P<four>[^:\[\]]*)):(?P<port>\d{1,5})", listen)
    if match is None:
        raise ValueError(f"must be an address with a port, or a path: {_REMEDY}")
    host, port = match["six"] or match["four"] or "", int(match["port"])
    if not 1 <= port <= 65535:
        raise ValueError("must have a port from 1 to 65535")
    return Port(_host("127.0.0.1" if host == "localhost" else host, anywhere=anywhere), port)


def is_this_machine(address: Address) -> bool:
    """Whether no other machine can reach *address*."""
    return isinstance(address, SocketFile) or ipaddress.ip_address(address.host).is_loopback


def open_listener(address: Address) -> socket.socket:
    """A socket that listens at *address*; a dead socket file there is replaced. Raises CannotListen."""
    try:
        return _open_file(address.path) if isinstance(address, SocketFile) else _open_port(address)
    except OSError as error:
        raise CannotListen(
            f"{address}: cannot listen there: {error.strerror or error}; is another program there? Choose another "
            "place for web.listen"
        ) from error


def is_at(sock: socket.socket, address: Address) -> bool:
    """Whether *sock* is bound to *address*."""
    name = sock.getsockname()
    if isinstance(address, SocketFile):
        return isinstance(name, str) and os.path.normpath(name) == str(address.path)
    return not isinstance(name, str) and name[:2] == (address.host, address.port)


def take_inherited(environment: MutableMapping[str, str], *, anywhere: bool = False) -> list[socket.socket]:
    """The sockets that systemd opened for this process, none if it did not (sd_listen_fds(3)).

    The variables that tell of them are removed from *environment*, and no child gets the sockets. Raises CannotListen
    where one is not what it should be: it does not listen, or other machines could reach it, unless *anywhere*.
    """
    told = {name: environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if told["LISTEN_PID"] != str(os.getpid()) or not told["LISTEN_FDS"].isdecimal():
        return []
    return [_inherited(fd, anywhere=anywhere) for fd in range(_FIRST_FD, _FIRST_FD + int(told["LISTEN_FDS"]))]


def _socket_file(listen: str) -> SocketFile:
    n_bytes = len(os.fsencode(listen))
    if "\0" in listen or n_bytes > _PATH_MAX_BYTES:
        raise ValueError(f"must be a path of at most {_PATH_MAX_BYTES} bytes: sockets have no longer ones")
    return SocketFile(Path(os.path.normpath(listen)))


def _host(host: str, *, anywhere: bool) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        alone = "" if anywhere else " alone"
        raise ValueError(f"must be an address of this machine{alone}, in numbers: {_REMEDY}") from None
    if "%" in host or not (anywhere or address.is_loopback):
        raise ValueError(f"must be an address that only this machine can reach, and {host} is not: {_REMEDY}")
    return str(address)


def _open_port(address: Port) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Without it a restart would find its own old connections in the way for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_file(path: Path) -> socket.socket:
    _remove_dead(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(sock.fileno(), _MODE)  # the file takes its mode from here, less the umask
        sock.bind(str(path))
        path.chmod(_MODE)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_dead(path: Path) -> None:
    """Remove a socket that nobody listens on; whatever else is there stays, and the bind fails."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)


def _inherited(fd: int, *, anywhere: bool) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise CannotListen(
            f"descriptor {fd} from systemd is no socket: {error.strerror}; see transcribed.socket"
        ) from error
    if sock.type != socket.SOCK_STREAM or not listens:
        sock.close()
        raise CannotListen(f"descriptor {fd} from systemd does not listen: ListenStream= and Accept=no are wanted")
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        try:
            _host(str(sock.getsockname()[0]), anywhere=anywhere)
        except ValueError as error:
            name = sock.getsockname()
            sock.close()
            raise CannotListen(f"ListenStream= of transcribed.socket is {name[0]} port {name[1]}: {error}") from None
    return sock
