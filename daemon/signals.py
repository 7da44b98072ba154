"""The signals of the daemon, waited for by its main thread."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

_HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """SIGTERM, SIGINT and SIGHUP as flags. Make it in the main thread.

    A handler interrupts whatever the main thread does, even while it holds a lock, so ours take none: they note the
    signal, and Python writes a byte to the pipe that `wait` sleeps on (signal.set_wakeup_fd).
    """

    def __init__(self, on_second_stop: Callable[[], None]) -> None:
        """*on_second_stop* is called from the handler at every further SIGTERM or SIGINT: it may take no lock."""
        self._on_second_stop = on_second_stop
        self._n_stops = 0
        self._reload = False
        self._woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in _HEARD:
            signal.signal(number, self._note)
        # A broken read lease (daemon/intake/writers.py) sends SIGIO, whose default is to end the process.
        signal.signal(signal.SIGIO, signal.SIG_IGN)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            self._reload = True
            return
        self._n_stops += 1
        if self._n_stops > 1:
            self._on_second_stop()

    @property
    def stop(self) -> bool:
        """Whether we were told to stop."""
        return self._n_stops > 0

    def take_reload(self) -> bool:
        """Whether we were told to read the configuration again since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def wait(self, limit_s: float) -> None:
        """Return at the next signal, or after *limit_s*."""
        if select.select([self._woken], [], [], limit_s)[0]:
            os.read(self._woken, 4096)
