"""What became of a soak: the promises of `tests.invariants`, and the right end of every single recording."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daemon.folderpage.names import is_own_sign
from daemon.history import open_history
from daemon.outputs.kept import KeptDocuments
from daemon.sidecars import adopt
from tests.harness import COMMAND
from tests.invariants import ENDED, LIVE, TRANSCRIPTS, Expected, broken_invariants
from tests.soak.contents import Fate, likeness
from tests.soak.people import Recording

FORMATS: Final = frozenset({"txt", "srt", "vtt", "json"})
"""What is written of each recording by default."""

MARGIN: Final = 0.1
"""A transcript may be so much more like another clip than its own: cuts in the middle of words make odd texts."""

_Row = dict[str, Any]


@dataclass(frozen=True)
class History:
    """The jobs, oldest first, and the outputs."""

    jobs: list[_Row]
    outputs: list[_Row]

    @classmethod
    def read(cls, database: Path) -> History:
        """All of it. Raises sqlite3.Error."""
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            jobs = connection.execute(
                "SELECT job.*, path FROM job JOIN file ON file.id = file_id ORDER BY job.id"
            ).fetchall()
            outputs = connection.execute("SELECT * FROM output ORDER BY id").fetchall()
        return cls([dict(row) for row in jobs], [dict(row) for row in outputs])

    def newest(self) -> dict[bytes, _Row]:
        """The newest job of each path."""
        return {job["path"]: job for job in self.jobs}


def unfinished(database: Path, recordings: Sequence[Recording]) -> list[str] | None:
    """What has not come to its end yet, a line each; None if the history cannot be read at this moment."""
    try:
        history = History.read(database)
    except sqlite3.Error:
        return None
    newest = history.newest()
    waiting = [
        f"{_name(job['path'])}: {job['state']}: {job['reason']}"
        for job in history.jobs
        if job["state"] in LIVE and not _waits_for_content(job)
    ]
    for recording in recordings:
        if recording.gone or recording.content.fate is Fate.EMPTY:
            continue
        job = newest.get(recording.path)
        if job is None or (job["state"] in ENDED and not _is_for(job, recording)):
            waiting.append(f"{_name(recording.path)}: not noticed yet")
    return waiting


def _waits_for_content(job: _Row) -> bool:
    return bool(job["state"] == "waiting" and job["size_bytes"] == 0 and os.path.exists(job["path"]))


def _is_for(job: _Row, recording: Recording) -> bool:
    try:
        status = os.lstat(recording.path)
    except OSError:
        return True
    return bool((job["size_bytes"], job["mtime_ns"]) == (status.st_size, status.st_mtime_ns))


@dataclass(frozen=True)
class Place:
    """Where all of it happened."""

    inbox: Path
    state_dir: Path
    log: Path

    @property
    def database(self) -> Path:
        """The history."""
        return self.state_dir / "transcribed.db"


def what_is_broken(place: Place, recordings: Sequence[Recording], exit_status: int | None) -> list[str]:
    """A line for every promise that does not hold, once all work is done and the daemon has ended."""
    present = [recording for recording in recordings if not recording.gone]
    expected = Expected(
        recordings={
            Path(os.fsdecode(one.path)): (one.sha256, os.lstat(one.path).st_mtime_ns)
            for one in present
            if os.path.lexists(one.path)
        },
        exit_status=exit_status,
    )
    broken = [f"I8: the recording {_name(one.path)} is gone" for one in present if not os.path.lexists(one.path)]
    broken += broken_invariants(place.inbox, place.state_dir, place.log, expected)
    history = History.read(place.database)
    newest = history.newest()
    texts = {one.content.said for one in recordings}
    for recording in present:
        broken += _wrong_end(recording, newest.get(recording.path), history)
        broken += _wrong_words(recording, newest.get(recording.path), history, texts)
    broken += _wrong_leftovers(place, recordings, history)
    return [*broken, *_wrong_log(place.log), *_wrong_rebuild(place, history)]


def _wrong_end(recording: Recording, job: _Row | None, history: History) -> Iterator[str]:
    fate, name = recording.content.fate, f"{_name(recording.path)} ({', '.join(recording.story)})"
    if job is None:
        if fate is not Fate.EMPTY:  # that has a job once it is there for long
            yield f"END: {name} has no job"
        return
    if job["state"] != fate.state or job["outcome"] not in fate.outcomes:
        yield (
            f"END: {name} ended as {job['state']} {job['outcome']} and not as {fate.name}: {job['reason']!r}, "
            f"attempt {job['attempt']}, claim {job['lease']}, {job['engine_deaths']} engine deaths"
        )
        return
    if fate.state == "done":
        yield from _wrong_outputs(recording, job, history)


def _wrong_outputs(recording: Recording, job: _Row, history: History) -> Iterator[str]:
    """One set, whole, of this content, and no file of an earlier one beside it."""
    name = _name(recording.path)
    jobs = {other["id"] for other in history.jobs if other["path"] == recording.path}
    current = {row["path"]: row for row in history.outputs if row["job_id"] == job["id"] and row["current"]}
    if frozenset(row["format"] for row in current.values()) != FORMATS or len(current) != len(FORMATS):
        yield f"SET: {name} has {sorted(row['format'] for row in current.values())}"
    for path in {row["path"] for row in history.outputs if row["job_id"] in jobs} - current.keys():
        if os.path.lexists(path) and not _belongs_to_another(path, jobs, history):
            yield f"SET: {name} has a second set: {_name(path)}"
    document = _document(job, history)
    if document is not None and document["source_sha256"] != recording.sha256:
        yield f"I5: the transcript of {name} was made from other bytes"


def _wrong_words(recording: Recording, job: _Row | None, history: History, texts: set[str]) -> Iterator[str]:
    """The words of another recording: likely ones are compared with what the model says of this one alone."""
    document = _document(job, history) if job is not None else None
    if document is None:
        return
    own = likeness(document["text"], recording.content.said)
    other = max(likeness(document["text"], text) for text in texts)
    if other > own + MARGIN and document["text"] != _said_alone(recording.path):
        yield f"WORDS: {_name(recording.path)} says what another does: {document['text']!r}"


def _said_alone(path: bytes) -> str:
    """What `transcribed transcribe` makes of a copy, with nothing else in the engine."""
    with tempfile.TemporaryDirectory(prefix="soak-alone-") as folder:
        copy = Path(folder) / f"copy{Path(os.fsdecode(path)).suffix}"
        shutil.copyfile(path, copy)
        environment = {**os.environ, "TRANSCRIBED_STATE_DIR": f"{folder}/state", "TRANSCRIBED_OPTIONS_FORMATS": "json"}
        subprocess.run([COMMAND, "transcribe", str(copy)], env=environment, capture_output=True, check=True)
        content: _Row = json.loads(copy.with_suffix(".json").read_bytes())
    return str(content["text"])


def _document(job: _Row, history: History) -> _Row | None:
    """The transcript as JSON, if it is there."""
    outputs = [row for row in history.outputs if row["job_id"] == job["id"] and row["current"]]
    path = next((row["path"] for row in outputs if row["format"] == "json"), None)
    if path is None or not os.path.exists(path):
        return None
    content: _Row = json.loads(Path(os.fsdecode(path)).read_bytes())
    return content


def _belongs_to_another(path: bytes, jobs: set[int], history: History) -> bool:
    digest = _digest(path)
    return any(row["path"] == path and row["job_id"] not in jobs and row["sha256"] == digest for row in history.outputs)


def _wrong_leftovers(place: Place, recordings: Sequence[Recording], history: History) -> Iterator[str]:
    for folder in ("spool", "kept"):
        for name in os.listdir(place.state_dir / folder):
            yield f"I4: {folder}/{name} is left over"
    there = {recording.path for recording in recordings if not recording.gone}
    for job in history.jobs:
        if job["state"] in LIVE and job["path"] not in there:
            yield f"I1: job {job['id']} of {_name(job['path'])}, which is gone, is still {job['state']}"
    owned: defaultdict[bytes, set[bytes]] = defaultdict(set)
    by_id = {job["id"]: job for job in history.jobs}
    for row in history.outputs:
        if row["current"] and by_id[row["job_id"]]["state"] == "done" and os.path.lexists(row["path"]):
            owned[row["path"]].add(by_id[row["job_id"]]["path"])
    for path, owners in owned.items():
        if len(owners & there) > 1:
            yield f"SET: {_name(path)} is the transcript of {len(owners)} recordings"


def _wrong_log(log: Path) -> Iterator[str]:
    for line in log.read_bytes().splitlines():
        if b'"event": "bug"' in line or b'"event": "stuck"' in line:
            yield f"LOG: {line[:1500].decode('ascii', 'replace')}"


def _wrong_rebuild(place: Place, history: History) -> list[str]:
    """The database is lost, in a copy: what is beside it knows every transcript that is there."""
    copy = place.state_dir.with_name("rebuilt")
    shutil.copytree(
        place.state_dir, copy, ignore=shutil.ignore_patterns("transcribed.db*", "models", "*.sock", "*.lock")
    )
    logging.disable()  # it says so of every job
    try:
        kept_history = open_history(copy, "rebuild")
        try:
            adopt(kept_history.sidecars, kept_history.store, KeptDocuments(copy / "kept"))
        finally:
            kept_history.store.close()
        rebuilt = History.read(copy / place.database.name)
    finally:
        logging.disable(logging.NOTSET)
        shutil.rmtree(copy)
    known = {(row["path"], row["sha256"]) for row in rebuilt.outputs}
    by_id = {job["id"]: job for job in history.jobs}
    return [
        f"I7: without its database the history would not know {_name(row['path'])}"
        for row in history.outputs
        if row["current"] and by_id[row["job_id"]]["state"] == "done" and os.path.lexists(row["path"])
        if (row["path"], row["sha256"]) not in known
    ]


def ends(history: History, recordings: Sequence[Recording]) -> Mapping[str, Counter[str]]:
    """How recordings that are there ended, by what they were."""
    newest = history.newest()
    counts: dict[str, Counter[str]] = {fate.name: Counter() for fate in Fate}
    for recording in recordings:
        if not recording.gone:
            job = newest.get(recording.path)
            end = f"{job['state']} {job['outcome'] or ''}".strip() if job else "no job"
            counts[recording.content.fate.name][end] += 1
    return counts


def transcripts(inbox: Path) -> int:
    """How many files of transcripts there are."""
    files = [name for _, _, names in os.walk(inbox) for name in names]
    return sum(name.endswith(TRANSCRIPTS) and not is_own_sign(name) for name in files)


def _digest(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(path: bytes) -> str:
    return os.path.basename(path).decode("utf-8", "backslashreplace").encode("unicode_escape").decode()
