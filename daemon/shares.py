"""Whether the folders of the inboxes answer. A call into a dead share may hang for hours, and no signal ends it.

So every touch of a share is made on a thread that nobody waits for without a limit, inside `Share.touching`; here is
seen which of them do not come back. Knows no inbox and no job, and touches nothing itself.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Final, TypeVar

from daemon.clock import iso, monotonic_s, utc_now

log = logging.getLogger(__name__)

SILENT_S: Final = 15.0
"""A touch without progress for so long counts as hung. Disks that sleep take about ten seconds to spin up."""

LOOK_S: Final = 2.0
"""How often it is looked whether shares answer."""

T = TypeVar("T")

Aside = Callable[[], AbstractContextManager[None]]
"""`Touch.aside` of whoever calls."""


class Touch:
    """A call into a share, or a row of them. *since*: when the one in progress began, monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.since = clock()

    def renew(self) -> None:
        """It gets on: the next call of the row begins."""
        self.since = self._clock()

    @contextmanager
    def aside(self) -> Generator[None]:
        """Inside the block this thread works for itself, for as long as it takes: the share is not called."""
        self.since = math.inf
        try:
            yield
        finally:
            self.renew()

    def hangs(self, now: float) -> bool:
        """Whether it has been without progress for too long."""
        return now - self.since > SILENT_S


class Share:
    """The folder of one inbox as all threads see it."""

    def __init__(self, clock: Callable[[], float] = monotonic_s) -> None:
        self._clock = clock
        self._touches: set[Touch] = set()

    @contextmanager
    def touching(self) -> Generator[Touch]:
        """Inside the block this thread may hang in the kernel; nothing else may be waited for there."""
        touch = Touch(self._clock)
        self._touches.add(touch)
        try:
            yield touch
        finally:
            self._touches.discard(touch)

    def silent_since(self) -> float | None:
        """When the oldest of the hung touches began; None while the share answers."""
        now = self._clock()
        hung = [since for touch in self._touches.copy() if now - (since := touch.since) > SILENT_S]
        return min(hung, default=None)

    def silence(self) -> str:
        """Since when it does not answer, in words; empty while it does."""
        since = self.silent_since()
        return "" if since is None else f"not answering since {iso(_wall(since, self._clock()))}"


class Shares:
    """An actor that notices when shares fall silent, and when they answer again. Call `of` from any thread."""

    def __init__(self, clock: Callable[[], float] = monotonic_s) -> None:
        self._clock = clock
        self._shares: dict[bytes, Share] = {}
        self._silent: set[bytes] = set()
        self.on_silent: Callable[[bytes, str], None] = lambda _folder, _silence: None
        """Called once with the folder that fell silent, and since when in words."""
        self.on_answer: Callable[[bytes], None] = lambda _folder: None
        """Called once with the folder that answers again."""

    def of(self, folder: bytes) -> Share:
        """The share that is *folder*."""
        return self._shares.setdefault(folder, Share(self._clock))

    def step(self, now: float) -> float:
        """Tell of what changed."""
        del now
        for folder, share in list(self._shares.items()):
            silence = share.silence()
            if silence and folder not in self._silent:
                self._silent.add(folder)
                log.warning(
                    "inbox %s is %s: its jobs wait, all else goes on",
                    os.fsdecode(folder),
                    silence,
                    extra={"event": "share_silent", "inbox": os.fsdecode(folder)},
                )
                self.on_silent(folder, silence)
            elif not silence and folder in self._silent:
                self._silent.discard(folder)
                name = os.fsdecode(folder)
                log.info("inbox %s answers again", name, extra={"event": "share_answers", "inbox": name})
                self.on_answer(folder)
        return LOOK_S


def _wall(then: float, now: float) -> datetime:
    return utc_now() - timedelta(seconds=now - then)


class NoAnswer(Exception):
    """Raised where a call into a share has not come back in time; its thread is left behind."""


def within(limit_s: float, name: str, touch: Callable[[], T]) -> T:
    """What *touch* returns or raises, if it comes back within *limit_s*; else NoAnswer, and it goes on by itself.

    For calls that are made now and then: each needs a thread.
    """
    came: list[T] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            came.append(touch())
        except Exception as error:  # noqa: BLE001  # raised again where it is waited for
            failed.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(limit_s)
    if failed:
        raise failed[0]
    if not came:
        raise NoAnswer(f"{name}: no answer within {limit_s:g} s")
    return came[0]
