from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The socket that systemd listens on, and its address as the environment has it."""
    if request.param == "path":
        address = shown = str(tmp_path / "notify")
    else:
        name = f"transcribed-test-{secrets.token_hex(8)}"
        address, shown = f"\0{name}", f"@{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(5)
        yield sock, shown


def test_every_message_is_one_datagram(systemd: tuple[socket.socket, str]) -> None:
    """The words of sd_notify(3) arrive in the order in which they were said, on both kinds of address."""
    sock, address = systemd
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.status("loading the model")
    notifier.ready()
    notifier.watchdog()
    notifier.reloading(12.5)
    notifier.stopping()
    assert [sock.recv(4096) for _ in range(5)] == [
        b"STATUS=loading the model",
        b"READY=1",
        b"WATCHDOG=1",
        b"RELOADING=1\nMONOTONIC_USEC=12500000",
        b"STOPPING=1",
    ]


def test_a_status_cannot_say_more_than_a_status(systemd: tuple[socket.socket, str]) -> None:
    """A line break in the text would be another assignment; bytes that are no text are no error."""
    sock, address = systemd
    Notifier({"NOTIFY_SOCKET": address}).status("reading a\nREADY=1\udce9")
    assert sock.recv(4096) == b"STATUS=reading a READY=1\\udce9"


def test_without_systemd_nothing_happens() -> None:
    """On a terminal every call is silent."""
    notifier = Notifier({})
    notifier.ready()
    notifier.stopping()
    assert notifier.watchdog_s is None


@pytest.mark.parametrize("address", ["/nowhere/notify", "@transcribed-nobody-listens", "x" * 200, "vsock:2:1"])
def test_a_listener_that_is_gone_is_no_error(address: str) -> None:
    """A message that cannot be delivered must not end the service."""
    Notifier({"NOTIFY_SOCKET": address}).watchdog()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_it_names_us(environment: dict[str, str], watchdog_s: float | None) -> None:
    """The interval is in seconds; one that is meant for another process is none."""
    assert Notifier(environment).watchdog_s == watchdog_s
