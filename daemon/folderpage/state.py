"""What a page tells of, before it is put in words. Plain data; places are paths below the inbox, as the disk has them.

Figures are as coarse as they are shown: two states are equal where their pages would say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage.records import Told


@dataclass(frozen=True, slots=True)
class Running:
    """A recording in hand. *stage* is that of `daemon.workshop.Activity`; *left_s* is None where nobody knows."""

    place: bytes
    stage: str
    percent: int | None
    left_s: float | None


@dataclass(frozen=True, slots=True)
class Awaiting:
    """A recording whose turn has not come, or that waits for something: *told*, or in English *words*.

    *left_s* is until it is done, None where nobody knows. *first* and *last*: it has another priority than most.
    """

    place: bytes
    told: Told | None = None
    words: str = ""
    next_at: datetime | None = None
    left_s: float | None = None
    first: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A recording with a transcript. *outputs* are formats and places; *again*: the text was there before."""

    place: bytes
    at: datetime
    audio_s: float | None
    declared_s: float | None
    outcome: str
    again: bool
    outputs: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A recording that could not be transcribed, and why: *told*, or in English *words*."""

    place: bytes
    at: datetime
    job_id: int
    told: Told | None
    words: str


@dataclass(frozen=True, slots=True)
class State:
    """All that a page tells. *n_running*, *n_waiting* and *n_failed* count those too that are not listed.

    *left_s* is until all that waits is done, *trouble* what is wrong with the service, in English, empty where nothing
    is; *stopped_at* when it ended, None while it runs.
    """

    folder: bytes
    running: tuple[Running, ...] = ()
    n_running: int = 0
    waiting: tuple[Awaiting, ...] = ()
    n_waiting: int = 0
    failed: tuple[Failure, ...] = ()
    n_failed: int = 0
    done: tuple[Finished, ...] = ()
    left_s: float | None = None
    trouble: str = ""
    stopped_at: datetime | None = None


def coarse(seconds: float | None) -> float | None:
    """*seconds* as exactly as a forecast deserves."""
    if seconds is None:
        return None
    step_s = 10.0 if seconds < 60 else 60.0 if seconds < 3600 else 300.0
    return max(step_s, round(seconds / step_s) * step_s)
