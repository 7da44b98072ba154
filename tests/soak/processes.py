"""The daemon under a supervisor, as systemd would be one, and whoever kills it and its children.

A child is signalled through a pidfd that was opened while it was certainly ours: no other process can be hit.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.harness import COMMAND, Daemon

STOP_LIMIT_S: Final = 60.0
"""Longer than a clean stop may take with the grace that the soak gives."""

ORPHANS_S: Final = 20.0
"""How long a child may outlive its daemon, one that was stopped at its start too."""

ENGINE: Final = "daemon.engine.server"
DECODER: Final = "daemon.decode.worker"


@dataclass(frozen=True)
class _Orphan:
    """A child of a daemon that is gone, and when it has to be gone too."""

    pid: int
    fd: int
    until: float


class Supervised:
    """The daemon: whenever it ends, it is started again a little later."""

    def __init__(self, daemon: Daemon, random: Random) -> None:
        self._daemon = daemon
        self._random = random
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = 0.0
        self._asked_at: float | None = None
        self._orphans: list[_Orphan] = []
        self.n_starts = 0
        self.trouble: list[str] = []
        """What it may not do, in words."""

    @property
    def pid(self) -> int | None:
        """Of the daemon; None while there is none."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def step(self, now: float) -> None:
        """Start it if its time has come; notice what went wrong."""
        self._bury_orphans(now)
        if self._process is None:
            if now >= self._start_at:
                self._start()
            return
        status = self._process.poll()
        if status is not None:
            self._ended(status, now)
        elif self._asked_at is not None and now > self._asked_at + STOP_LIMIT_S:
            self.trouble.append(f"I9: the daemon did not stop within {STOP_LIMIT_S:.0f} s of SIGTERM")
            self._kill_all(now)

    def _start(self) -> None:
        self.n_starts += 1
        with self._daemon.log.open("ab") as log:
            self._process = subprocess.Popen(
                [COMMAND, "run"],
                env=self._daemon.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._daemon.state_dir.parent,
            )

    def _ended(self, status: int, now: float) -> None:
        # SIGTERM that comes before Python has taken over the signals ends the process as it ends any other.
        right = (0, -signal.SIGTERM) if self._asked_at is not None else ()
        if status not in right:
            self.trouble.append(f"I9: the daemon ended by itself with {status}")
        self._gone(now)

    def _gone(self, now: float) -> None:
        self._process, self._asked_at = None, None
        self._start_at = now + self._random.uniform(0.1, 2.0)

    def kill(self, now: float) -> bool:
        """SIGKILL; its children have to go with it. False if it was not there."""
        if self.pid is None:
            return False
        self._kill_all(now)
        return True

    def _kill_all(self, now: float) -> None:
        process = self._process
        assert process is not None
        children = [(pid, _open(pid, process.pid)) for module in (ENGINE, DECODER) for pid in self.children(module)]
        process.kill()
        process.wait()
        self._orphans += [_Orphan(pid, fd, now + ORPHANS_S) for pid, fd in children if fd is not None]
        self._gone(now)

    def ask_to_stop(self, now: float) -> bool:
        """SIGTERM; a second one ends its patience. False if it is not there."""
        if self.pid is None or self._process is None:
            return False
        self._process.send_signal(signal.SIGTERM)
        self._asked_at = self._asked_at or now
        return True

    def children(self, module: str) -> list[int]:
        """The process ids of its children that run *module*."""
        return _children_of(self.pid, module) if self.pid is not None else []

    def hold(self, pid: int) -> int | None:
        """A pidfd of a child; None if it is not one any more."""
        return _open(pid, self.pid) if self.pid is not None else None

    def finish(self, limit_s: float = STOP_LIMIT_S) -> int | None:
        """A clean stop, and its exit status; None if it had to be killed."""
        process = self._process
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.trouble.append(f"I9: the daemon did not stop within {limit_s:.0f} s of SIGTERM")
            process.kill()
            process.wait()
            return None

    def _bury_orphans(self, now: float) -> None:
        for orphan in list(self._orphans):
            ended = bool(select.select([orphan.fd], [], [], 0)[0])
            if ended or now > orphan.until:
                self._orphans.remove(orphan)
                os.close(orphan.fd)
            if not ended and now > orphan.until:
                self.trouble.append(f"I9: process {orphan.pid} outlived its daemon by {ORPHANS_S:.0f} s")


SHARES: Final = {
    "SIGKILL decoder": 0.27,
    "SIGKILL engine": 0.27,
    "SIGKILL daemon": 0.20,
    "SIGTERM daemon": 0.08,
    "SIGSTOP decoder": 0.10,
    "SIGSTOP engine": 0.08,
}
"""What happens to whom, as a part of all that happens."""


class Killers:
    """Random ends and pauses of the daemon and its children, each kind at exponential intervals of its own."""

    def __init__(self, daemon: Supervised, random: Random, mean_s: float) -> None:
        """*mean_s* passes between two of any kind."""
        self._daemon = daemon
        self._random = random
        self._means_s = {what: mean_s / share for what, share in SHARES.items()}
        self._next_at: dict[str, float] = {}
        self._paused: list[tuple[float, int]] = []  # until when, and a pidfd: its daemon may be gone by then
        self.counts: Counter[str] = Counter()

    def step(self, now: float) -> None:
        """Strike where it is time; who is not there is struck once it is."""
        self._let_go(now)
        for what, mean_s in self._means_s.items():
            if what not in self._next_at or (now >= self._next_at[what] and self._strike(what, now)):
                self._next_at[what] = now + self._random.expovariate(1 / mean_s)

    def rest(self) -> None:
        """All that is paused goes on."""
        self._let_go(float("inf"))

    def _strike(self, what: str, now: float) -> bool:
        how, _, whom = what.partition(" ")
        if whom == "daemon":
            done = self._daemon.kill(now) if how == "SIGKILL" else self._daemon.ask_to_stop(now)
        else:
            done = self._strike_child(ENGINE if whom == "engine" else DECODER, how, now)
        self.counts[what] += done
        return done

    def _strike_child(self, module: str, how: str, now: float) -> bool:
        pids = self._daemon.children(module)
        if not pids:
            return False
        fd = self._daemon.hold(self._random.choice(pids))
        if fd is None:
            return False
        done = _send(fd, signal.Signals[how])
        if done and how == "SIGSTOP":
            self._paused.append((now + self._random.uniform(1.0, 8.0), fd))
        else:
            os.close(fd)
        return done

    def _let_go(self, now: float) -> None:
        for until, fd in list(self._paused):
            if now >= until:
                self._paused.remove((until, fd))
                _send(fd, signal.SIGCONT)
                os.close(fd)


def _send(fd: int, number: signal.Signals) -> bool:
    """Whether the process of a pidfd was there to be signalled."""
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    return True


def _children_of(parent: int, module: str) -> list[int]:
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                command = file.read().split(b"\0")
        except OSError:
            continue
        if module.encode() in command and _parent_of(int(entry)) == parent:
            found.append(int(entry))
    return found


def _open(pid: int, parent: int) -> int | None:
    """A pidfd of *pid*, which is a child of *parent*; None if it is not."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if _parent_of(pid) == parent:  # after the pidfd was opened: the number may have gone to another process before
        return fd
    os.close(fd)
    return None


def _parent_of(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None
