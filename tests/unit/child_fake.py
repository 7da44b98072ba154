"""A child process for tests: does what its one argument says."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from daemon.channel import Channel, ChannelClosed
from daemon.child import become_child


def main() -> None:
    channel = become_child(100)
    _DOINGS[sys.argv[3]](channel)


def echo(channel: Channel) -> None:
    """Answer every message with itself until the channel closes."""
    while True:
        try:
            received = channel.receive()
            channel.send({"echo": received.message, "n_fds": len(received.fds)})
        except ChannelClosed:
            return


def talk(channel: Channel) -> None:
    sys.stdout.write("one\ntwo\r\n\n")
    sys.stdout.flush()
    sys.stderr.write("three\n")
    os.write(1, b"caf\xe9\n")
    os.write(1, b"x" * 200_000 + b"\nlast without a line end")


def status(channel: Channel) -> None:
    sys.exit(3)


def crash(channel: Channel) -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # no traceback of faulthandler in the log of the tests
    os.kill(os.getpid(), signal.SIGSEGV)


def deaf(channel: Channel) -> None:
    """Neither ends with its channel nor with SIGINT or SIGTERM."""
    channel.send({"ready": True})
    time.sleep(600)


def about(channel: Channel) -> None:
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        oom_score_adjust = int(file.read())
    death_signal = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(death_signal))  # PR_GET_PDEATHSIG
    channel.send(
        {
            "parent": os.getppid(),
            "session": os.getsid(0),
            "pid": os.getpid(),
            "oom_score_adjust": oom_score_adjust,
            "death_signal": death_signal.value,
            "extra": os.environ.get("EXTRA"),
            "arguments": sys.argv[3:],
            "open": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        }
    )
    echo(channel)


_DOINGS = {doing.__name__: doing for doing in (echo, talk, status, crash, deaf, about)}

if __name__ == "__main__":
    main()
