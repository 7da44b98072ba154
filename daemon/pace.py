"""How fast recordings are done, and when one in hand will be. Pure: what ended and what is in hand come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from storage.lately import Ended, Kind
from storage.records import JobState

WINDOW: Final = timedelta(hours=1)
"""What ended within it is lately."""

FEW: Final = 50
"""Where fewer ended within WINDOW, it is the last so many, but none from before LONGEST."""

LONGEST: Final = timedelta(days=1)

MOST: Final = 500
"""Of more, the newest are taken."""

FEWEST_FAILED: Final = 20
"""Below so many ends a share of failures says nothing: one broken recording is 5 % of them."""

FEWEST_AUDIO_S: Final = 30.0
"""Below so much audio a speed says nothing: what each recording costs besides is most of it."""

ENOUGH_AUDIO_S: Final = 600.0
"""Below so much audio a speed may not be compared with the usual one: a memo alone fills no batch."""

OVERHEAD_S: Final = 60.0
"""What a recording may take besides the model's work: its decoding, its turn, its publication."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How it went lately. *speed* is seconds of audio done in a second in which anything was done.

    None is what cannot be told: of too few jobs, or none of late. *comparable_speed* is *speed* where enough audio was
    done. *usual_speed* is over a longer time, for what is to be expected of the queue, *usual_speeds* are those of each
    kind of work, for what is to be expected of a job; *mean_audio_s* is the length of a recording.
    """

    n_ended: int = 0
    failed_ratio: float | None = None
    speed: float | None = None
    comparable_speed: float | None = None
    usual_speed: float | None = None
    usual_speeds: Mapping[Kind, float] = field(default_factory=dict[Kind, float])
    mean_audio_s: float | None = None


def lately(ended: Sequence[Ended], at: datetime) -> list[Ended]:
    """Those of *ended*, the newest first, that count at *at*."""
    recent = [one for one in ended if at - one.finished_at <= WINDOW]
    few = [one for one in ended if at - one.finished_at <= LONGEST][:FEW]
    return max(recent, few, key=len)[:MOST]


def pace(ended: Sequence[Ended], at: datetime) -> Pace:
    """The pace at *at*; *ended* is the newest first."""
    counted = lately(ended, at)
    n_failed = sum(one.state is not JobState.DONE for one in counted)
    of_late = [one for one in counted if at - one.finished_at <= WINDOW]
    speeds = {kind: _speed(one for one in counted if one.kind == kind) for kind in {one.kind for one in counted}}
    audio = [one.audio_s for one in counted if one.audio_s is not None]
    return Pace(
        n_ended=len(counted),
        failed_ratio=n_failed / len(counted) if len(counted) >= FEWEST_FAILED else None,
        speed=_speed(of_late),
        comparable_speed=_speed(of_late, ENOUGH_AUDIO_S),
        usual_speed=_speed(counted),
        usual_speeds={kind: speed for kind, speed in speeds.items() if speed is not None},
        mean_audio_s=sum(audio) / len(audio) if audio else None,
    )


def _speed(ended: Iterable[Ended], fewest_audio_s: float = FEWEST_AUDIO_S) -> float | None:
    """Seconds of audio in a second of work. Work on several recordings at once counts once."""
    audio_s = 0.0
    spans: list[tuple[float, float]] = []
    for one in ended:
        if one.audio_s is not None and one.wall_s is not None:
            audio_s += one.audio_s
            end = one.finished_at.timestamp()
            spans.append((end - one.wall_s, end))
    busy_s = covered_s(spans)
    return audio_s / busy_s if audio_s >= fewest_audio_s and busy_s > 0 else None


def covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """How long the time is that any of *spans* covers."""
    total_s, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total_s += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total_s


@dataclass(frozen=True, slots=True)
class Going:
    """A recording in the engine for *in_engine_s*, *elapsed_s* in all. *n_beside* were in hand with it at the most."""

    elapsed_s: float
    in_engine_s: float
    done_s: float
    total_s: float
    n_beside: int


def eta_s(going: Going, speed: float | None) -> float | None:
    """Seconds until it is transcribed, from its own progress, else from *speed*; None where nobody knows."""
    left_s = max(0.0, going.total_s - going.done_s)
    if going.done_s > 0 and going.in_engine_s > 0:
        return left_s * going.in_engine_s / going.done_s
    if speed is None or speed <= 0:
        return None
    return left_s * max(1, going.n_beside) / speed


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is needed to tell when a job of the queue is done.

    That is the *speed*, None where nobody knows it, and the audio that is left of the recordings in hand, by person.
    """

    speed: float | None
    in_hand_s: Mapping[bytes, float]

    def done_in_s(self, person: bytes, before_s: float, own_s: float) -> float | None:
        """Seconds until a recording of *person* with so much audio, and so much before it in the queue, is done.

        Those in hand share the speed by person, so others' archives make it slower, and never as late as all of it.
        """
        if self.speed is None or self.speed <= 0:
            return None
        mine_s = self.in_hand_s.get(person, 0.0) + own_s
        n_persons = len({person, *self.in_hand_s})
        everything_s = sum(self.in_hand_s.values()) + before_s + own_s
        return min(mine_s * n_persons + before_s, everything_s) / self.speed


def overtime_ratio(going: Going, speed: float | None) -> float | None:
    """What it took so far, over what is expected of it at *speed* in that company; None where nobody knows."""
    if speed is None or speed <= 0 or going.total_s <= 0:
        return None
    return going.elapsed_s / (OVERHEAD_S + going.total_s * max(1, going.n_beside) / speed)
