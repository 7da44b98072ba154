# ruff: noqa: S608  # the words are our own, what is asked for are parameters
"""What the pages ask of a long history: some jobs at a time, in order, and never for long. Reads only.

A page is found by the number of the last job on the page before (keyset), so the hundredth costs what the first does.
What no index answers is looked for in the newest so many jobs; the answer says where to go on from.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from storage import searching, suspects
from storage.errors import StorageBusy
from storage.faults import sqlite_errors
from storage.glance import Glance, event_of, job_of
from storage.records import Event, Job, JobState
from storage.searching import Hit
from storage.suspects import Place
from storage.texts import utc_text

LOOK: Final = 10_000
"""So many jobs are looked at for one page where no index helps: some 20 ms."""

MOST_COUNTED: Final = 10_000
"""More are not counted."""

FEW_FILES: Final = 3000
"""In a folder with so few recordings their jobs are gone through instead of all."""

LIMIT_S: Final = 2.0
"""How long all questions of a page together may take before they are given up."""

_COUNT_S: Final = 0.04
_SEARCH_S: Final = 0.15
_FEW_SEARCHED: Final = 300  # files of a folder whose lines are looked for one job after the other
_MARGIN: Final = 1000  # jobs: numbers are given in the order of time, but for a clock that was put back
_INSTRUCTIONS: Final = 2000  # of SQLite's machine between two looks at the clock: far below a millisecond
_NEWEST: Final = 2**63 - 1
_MOST_EVENTS: Final = 500
_LANGUAGES_OF: Final = 5000

_ENDS: Final = (JobState.DONE, JobState.FAILED, JobState.QUARANTINED)

_NEW_SUSPECTS: Final = "(SELECT * FROM suspect ORDER BY id DESC LIMIT :look)"
_SUSPECTS_BELOW: Final = (
    "(SELECT suspect.* FROM file CROSS JOIN job ON job.file_id = file.id CROSS JOIN suspect ON suspect.job_id = job.id"
    " WHERE file.path > :low AND file.path < :high ORDER BY suspect.id DESC LIMIT -1)"
)

_JOBS: Final = "SELECT file.path, file.inbox, job.* FROM job JOIN file ON file.id = job.file_id"


class TooSlow(StorageBusy):
    """Raised when a question takes longer than a person waits for a page."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs; all where nothing is said.

    *folder* and what is below it; made at *since* or later, before *until*; *text* is a part of the path, whatever the
    case of its letters; jobs of inboxes in the folders *but_not_in*, or that are these, are left out.
    """

    states: frozenset[JobState] = frozenset()
    folder: bytes | None = None
    language: str = ""
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""
    but_not_in: tuple[bytes, ...] = ()

    @property
    def is_all(self) -> bool:
        """Whether every job but those of *but_not_in* is wanted."""
        return self == Wanted(but_not_in=self.but_not_in)


@dataclass(frozen=True, slots=True)
class JobsPage:
    """Jobs, the newest first, without their outputs. *older* asks for the next page; None: there is none.

    *looked*: not *limit* were found among those that were looked at, but there are older ones to look at.
    """

    jobs: tuple[Job, ...]
    older: int | None = None
    looked: bool = False


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Hits as `storage.searching.search` gives them. *cut*: it took too long, there may be more than these."""

    hits: tuple[Hit, ...]
    older: int | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """What one walk through the jobs gave. *rest* is the number of the last job looked at where some are left."""

    rows: list[sqlite3.Row]
    rest: int | None


@dataclass(frozen=True, slots=True)
class _Walk:
    """Numbers of jobs to look at, between two numbers (both left out), in falling order."""

    before: int
    after: int
    state: JobState | None = None
    of_folder: bool = False
    look: int = LOOK

    @property
    def source(self) -> str:
        """The question for them."""
        if self.of_folder:
            # The plus keeps the order of the jobs from being the one in which they are gone through. SQLite leaves out
            # the order of a question inside another one where that has no limit.
            return (
                "SELECT job.id AS id FROM file CROSS JOIN job ON job.file_id = file.id"
                " WHERE file.path > :low AND file.path < :high AND +job.id < :before AND +job.id > :after"
                " ORDER BY +job.id DESC LIMIT -1"
            )
        where = "state = :state AND " if self.state is not None else ""
        return f"SELECT id FROM job WHERE {where}id < :before AND id > :after ORDER BY id DESC LIMIT :look"

    @property
    def values(self) -> dict[str, object]:
        """What is put in for it."""
        return {"before": self.before, "after": self.after, "state": self.state, "look": self.look}


class WebReading(Glance):
    """A job history for one page: all questions see one state of it, and take LIMIT_S at most. Closed after use.

    Raises TooSlow from any of them.
    """

    until: float | None = None
    """When its time is over (monotonic seconds); None before the first question."""

    def jobs_page(self, wanted: Wanted, before: int | None = None, limit: int = 50) -> JobsPage:
        """The newest *limit* jobs that are *wanted*, of those before the number *before*."""
        with self._asked():
            walks = self._walks(wanted, before)
            found = [self._walked(walk, wanted, limit + 1) for walk in walks]
            rests = [one.rest for one in found if one.rest is not None]
            floor = max(rests, default=0)
            rows = [row for one in found for row in one.rows if row["id"] >= floor]
            rows.sort(key=lambda row: int(row["id"]), reverse=True)
            page = tuple(job_of(row, ()) for row in rows[:limit])
            if len(rows) > limit:
                return JobsPage(page, page[-1].id)
            return JobsPage(page, floor or None, looked=bool(floor))

    def count(self, wanted: Wanted) -> int | None:
        """How many are *wanted*, MOST_COUNTED + 1 where there are more; None where counting takes long."""
        until = time.monotonic() + _COUNT_S
        try:
            with self._asked(until):
                counts = [self._counted(walk, wanted) for walk in self._walks(wanted, None)]
        except TooSlow:
            return None
        if any(n_jobs is None for n_jobs in counts):
            return None
        return min(sum(n_jobs or 0 for n_jobs in counts), MOST_COUNTED + 1)

    def ended_lately(self, limit: int, but_not_in: tuple[bytes, ...] = ()) -> list[Job]:
        """The newest *limit* that are done or failed, by their end, the last one first."""
        where, values = _filters(Wanted(but_not_in=but_not_in))
        query = (
            f"{_JOBS} WHERE job.state = :state AND {where} AND job.finished_at IS NOT NULL"
            " ORDER BY job.finished_at DESC LIMIT :limit"
        )
        asked = [values | {"state": state.value, "limit": limit} for state in _ENDS]
        with self._asked():
            rows = [row for one in asked for row in self._connection.execute(query, one)]
            rows.sort(key=lambda row: str(row["finished_at"]), reverse=True)
            return [job_of(row, ()) for row in rows[:limit]]

    def languages(self) -> list[str]:
        """The languages of the newest jobs."""
        newest = "SELECT language FROM job ORDER BY id DESC LIMIT ?"
        with self._asked():
            rows = self._rows(f"SELECT DISTINCT language FROM ({newest}) ORDER BY language", _LANGUAGES_OF)
            return [row[0] for row in rows if row[0]]

    def job(self, job_id: int) -> Job | None:
        """See `JobQueries.job`."""
        with self._asked():
            return super().job(job_id)

    def latest_events(self, job_id: int) -> list[Event]:
        """The newest events of a job, in the order in which they happened."""
        with self._asked():
            return super().events(job_id)[-_MOST_EVENTS:]

    def suspects(self, limit: int, folder: bytes | None = None, since: datetime | None = None) -> list[Place]:
        """See `storage.suspects.suspects`; in all of a small folder, else among the newest so many."""

        def execute(query: str, values: Mapping[str, object]) -> list[sqlite3.Row]:
            more = _range(folder) if folder is not None else {}
            return self._connection.execute(query, {**values, **more, "look": LOOK}).fetchall()

        with self._asked():
            source = _NEW_SUSPECTS
            if folder is None and since is None:
                source = suspects.ALL
            elif folder is not None and self._has_few_files(folder):
                source = _SUSPECTS_BELOW
            return suspects.suspects(execute, limit, folder, since, source)

    def events_page(self, before: int | None, limit: int, but_not_in: Sequence[bytes] = ()) -> list[Event]:
        """The newest *limit* events of those before the number *before*, without those of jobs of *but_not_in*."""
        query = (
            "SELECT event.id, at, job_id, kind, event.reason, detail FROM event LEFT JOIN job ON job.id = event.job_id"
            f" WHERE event.id < ? AND coalesce(job.inbox, x'') NOT IN ({', '.join('?' * len(but_not_in))})"
            " ORDER BY event.id DESC LIMIT ?"
        )
        with self._asked():
            return [event_of(row) for row in self._rows(query, before or _NEWEST, *but_not_in, limit)]

    def versions(self, job_id: int, limit: int = 50) -> list[Job]:
        """The newest jobs of the recording of a job, the newest first."""
        query = f"{_JOBS} WHERE job.file_id = (SELECT file_id FROM job WHERE id = ?) ORDER BY job.id DESC LIMIT ?"
        with self._asked():
            return [job_of(row, ()) for row in self._rows(query, job_id, limit)]

    def document(self, job_id: int) -> bytes | None:
        """The document of a job as it was stored."""
        with self._asked():
            found = self._rows("SELECT content FROM document WHERE job_id = ?", job_id)
            return bytes(found[0][0]) if found else None

    def search_page(
        self,
        words: Sequence[str],
        before: int | None = None,
        limit: int = 20,
        folder: bytes | None = None,
        since: datetime | None = None,
    ) -> SearchPage:
        """Lines with all *words* as `storage.searching.search` finds them, from the one after *before* on.

        Raises NothingToFind.
        """
        found: list[Hit] = []
        cut: list[bool] = []

        def execute(query: str, values: Mapping[str, object]) -> Iterator[Sequence[Any]]:
            try:
                yield from self._connection.execute(query, dict(values))
            except sqlite3.OperationalError as error:
                if not _is_interrupted(error):
                    raise
                cut.append(True)

        with self._asked(time.monotonic() + _SEARCH_S):
            for first, last in self._lines_below(folder):
                last = last if before is None else min(last, before)
                found += searching.search(execute, words, limit + 1 - len(found), folder, since, last, first)
                if cut or len(found) > limit:
                    break
        oldest = sorted(found, key=lambda hit: hit.id)
        if len(found) > limit:
            hits = tuple(hit for hit in found if hit is not oldest[0])
            return SearchPage(hits, oldest[1].id, bool(cut))
        return SearchPage(tuple(found), None, bool(cut))

    def _lines_below(self, folder: bytes | None) -> list[tuple[int, int]]:
        """Where among all lines those of *folder* are, both ends left out; one stretch where that is everywhere.

        Line by line a search would go through all that has its words, to find the few in a small folder.
        """
        everywhere = [(0, _NEWEST)]
        if folder is None:
            return everywhere
        query = (
            "SELECT min(segment.id) - 1, max(segment.id) + 1 FROM file CROSS JOIN job ON job.file_id = file.id"
            " CROSS JOIN segment ON segment.job_id = job.id"
            " WHERE file.path > :low AND file.path < :high GROUP BY job.id ORDER BY 1 DESC"
        )
        if self._n_files(folder, _FEW_SEARCHED) > _FEW_SEARCHED:
            return everywhere
        return self._connection.execute(query, _range(folder)).fetchall()

    # How jobs are walked through.

    def _walks(self, wanted: Wanted, before: int | None) -> list[_Walk]:
        """What to look at so that all that are *wanted* are found."""
        newest = _NEWEST if wanted.until is None else self._first_since(wanted.until) + _MARGIN
        after = 0 if wanted.since is None else self._first_since(wanted.since) - _MARGIN
        newest = newest if before is None else min(newest, before)
        if wanted.folder is not None and self._has_few_files(wanted.folder):
            return [_Walk(newest, after, of_folder=True)]
        if wanted.states:
            look = -(-LOOK // len(wanted.states))
            return [_Walk(newest, after, state, look=look) for state in sorted(wanted.states)]
        return [_Walk(newest, after, look=LOOK)]

    def _walked(self, walk: _Walk, wanted: Wanted, limit: int) -> _Found:
        where, values = _filters(wanted)
        query = (
            f"SELECT file.path, file.inbox, job.* FROM ({walk.source}) AS looked"
            f" CROSS JOIN job ON job.id = looked.id CROSS JOIN file ON file.id = job.file_id WHERE {where} LIMIT :limit"
        )
        rows = self._connection.execute(query, values | walk.values | {"limit": limit}).fetchall()
        if len(rows) >= limit or walk.of_folder:
            return _Found(rows, None)
        return _Found(rows, self._rest(walk))

    def _rest(self, walk: _Walk) -> int | None:
        """The last number that the walk looked at, where it ended early."""
        query = f"SELECT count(*), min(id) FROM ({walk.source})"
        n_looked, last = self._connection.execute(query, walk.values).fetchone()
        return int(last) if n_looked == walk.look else None

    def _counted(self, walk: _Walk, wanted: Wanted) -> int | None:
        where, values = _filters(wanted)
        unlimited = walk.source.replace(" ORDER BY id DESC LIMIT :look", "")
        query = (
            f"SELECT count(*) FROM (SELECT 1 FROM ({unlimited}) AS looked"
            f" CROSS JOIN job ON job.id = looked.id CROSS JOIN file ON file.id = job.file_id WHERE {where} LIMIT :most)"
        )
        if walk.state is not None and replace(wanted, states=frozenset()).is_all:
            query = f"SELECT count(*) FROM (SELECT 1 FROM ({unlimited}) LIMIT :most)"
        elif wanted.is_all:
            query = "SELECT count(*) FROM (SELECT 1 FROM job LIMIT :most)"
        values = values | walk.values | {"most": MOST_COUNTED + 1}
        (n_jobs,) = self._connection.execute(query, values).fetchone()
        return int(n_jobs)

    def _first_since(self, at: datetime) -> int:
        """The number of the first job made at *at* or later, as numbers are given in the order of time."""
        (low, high) = self._connection.execute(
            "SELECT (SELECT min(id) FROM job), (SELECT max(id) FROM job)"  # both at once would go through all
        ).fetchone()
        if low is None:
            return 1
        wanted, high = utc_text(at), high + 1
        query = "SELECT id, created_at FROM job WHERE id >= ? ORDER BY id LIMIT 1"
        while low < high:
            middle = (low + high) // 2
            row = self._connection.execute(query, (middle,)).fetchone()
            if row is None or row[1] >= wanted:
                high = middle
            else:
                low = row[0] + 1
        return int(low)

    def _has_few_files(self, folder: bytes) -> bool:
        return self._n_files(folder, FEW_FILES) <= FEW_FILES

    def _n_files(self, folder: bytes, most: int) -> int:
        """How many recordings are in *folder*, at most one more than *most*."""
        query = "SELECT count(*) FROM (SELECT 1 FROM file WHERE path > :low AND path < :high LIMIT :most)"
        (n_files,) = self._connection.execute(query, _range(folder) | {"most": most + 1}).fetchone()
        return int(n_files)

    @contextmanager
    def _asked(self, until: float | None = None) -> Generator[None]:
        if self.until is None:
            self.until = time.monotonic() + LIMIT_S
            self._connection.create_function("folded", 1, _folded, deterministic=True)
        deadline = min(self.until, until) if until is not None else self.until
        self._connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _INSTRUCTIONS)
        try:
            with sqlite_errors(self._path, "read"):
                yield
        except sqlite3.OperationalError as error:
            if _is_interrupted(error):
                raise TooSlow(f"{self._path}: the question takes too long; ask for less") from error
            raise
        finally:
            self._connection.set_progress_handler(None, 0)


def _is_interrupted(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def _folded(text: object) -> str:
    return str(text).casefold()


def _range(folder: bytes) -> dict[str, object]:
    """The names of what is below *folder*: a slash behind it, then anything; 0 is the sign after the slash."""
    plain = folder.rstrip(b"/")
    return {"low": plain + b"/", "high": plain + b"0"}


def _filters(wanted: Wanted) -> tuple[str, dict[str, object]]:
    """The conditions on a job that is *wanted*, and what is put in for them."""
    where, values = ["1"], dict[str, object]()
    for n, folder in enumerate(wanted.but_not_in):
        where.append(f"coalesce(substr(CAST(job.inbox || '/' AS BLOB), 1, length(:but_{n})), x'') <> :but_{n}")
        values[f"but_{n}"] = folder.rstrip(b"/") + b"/"
    if wanted.states:
        names = {f"state_{n}": state.value for n, state in enumerate(sorted(wanted.states))}
        where.append(f"+job.state IN ({', '.join(f':{name}' for name in names)})")
        values |= names
    if wanted.folder is not None:
        where.append("file.path > :low AND file.path < :high")
        values |= _range(wanted.folder)
    # SQLite's own knows ASCII alone, and is five times as fast.
    folded = "lower" if wanted.text.isascii() else "folded"
    for condition, value in (
        ("job.language = :language", wanted.language),
        (f"instr({folded}(file.path_text), :text) > 0", wanted.text.casefold()),
        ("job.created_at >= :since", utc_text(wanted.since) if wanted.since is not None else ""),
        ("job.created_at < :until", utc_text(wanted.until) if wanted.until is not None else ""),
    ):
        if value:
            where.append(condition)
            values[condition.rpartition(":")[2].partition(")")[0]] = value
    return " AND ".join(where), values
