"""Whose turn it is: the order in which jobs that may be claimed begin. Pure, but for the functions with a session.

Each person has two lines, one for short recordings and one for long ones. A job is given its turn when it gets into
its line, by start-time fair queueing (Goyal, Vin, Cheng 1996) on the audio that it is expected to have: it starts
where the one before it in its line ends, or where the queue has got to by now, whichever is later. So nobody's many
recordings are in front of another's few, and a claim looks at the first of each line of an inbox, however long it is.
With each claim the queue gets on by the share of one person of it: else those who come anew again and again, or come
back as soon as theirs is done, would always start where it is, before a long one that waits there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from storage.schema import LIVE, TurnRow

PRIORITIES: Final = (1, 0, -1)
"""High, normal, low: the first that has a job comes first."""

LONG_S: Final = 600.0
"""A recording that is expected to be longer stands in the long line of its person."""

PASSED_S: Final = 3600.0
"""How much a recording may be passed by shorter ones of other lines: beyond it, length does not count."""

PATIENCE: Final = timedelta(hours=12)
"""A job of a lower priority that waited for so long gets one of SHARE claims, whatever else waits."""

SHARE: Final = 8

_MOST_COUNTED: Final = 64
"""Persons that share the queue are counted up to so many: it costs a step in the index for each."""

_N_PERSONS: Final = text(
    f"""
WITH RECURSIVE place(person) AS (
    SELECT min(person) FROM job WHERE {LIVE}
    UNION ALL
    SELECT (SELECT min(job.person) FROM job WHERE {LIVE} AND job.person > place.person)
    FROM place WHERE place.person IS NOT NULL
    LIMIT {_MOST_COUNTED}
)
SELECT count(person) FROM place
"""  # noqa: S608  # our own words
)

_LAST: Final = text(
    f"""
SELECT starts_s + expected_s FROM job
WHERE {LIVE} AND person = :person AND priority = :priority AND is_long = :is_long AND id <> :but
ORDER BY starts_s DESC LIMIT 1
"""  # noqa: S608  # our own words
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A place in a line, in seconds of audio. *key* decides who is next, the lowest first."""

    start_s: float
    length_s: float

    @property
    def key(self) -> float:
        """Of two that start together the shorter is next."""
        return self.start_s + min(self.length_s, PASSED_S)

    @property
    def end_s(self) -> float:
        """Where the next one of the line starts at the earliest."""
        return self.start_s + self.length_s


def in_line(reached_s: float, last_end_s: float | None, lengths_s: Iterable[float]) -> Iterator[Turn]:
    """The turns of recordings that get into one line together; *last_end_s* is None where nobody stands in it."""
    start_s = max(reached_s, last_end_s or 0.0)
    for length_s in lengths_s:
        turn = Turn(start_s, length_s)
        yield turn
        start_s = turn.end_s


def is_long(expected_s: float) -> bool:
    """Whether a recording of this length stands in the long line."""
    return expected_s > LONG_S


@dataclass(frozen=True, slots=True)
class Head:
    """The first job of a priority. *n_passed* claims went past it since it has waited for PATIENCE."""

    job_id: int
    priority: int
    created_at: datetime
    n_passed: int


@dataclass(frozen=True, slots=True)
class Pick:
    """The job that is next, and the priorities that are passed although their first one has waited for long."""

    head: Head
    passed: tuple[int, ...]


def pick(heads: Sequence[Head], at: datetime) -> Pick | None:
    """Of the first jobs of each priority, the highest first, the one that is next; None where there is none."""
    if not heads:
        return None
    late = [head for head in heads[1:] if at - head.created_at >= PATIENCE]
    chosen = next((head for head in late if head.n_passed >= SHARE - 1), heads[0])
    return Pick(chosen, tuple(head.priority for head in late if head is not chosen))


@dataclass(frozen=True, slots=True)
class Line:
    """A line: of whom, of which priority, of the long or the short ones."""

    person: bytes
    priority: int
    is_long: bool

    @classmethod
    def of(cls, person: bytes, priority: int, expected_s: float) -> Line:
        """That of a recording."""
        return cls(person, priority, is_long(expected_s))


def turn_values(line: Line, turn: Turn) -> dict[str, object]:
    """The columns of a job row that hold its place."""
    return {
        "person": line.person,
        "priority": line.priority,
        "is_long": int(line.is_long),
        "expected_s": turn.length_s,
        "starts_s": turn.start_s,
        "turn_s": turn.key,
    }


def turns(session: Session, jobs: Sequence[tuple[Line, float]], *, but: int = -1) -> list[dict[str, object]]:
    """The places of new jobs, each of a line and a length, as columns; job *but* stands in no line meanwhile."""
    by_line: dict[Line, list[int]] = {}
    for index, (line, _length_s) in enumerate(jobs):
        by_line.setdefault(line, []).append(index)
    reached = {priority: _reached_s(session, priority) for priority in {line.priority for line in by_line}}
    found: dict[int, dict[str, object]] = {}
    for line, indexes in by_line.items():
        shortest_first = sorted(indexes, key=lambda index: jobs[index][1])
        lengths = [jobs[index][1] for index in shortest_first]
        places = in_line(reached[line.priority], _last_end_s(session, line, but), lengths)
        found |= {index: turn_values(line, turn) for index, turn in zip(shortest_first, places, strict=True)}
    return [found[index] for index in range(len(jobs))]


def _reached_s(session: Session, priority: int) -> float:
    return session.scalar(select(TurnRow.reached_s).where(TurnRow.priority == priority)) or 0.0


def _last_end_s(session: Session, line: Line, but: int) -> float | None:
    asked = {"person": line.person, "priority": line.priority, "is_long": int(line.is_long), "but": but}
    end_s: float | None = session.scalar(_LAST, asked)
    return end_s


def n_passed(session: Session) -> dict[int, int]:
    """For each priority how many claims passed it although its first job had waited for long."""
    return {row.priority: row.n_passed for row in session.scalars(select(TurnRow))}


def got_to(reached_s: float, turn: Turn, n_persons: int) -> float:
    """Where the queue, which had got to *reached_s*, is with the claim of *turn* while so many persons share it.

    One more than they are, so that who comes anew is not behind the second of somebody's before the first is done.
    """
    return max(turn.start_s, reached_s + turn.length_s / (n_persons + 1))


def advance(session: Session, picked: Pick, turn: Turn) -> None:
    """The queue of this priority gets on by *turn*, which is claimed."""
    priority = picked.head.priority
    n_persons: int = session.execute(_N_PERSONS).scalar_one()
    reached_s = got_to(_reached_s(session, priority), turn, n_persons)
    rows = [{"priority": priority, "reached_s": reached_s, "n_passed": 0}]
    passed = n_passed(session) if picked.passed else {}
    rows += [
        {"priority": other, "reached_s": _reached_s(session, other), "n_passed": passed.get(other, 0) + 1}
        for other in picked.passed
    ]
    row = upsert(TurnRow)
    session.execute(
        row.on_conflict_do_update(
            index_elements=[TurnRow.priority],
            set_={"reached_s": row.excluded.reached_s, "n_passed": row.excluded.n_passed},
        ),
        rows,
    )
