from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon.control import SOCKET_NAME, Command, ControlServer, NoDaemon, Refused, ask
from daemon.errors import ConfigError
from storage.errors import StorageBusy


def echo(request: Mapping[str, Any]) -> Any:
    return dict(request)


def refuse(request: Mapping[str, Any]) -> Any:
    raise ConfigError("not like this")


def busy(request: Mapping[str, Any]) -> Any:
    raise StorageBusy("the history is locked")


def broken(request: Mapping[str, Any]) -> Any:
    raise KeyError("a bug of ours")


COMMANDS: Mapping[str, Command] = {
    "echo": echo,
    "refuse": refuse,
    "busy": busy,
    "broken": broken,
    "unwritable": lambda request: {1, 2},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose path is longer than a socket address may be."""
    deep = tmp_path.joinpath(*(["a-rather-deep-folder"] * 8))
    deep.mkdir(parents=True)
    assert len(os.fsencode(deep)) > 108
    return deep


@pytest.fixture
def server(folder: Path) -> Iterator[ControlServer]:
    server = ControlServer(folder, COMMANDS)
    server.start()
    yield server
    server.close()


def connected(folder: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(10)
    fd = os.open(folder, os.O_PATH)
    sock.connect(f"/proc/self/fd/{fd}/{SOCKET_NAME}")
    os.close(fd)
    return sock


@pytest.mark.usefixtures("server")
def test_a_command_is_answered(folder: Path) -> None:
    """Arguments go there and the result comes back, in a folder too deep for a plain socket address."""
    assert ask(folder, "echo", jobs=[1, 2], path="caf\udce9\n") == {
        "command": "echo",
        "jobs": [1, 2],
        "path": "caf\udce9\n",
    }


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("command", "reason"),
    [("nothing", "no such command"), ("refuse", "not like this"), ("busy", "the history is locked")],
)
def test_a_refusal_has_a_reason(folder: Path, command: str, reason: str) -> None:
    """Unknown commands, and errors that are meant for people, come back in words."""
    with pytest.raises(Refused, match=reason):
        ask(folder, command)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("command", ["broken", "unwritable"])
def test_a_bug_costs_one_answer(folder: Path, caplog: pytest.LogCaptureFixture, command: str) -> None:
    """The asker learns that something went wrong, the log what, and the next question is answered."""
    with pytest.raises(Refused, match="internal error"):
        ask(folder, command)
    assert caplog.records[0].exc_info is not None
    assert ask(folder, "echo") == {"command": "echo"}


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[]\n", b"{}\n", b'{"command": [1]}\n', b"\xff\n", b"[" * 5000 + b"\n"]
)
def test_nonsense_is_no_command(folder: Path, line: bytes) -> None:
    """Whatever is said, the connection stays good."""
    with connected(folder) as sock, sock.makefile("rb") as answers:
        sock.sendall(line)
        assert answers.readline() == b'{"error": "no such command"}\n'
        sock.sendall(b'{"command": "echo"}\n')
        assert b"result" in answers.readline()


@pytest.mark.usefixtures("server")
def test_a_client_may_hang_up_at_any_time(folder: Path) -> None:
    """Before asking, in the middle of a question, and before the answer."""
    for said in (b"", b'{"comm', b'{"command": "echo"}\n'):
        with connected(folder) as sock:
            sock.sendall(said)
    assert ask(folder, "echo") == {"command": "echo"}


@pytest.mark.usefixtures("server")
def test_a_slow_client_holds_up_nobody(folder: Path) -> None:
    """Others are answered while one has not finished its question."""
    slow = [connected(folder) for _ in range(10)]
    for sock in slow:
        sock.sendall(b'{"command":')
    assert ask(folder, "echo") == {"command": "echo"}
    for sock in slow:
        sock.close()


def test_a_slow_command_holds_up_nobody(folder: Path) -> None:
    """Each connection has its own thread."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: Mapping[str, Any]) -> str:
        begun.set()
        go_on.wait(10)
        return "at last"

    server = ControlServer(folder, {"slow": slow, "echo": echo})
    server.start()
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(ask(folder, "slow")))
    thread.start()
    assert begun.wait(10)
    assert ask(folder, "echo") == {"command": "echo"}
    go_on.set()
    thread.join(10)
    server.close()
    assert answers == ["at last"]


@pytest.mark.usefixtures("server")
def test_only_the_owner_may_connect(folder: Path) -> None:
    """The socket is not for the group or for others, whatever the umask."""
    status = (folder / SOCKET_NAME).stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert status.st_mode & 0o777 == 0o600


def test_the_umask_of_the_process_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads make files meanwhile: theirs must not become private."""

    def umask(mask: int) -> int:
        raise AssertionError("the umask is everybody's")

    monkeypatch.setattr(os, "umask", umask)
    ControlServer(folder, COMMANDS).close()


@pytest.mark.usefixtures("server")
def test_another_user_is_not_heard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says who asks; the answer to a stranger is silence."""
    if os.getuid() == 0:
        pytest.skip("root is always heard")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NoDaemon, match="are you its user"):
        ask(folder, "echo")


def test_without_a_daemon_there_is_no_answer(folder: Path, tmp_path: Path) -> None:
    """No folder, no socket, and a dead socket are told alike."""
    with pytest.raises(NoDaemon):
        ask(tmp_path / "nowhere", "echo")
    with pytest.raises(NoDaemon):
        ask(folder, "echo")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        fd = os.open(folder, os.O_PATH)
        dead.bind(f"/proc/self/fd/{fd}/{SOCKET_NAME}")
        os.close(fd)
    with pytest.raises(NoDaemon):
        ask(folder, "echo")


def test_a_dead_socket_is_replaced(folder: Path) -> None:
    """A daemon that was killed leaves its socket; the next takes the name, and removes it at its end."""
    first = ControlServer(folder, COMMANDS)
    second = ControlServer(folder, COMMANDS)
    second.start()
    assert ask(folder, "echo") == {"command": "echo"}
    second.close()
    first.close()
    assert not (folder / SOCKET_NAME).exists()


def test_nothing_stays_open(folder: Path, tmp_path: Path) -> None:
    """Neither a server's life nor one that cannot begin leaks a descriptor."""
    n_before = len(os.listdir("/proc/self/fd"))
    server = ControlServer(folder, COMMANDS)
    server.start()
    ask(folder, "echo")
    server.close()
    with pytest.raises(OSError):
        ControlServer(tmp_path / "nowhere", COMMANDS)
    for _ in range(100):  # the thread of the connection closes it a moment after the answer
        if len(os.listdir("/proc/self/fd")) == n_before:
            break
        threading.Event().wait(0.05)
    assert len(os.listdir("/proc/self/fd")) == n_before
