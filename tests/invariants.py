"""What holds after every fault: the ten promises, checked on an inbox, a state folder and a log.

I1   every finished recording has a job for its content, and at most one live one
I2   what a done job published is there with its hash, unless a person changed it
I3   no transcript without a row that says whose it is
I4   no temporary file
I5   the transcript was made from the bytes that the recording had when it was published
I6   no more attempts than allowed
I7   the database is sound
I8   recordings are as people left them
I9   the daemon lives, or ended with a status that the documents name
I10  every log line is one JSON object
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from daemon.folderpage.names import is_own_sign
from daemon.intake.rules import judge_path

DOCUMENTED_STATUSES: Final = frozenset({0, 1, 78})
"""Ended as asked; another error in words; the operator has to act."""

ENDED: Final = frozenset({"done", "failed", "quarantined", "cancelled", "vanished"})
LIVE: Final = frozenset({"waiting", "queued", "running", "publishing"})
TRANSCRIPTS: Final = (".txt", ".srt", ".vtt", ".tsv", ".json")


@dataclass(frozen=True)
class Expected:
    """What the test knows and the disk does not say.

    *at_rest*: all work is done, so nothing may be left over. *recordings*: hash and mtime_ns of what people put there.
    *foreign*: transcripts that people wrote, changed or removed. *exit_status* of a daemon that ended.
    """

    at_rest: bool = True
    recordings: Mapping[Path, tuple[str, int]] = field(default_factory=dict[Path, tuple[str, int]])
    foreign: Collection[Path] = ()
    exit_status: int | None = None


def assert_invariants(inbox: Path, state_dir: Path, log: Path | None = None, expected: Expected | None = None) -> None:
    """Fail with the number of every promise that is broken, and how."""
    expected = expected or Expected()
    broken = broken_invariants(inbox, state_dir, log, expected)
    assert not broken, "\n".join(["broken:", *broken])


def broken_invariants(inbox: Path, state_dir: Path, log: Path | None, expected: Expected) -> list[str]:
    """One line for each broken promise."""
    history = _History.read(state_dir / "transcribed.db")
    broken = _soundness(state_dir / "transcribed.db") + _attempts(history) + _published(history, expected)
    if inbox.is_dir():
        broken += _orphans(inbox, history, expected) + _untouched(expected)
        if expected.at_rest:
            broken += _jobs_of_recordings(inbox, history) + _leftovers(inbox, state_dir) + _sources(history)
    if expected.exit_status is not None and expected.exit_status not in DOCUMENTED_STATUSES:
        broken.append(f"I9: the daemon ended with {expected.exit_status}, which no document names")
    return broken + (_log_lines(log) if log is not None else [])


_Row = dict[str, Any]


@dataclass(frozen=True)
class _History:
    jobs: list[_Row]
    outputs: list[_Row]

    @classmethod
    def read(cls, database: Path) -> _History:
        if not database.exists():
            return cls([], [])
        with closing(_open(database)) as connection:
            connection.row_factory = sqlite3.Row
            if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'job'").fetchone() is None:
                return cls([], [])  # ended before the first start was over
            jobs = connection.execute("SELECT job.*, path FROM job JOIN file ON file.id = file_id ORDER BY job.id")
            outputs = connection.execute("SELECT * FROM output ORDER BY id")
            return cls([dict(row) for row in jobs], [dict(row) for row in outputs])

    def newest(self) -> dict[bytes, _Row]:
        """The newest job of each path."""
        return {job["path"]: job for job in self.jobs}


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)


def _soundness(database: Path) -> list[str]:
    if not database.exists():
        return []
    with closing(_open(database)) as connection:
        answers = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        strays = connection.execute("PRAGMA foreign_key_check").fetchall()
    broken = [f"I7: {answer}" for answer in answers if answer != "ok"]
    return broken + [f"I7: a row of {stray[0]} refers to nothing" for stray in strays]


def _attempts(history: _History) -> list[str]:
    return [
        f"I6: job {job['id']} of {_name(job['path'])}: attempt {job['attempt']} of {job['max_attempts']}"
        for job in history.jobs
        if job["attempt"] > job["max_attempts"]
    ]


def _published(history: _History, expected: Expected) -> list[str]:
    """I2. A later job of the same recording may have put its own content under the name."""
    by_id = {job["id"]: job for job in history.jobs}
    foreign = {os.fsencode(path) for path in expected.foreign}
    broken: list[str] = []
    for output in history.outputs:
        path, job = output["path"], by_id[output["job_id"]]
        folder = os.path.dirname(path)
        if job["state"] != "done" or not output["current"] or path in foreign or not os.path.isdir(folder):
            continue
        ours = {other["sha256"] for other in history.outputs if other["path"] == path and other["id"] >= output["id"]}
        found = _sha256(path)
        if found not in ours:
            what = "is missing" if found is None else "holds something else"
            broken.append(f"I2: {_name(path)} of done job {job['id']} {what}")
    return broken


def _orphans(inbox: Path, history: _History, expected: Expected) -> list[str]:
    rows = {output["path"] for output in history.outputs}
    foreign = {os.fsencode(path) for path in expected.foreign}
    return [
        f"I3: {_name(path)} is in no row"
        for path in _files(inbox)
        if path.endswith(tuple(os.fsencode(extension) for extension in TRANSCRIPTS))
        and not os.path.basename(path).startswith(b".")
        and not is_own_sign(os.path.basename(os.fsdecode(path)))
        and path not in rows
        and path not in foreign
    ]


def _untouched(expected: Expected) -> list[str]:
    broken: list[str] = []
    for path, (sha256, mtime_ns) in expected.recordings.items():
        found = _sha256(os.fsencode(path))
        if found is None:
            broken.append(f"I8: the recording {_name(os.fsencode(path))} is gone")
        elif (found, path.lstat().st_mtime_ns) != (sha256, mtime_ns):
            broken.append(f"I8: the recording {_name(os.fsencode(path))} was changed")
    return broken


def _jobs_of_recordings(inbox: Path, history: _History) -> list[str]:
    newest = history.newest()
    broken: list[str] = []
    for path in _files(inbox):
        parts = os.path.relpath(path, os.fsencode(inbox)).split(b"/")
        if not judge_path(tuple(os.fsdecode(part) for part in parts), recursive=True).recording or not _regular(path):
            continue
        job, status = newest.get(path), os.lstat(path)
        if job is None:
            broken.append(f"I1: {_name(path)} has no job")
        elif job["state"] not in ENDED and status.st_size > 0:
            broken.append(f"I1: job {job['id']} of {_name(path)} is still {job['state']}: {job['reason']}")
        elif job["state"] == "vanished":
            broken.append(f"I1: {_name(path)} is there and its newest job is vanished")
        elif (job["size_bytes"], job["mtime_ns"]) != (status.st_size, status.st_mtime_ns):
            broken.append(f"I1: the newest job of {_name(path)} is for other content")
    live = [job["path"] for job in history.jobs if job["state"] in LIVE]
    return broken + [f"I1: {_name(path)} has several live jobs" for path in set(live) if live.count(path) > 1]


def _leftovers(inbox: Path, state_dir: Path) -> list[str]:
    found = [path for path in _files(inbox) if os.path.basename(path).startswith(b".tr-")]
    for name in ("spool", "kept"):
        found += [path for path in _files(state_dir / name) if name == "spool" or path.endswith(b".part")]
    return [f"I4: {_name(path)} is left over" for path in found]


def _sources(history: _History) -> list[str]:
    """I5, as far as it can be seen afterwards: where the file is still the one that the newest done job had."""
    broken: list[str] = []
    for path, job in history.newest().items():
        if job["state"] != "done" or not os.path.isfile(path):
            continue
        status = os.lstat(path)
        same = (job["size_bytes"], job["mtime_ns"]) == (status.st_size, status.st_mtime_ns)
        if same and job["source_sha256"] not in (None, _sha256(path)):
            broken.append(f"I5: job {job['id']} of {_name(path)} was made from other bytes than those that are there")
    return broken


def _log_lines(log: Path) -> list[str]:
    broken: list[str] = []
    for number, line in enumerate(log.read_bytes().splitlines(), start=1):
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            broken.append(f"I10: line {number} of the log is no JSON object: {line[:200]!r}")
    return broken


def _files(folder: Path) -> list[bytes]:
    return [
        os.path.join(place, name)
        for place, _, names in os.walk(os.fsencode(folder), followlinks=False)
        for name in names
    ]


def _sha256(path: bytes) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _regular(path: bytes) -> bool:
    return stat.S_ISREG(os.lstat(path).st_mode)


def _name(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
