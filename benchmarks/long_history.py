"""A job history as a busy office has it after years, written straight into the tables: three years, ten inboxes.

Not through `JobStore`: a million jobs would take an hour that way. Paths and words are those of docs/sql.md.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from storage.jobs import JobStore

N_INBOXES: Final = 10
DEAD_INBOX: Final = b"/srv/dead"
"""An inbox with recordings in the queue only."""

LENGTH: Final = timedelta(days=3 * 365)
INTERVIEW: Final = "/srv/inbox/anna/interview.wav"
PHRASE: Final = ("the annual budget", 97)
"""Words that one line in so many has."""

_TWICE: Final = 10  # one recording in so many was transcribed a second time
_LINES: Final = (
    "good morning everybody and thank you for coming so early",
    "we should look at the figures of the last quarter first",
    "the delivery from Rotterdam will be two weeks late again",
    "could you send me the minutes before the end of the day",
    "there is nothing to add to what was said about the roof",
    "I would rather wait for the answer of the insurance",
    "the new colleague begins on the first of next month",
)


def write(path: Path, n_jobs: int, n_transcripts: int, n_lines: int) -> None:
    """A history of *n_jobs* at *path*; the newest *n_transcripts* have *n_lines* of text each, to be searched."""
    JobStore.open(path, "nobody").close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        began = datetime.now(UTC) - LENGTH
        n_files = n_jobs - n_jobs // _TWICE
        database.executemany("INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?)", _files(n_files))
        database.executemany(_JOB, _jobs(n_jobs, n_files, began))
        database.executemany(
            "INSERT INTO output (job_id, format, path, path_text, temp_path, sha256) VALUES (?, 'txt', ?, ?, ?, ?)",
            _outputs(n_jobs, n_files),
        )
        database.executemany(
            "INSERT INTO event (at, job_id, kind, reason, detail) VALUES (?, ?, ?, NULL, '{\"attempt\": 1}')",
            _events(n_jobs, began),
        )
        first = n_jobs - n_transcripts
        database.executemany(
            "INSERT INTO segment (job_id, number, start_s, end_s, text, avg_logprob) VALUES (?, ?, ?, ?, ?, -0.2)",
            _lines(first, n_jobs, n_lines),
        )
        database.executemany(
            "INSERT INTO suspect (job_id, number, rank, start_s, end_s, reasons, text, speech_s)"
            " VALUES (?, 1, 1, 4.0, 7.5, 'low_confidence', 'nobody knows', 3.5)",
            ((job_id,) for job_id in range(first + 1, n_jobs + 1)),
        )
        database.execute(
            "INSERT INTO segment_search (rowid, text) SELECT id, coalesce(spaced, text) FROM segment ORDER BY id"
        )
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


_JOB: Final = """
INSERT INTO job (id, file_id, state, outcome, reason, attempt, max_attempts, lease, options, options_digest, size_bytes,
                 mtime_ns, ctime_ns, source_device, source_inode, source_sha256, audio_s, declared_s, speech_s, wall_s,
                 language, language_probability, model, device, compute_type, n_segments, n_words, created_at,
                 started_at, finished_at, same_as)
VALUES (?, ?, ?, ?, ?, ?, 3, 1, '{"model": "base"}', 'd', ?, 1, 1, 1, ?, ?, ?, ?, ?, ?, ?, 0.97, 'base', 'cpu', 'int8',
        40, 300, ?, ?, ?, ?)
"""


def path_of(number: int) -> str:
    """The path of the recording of this number, from 1 on."""
    if number == 1:
        return INTERVIEW
    inbox = number % N_INBOXES
    top = "/srv/inbox" if inbox == 0 else f"/srv/inbox-{inbox}"
    folder = "anna" if number % 9000 == 0 else f"folder-{number // 200}"
    return f"{top}/{folder}/recording {number}.wav"


def inbox_of(number: int) -> bytes:
    """The inbox that it is in."""
    return "/".join(path_of(number).split("/")[:3]).encode()


def _files(n_files: int) -> Iterator[tuple[object, ...]]:
    for number in range(1, n_files + 1):
        path = path_of(number)
        folder, _, name = path.rpartition("/")
        inbox = inbox_of(number)
        yield number, path.encode(), inbox, path, folder, name, inbox.decode()


def _file_of(number: int, n_files: int) -> int:
    """The recording of a job: the last tenth of the jobs are about recordings of before."""
    return number if number <= n_files else (number - n_files) * (_TWICE - 1)


def _state(number: int) -> tuple[str, str | None, str]:
    """State, outcome and reason: three of a hundred fail, a few are not whole."""
    match number % 200:
        case 1 | 2 | 3 | 4 | 5:
            return "failed", None, f"no reader found audio in it: error {number % 17}"
        case 6:
            return "quarantined", None, "the engine died twice with it"
        case 7 | 8 | 9:
            return "vanished", None, "the recording was removed or renamed before its turn"
        case 10:
            return "cancelled", None, "a person cancelled it"
        case 11 | 12:
            return "done", "partial", "120 s of 130 s could be decoded"
        case 13 | 14 | 15 | 16:
            return "done", "no_speech", "nobody speaks in it"
        case 17 | 18:
            return "done", "duplicate", "same content; its transcript stands"
        case _:
            return "done", "ok", ""


def _at(number: int, n_jobs: int, began: datetime, later_s: float = 0.0) -> str:
    at = began + LENGTH * (number / n_jobs) + timedelta(seconds=later_s)
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _jobs(n_jobs: int, n_files: int, began: datetime) -> Iterator[tuple[object, ...]]:
    for number in range(1, n_jobs + 1):
        state, outcome, reason = ("done", "ok", "") if number == 1 else _state(number)
        audio_s = 20.0 + number * 37 % 3000
        yield (
            *(number, _file_of(number, n_files), state, outcome, reason, 2 if number % 50 == 0 else 1),
            *(1_000_000 + number % 90_000, number, f"{number - number % 500:064x}" if state == "done" else None),
            *(audio_s, audio_s, audio_s * 0.8, audio_s / (30 + number % 40), ("en", "de", "fr")[number % 3]),
            *(_at(number, n_jobs, began, later_s) for later_s in (0.0, 5.0, 60.0)),
            number - 100 if outcome == "duplicate" else None,
        )


def _outputs(n_jobs: int, n_files: int) -> Iterator[tuple[object, ...]]:
    for number in range(1, n_jobs + 1):
        if number == 1 or _state(number)[0] == "done":
            text = path_of(_file_of(number, n_files)).removesuffix("wav") + "txt"
            yield number, text.encode(), text, b".tr-0123456789abcdef.part", f"{number:064x}"


def _events(n_jobs: int, began: datetime) -> Iterator[tuple[object, ...]]:
    yield _at(0, n_jobs, began), None, "daemon_started"
    for number in range(1, n_jobs + 1):
        yield _at(number, n_jobs, began), number, "queued"
        yield _at(number, n_jobs, began, 60.0), number, _state(number)[0]


def _lines(first: int, last: int, n_lines: int) -> Iterator[tuple[object, ...]]:
    for job_id in range(first + 1, last + 1):
        for number in range(1, n_lines + 1):
            place = job_id * n_lines + number
            spoken = f"{_LINES[place % len(_LINES)]} {place % 1009}"
            if place % PHRASE[1] == 0:
                spoken = f"{spoken}, that is {PHRASE[0]}"
            yield job_id, number, number * 4.0, number * 4.0 + 3.5, spoken
