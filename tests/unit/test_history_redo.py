"""Recordings that are transcribed again because a person asks, by a condition or by number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.config import InboxConfig
from daemon.redo import redo
from storage import conditions
from storage.conditions import BadCondition
from storage.jobs import JobStore
from storage.records import JobState, Outcome
from tests.unit.history import AT, claim, days, new, publish, result, transcribe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def store(path: Path) -> Iterator[JobStore]:
    store = JobStore.open(path, "daemon-1")
    yield store
    store.close()


def test_a_condition_selects_the_newest_ended_job_of_each_recording(store: JobStore) -> None:
    """Neither an earlier version, nor what is in the queue already."""
    transcribe(store, b"/srv/inbox/a.wav", told=result(model="tiny"))
    transcribe(store, b"/srv/inbox/b.wav", told=result(model="tiny"))
    newest_of_a = transcribe(store, b"/srv/inbox/a.wav", told=result(model="base"))
    failed = claim(store, b"/srv/inbox/c.wav", AT)
    store.fail(failed, "no audio", AT)
    assert store.matching("model = 'base'") == [newest_of_a]
    assert store.matching("model = 'tiny'") == [2]
    assert store.matching("state = 'failed' OR name LIKE 'a%' -- all of Anna's") == [newest_of_a, failed.id]
    store.enqueue([new(b"/srv/inbox/c.wav")], AT)
    assert store.matching("1") == [2, newest_of_a]


def test_a_condition_may_ask_the_text(store: JobStore) -> None:
    """Other views and the full-text index are there for it too."""
    transcribe(store, b"/srv/inbox/a.wav", "the annual budget")
    transcribe(store, b"/srv/inbox/b.wav", "nothing")
    asked = "segment_search MATCH 'budget'"
    text = f"SELECT job_id FROM v_segments JOIN segment_search ON segment_search.rowid = segment_id WHERE {asked}"
    assert store.matching(f"job_id IN ({text})") == [1]


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("", "empty"),
        ("nope = 1", "no such column: nope"),
        ("state = ", "syntax error"),
        ("state = 'done'; DELETE FROM job", "syntax error"),
        ("1); DELETE FROM job; --", "one statement"),
        ("1) UNION SELECT 1 FROM secrets WHERE (1", "no such table"),
        ("load_extension('x')", "not authorized|no such function"),
        ("job_id IN (SELECT 1 FROM pragma_journal_mode('delete'))", "not authorized|no such table|syntax"),
        ("state = 'a\x00b'", "null"),
    ],
)
def test_a_condition_that_is_none_is_a_clear_error_and_changes_nothing(
    store: JobStore, path: Path, condition: str, why: str
) -> None:
    """It says what SQLite said; the history can be asked on."""
    transcribe(store, b"/srv/inbox/a.wav")
    with pytest.raises(BadCondition, match=why):
        store.matching(condition)
    assert store.matching("state = 'done'") == [1]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM job").fetchone() == (1,)


def test_a_condition_may_not_take_for_ever(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, and says so."""
    monkeypatch.setattr(conditions, "LONGEST_S", 0.05)
    transcribe(store, b"/srv/inbox/a.wav")
    endless = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n)"
    with pytest.raises(BadCondition, match="takes longer than"):
        store.matching(endless)


def test_a_new_job_has_todays_options_and_does_not_stop_at_the_old_result(store: JobStore) -> None:
    """*again* tells the job so; a retry of it too. What was found before stays."""
    old = transcribe(store, b"/srv/inbox/a.wav", "old words")
    outside = transcribe(store, b"/elsewhere/b.wav", "old words")
    inbox = InboxConfig(path=Path("/srv/inbox"), model="small")
    made = redo(store, [old, outside, 99, old], [inbox], 7, days(1))
    assert made == {old: 3, outside: 4}
    job = store.claim(days(1))
    assert job is not None
    assert (job.id, job.path, job.again, job.max_attempts, job.options["model"]) == (
        3,
        b"/srv/inbox/a.wav",
        True,
        7,
        "small",
    )
    assert job.options_digest == inbox.job_options().digest()
    other = store.claim(days(1))
    assert other is not None
    assert (other.id, other.options, other.options_digest) == (4, {"model": "base"}, "d")
    before = store.job(old)
    assert before is not None
    assert (before.state, before.again) == (JobState.DONE, False)


def test_a_recording_in_the_queue_is_left_alone(store: JobStore) -> None:
    """Its turn comes anyway; one recording is not done twice at once."""
    old = transcribe(store, b"/srv/inbox/a.wav")
    store.enqueue([new(b"/srv/inbox/a.wav")], AT)
    assert redo(store, [old], [], 3, AT) == {old: None}
    assert store.counts()[JobState.QUEUED] == 1


def test_two_jobs_of_one_recording_make_one_new_job(store: JobStore) -> None:
    """Numbers typed by a person may be of the same recording."""
    first, second = (transcribe(store, b"/srv/inbox/a.wav") for _ in range(2))
    assert redo(store, [first, second], [], 3, AT) == {first: 3, second: 3}


def test_a_file_that_is_written_again_belongs_to_the_new_job_alone(store: JobStore) -> None:
    """So v_outputs names each file once; what an earlier job alone wrote stays its own; hashes stay known."""
    first = transcribe(store, b"/srv/inbox/a.wav", "old words")
    second = transcribe(store, b"/srv/inbox/a.wav", "new words")
    assert [job.outputs for job in store.jobs()][1] == ()
    last = store.last_done(b"/srv/inbox/a.wav")
    assert last is not None
    assert (last.id, len(last.outputs)) == (second, 1)
    assert len(store.written(b"/srv/inbox/a.wav")[b"/srv/inbox/a.txt"]) == 2
    duplicate = claim(store, b"/srv/inbox/a.wav", AT)
    publish(store, duplicate, [], AT, result(Outcome.DUPLICATE))
    last = store.last_done(b"/srv/inbox/a.wav")
    assert last is not None
    assert (last.id, len(last.outputs), first) == (second, 1, 1)
