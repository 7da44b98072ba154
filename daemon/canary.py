"""The canary: a known clip that goes the way of every recording now and then, to see whether words and speed are right.

It lies in a hidden inbox in the state folder. What it leaves behind, files and history, is removed as soon as it is
read, so people meet it only while it is on its way. Knows nothing of how a job is done.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from daemon.clock import iso, utc_now
from daemon.config import Config, InboxConfig
from daemon.config.schema import CanaryConfig
from daemon.sidecars import Sidecars
from monitor.figures import Key
from storage.errors import StorageError
from storage.jobs import JobStore
from storage.records import LIVE_STATES, Job, JobState

log = logging.getLogger(__name__)

FOLDER: Final = "canary"
"""In the state folder; one of OWN_FOLDERS."""

CLIP: Final = Path(__file__).with_name("canary.flac")

WORDS: Final = "Good morning, everyone. The meeting will start after lunch in the large room on the second floor."
"""What is said in the clip."""

FIRST_S: Final = 180.0
"""After the start: the recordings that waited for it come first."""

LOOK_S: Final = 0.5
"""How often it is looked for while it is on its way."""

BUSY_S: Final = 120.0
"""When to look again whether there is room for it."""

_REST_S: Final = 30.0
_PREFIX: Final = "canary-"
_STREAMINFO_BYTES: Final = 4 + 34  # with its header; always the first block (RFC 9639, section 8.2)
_APPLICATION: Final = 2
_LAST: Final = 0x80


def inbox_of(config: Config) -> InboxConfig | None:
    """The hidden inbox; None where there is to be no canary. What its words come from is as in the first inbox."""
    if not config.canary.interval_s or not config.inbox:
        return None
    first = config.inbox[0]
    return InboxConfig(
        path=config.state_dir / FOLDER,
        recursive=False,
        watch="poll",
        scan_interval_s=60.0,  # it says itself when there is something to find
        model=first.model,
        quality=first.quality,
        beam_size=first.beam_size,
        language="en",
        formats=("txt",),
    )


def clear(folder: Path, store: JobStore, sidecars: Sidecars) -> None:
    """Nothing is left of an earlier canary, wherever it was. Before what the last daemon left is taken up.

    The history may be an old snapshot, in which a canary has the number that a recording of people got since.
    """
    inbox = os.fsencode(folder)
    sidecars.drop_of(inbox)
    store.forget(inbox, live=True)
    _remove_files(folder)


@dataclass(frozen=True, slots=True)
class Sung:
    """How a canary came back. *speed_ratio* is None for one that failed; *words* then says why, or what was heard.

    *was_alone*: nothing else was in hand with it, so its times can be compared with those of others.
    """

    at: datetime
    wrong_words_ratio: float
    latency_s: float
    speed_ratio: float | None
    words: str
    was_alone: bool


@dataclass(frozen=True, slots=True)
class _Flight:
    path: Path
    since: float
    is_alone: bool = True
    stands: str = ""


class Canary:
    """An actor. `figures` and `status` may be asked from any thread."""

    def __init__(
        self,
        config: CanaryConfig,
        folder: Path,
        store: JobStore,
        sidecars: Sidecars,
        *,
        started: float,
        hindrance: Callable[[], str],
        in_hand: Callable[[], Collection[int]],
        on_drop: Callable[[], None],
        on_forget: Callable[[int], None] = lambda _job_id: None,
    ) -> None:
        """*hindrance* says why it is no time for one, *in_hand* which jobs are worked on.

        *on_drop* is called when the clip lies in *folder*, *on_forget* with the number of each job that is taken out
        of the history, as it may come again. *started* is the monotonic time at which the daemon began.
        """
        self._config = config
        self._folder = folder
        self._inbox = os.fsencode(folder)
        self._store = store
        self._sidecars = sidecars
        self._hindrance = hindrance
        self._in_hand = in_hand
        self._on_drop = on_drop
        self._on_forget = on_forget
        self._due = started + min(FIRST_S, config.interval_s)
        self._now = started
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._last: Sung | None = None
        self._waits_for = ""
        self._trouble_since: float | None = None  # none can be let go since then

    def step(self, now: float) -> float:
        """Let one go if it is time, or see whether the one that is on its way has come back."""
        self._now = now
        try:
            rest_s = self._step(now)
        except (OSError, StorageError) as error:
            log.warning("canary: %s; tried again", error, extra={"event": "canary_trouble"})
            self._waits_for = str(error)
            if self._flight is None and self._trouble_since is None:
                self._trouble_since = now
            self._due = max(self._due, now + min(BUSY_S, self._config.interval_s))
            return _REST_S
        return rest_s

    def _step(self, now: float) -> float:
        if self._flight is not None:
            self._look(self._flight, now)
        elif now >= self._due:
            self._waits_for = self._hindrance()
            if self._waits_for:
                self._due = now + min(BUSY_S, self._config.interval_s)
            else:
                self._release(now)
            self._trouble_since = None
        return LOOK_S if self._flight is not None else min(_REST_S, max(LOOK_S, self._due - now))

    @property
    def inbox(self) -> bytes:
        """The folder of its inbox."""
        return self._inbox

    def figures(self) -> tuple[dict[Key, float], dict[Key, str]]:
        """Its figures now, and words to them; empty before the first."""
        with self._lock:
            flight, last = self._flight, self._last
        figures: dict[Key, float] = {}
        words: dict[Key, str] = {}
        since = flight.since if flight is not None else self._trouble_since
        if since is not None:
            key = Key("canary_overdue_s")
            figures[key] = max(0.0, self._now - since - self._config.deadline_s)
            words[key] = flight.stands if flight is not None else self._waits_for
        elif last is not None:
            figures[Key("canary_overdue_s")] = 0.0
        if last is not None:
            key = Key("canary_wrong_words_ratio")
            figures[key] = last.wrong_words_ratio
            if last.words:
                words[key] = last.words
            if last.was_alone:
                figures[Key("canary_latency_s")] = last.latency_s
            if last.was_alone and last.speed_ratio is not None:
                figures[Key("canary_speed_ratio")] = last.speed_ratio
        return figures, words

    def status(self) -> dict[str, Any]:
        """How it stands, as JSON types."""
        with self._lock:
            flight, last = self._flight, self._last
        return {
            "on_its_way_s": round(self._now - flight.since, 1) if flight is not None else None,
            "waits_for": self._waits_for,
            "last_at": iso(last.at) if last is not None else None,
            "wrong_words_ratio": round(last.wrong_words_ratio, 3) if last is not None else None,
            "latency_s": round(last.latency_s, 1) if last is not None else None,
            "speed_ratio": round(last.speed_ratio, 2) if last is not None and last.speed_ratio is not None else None,
            "words": last.words if last is not None else "",
        }

    def _release(self, now: float) -> None:
        self._tidy(None)
        name = f"{_PREFIX}{secrets.token_hex(4)}.flac"
        part = self._folder / f".{name}.part"
        part.write_bytes(varied(CLIP.read_bytes(), secrets.token_bytes(16)))
        part.rename(self._folder / name)
        self._set(_Flight(self._folder / name, now), self._last)
        self._on_drop()

    def _look(self, flight: _Flight, now: float) -> None:
        in_hand = self._in_hand()
        job = self._store.newest(os.fsencode(flight.path))
        alone = flight.is_alone and all(job is not None and job.id == one for one in in_hand)
        self._set(replace(flight, is_alone=alone, stands=_stands(job)), self._last)
        if job is None:
            if not flight.path.exists():
                self._give_up(now, "its recording was removed")
            return
        if job.state in LIVE_STATES or job.id in in_hand:
            return
        if job.state in (JobState.CANCELLED, JobState.VANISHED):
            self._give_up(now, f"its job was {job.state.value}")
            return
        sung = _heard(job, now - flight.since, was_alone=alone)
        self._tidy(job)
        self._due = now + self._config.interval_s
        self._set(None, sung)
        log.info(
            "canary: %.0f %% of the words wrong, back after %.1f s",
            *(sung.wrong_words_ratio * 100, sung.latency_s),
            extra={
                "event": "canary",
                "wrong_words_ratio": round(sung.wrong_words_ratio, 3),
                "latency_s": round(sung.latency_s, 1),
                "speed_ratio": sung.speed_ratio and round(sung.speed_ratio, 2),
            },
        )

    def _give_up(self, now: float, reason: str) -> None:
        log.warning("canary: %s; the next one comes later", reason, extra={"event": "canary_lost"})
        self._tidy(None)
        self._due = now + min(BUSY_S, self._config.interval_s)
        self._set(None, self._last)

    def _set(self, flight: _Flight | None, last: Sung | None) -> None:
        with self._lock:
            self._flight, self._last = flight, last

    def _tidy(self, job: Job | None) -> None:
        """Nothing is left of it. The sidecar first: one without a job would bring that back."""
        if job is not None:
            self._drop(job.id)
        _remove_files(self._folder)
        for job_id in self._store.forget(self._inbox):
            if job is None or job_id != job.id:  # its number may be in use again
                self._drop(job_id)

    def _drop(self, job_id: int) -> None:
        self._sidecars.drop(job_id)
        self._on_forget(job_id)


def _stands(job: Job | None) -> str:
    if job is None:
        return "its inbox has not found it yet"
    return f"its job is {job.state.value}" + (f": {job.reason}" if job.reason else "")


def _heard(job: Job, latency_s: float, *, was_alone: bool) -> Sung:
    if job.state is not JobState.DONE:
        return Sung(utc_now(), 1.0, latency_s, None, f"the canary {job.state.value}: {job.reason}", was_alone)
    try:
        text = "\n".join(Path(os.fsdecode(output.path)).read_text("utf-8") for output in job.outputs)
    except OSError as error:
        return Sung(utc_now(), 1.0, latency_s, job.speed, f"its transcript cannot be read: {error}", was_alone)
    wrong = wrong_words_ratio(WORDS, text)
    words = f"heard: {' '.join(text.split())[:300]}" if wrong else ""
    return Sung(utc_now(), wrong, latency_s, job.speed, words, was_alone)


def _remove_files(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name.startswith((_PREFIX, f".{_PREFIX}")):
            with contextlib.suppress(OSError):  # gone, or what somebody else made
                path.unlink()


def varied(clip: bytes, salt: bytes) -> bytes:
    """The FLAC file *clip* with *salt* in a block that no player hears, so that its bytes are those of no other."""
    if not clip.startswith(b"fLaC"):
        raise ValueError("not a FLAC file")
    head, rest = bytearray(clip[: 4 + _STREAMINFO_BYTES]), clip[4 + _STREAMINFO_BYTES :]
    last = head[4] & _LAST
    head[4] &= ~_LAST & 0xFF
    body = b"cnry" + salt
    return bytes(head) + bytes([last | _APPLICATION]) + len(body).to_bytes(3, "big") + body + rest


def wrong_words_ratio(said: str, heard: str) -> float:
    """Words wrong, missing or too many, per word that was *said*; case and punctuation do not count."""
    expected, found = _words(said), _words(heard)
    return _distance(expected, found) / len(expected)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


def _distance(expected: Sequence[str], found: Sequence[str]) -> int:
    """The fewest words to change, add or take away."""
    row = list(range(len(found) + 1))
    for number, word in enumerate(expected, start=1):
        before, row[0] = row[0], number
        for index, other in enumerate(found, start=1):
            before, row[index] = row[index], min(row[index] + 1, row[index - 1] + 1, before + (word != other))
    return row[-1]
