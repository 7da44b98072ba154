"""``transcribed top``: how the daemon is, again and again, until q or Ctrl-C."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from rich.console import Console
from rich.live import Live

from daemon.cli import exits
from daemon.cli.common import loaded
from daemon.cli.screen import Seen, draw
from daemon.clock import monotonic_s, utc_now
from daemon.control import NoDaemon, Refused, ask

ASK_S: Final = 2.0
"""How often the daemon is asked: it counts its jobs for an answer."""

DRAW_S: Final = 1.0
"""How often the screen is drawn, for the clock and for a window that changed its size."""

_SPECIAL_KEYS: Final = re.compile(r"\x1b(?:[\[O][0-?]*[ -/]*[@-~])?")
"""What keys without a letter send; that of F2 ends in a Q."""

_WIDTH, _HEIGHT = 100, 40  # where nobody looks: a pipe has no size


def run(file: Path | None) -> int:
    """Show it until the person has seen enough; the exit code. Without a terminal, one screen is printed."""
    state_dir = loaded(file).config.state_dir
    asking = Asking(lambda: ask(state_dir, "status"))
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not (sys.stdin.isatty() and console.is_terminal):
        asking.once()
        console = Console(highlight=False, markup=False, emoji=False, width=_WIDTH)
        console.print(draw(asking.seen(), _WIDTH, _HEIGHT, utc_now()))
        return exits.OK if asking.seen().status else exits.FAILED
    asking.start()
    try:
        with _keys(sys.stdin.fileno()) as key, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                size = console.size
                live.update(draw(asking.seen(), size.width, size.height, utc_now()), refresh=True)
                if wants_to_end(key(DRAW_S)):
                    return exits.OK
    except KeyboardInterrupt:
        return exits.OK
    finally:
        asking.stop()


def wants_to_end(typed: str | None) -> bool:
    """Whether q is in what was typed, or the terminal is gone ("")."""
    return typed is not None and (not typed or "q" in _SPECIAL_KEYS.sub("", typed).lower())


class Asking:
    """Asks in a thread of its own: a daemon that is slow to answer, or being restarted, does not hold up the keys."""

    def __init__(self, status: Callable[[], dict[str, Any]], clock: Callable[[], float] = monotonic_s) -> None:
        self._status = status
        self._clock = clock
        self._answer: dict[str, Any] | None = None
        self._silence = "no answer yet"
        self._heard = clock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)

    def once(self) -> None:
        """Ask now."""
        try:
            self._answer = self._status()
        except (NoDaemon, Refused, ValueError) as error:  # ValueError: an answer that broke off is no JSON
            self._silence = str(error)
        else:
            self._silence = ""
            self._heard = self._clock()

    def seen(self) -> Seen:
        """What is known at present."""
        return Seen(self._answer, self._silence, self._clock() - self._heard)

    def start(self) -> None:
        """Ask every ASK_S, until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; one that is being asked is left to itself."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.once()
            self._stopped.wait(ASK_S)


@contextmanager
def _keys(fd: int) -> Generator[Callable[[float], str | None]]:
    """Keys of the terminal *fd*: a call waits so long for some; None: none came, "": nobody is there any more.

    Afterwards the terminal is as it was, also after SIGTERM.
    """

    def key(wait_s: float) -> str | None:
        ready, _, _ = select.select([fd], [], [], wait_s)
        return os.read(fd, 64).decode("ascii", "replace") if ready else None

    before = termios.tcgetattr(fd)
    ended = signal.signal(signal.SIGTERM, _end)
    try:
        tty.setcbreak(fd)
        quiet = termios.tcgetattr(fd)
        quiet[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave the shell with our screen
        termios.tcsetattr(fd, termios.TCSANOW, quiet)
        yield key
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, ended)


def _end(number: int, frame: object) -> NoReturn:
    del frame
    raise SystemExit(128 + number)
