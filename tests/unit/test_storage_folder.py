"""What the people of one inbox ask: what waits there, what is done lately, what failed; not what others have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from storage.jobs import JobStore
from storage.records import JobState, Outcome
from tests.unit.history import AT, INBOX, claim, days, new, publish, result, transcribe

OTHER = b"/srv/other"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """A history with one recording of another inbox in each state."""
    store = JobStore.open(tmp_path / "history.db", "me")
    transcribe(store, OTHER + b"/done.wav", "words", inbox=OTHER)
    store.fail(claim(store, OTHER + b"/failed.wav", AT, OTHER), "no", AT)
    store.enqueue([new(OTHER + b"/queued.wav", OTHER)], days(9))
    yield store
    store.close()


def away(store: JobStore) -> None:
    """The one that is queued elsewhere is cancelled, so that nothing else may be claimed."""
    store.cancel([job.id for job in store.jobs({JobState.QUEUED})], AT)


def test_what_waits_comes_in_its_order_and_is_counted(store: JobStore) -> None:
    """Those to begin and those that the intake holds, no more than are asked for."""
    for number in range(5):
        store.enqueue([new(INBOX + b"/%d.wav" % number)], AT)
    store.wait(new(INBOX + b"/empty.wav"), "it is empty", AT)
    assert [job.path for job in store.waiting_in(INBOX, 2)] == [
        INBOX + b"/0.wav",
        INBOX + b"/1.wav",
        INBOX + b"/empty.wav",
    ]
    assert store.n_waiting_in(INBOX) == 5


def test_the_newest_transcript_of_each_recording_is_done_lately(store: JobStore) -> None:
    """The newest first; a recording that was done twice is there once, one that was only touched is not."""
    away(store)
    transcribe(store, INBOX + b"/a.wav", "old", at=AT)
    transcribe(store, INBOX + b"/b.wav", "words", at=days(1))
    newest = transcribe(store, INBOX + b"/a.wav", "new", at=days(2))
    publish(store, claim(store, INBOX + b"/b.wav", days(3)), (), days(3), result(Outcome.DUPLICATE))
    found = store.done_lately_in(INBOX, 10)
    assert [(job.path, job.id == newest) for job in found] == [(INBOX + b"/a.wav", True), (INBOX + b"/b.wav", False)]
    assert [output.format for output in found[0].outputs] == ["txt"]
    assert [job.path for job in store.done_lately_in(INBOX, 1)] == [INBOX + b"/a.wav"]


def test_a_failure_after_which_another_job_came_is_over(store: JobStore) -> None:
    """Only the last job of a recording tells whether it failed."""
    away(store)
    store.fail(claim(store, INBOX + b"/mended.wav", AT), "no", AT)
    transcribe(store, INBOX + b"/mended.wav", "words", at=days(1))
    store.quarantine(claim(store, INBOX + b"/killer.wav", AT), "no", days(2))
    store.fail(claim(store, INBOX + b"/broken.wav", AT), "no", days(3))
    assert [job.path for job in store.failed_in(INBOX, 10)] == [INBOX + b"/broken.wav", INBOX + b"/killer.wav"]
    assert len(store.failed_in(INBOX, 1)) == 1


def test_no_question_looks_at_all_jobs(store: JobStore) -> None:
    """They are asked every few seconds, whatever the length of the history."""
    asked: list[tuple[str, object]] = []

    def take(_connection: Connection, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    engine = store._reader  # pyright: ignore[reportPrivateUsage]
    event.listen(engine, "before_cursor_execute", take)
    store.waiting_in(INBOX, 5)
    store.n_waiting_in(INBOX)
    store.done_lately_in(INBOX, 5)
    store.failed_in(INBOX, 5)
    event.remove(engine, "before_cursor_execute", take)
    assert len(asked) >= 5
    with engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]  # as they came
            steps = [str(row[3]) for row in plan]
            assert [step for step in steps if step.startswith("SCAN") and "job_failed" not in step] == [], steps
