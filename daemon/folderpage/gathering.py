"""The state of one inbox for its page: from the history, from the jobs in hand, from what the intake waits for."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from daemon.folderpage.state import Awaiting, Failure, Finished, Running, State, coarse
from daemon.pace import Forecast
from storage.reading import JobQueries
from storage.records import Job, JobState, Outcome, Output, Told

LISTED: Final = 20
"""So many of each kind are named; of the others it is told how many there are."""

NEAR: Final = 1000
"""With more than so many before it, nobody can tell when a recording is done."""

MOST_FAILED: Final = 1000
"""Of more recordings that failed, the newest get a note."""


@dataclass(frozen=True, slots=True)
class Arriving:
    """A recording that the intake waits for; *key* says why, one of `daemon.words`, or *words* do."""

    path: bytes
    key: str
    words: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the intake knows of an inbox. *arriving* are some of the unfinished files, *n_arriving* how many there are.

    *notes* are the files of the last scan that may be notes of ours. *done_folder* is where recordings go once they are
    done, if they do: nobody looks what is in there.
    """

    recordings: Collection[bytes]
    arriving: Sequence[Arriving] = ()
    n_arriving: int = 0
    notes: Collection[bytes] = ()
    done_folder: bytes | None = None

    def has(self, path: bytes, inbox: bytes) -> bool:
        """Whether the recording at *path* is to be found in *inbox*, as far as is known."""
        went = self.done_folder is not None and path.startswith(self.done_folder + b"/")
        return path in self.recordings or (went and path.startswith(inbox + b"/"))


@dataclass(frozen=True, slots=True)
class Hand:
    """A job in hand; see `State` for the rest."""

    path: bytes
    stage: str
    done_s: float
    total_s: float
    left_s: float | None


@dataclass(frozen=True, slots=True)
class Live:
    """How the service is at present. *left_s* is until all that is queued is done; None where nobody knows."""

    in_hand: tuple[Hand, ...] = ()
    left_s: float | None = None
    trouble: str = ""
    forecast: Forecast = field(default_factory=lambda: Forecast(None, {}))


def failures(store: JobQueries, inbox: bytes, recordings: Collection[bytes]) -> list[Failure]:
    """The recordings that are there and could not be transcribed, the newest first."""
    jobs = store.failed_in(inbox, MOST_FAILED)
    return [_failure(job, inbox) for job in jobs if job.path in recordings]


def gather(store: JobQueries, inbox: bytes, seen: Seen, live: Live, failed: Sequence[Failure]) -> State:
    """What the page of *inbox* tells."""
    in_hand = {one.path for one in live.in_hand}
    arriving = {one.path: one for one in seen.arriving}
    jobs = [job for job in store.waiting_in(inbox, LISTED) if job.path not in in_hand]
    held = [job for job in jobs if _is_held(job) and job.path not in arriving]
    waiting = [
        *_in_line(store, [job for job in jobs if not _is_held(job)], inbox, live.forecast),
        *(_awaiting(job, inbox) for job in held),
        *(Awaiting(_place(path, inbox), *_why(one)) for path, one in arriving.items()),
    ]
    done = [job for job in store.done_lately_in(inbox, LISTED) if seen.has(job.path, inbox)]
    n_waiting = store.n_waiting_in(inbox) + len(held) + seen.n_arriving
    return State(
        folder=os.path.basename(inbox),
        running=tuple(_running(one, inbox) for one in live.in_hand),
        n_running=len(live.in_hand),
        waiting=tuple(waiting[:LISTED]),
        n_waiting=n_waiting,
        failed=tuple(failed[:LISTED]),
        n_failed=len(failed),
        done=tuple(_finished(job, inbox) for job in done),
        left_s=coarse(live.left_s) if n_waiting else None,
        trouble=live.trouble,
    )


def without(state: State, may_name: Callable[[bytes], bool]) -> State:
    """*state* without the recordings of which *may_name* says no; they still count."""
    return replace(
        state,
        running=tuple(one for one in state.running if may_name(one.place)),
        waiting=tuple(one for one in state.waiting if may_name(one.place)),
        failed=tuple(one for one in state.failed if may_name(one.place)),
        done=tuple(one for one in state.done if may_name(one.place)),
    )


def _is_held(job: Job) -> bool:
    """Whether only the intake moves it on."""
    return job.state is JobState.WAITING and job.not_before_at is None


def _place(path: bytes, inbox: bytes) -> bytes:
    return path[len(inbox) :].lstrip(b"/")


def _why(one: Arriving) -> tuple[Told | None, str]:
    return (Told(one.key), "") if one.key else (None, one.words)


def _awaiting(job: Job, inbox: bytes) -> Awaiting:
    # One that is queued and was not tried yet waits for its turn: that is said by the title.
    return Awaiting(_place(job.path, inbox), job.told, job.reason, job.not_before_at)


def _in_line(store: JobQueries, jobs: Sequence[Job], inbox: bytes, forecast: Forecast) -> Iterator[Awaiting]:
    """What waits for its turn, in that order, as far as it can be told with when it will be done."""
    near = forecast.speed is not None
    for job in jobs:
        stands = store.standing(job.id) if near else None
        near = stands is not None and stands.n_before < NEAR
        left_s = forecast.done_in_s(job.person, stands.before_s, stands.own_s) if stands is not None and near else None
        yield replace(_awaiting(job, inbox), left_s=coarse(left_s), first=job.priority > 0, last=job.priority < 0)


def _running(one: Hand, inbox: bytes) -> Running:
    percent = min(100, int(100 * one.done_s / one.total_s)) if one.total_s else None
    return Running(_place(one.path, inbox), one.stage, percent, coarse(one.left_s))


def _failure(job: Job, inbox: bytes) -> Failure:
    return Failure(_place(job.path, inbox), job.finished_at or job.created_at, job.id, job.told, job.reason)


def _text_first(output: Output) -> tuple[bool, str]:
    return output.format != "txt", output.format


def _finished(job: Job, inbox: bytes) -> Finished:
    return Finished(
        place=_place(job.path, inbox),
        at=job.finished_at or job.created_at,
        audio_s=job.audio_s,
        declared_s=job.declared_s,
        outcome=str(job.outcome or Outcome.OK),
        again=job.same_as is not None,
        outputs=tuple((output.format, _place(output.path, inbox)) for output in sorted(job.outputs, key=_text_first)),
    )
