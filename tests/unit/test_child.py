from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.channel import ChannelClosed
from daemon.child import Child

HERE = Path(__file__).parent


class Children:
    """Spawns children of child_fake.py and collects what they print."""

    def __init__(self) -> None:
        self.lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._spawned: list[Child] = []

    def spawn(self, doing: str, **environment: str) -> Child:
        """A child that does this."""
        child = Child.spawn(
            "child_fake",
            [doing],
            name="fake",
            on_output=lambda name, line: self.lines.put((name, line)),
            environment={"PYTHONPATH": str(HERE), **environment},
        )
        self._spawned.append(child)
        return child

    def kill(self) -> None:
        """None is left."""
        for child in self._spawned:
            child.kill()


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.kill()


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether *condition* comes true within some seconds."""
    until = time.monotonic() + 20
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    """Whether the process ended; one that nobody has reaped yet counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_child_speaks_over_its_channel(children: Children) -> None:
    """Messages and descriptors go there and back; closing the channel ends it with status 0."""
    child = children.spawn("echo")
    with open("/dev/null", "rb") as file:
        child.channel.send({"n": 1}, [file.fileno()])
    assert child.channel.receive(20).message == {"echo": {"n": 1}, "n_fds": 1}
    assert child.alive()
    child.close(20)
    assert not child.alive()
    assert child.exit_reason() == "exit status 0"


def test_what_a_child_prints_arrives_line_by_line(children: Children) -> None:
    """Both streams, with the child's name, without line ends; odd bytes and endless lines are no trouble."""
    child = children.spawn("talk")
    lines: list[str] = []
    while not lines or not lines[-1].startswith("last"):
        name, line = children.lines.get(timeout=20)
        assert name == "fake"
        lines.append(line)
    assert lines[:4] == ["one", "two", "three", "caf\\xe9"]
    assert "".join(lines[4:-1]) == "x" * 200_000
    assert max(map(len, lines)) <= 1 << 16
    assert lines[-1] == "last without a line end"
    assert child.exit_reason(20) == "exit status 0"


def test_the_end_has_a_reason(children: Children) -> None:
    """A status, a signal by its name, or that it has not ended."""
    assert children.spawn("status").exit_reason(20) == "exit status 3"
    assert children.spawn("crash").exit_reason(20) == "killed by SIGSEGV"
    child = children.spawn("echo")
    assert child.exit_reason(0) == "still running"
    os.kill(child.pid, signal.SIGRTMIN + 3)
    assert child.exit_reason(20) == f"killed by signal {signal.SIGRTMIN + 3}"


def test_a_dead_child_closes_its_channel(children: Children) -> None:
    """Whoever waits for its answer learns of the end."""
    child = children.spawn("crash")
    with pytest.raises(ChannelClosed):
        child.channel.receive(20)


def test_kill_ends_at_once_and_may_be_repeated(children: Children) -> None:
    """The process is gone and reaped when it returns, and its channel is closed."""
    child = children.spawn("deaf")
    assert child.channel.receive(20).message == {"ready": True}
    child.kill()
    assert not Path(f"/proc/{child.pid}").exists()
    assert child.exit_reason() == "killed by SIGKILL"
    child.kill()
    with pytest.raises(ChannelClosed):
        child.channel.receive(0)


def test_close_kills_what_does_not_end(children: Children) -> None:
    """A child that ignores the end of its channel has its grace, then no more."""
    child = children.spawn("deaf")
    child.channel.receive(20)
    child.close(0.1)
    assert child.exit_reason() == "killed by SIGKILL"


def test_signals_of_the_terminal_are_left_to_the_daemon(children: Children) -> None:
    """Ctrl-C and SIGTERM do not end a child in the middle of a recording."""
    child = children.spawn("echo")
    child.channel.send({"n": 1})
    child.channel.receive(20)
    os.kill(child.pid, signal.SIGINT)
    os.kill(child.pid, signal.SIGTERM)
    child.channel.send({"n": 2})
    assert child.channel.receive(20).message["echo"] == {"n": 2}


def test_a_child_is_set_up_to_die_first(children: Children) -> None:
    """It has a session of its own, dies with us, goes first when memory is short, and holds no file of ours."""
    with open("/dev/null", "rb") as ours:
        child = children.spawn("about", EXTRA="yes")
        told = child.channel.receive(20).message
        assert told["parent"] == os.getpid()
        assert told["session"] == told["pid"] == child.pid
        assert told["death_signal"] == signal.SIGKILL
        assert told["extra"] == "yes"
        assert told["arguments"] == ["about"]
        assert len(told["open"]) <= 5, "three streams, the channel, the listing itself"
        assert told["oom_score_adjust"] in (100, _oom_score_adjust())
        assert not ours.closed


def _oom_score_adjust() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())


def test_no_child_outlives_a_daemon_that_is_killed() -> None:
    """A kill -9 of the daemon takes its children along, although neither could say good-bye."""
    program = (
        "import sys, time\n"
        "from daemon.child import Child\n"
        "child = Child.spawn('child_fake', ['deaf'], name='fake', on_output=print)\n"
        "child.channel.receive(20)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(HERE)}
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
    assert eventually(lambda: gone(pid))


def test_a_child_whose_daemon_died_meanwhile_ends_itself() -> None:
    """The kernel's signal does not come for a daemon that died before it was asked for: the child looks."""
    done = subprocess.run(
        [sys.executable, "-m", "child_fake", "0", "1", "echo"],
        env=os.environ | {"PYTHONPATH": str(HERE)},
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1


def test_a_spawn_that_fails_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch, children: Children) -> None:
    """Without memory or processes to be had the error comes up, and the channel is closed."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    children.spawn("echo").kill()
    assert eventually(lambda: "fake-output" not in _threads())
    n_before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(OSError, match="temporarily"):
            children.spawn("echo")
    assert len(os.listdir("/proc/self/fd")) == n_before


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}
