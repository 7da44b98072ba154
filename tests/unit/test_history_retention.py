"""What the history lets go, and what it never does."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.config import HistoryConfig
from daemon.locks import INBOX_MARKER
from daemon.retention import EVERY_S, FIRST_S, REST_S, Place, Presence, Pruned, Retention, preview, step
from storage.errors import StorageBusy
from storage.jobs import JobStore
from storage.retention import OldJob
from storage.texts import utc_text
from tests.unit.history import AT, claim, days, new, result, transcribe

WAV = b"/srv/inbox/a.wav"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def store(path: Path) -> Iterator[JobStore]:
    store = JobStore.open(path, "daemon-1")
    yield store
    store.close()


def there(job: OldJob) -> bool:
    return False


def gone(job: OldJob) -> bool:
    return True


def prune(store: JobStore, rules: HistoryConfig, is_gone: object = there, n_days: float = 100) -> Pruned:
    """A whole pass, which removes just what was foretold."""
    answer = gone if is_gone is gone else there
    foretold = preview(store, rules, answer, days(n_days))
    removed = Pruned()
    place: Place | None = Place()
    while place is not None:
        some, place = step(store, rules, answer, days(n_days), place)
        removed += some
    assert removed == foretold
    assert preview(store, rules, answer, days(n_days)) == Pruned()
    return removed


def ids(store: JobStore) -> list[int]:
    return sorted(job.id for job in store.jobs(limit=1000))


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as database:
        (n,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
        database.execute("INSERT INTO segment_search (segment_search, rank) VALUES ('integrity-check', 1)")
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    return int(n)


def test_without_rules_everything_stays_for_ever(store: JobStore) -> None:
    """The default loses nothing."""
    for _ in range(3):
        transcribe(store, WAV, "words")
    assert prune(store, HistoryConfig(), gone, 100_000) == Pruned()


def test_old_events_go_but_not_those_of_live_jobs(store: JobStore, path: Path) -> None:
    """Also those of the service itself; in as many steps as it takes."""
    transcribe(store, WAV)
    live = claim(store, b"/srv/inbox/live.wav", AT)
    with closing(sqlite3.connect(path)) as database, database:
        ticks = [(utc_text(AT), "tick", "{}")] * 1200
        database.executemany("INSERT INTO event (at, kind, detail) VALUES (?, ?, ?)", ticks)
    store.note("tick", {}, days(95))
    removed = prune(store, HistoryConfig(keep_events_days=10))
    assert removed.n_events == 1200 + 5
    assert [event.kind for event in store.events(live.id)] == ["queued", "running"]
    assert count(path, "event") == 3


def test_texts_of_earlier_versions_go_and_the_newest_stay(store: JobStore, path: Path) -> None:
    """A recording keeps as many as asked for; the jobs and their figures stay."""
    for number in range(5):
        transcribe(store, WAV, f"version {number}", "two lines")
    transcribe(store, b"/srv/inbox/b.wav", "version x")
    assert prune(store, HistoryConfig(keep_versions=2)) == Pruned(n_texts=3)
    assert count(path, "segment") == 2 * 2 + 1
    assert len(ids(store)) == 6
    assert [hit.text for hit in store.search(["version"], limit=9)] == ["version x", "version 4"]


def test_old_jobs_go_with_all_that_is_theirs(store: JobStore, path: Path) -> None:
    """The newest job and the newest transcript of a recording stay while the recording is there."""
    old = [transcribe(store, WAV, "old"), transcribe(store, WAV, "words")]
    failed = claim(store, WAV, AT)
    store.fail(failed, "no audio", AT)
    newer = claim(store, WAV, AT)
    store.fail(newer, "no audio", AT)
    assert prune(store, HistoryConfig(keep_jobs_days=30)) == Pruned(n_jobs=2)
    assert ids(store) == [old[1], newer.id]
    assert store.events(old[0]) == []
    assert count(path, "segment") == 1


def test_a_job_whose_files_nobody_replaced_stays(store: JobStore) -> None:
    """Else a later transcript would take them for somebody else's, and write beside them."""
    old = transcribe(store, WAV, "old")
    job = claim(store, WAV, AT)
    store.publishing(job, [], result(), AT, [])
    store.finish(job, result(), AT)
    assert prune(store, HistoryConfig(keep_jobs_days=30)) == Pruned()
    assert ids(store) == [old, job.id]


def test_of_a_recording_that_is_gone_everything_old_goes(store: JobStore, path: Path) -> None:
    """Its path too; what is young, or live, stays."""
    transcribe(store, WAV, "words")
    transcribe(store, b"/srv/inbox/young.wav", "words", at=days(99))
    store.enqueue([new(b"/srv/inbox/live.wav")], AT)
    assert prune(store, HistoryConfig(keep_jobs_days=30), gone) == Pruned(n_jobs=1)
    assert ids(store) == [2, 3]
    assert count(path, "file") == 2


def test_many_jobs_go_in_short_transactions(store: JobStore) -> None:
    """None is left out between two of them."""
    for number in range(45):
        transcribe(store, b"/srv/inbox/%d.wav" % number, "words")
    assert prune(store, HistoryConfig(keep_jobs_days=30), gone) == Pruned(n_jobs=45)


def test_a_job_that_became_needed_meanwhile_stays(store: JobStore) -> None:
    """Between the look and the removal the newer job was removed, say."""
    first = transcribe(store, WAV, "words")
    assert store.remove_jobs([OldJob(first, WAV, b"/srv/inbox", needed=False)]) == 0
    live = claim(store, b"/srv/inbox/live.wav", AT)
    assert store.remove_jobs([OldJob(live.id, live.path, live.inbox, needed=True)]) == 0
    assert ids(store) == [first, live.id]


def old_job(inbox: Path, name: str) -> OldJob:
    return OldJob(1, bytes(inbox / name), bytes(inbox), needed=True)


def test_a_recording_is_gone_only_where_its_inbox_is_there(tmp_path: Path) -> None:
    """An empty mount point has no marker; a folder that cannot be read says nothing."""
    presence = Presence()
    (tmp_path / "a.wav").touch()
    assert not presence.gone(old_job(tmp_path, "b.wav"))
    (tmp_path / INBOX_MARKER).touch()
    assert presence.gone(old_job(tmp_path, "b.wav"))
    assert presence.gone(old_job(tmp_path, "folder/b.wav"))
    assert not presence.gone(old_job(tmp_path, "a.wav"))
    assert not presence.gone(old_job(tmp_path / "nowhere", "b.wav"))
    assert not presence.gone(old_job(tmp_path, "x" * 300))


def test_a_share_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    """Its recordings count as there, and nothing waits for it again."""
    asked: list[bytes] = []
    release = threading.Event()

    def look(path: bytes) -> object:
        asked.append(path)
        release.wait(10)
        raise FileNotFoundError

    presence = Presence(look, timeout_s=0.05)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert not presence.gone(old_job(tmp_path, "b.wav"))
    assert not presence.gone(old_job(tmp_path, "c.wav"))
    release.set()
    assert len(asked) == 1


def test_a_share_that_is_known_to_hang_is_not_asked(tmp_path: Path) -> None:
    """Each such call would keep a thread, every hour anew."""
    (tmp_path / INBOX_MARKER).touch()
    assert Presence().gone(old_job(tmp_path, "b.wav"))
    assert not Presence(silent=lambda inbox: inbox == bytes(tmp_path)).gone(old_job(tmp_path, "b.wav"))


def test_the_actor_makes_a_pass_after_the_start_and_then_every_hour(store: JobStore) -> None:
    """In steps with rests between them, by the rules as they are then."""
    rules = [HistoryConfig()]
    actor = Retention(store, lambda: rules[0], lambda: gone)
    assert actor.step(0.0) == FIRST_S
    rests = [actor.step(FIRST_S) for _ in range(3)]
    assert rests == [REST_S, REST_S, EVERY_S]
    transcribe(store, WAV, "words")
    rules[0] = HistoryConfig(keep_jobs_days=1)
    assert actor.step(FIRST_S + 1) == EVERY_S - 1
    while actor.step(FIRST_S + EVERY_S) == REST_S:
        pass
    assert ids(store) == []


def test_a_history_that_cannot_be_written_is_left_for_the_next_hour(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention is never urgent."""

    def busy(*_: object) -> list[int]:
        raise StorageBusy("locked")

    monkeypatch.setattr(store, "old_events", busy)
    actor = Retention(store, lambda: HistoryConfig(keep_events_days=1), lambda: there)
    actor.step(0.0)
    assert actor.step(FIRST_S) == EVERY_S
    monkeypatch.undo()
    assert actor.step(FIRST_S + EVERY_S) == REST_S
