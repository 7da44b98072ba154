"""docs/sql.md is true: every query in it runs on a history and finds something, while the writer works."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.jobs import JobStore
from storage.records import (
    Correction,
    Fingerprint,
    Job,
    NewJob,
    Outcome,
    Output,
    Result,
    StoredSegment,
    StoredSuspect,
)
from storage.views import VIEWS

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")
DOCUMENT = PAGE.partition("\n## metrics.db\n")[0]  # that file has a test of its own
QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
VIEW_NAMES = [re.findall(r"CREATE VIEW (\w+)", view)[0] for view in VIEWS]
INTERVIEW = b"/srv/inbox/anna/interview.wav"


def new(path: bytes) -> NewJob:
    return NewJob(path, b"/srv/inbox", Fingerprint(1_000_000, 2, 3, 4, 5), {"model": "base"}, "d")


def result(outcome: Outcome = Outcome.OK, reason: str = "") -> Result:
    return Result(outcome, reason, "de", 0.97, "base", "cpu", "int8", 12.0, 8, 200)


def started(store: JobStore, path: bytes, at: datetime) -> Job:
    store.enqueue([new(path)], at)
    job = store.claim(at)
    assert job is not None
    assert job.path == path
    return job


LINES = (
    StoredSegment(0.0, 3.5, "Good morning, this is about the annual budget.", -0.2),
    StoredSegment(4.0, 7.5, "我们讨论预算。", -0.9, ("repetition", "logprob")),
)

SUSPECTS = (StoredSuspect(1, 8.0, 12.5, ("speech_without_text",), "", 4.5),)


def transcribe(store: JobStore, path: bytes, at: datetime, told: Result) -> None:
    job = started(store, path, at)
    store.decoded(job, source_sha256="5" * 64, audio_s=120.0, declared_s=130.0, speech_s=90.0, at=at)
    text = Output("txt", os.path.splitext(path)[0] + b".txt", b"/srv/inbox/.tr-0.part", "7" * 64)
    store.publishing(job, [text], told, at, LINES, b"packed", SUSPECTS)
    store.finish(job, told, at + timedelta(seconds=20))


def seed(store: JobStore) -> None:
    """One of everything."""
    at = datetime.now(UTC) - timedelta(days=1)
    store.note("daemon_started", {"version": "0.1.0"}, at)
    transcribe(store, INTERVIEW, at, result())
    transcribe(store, INTERVIEW, at, result())
    transcribe(store, b"/srv/inbox/ben/copy.wav", at, replace(result(), same_as=1))
    transcribe(store, b"/srv/inbox/ben/half.mp3", at, result(Outcome.PARTIAL, "120 s of 130 s could be decoded"))
    assert store.correct(Correction(4, 1, at, "Anna", b"packed again", LINES, (), 12, 1)) == 2
    store.fail(started(store, b"/srv/inbox/ben/broken.mp3", at), "no reader found audio in it", at)
    retried = started(store, b"/srv/inbox/ben/hard.wav", at)
    store.engine_death(retried, at)
    store.requeue(retried, "the engine died", at, refund=False)
    running = store.claim(at)
    assert running is not None
    assert running.attempt == 2
    store.wait(new(b"/srv/inbox/growing.wav"), "still being written", at)
    store.enqueue([new(b"/srv/inbox/next.wav")], at)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A seeded history that a writer changes all the time."""
    path = tmp_path_factory.mktemp("sql") / "history.db"
    store = JobStore.open(path, "daemon-1")
    seed(store)
    stop = threading.Event()
    n_writes = 0

    def write() -> None:
        nonlocal n_writes
        while not stop.is_set():
            store.note("tick", {"n": n_writes}, datetime.now(UTC))
            n_writes += 1

    writer = threading.Thread(target=write)
    writer.start()
    yield path
    stop.set()
    writer.join()
    store.close()
    assert n_writes > 0


def test_the_page_has_queries() -> None:
    """The pattern that finds them does find them."""
    assert len(QUERIES) == DOCUMENT.count("```sql") > 10


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: " ".join(query.split())[:60])
def test_every_query_finds_something(history: Path, query: str) -> None:
    """Run the way a person would: plain SQLite, read-only, beside the writer."""
    database = sqlite3.connect(f"file:{history}?mode=ro", uri=True, timeout=0)
    try:
        found = database.execute(query)
        assert found.fetchall() != []
        assert not {column[0] for column in found.description} & {"", None}
    finally:
        database.close()


def test_every_view_is_on_the_page() -> None:
    """The table of views names all of them."""
    assert [name for name in VIEW_NAMES if f"| `{name}` |" not in DOCUMENT] == []


@pytest.mark.parametrize("view", VIEW_NAMES)
def test_every_view_works_without_a_trusted_schema(history: Path, view: str) -> None:
    """Tools that distrust what a database brings along can use the views."""
    database = sqlite3.connect(f"file:{history}?mode=ro", uri=True)
    try:
        database.execute("PRAGMA trusted_schema = OFF")
        assert database.execute(f"SELECT * FROM {view} LIMIT 1").fetchall()
    finally:
        database.close()
