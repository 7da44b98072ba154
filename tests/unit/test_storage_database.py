"""The database file: what lies in it, who may open it, and what its errors become."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from storage import connection
from storage.errors import NewerSchema, StorageBusy, StorageDamaged, StorageError, StorageFull, StorageUnavailable
from storage.jobs import JobStore
from storage.reading import JobReader
from storage.records import Fingerprint, JobState, NewJob
from storage.schema import VERSION
from storage.texts import json_text, utc_text

AT = datetime(2025, 3, 1, 12, 0, 0, 123_999, tzinfo=UTC)


def new(path: bytes) -> NewJob:
    return NewJob(path, os.path.dirname(path), Fingerprint(1, 2, 3, 4, 5), {"model": "base"}, "d")


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def test_a_new_database_has_the_settings_that_durability_needs(tmp_path: Path) -> None:
    """WAL, the schema version, strict tables; readable by owner and group at most, less the umask."""
    path = tmp_path / "history.db"
    before = os.umask(0o027)
    try:
        JobStore.open(path, "me").close()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA user_version") == [(VERSION,)]
    tables = "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    strict = {name for name, is_strict in rows(path, tables) if is_strict}
    tables_of_ours = {"document", "event", "file", "folder", "job", "joint", "move", "output", "rewrite", "segment"}
    assert strict == tables_of_ours | {"sound", "suspect", "turn", "version"}
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_every_writing_connection_syncs_and_checks(tmp_path: Path) -> None:
    """The writer runs with full sync, foreign keys and no trust in the schema."""
    engine = connection.open_writer(tmp_path / "history.db")
    with engine.connect() as writer:
        asked = ("synchronous", "foreign_keys", "trusted_schema", "busy_timeout")
        found = [writer.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in asked]
    engine.dispose()
    assert found == [2, 1, 0, 10_000]


@pytest.mark.fault(13, "such names in the database")
def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    """Paths come back byte for byte; their readable form is valid text, and so is a reason that quotes one."""
    path = tmp_path / "odd # name?%41.db"
    store = JobStore.open(path, "me")
    name = b"/inbox/caf\xe9 \xed\xa0\x80.wav"
    (job_id,) = store.enqueue([new(name)], AT)
    job = store.claim(AT)
    assert job is not None
    store.fail(job, f"cannot read {os.fsdecode(name)}", AT)
    ended = store.job(job_id)
    assert ended is not None
    assert ended.path == name
    assert ended.reason == "cannot read /inbox/caf\\udce9 \\udced\\udca0\\udc80.wav"
    store.close()
    (database,) = tmp_path.iterdir()
    shell = sqlite3.connect(database)
    assert shell.execute("SELECT path, name FROM v_failures").fetchall() == [
        ("/inbox/caf\\xe9 \\xed\\xa0\\x80.wav", "caf\\xe9 \\xed\\xa0\\x80.wav")
    ]
    assert shell.execute("SELECT count(*) FROM v_events WHERE json_valid(detail)").fetchall() == [(3,)]
    shell.close()


def test_json_holds_lone_surrogates_as_text() -> None:
    """A surrogate becomes a backslash and its number, which SQLite gives back as it is."""
    assert json_text({"name": "\udcff"}) == r'{"name": "\\udcff"}'


def test_times_are_utc_text_to_the_millisecond() -> None:
    """Any time zone comes out as UTC; a time without a zone is refused."""
    berlin = datetime(2025, 7, 1, 2, 0, 0, 5_999, tzinfo=timezone(timedelta(hours=2)))
    assert utc_text(berlin) == "2025-07-01T00:00:00.005Z"
    with pytest.raises(ValueError, match="time zone"):
        utc_text(datetime(2025, 1, 1))  # noqa: DTZ001  # the fault under test


def test_fingerprints_of_any_stat_can_be_stored(tmp_path: Path) -> None:
    """Inodes of 64 bits and times of the year 9999 fit, and stay equal and unequal as they were."""
    far = (0o100644, 2**64 - 1, 2**63, 1, 0, 0, 10, 0, 0, 0)
    late = {"st_mtime_ns": 253_402_300_799_000_000_000, "st_ctime_ns": 1}
    one, same = Fingerprint.of(os.stat_result(far, late)), Fingerprint.of(os.stat_result(far, late))
    other = Fingerprint.of(os.stat_result(far, late | {"st_mtime_ns": 253_402_300_799_000_000_001}))
    assert one == same != other
    store = JobStore.open(tmp_path / "history.db", "me")
    store.enqueue([NewJob(b"/a", b"/", one, {}, "d")], AT)
    assert store.known_files(b"/")[0].fingerprint == one
    store.close()


def test_a_reader_sees_what_the_writer_commits(tmp_path: Path) -> None:
    """A read-only history answers while the writer works and after it closed, and cannot write."""
    path = tmp_path / "history.db"
    store = JobStore.open(path, "me")
    reader = JobReader.open(path)
    (job_id,) = store.enqueue([new(b"/inbox/a")], AT)
    assert reader.counts()[JobState.QUEUED] == 1
    store.close()
    job = reader.job(job_id)
    assert job is not None
    assert job.created_at == AT.replace(microsecond=123_000)
    reader.close()
    again = JobReader.open(path)
    assert again.newest(b"/inbox/a") == job
    again.close()


def test_there_is_no_history_where_none_was_made(tmp_path: Path) -> None:
    """A reader makes no file."""
    with pytest.raises(StorageUnavailable, match="no job history"):
        JobReader.open(tmp_path / "history.db")
    assert list(tmp_path.iterdir()) == []


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """Neither writer nor reader touches what a later version wrote."""
    path = tmp_path / "history.db"
    JobStore.open(path, "me").close()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    with pytest.raises(NewerSchema, match=f"schema {VERSION + 1}"):
        JobStore.open(path, "me")
    with pytest.raises(NewerSchema):
        JobReader.open(path)


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """Tables that are not ours are left as they are."""
    path = tmp_path / "other.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (x)")
    database.close()
    with pytest.raises(StorageError, match="another program"):
        JobStore.open(path, "me")
    assert rows(path, "SELECT name FROM sqlite_schema") == [("theirs",)]


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    """Rubbish is reported, not overwritten."""
    path = tmp_path / "history.db"
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(StorageDamaged, match="no SQLite database"):
        JobStore.open(path, "me")
    assert path.read_bytes() == b"rubbish" * 1000


def test_a_folder_that_is_missing_is_reported(tmp_path: Path) -> None:
    """The folder is the caller's to make."""
    with pytest.raises(StorageUnavailable, match="No such file"):
        JobStore.open(tmp_path / "missing" / "history.db", "me")


@pytest.mark.fault(29, "BEGIN EXCLUSIVE of another connection")
def test_somebody_elses_lock_is_busy_and_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads go on under a foreign write lock; a write gives up after its wait and succeeds once the lock is gone."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 20)
    path = tmp_path / "history.db"
    store = JobStore.open(path, "me")
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageBusy, match="locked"):
        store.enqueue([new(b"/inbox/a")], AT)
    assert store.counts()[JobState.QUEUED] == 0
    shell.execute("ROLLBACK")
    shell.close()
    store.enqueue([new(b"/inbox/a")], AT)
    assert store.counts()[JobState.QUEUED] == 1
    store.close()


@pytest.mark.fault(18, "SQLITE_FULL in a transaction")
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A write that finds no room raises StorageFull, changes nothing, and works again when there is room."""
    store = JobStore.open(tmp_path / "history.db", "me")
    store.enqueue([new(b"/inbox/a")], AT)

    def limit(n_pages: int) -> None:
        with store._writer.connect() as writer:  # pyright: ignore[reportPrivateUsage]  # the limit is per connection
            writer.exec_driver_sql(f"PRAGMA max_page_count = {n_pages}")

    limit(1)
    with pytest.raises(StorageFull, match="make room"):
        store.enqueue([new(b"/inbox/%d" % i) for i in range(1000)], AT)
    limit(1 << 30)
    assert store.counts()[JobState.QUEUED] == 1
    store.enqueue([new(b"/inbox/%d" % i) for i in range(1000)], AT)
    assert store.counts()[JobState.QUEUED] == 1001
    store.close()


def test_an_event_for_no_job_is_a_bug_and_not_an_event(tmp_path: Path) -> None:
    """Foreign keys hold, and what is not the fault of the disk stays an exception of its own."""
    store = JobStore.open(tmp_path / "history.db", "me")
    with pytest.raises(Exception, match="FOREIGN KEY") as caught:
        store.note("odd", {}, AT, job_id=7)
    assert not isinstance(caught.value, StorageError)
    store.close()


_COMMIT_AND_DIE = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from storage.records import Fingerprint, NewJob
from storage.jobs import JobStore
store = JobStore.open(Path(sys.argv[1]), "first")
at = datetime(2025, 1, 1, tzinfo=UTC)
store.enqueue([NewJob(b"/inbox/%d" % i, b"/inbox", Fingerprint(1, 2, 3, 4, 5), {}, "d") for i in range(20)], at)
for _ in range(5):
    store.claim(at)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.fault(19, "kill -9 of a writer")
def test_what_was_committed_survives_kill_9(tmp_path: Path) -> None:
    """A process that is killed right after its writes loses none of them, and the next one takes over."""
    path = tmp_path / "history.db"
    ended = subprocess.run([sys.executable, "-P", "-c", _COMMIT_AND_DIE, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    store = JobStore.open(path, "second")
    counts = store.counts()
    assert (counts[JobState.QUEUED], counts[JobState.RUNNING]) == (15, 5)
    assert store.recover(AT) == []
    assert store.counts()[JobState.QUEUED] == 20
    store.close()
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_claiming_uses_its_index(tmp_path: Path) -> None:
    """The partial index of jobs to be claimed serves exactly the condition that the claim uses, for each inbox."""
    from storage.claims import NEXT, NEXT_OF_PERSONS
    from storage.schema import LIVE

    path = tmp_path / "history.db"
    JobStore.open(path, "me").close()
    first = {
        NEXT: "SEARCH job USING INDEX job_claimable (inbox=? AND priority=? AND is_long=?)",
        NEXT_OF_PERSONS: "SEARCH job USING INDEX job_line (person=? AND priority=? AND is_long=?)",
    }
    for query, way in first.items():
        claim = re.sub(r"NOT IN \S+", "NOT IN (x'00')", re.sub(r":(at|far)", "'2025'", str(query)))
        claim = claim.replace(":priority", "0").replace(":is_long", "1")
        plans = [str(plan[3]) for plan in rows(path, f"EXPLAIN QUERY PLAN {claim}")]
        assert way in plans
        # The first jobs of a few lines are sorted, never the jobs of one.
        assert not [plan for plan in plans if plan.startswith("SCAN job")]
        assert plans.count("USE TEMP B-TREE FOR ORDER BY") == 1
    live = f"EXPLAIN QUERY PLAN SELECT id FROM job WHERE {LIVE} AND file_id IN (1, 2)"
    assert "one_live_job_per_file" in str(rows(path, live))
