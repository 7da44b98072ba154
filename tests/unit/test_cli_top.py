"""`transcribed top` and `transcribed status`: what is shown of an answer, and the real command on a real terminal."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from daemon.cli import exits, standing
from daemon.cli import status as status_command
from daemon.cli import top as top_command
from daemon.cli.screen import Seen, draw
from daemon.cli.top import Asking, wants_to_end
from daemon.control import ControlServer, NoDaemon

COMMAND = Path(sys.executable).with_name("transcribed")
NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
HOSTILE = "/srv/inbox/red\x1b[31m\n2026 ERROR \u202egnp\udce9 [bold]x[/bold]\x9b2J.wav"

STATUS: dict[str, Any] = {
    "state": "ready",
    "version": "1.2.3",
    "pid": 4121,
    "started_at": "2026-11-20T06:10:00Z",
    "jobs": {"waiting": 2, "queued": 1234, "running": 3, "done": 81234, "failed": 3, "cancelled": 0},
    "engine": {
        "seats": [
            {
                "state": "ready",
                "wanted": "cuda:0",
                "device": "cuda:0",
                "model": "base",
                "compute_type": "float16",
                "n_jobs": 1,
                "last_error": None,
            },
        ]
    },
    "in_hand": [
        {
            "job": 12,
            "path": "/srv/inbox/meeting.mp4",
            "stage": "engine",
            "done_s": 1203.0,
            "total_s": 3600.0,
            "eta_s": 72,
        },
        {"job": 13, "path": "/srv/inbox/memo.ogg", "stage": "decode", "done_s": 3.0, "total_s": 0.0, "eta_s": None},
        {"job": 14, "path": HOSTILE, "stage": "publish", "done_s": 61.0, "total_s": 61.0, "eta_s": 0.0},
    ],
    "inboxes": [
        {"path": "/srv/inbox", "watched_by": "events", "because": "ext4", "settle_s": 3.0, "offline": None},
    ],
    "stuck": [],
    "alerts": [
        {"rule": "gpu_hot", "severity": "warning", "title": "GPU 0 has 91 C", "opened_at": "2026-11-23T09:20:00Z"},
    ],
    "queue_eta_s": 7300.0,
    "speed_ratio": 41.3,
    "canary": {
        "on_its_way_s": 3.0,
        "waits_for": "",
        "last_at": "2026-11-23T06:10:00Z",
        "wrong_words_ratio": 0.0,
        "latency_s": 4.2,
    },
    "figures": {
        "host_cpu_used_ratio": 0.41,
        "gpu_utilisation_ratio 0": 0.93,
        "gpu_memory_used_bytes 0": 8.1e9,
        "gpu_memory_total_bytes 0": 24e9,
        "gpu_temperature_celsius 0": 71.0,
        "folder_free_bytes /srv/in box": 4e11,
        "queue_oldest_wait_s": 12000.0,
    },
}


def answer(**changes: Any) -> dict[str, Any]:
    """STATUS with *changes*."""
    return copy.deepcopy(STATUS) | changes


def lines(seen: Seen, width: int = 80, height: int = 24) -> list[str]:
    """The screen as text."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, highlight=False, markup=False, emoji=False)
    console.print(draw(seen, width, height, NOW))
    return out.getvalue().splitlines()


def crowd(n: int) -> dict[str, Any]:
    """A busy daemon in trouble: *n* of everything."""
    (alert,), (inbox,) = STATUS["alerts"], STATUS["inboxes"]
    return answer(
        in_hand=[{**STATUS["in_hand"][0], "job": index, "eta_s": 100.0 + index} for index in range(n)],
        alerts=[{**alert, "title": f"alert {index}"} for index in range(n)] + [{**alert, "severity": "critical"}],
        inboxes=[{**inbox, "path": f"/srv/{index}"} for index in range(n)] + [{**inbox, "offline": "no marker"}],
    )


# One screen.


def test_a_screen_says_what_people_ask() -> None:
    """Engine, GPU, machine, queue with its end, alerts, inbox, and each job in hand with its end."""
    shown = lines(Seen(answer()))
    assert shown[0].startswith("transcribed 1.2.3, process 4121, up 3 days 3 h")
    assert shown[1] == "engine   ready, base on cuda:0, float16, 1 recording inside"
    assert shown[2] == "GPU 0    93 % busy, 8.1 GB of 24 GB, 71 °C"
    assert shown[3] == "machine  CPU 41 %, 400 GB free in /srv/in box"
    assert shown[4] == "jobs     3 running, 1234 queued, 2 waiting, 3 failed, 81234 done"
    assert shown[5] == "queue    done in about 2 h 2 min, oldest waits 3 h 20 min, 41.3 times real time"
    assert shown[6] == "warning  GPU 0 has 91 C (for 10 min)"
    assert shown[7] == "inbox    /srv/inbox: watched by events (ext4), settles in 3 s"
    assert shown[8].split() == ["job", "is", "done", "of", "left", "recording"]
    stages = [row.split()[:2] for row in shown[9:12]]
    assert stages == [["14", "publishing"], ["12", "transcribing"], ["13", "decoding"]]
    assert "1:00:00 1 min 12 s meeting.mp4  /srv/inbox" in shown[10]
    assert shown[-1] == "q ends"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (20, 5), (200, 60), (1, 1), (80, 1), (80, 3)])
@pytest.mark.parametrize("n", [0, 1, 3, 50])
def test_it_fits_whatever_the_window(width: int, height: int, n: int) -> None:
    """Never a line or a column too many: a terminal would scroll, and the top be gone."""
    for seen in (Seen(crowd(n)), Seen(crowd(n), "no daemon answers", 75.0), Seen(None, "no daemon answers")):
        shown = lines(seen, width, height)
        assert len(shown) <= height
        assert max(map(cell_len, shown)) <= width


def test_on_a_small_screen_the_worst_stays() -> None:
    """The critical alert and the inbox that is away are shown, of the rest how many there are."""
    shown = lines(Seen(crowd(50)))
    assert "critical GPU 0 has 91 C (for 10 min)" in shown
    assert "         and 47 more: transcribed alerts" in shown
    assert "inbox    /srv/inbox: offline: no marker" in shown
    assert any(line.strip().endswith("and 44 more") for line in shown)
    assert shown[-1] == "q ends"
    assert any(line.startswith("critical") for line in lines(Seen(crowd(50)), 80, 12))


def test_no_name_can_move_the_cursor_or_forge_a_line() -> None:
    """Escape sequences, line breaks, marks that turn the text, bytes that are no text, and Rich's own markup."""
    hostile = answer(
        alerts=[{"severity": "critical\x1b[2J", "title": HOSTILE, "opened_at": "then\n"}],
        inboxes=[{**STATUS["inboxes"][0], "path": HOSTILE, "offline": HOSTILE}],
        stuck=[HOSTILE],
        figures={f"folder_free_bytes {HOSTILE}": 1.0, f"gpu_lost {HOSTILE}": 1.0},
    )
    hostile["engine"]["seats"][0] |= {"last_error": HOSTILE, "model": HOSTILE}
    shown = lines(Seen(hostile, HOSTILE, 1.0), 400, 30)
    text = "".join(shown)
    assert text.isprintable()
    assert "\u202e" not in text
    assert sum("[bold]x[" in line for line in shown) >= 7


def test_wide_characters_are_counted_as_wide() -> None:
    """Names in Chinese do not push a line over the edge."""
    activity = {**STATUS["in_hand"][0], "path": "/srv/" + "会議の録音" * 20 + ".m4a"}
    assert max(map(cell_len, lines(Seen(answer(in_hand=[activity]))))) <= 80


@pytest.mark.parametrize("told", [{}, {"engine": {}}, {"engine": {"seats": []}, "jobs": {}, "in_hand": [{"job": 1}]}])
def test_a_daemon_of_another_version_may_tell_less(told: dict[str, Any]) -> None:
    """What is not in the answer is not shown."""
    assert lines(Seen(told))[-1] == "q ends"
    assert not standing.trouble(told)


def test_silence_is_said_with_what_was_known() -> None:
    """While the daemon restarts, the last answer stays on the screen, and how old it is stands above."""
    shown = lines(Seen(answer(), "no daemon answers in /var", 75.0))
    assert shown[1] == "silent   for 1 min 15 s: no daemon answers in /var"
    assert any("meeting.mp4" in line for line in shown)


# Trouble, and the plain `status`.


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({}, False),
        ({"stuck": ["dispatcher"]}, True),
        ({"history_trouble": "no room"}, True),
        ({"history_trouble": ""}, False),
        ({"engine": {"seats": [{"state": "down"}]}}, True),
        ({"engine": {"seats": [{"state": "starting"}]}}, False),
        ({"inboxes": [{"path": "/x", "offline": "no marker"}]}, True),
        ({"alerts": [{"severity": "critical"}]}, True),
        ({"alerts": [{"severity": "warning"}, {"severity": "info"}]}, False),
    ],
)
def test_the_exit_code_tells_of_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], trouble: bool
) -> None:
    """1 where somebody should look now: also for an open critical alert, not for a warning."""
    monkeypatch.setenv("TRANSCRIBED_STATE_DIR", str(tmp_path))
    with serving(tmp_path, answer(**changes)):
        assert status_command.run(None, as_json=True) == (exits.FAILED if trouble else exits.OK)


def test_status_prints_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything on lines of its own, safe on a terminal."""
    monkeypatch.setenv("TRANSCRIBED_STATE_DIR", str(tmp_path))
    with serving(tmp_path, answer()):
        assert status_command.run(None, as_json=False) == exits.OK
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "transcribed 1.2.3, process 4121, since 2026-11-20T06:10:00Z"
    assert shown[1] == "engine      ready, base on cuda:0, float16, 1 recording inside"
    assert shown[2] == "GPU 0       93 % busy, 8.1 GB of 24 GB, 71 °C"
    assert shown[5] == "queue       done in about 2 h 2 min, oldest waits 3 h 20 min, 41.3 times real time"
    assert "      12    transcribing 20:03 of 1:00:00, done in about 1 min 12 s  /srv/inbox/meeting.mp4" in shown
    assert any(line.startswith("alert       warning, for ") and line.endswith(": GPU 0 has 91 C") for line in shown)
    assert re.fullmatch(
        r"canary +on its way for 3 s; .* ago 0 % of its words were wrong, 4.2 s from drop to transcript", shown[10]
    )
    assert len(shown) == 12
    assert "".join(shown).isprintable()


def test_trouble_with_the_history_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No job begins meanwhile: `status` and `top` have a line for it, safe on a terminal."""
    told = answer(history_trouble="too little room\x1b[2J: no job begins")
    assert "history  too little room\\x1b[2J: no job begins" in lines(Seen(told))
    monkeypatch.setenv("TRANSCRIBED_STATE_DIR", str(tmp_path))
    with serving(tmp_path, told):
        assert status_command.run(None, as_json=False) == exits.FAILED
    assert "history     too little room\\x1b[2J: no job begins" in capsys.readouterr().out.splitlines()


# Asking.


def test_a_daemon_that_restarts_is_asked_on() -> None:
    """The silence is timed, the last answer kept, and the next answer taken."""
    now = 100.0
    reply: list[dict[str, Any] | Exception] = [
        answer(),
        NoDaemon("gone"),
        json.JSONDecodeError("x", "", 0),
        answer(pid=2),
    ]

    def status() -> dict[str, Any]:
        said = reply.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    asking = Asking(status, lambda: now)
    assert asking.seen() == Seen(None, "no answer yet", 0.0)
    asking.once()
    assert asking.seen() == Seen(answer(), "", 0.0)
    now = 107.0
    asking.once()
    assert asking.seen() == Seen(answer(), "gone", 7.0)
    asking.once()
    assert asking.seen().silence
    asking.once()
    assert asking.seen() == Seen(answer(pid=2), "", 0.0)


# The real command.


@contextlib.contextmanager
def serving(state_dir: Path, status: dict[str, Any]) -> Generator[None]:
    """A daemon that knows this status, as far as the control socket goes."""
    server = ControlServer(state_dir, {"status": lambda _request: status})
    server.start()
    try:
        yield
    finally:
        server.close()


class Terminal:
    """The command on a terminal of 80 by 24."""

    def __init__(self, state_dir: Path) -> None:
        self.fd, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [COMMAND, "top"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TRANSCRIBED_STATE_DIR": str(state_dir), "TERM": "xterm-256color"},
            preexec_fn=self._as_a_shell_would,
            start_new_session=True,
        )
        self.slave = slave
        self.said = ""

    @staticmethod
    def _as_a_shell_would() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs in the background ignores it

    def until(self, words: str) -> None:
        """Read until *words* are shown, from now on."""
        self.said = ""
        deadline = time.monotonic() + 30
        while words not in self.said:
            assert time.monotonic() < deadline, self.said
            if select.select([self.fd], [], [], 0.1)[0]:
                self.said += os.read(self.fd, 65536).decode()

    def end(self) -> int:
        """The exit code, after it ended by itself; the terminal is as it was before."""
        deadline = time.monotonic() + 30
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "did not end"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.said += os.read(self.fd, 65536).decode()
        while select.select([self.fd], [], [], 0.1)[0]:
            self.said += os.read(self.fd, 65536).decode()
        assert termios.tcgetattr(self.slave) == self.before
        assert "\x1b[?1049l" in self.said  # back from the other screen
        assert "\x1b[?25h" in self.said  # with a cursor
        assert "Traceback" not in self.said
        return self.process.returncode

    def close(self) -> None:
        """Nothing stays behind."""
        self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self.slave)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def test_it_lives_through_restarts_of_the_daemon_and_ends_with_q(tmp_path: Path, terminal: Terminal) -> None:
    """Started before the daemon, through its end and its next start, and the terminal is left as it was."""
    terminal.until("no daemon answers")
    with serving(tmp_path, answer()):
        terminal.until("meeting.mp4")
    terminal.until("no daemon answers")
    with serving(tmp_path, answer(pid=777)):
        terminal.until("process 777")
    os.write(terminal.fd, b"q")
    assert terminal.end() == 0


@pytest.mark.parametrize("key", [b"\x03", b"Q", b"\x1a\x1axq", b"\x1bOQ\x1b[Aq"], ids=["Ctrl-C", "Q", "Ctrl-Z", "F2"])
def test_other_ways_to_end_it(terminal: Terminal, key: bytes) -> None:
    """Ctrl-C is no error; Ctrl-Z does not leave a shell with our screen; and keys typed at once all count."""
    terminal.until("no daemon answers")
    for byte in key:
        os.write(terminal.fd, bytes([byte]))
    assert terminal.end() == 0


@pytest.mark.parametrize(
    ("typed", "ends"),
    [(None, False), ("", True), ("q", True), ("xQ", True), ("x", False), ("\x1bOQ", False), ("\x1b[15;2~", False)],
)
def test_which_keys_end_it(typed: str | None, ends: bool) -> None:
    """q, and a terminal that is gone; no key that only sends a q among others."""
    assert wants_to_end(typed) is ends


def test_sigterm_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    """Whoever kills it gets the usual code."""
    terminal.until("no daemon answers")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 128 + signal.SIGTERM


def test_without_a_terminal_one_screen_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipe there are no codes for terminals, and the exit code says whether a daemon answered."""
    monkeypatch.setenv("TRANSCRIBED_STATE_DIR", str(tmp_path))
    assert top_command.run(None) == exits.FAILED
    with serving(tmp_path, answer()):
        assert top_command.run(None) == exits.OK
    out = capsys.readouterr().out
    assert "meeting.mp4" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (None, ""),
        ({}, ""),
        ({"waits_for": "12 jobs are queued"}, "waits: 12 jobs are queued"),
        ({"last_at": "2026-11-23T09:20:00Z"}, "10 min ago"),
    ],
)
def test_what_is_known_of_the_canary_is_said(told: dict[str, Any] | None, words: str) -> None:
    """Nothing before the first one, and nothing where there is none."""
    assert standing.canary({"canary": told}, NOW) == words
