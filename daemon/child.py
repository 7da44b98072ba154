"""A child process of the daemon, seen from both sides: spawned, spoken to, watched, killed.

Owns process life and death; knows nothing of what a child does. Children are started with exec, never forked with
our threads and database open (sqlite.org/howtocorrupt.html, section 2.6), and none outlives the daemon.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from daemon.channel import Channel

_PR_SET_PDEATHSIG: Final = 1

_MAX_LINE_BYTES: Final = 1 << 16

_ENVIRONMENT: Final = {
    "PYTHONUNBUFFERED": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime since 1.29: what is done here is nobody's business
}
"""Of every child process, whatever it loads."""

_KILLED_S: Final = 5.0
"""How long to wait for a process that was killed."""

# PR_SET_PDEATHSIG fires when the THREAD that started the child ends (prctl(2)), so one thread that lives as long as
# the daemon starts them all.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class Child:
    """A running child process and the channel to it."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel, name: str) -> None:
        self._process = process
        self.channel = channel
        self.name = name
        self._n_out_of_memory = n_out_of_memory()

    @classmethod
    def spawn(
        cls,
        module: str,
        arguments: Sequence[str] = (),
        *,
        name: str,
        on_output: Callable[[str, str], None],
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start ``python -m MODULE FD PARENT_PID ARGUMENTS...``; FD is the child's end of the channel.

        Whatever the child writes to stdout or stderr reaches *on_output* as (*name*, line). *environment* is added to
        ours.
        """
        channel, theirs = Channel.pair()

        def start() -> subprocess.Popen[bytes]:
            # -P: a module in the current folder must not stand in for ours.
            return subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env=os.environ | dict(environment or {}) | _ENVIRONMENT,
                start_new_session=True,  # Ctrl-C in a terminal is for the daemon, which drains its children
            )

        with theirs:
            try:
                process = _spawner.submit(start).result()
            except BaseException:
                channel.close()
                raise
        child = cls(process, channel, name)
        threading.Thread(target=child._pump, args=(on_output,), name=f"{name}-output", daemon=True).start()
        return child

    def _pump(self, on_output: Callable[[str, str], None]) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream:
            # A child that prints without end and without line breaks must not fill our memory.
            while raw := stream.readline(_MAX_LINE_BYTES):
                line = raw.decode("utf-8", "backslashreplace").rstrip()
                if line:
                    on_output(self.name, line)

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process still runs; reaps it if not."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once and wait for it. Safe to call again."""
        if self._process.poll() is None:
            self._process.kill()
        # One that hangs in the kernel (a lost share, a GPU driver) takes the signal when it comes back.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILLED_S)
        self.channel.close()

    def close(self, grace_s: float) -> None:
        """Close the channel, which a well-behaved child takes as its end; kill it after *grace_s*."""
        self.channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        self.kill()

    @property
    def killed_by_others(self) -> bool:
        """Whether it was ended by a SIGKILL that the kernel did not send for want of memory. One of ours counts too."""
        return self._process.poll() == -signal.SIGKILL and n_out_of_memory() == self._n_out_of_memory

    def exit_reason(self, wait_s: float = 1.0) -> str:
        """How it ended, in words: ``killed by SIGSEGV`` or ``exit status 1``; ``still running`` after *wait_s*."""
        try:
            status = self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return "still running"
        if status >= 0:
            return f"exit status {status}"
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"


def n_out_of_memory() -> int:
    """How many processes the kernel has ended for want of memory (Linux 4.13); 0 where that is not told."""
    with contextlib.suppress(OSError, ValueError), open("/proc/vmstat", encoding="ascii") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    return 0


def become_child(oom_score_adjust: int) -> Channel:
    """Called first in a child's main: the channel of `Child.spawn`; from here on the child dies with the daemon.

    *oom_score_adjust* (proc(5)) makes the kernel choose this process before the daemon when memory is short. Ctrl-C
    and SIGTERM are left to the daemon, which ends its children by closing their channel.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[2]):  # the daemon died before prctl took effect
        os._exit(1)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(oom_score_adjust))  # not ours to set in some containers
    return Channel.from_fd(int(sys.argv[1]))
