"""What keeps very many recordings quick: which way questions go through the tables, what commands load, batches.

How quick it is in the end, `make bench-scale` measures.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from benchmarks import long_history, noop_daemon, report, results, scale
from daemon.config import InboxConfig
from daemon.engine.client import Checkpoint, Request
from daemon.intake import admission as admission_module
from daemon.intake.admission import BATCH
from daemon.intake.inbox import Inbox
from daemon.locks import Owner
from daemon.options import JobOptions
from daemon.outputs import publish
from storage.connection import open_writer
from storage.errors import NewerSchema, StorageError
from storage.glance import Glance
from storage.jobs import JobStore
from storage.reading import JobReader
from storage.records import JobState, Outcome
from tests.unit.history import AT, INBOX, claim, days, new, result, transcribe

SCHEMAS = Path(__file__).parent.parent / "data" / "schemas"
COOKBOOK = scale.cookbook(scale.DOCUMENT.read_text(encoding="utf-8"))
LIMITED = [(title, query) for title, query in COOKBOOK if title not in scale.OVER_ALL]


@pytest.fixture(scope="module")
def small_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of the benchmark, a small one."""
    path = tmp_path_factory.mktemp("scale") / "transcribed.db"
    long_history.write(path, 1000, 20, 5)
    return path


def plan(database: sqlite3.Connection, query: str) -> list[str]:
    """How SQLite would answer *query*."""
    return [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {query}")]


@pytest.mark.parametrize(("title", "query"), LIMITED, ids=lambda text: text[:40])
def test_a_question_of_the_cookbook_does_not_look_at_all_rows(small_history: Path, title: str, query: str) -> None:
    """A table is walked in its own order, to a LIMIT, or searched by an index; never read whole and sorted."""
    del title
    with closing(sqlite3.connect(small_history)) as database:
        steps = plan(database, query)
    whole = [step for step in steps if re.match(r"SCAN (job|file|event|output|segment|suspect)$", step)]
    assert not whole or not any("FOR ORDER BY" in step or "FOR GROUP BY" in step for step in steps), steps


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT * FROM v_history WHERE path = 'a'", "file_path_text"),
        ("SELECT * FROM v_history ORDER BY finished_at DESC LIMIT 9", "job_ended"),
        ("SELECT * FROM v_failures ORDER BY finished_at DESC LIMIT 9", "job_failed"),
        ("SELECT * FROM v_failures WHERE finished_at > '2025' ORDER BY finished_at DESC", "job_failed"),
        ("SELECT * FROM v_files WHERE folder = '/srv'", "file_folder_text"),
        ("SELECT * FROM v_outputs WHERE recording = '/srv/a.wav'", "output_job"),
        ("SELECT * FROM v_suspects WHERE path = '/srv/a.wav'", "suspect_job"),
        ("SELECT * FROM v_events WHERE at > '2025' ORDER BY at DESC", "event_at"),
        ("SELECT * FROM v_throughput_daily WHERE day > '2025-01-01'", "job_day"),
    ],
)
def test_views_are_searched_by_the_index_made_for_it(small_history: Path, query: str, index: str) -> None:
    """No statistics of this history are needed: the planner is told what a long one looks like."""
    with closing(sqlite3.connect(small_history)) as database:
        steps = plan(database, query)
    assert any(index in step for step in steps), steps
    assert not any("FOR ORDER BY" in step for step in steps), steps


@pytest.mark.parametrize(("title", "query"), [(title, query) for title, query, _ in scale.VIEWS])
def test_the_newest_rows_of_a_view_are_not_sorted(small_history: Path, title: str, query: str) -> None:
    """They are read from the end; only days are put in order."""
    with closing(sqlite3.connect(small_history)) as database:
        steps = plan(database, query)
    assert title.startswith("v_throughput") or not any("FOR ORDER BY" in step for step in steps), steps


def planning(path: Path) -> list[tuple[str, str | None, str]]:
    """What the planner of the database at *path* is told."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT tbl, idx, stat FROM sqlite_stat1 ORDER BY tbl, idx").fetchall()


def test_what_the_planner_is_told_names_every_index(tmp_path: Path) -> None:
    """One that was left out would count as finding ten rows; a migrated history is told the same."""
    fresh = tmp_path / "fresh.db"
    open_writer(fresh).dispose()
    with closing(sqlite3.connect(fresh)) as database:
        indexes = database.execute(
            "SELECT tbl_name, name FROM sqlite_schema WHERE type = 'index' AND tbl_name NOT LIKE 'segment_search%'"
        ).fetchall()
    assert {(table, index) for table, index, _ in planning(fresh) if index} == set(indexes)
    migrated = tmp_path / "migrated.db"
    with closing(sqlite3.connect(migrated, isolation_level=None)) as database:
        database.executescript((SCHEMAS / "v1.sql").read_text(encoding="utf-8"))
    open_writer(migrated).dispose()
    assert planning(migrated) == planning(fresh)
    with closing(sqlite3.connect(migrated)) as database:
        wrong = "SELECT count(*) FROM job JOIN file ON file.id = job.file_id WHERE job.inbox <> file.inbox"
        assert database.execute(wrong).fetchone() == (0,)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with closing(JobStore.open(tmp_path / "history.db", "me")) as store:
        yield store


def test_claims_go_through_all_inboxes_in_order(store: JobStore) -> None:
    """The oldest due job of all inboxes that may begin is next, wherever it is; a later one is left for its time."""
    names = [(b"/b/1.wav", b"/b"), (b"/a/2.wav", b"/a"), (b"/c/3.wav", b"/c"), (b"/a/4.wav", b"/a")]
    store.enqueue([new(path, inbox) for path, inbox in names], AT)
    first = store.claim(AT, [b"/c"])
    assert first is not None
    store.requeue(first, "later", AT, delay_s=60.0, refund=True)
    found = [job.path if (job := store.claim(AT, away)) else None for away in ([b"/c"], [b"/a", b"/c"], [], [], [])]
    assert found == [b"/a/2.wav", None, b"/c/3.wav", b"/a/4.wav", None]
    later = store.claim(AT + timedelta(seconds=61))
    assert later is not None
    assert later.path == b"/b/1.wav"


def test_a_queued_job_goes_with_its_recording_to_another_inbox(store: JobStore) -> None:
    """Its old inbox may be away: that is not its inbox any more."""
    store.enqueue([new(b"/srv/inbox/a.wav", b"/srv")], AT)
    store.enqueue([new(b"/srv/inbox/a.wav", INBOX)], AT)
    assert store.claim(AT, [INBOX]) is None
    assert store.claim(AT, [b"/srv"]) is not None


def test_newest_jobs_of_many_recordings(store: JobStore) -> None:
    """As `newest` of each; recordings without a job are left out."""
    transcribe(store, b"/srv/inbox/a.wav", "one")
    transcribe(store, b"/srv/inbox/a.wav", "two", at=days(1))
    transcribe(store, b"/srv/inbox/b.wav", "three", at=days(2))
    paths = [b"/srv/inbox/a.wav", b"/srv/inbox/b.wav", b"/srv/inbox/none.wav"]
    found = store.newest_of(paths)
    assert found == {path: store.newest(path) for path in paths[:2]}
    assert store.newest_of([]) == {}


def test_transcripts_of_the_same_content_are_found_one_by_one(store: JobStore) -> None:
    """By size first, so that most recordings need not be read; then by hash, the newest."""
    assert not store.has_size(1_000_000, "d")
    for day in range(2):
        job = claim(store, b"/srv/inbox/%d.wav" % day, days(day))
        store.decoded(job, source_sha256="5" * 64, audio_s=1.0, declared_s=1.0, speech_s=1.0, at=AT)
        store.publishing(job, [], result(), AT, document=b"x")
        store.finish(job, result(), AT)
    assert store.has_size(1_000_000, "d")
    assert not store.has_size(1_000_001, "d")
    assert store.transcript_of("5" * 64, 1_000_000, "d") == 2
    assert store.transcript_of("6" * 64, 1_000_000, "d") is None
    assert store.transcript_of("5" * 64, 1_000_000, "e") is None


def test_a_glance_sees_what_a_reader_sees(tmp_path: Path) -> None:
    """Jobs of every state, their events, and what is found by search are the same, without SQLAlchemy."""
    path = tmp_path / "history.db"
    with closing(JobStore.open(path, "me")) as store:
        transcribe(store, b"/srv/inbox/\xff.wav", "the annual budget", "nothing")
        transcribe(store, b"/srv/inbox/half.wav", "budget", told=result(Outcome.PARTIAL, "half"), at=days(1))
        store.fail(claim(store, b"/srv/inbox/bad.wav", AT), "no audio", AT)
        store.hold(claim(store, b"/srv/inbox/held.wav", AT), "later", AT, delay_s=60.0, refund=True)
        claim(store, b"/srv/inbox/running.wav", AT)
        store.enqueue([replace(new(b"/srv/inbox/next.wav"), options={"hotwords": "Größe"})], AT)
    with closing(JobReader.open(path)) as reader, closing(Glance.open(path)) as glance:
        assert glance.jobs() == reader.jobs()
        assert glance.jobs(limit=2) == reader.jobs(limit=2)
        states = [JobState.DONE, JobState.FAILED]
        assert glance.jobs(states, 2) == reader.jobs(states, 2)
        for job in [*reader.jobs(), None]:
            job_id = job.id if job is not None else 99
            assert glance.job(job_id) == reader.job(job_id)
            assert glance.events(job_id) == reader.events(job_id)
        assert glance.search(["budget"], folder=b"/srv/inbox", since=AT) == reader.search(["budget"])
        assert len(glance.search(["budget"])) == 2


def test_a_glance_refuses_what_a_reader_refuses(tmp_path: Path) -> None:
    """No history, one of another version, a file that is none: the same errors."""
    path = tmp_path / "history.db"
    with pytest.raises(StorageError, match="no job history"):
        Glance.open(path)
    for version, error in ((0, StorageError), (1, StorageError), (99, NewerSchema)):
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(error):
            Glance.open(path)
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(StorageError, match="no SQLite database"):
        Glance.open(path)


@pytest.mark.parametrize("command", ["jobs", "status", "search", "config"])
def test_a_command_loads_no_more_than_it_needs(command: str) -> None:
    """What the daemon needs takes several times as long to import as the whole answer."""
    heavy = {"sqlalchemy", "alembic", "watchdog", "psutil", "storage.jobs", "daemon.service"}
    code = f"import daemon.cli.app, daemon.cli.{command}, sys; print(*({heavy!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == ""


class _Inbox:
    """An inbox with a clock, and how often the history was asked."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "inbox"
        self.folder.mkdir()
        self.store = JobStore.open(root / "history.db", "me")
        settings = {"path": self.folder, "settle_s": 3.0, "scan_interval_s": 5.0, "watch": "poll"}
        self.inbox = Inbox(InboxConfig.model_validate(settings), self.store, max_attempts=3, on_new=lambda: None)
        self.inbox.open(Owner.this_process("me", root, "now"))
        self.now = 1000.0

    def step(self, seconds: float = 1.0) -> None:
        """One step, later."""
        self.now += seconds
        self.inbox.step(self.now)

    def close(self) -> None:
        """The end."""
        self.inbox.close()
        self.store.close()


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[_Inbox]:
    with closing(_Inbox(tmp_path)) as driven:
        yield driven


def test_files_that_wait_for_their_turn_are_not_said_to_change(driven: _Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that came at once the last get their jobs late: no row says that they are still being written."""
    monkeypatch.setattr(admission_module, "BATCH", 1)
    monkeypatch.setattr(admission_module, "_WORK_S", -1.0)  # one batch in each step
    for number in range(30):
        (driven.folder / f"{number}.wav").write_bytes(b"x")
    kinds: set[JobState] = set()
    for _ in range(60):
        driven.step()
        kinds |= {job.state for job in driven.store.jobs(limit=100)}
    assert kinds == {JobState.QUEUED}
    assert driven.store.counts()[JobState.QUEUED] == 30


def test_a_backlog_is_worked_off_without_rest(driven: _Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """While finished files are left, the next step comes at once and looks at none of them twice."""
    monkeypatch.setattr(admission_module, "BATCH", 1)
    monkeypatch.setattr(admission_module, "_WORK_S", -1.0)
    for number in range(5):
        (driven.folder / f"{number}.wav").write_bytes(b"x")
    driven.step()
    driven.step(3.0)
    monkeypatch.setattr(os, "lstat", None)
    rests = [driven.inbox.step(driven.now) for _ in range(4)]
    assert rests[:3] == [0.05, 0.05, 0.05]
    assert driven.store.counts()[JobState.QUEUED] == 5


def test_very_many_removed_recordings_are_few_transactions(driven: _Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was cleared: those in the queue are vanished, one question to the history for each batch."""
    names = [driven.folder / f"{number}.wav" for number in range(BATCH + 1)]
    for name in names:
        name.write_bytes(b"x")
    for _ in range(10):
        driven.step()
    asked: list[int] = []
    vanished = driven.store.vanished

    def count(paths: Sequence[bytes], at: datetime, reason: str) -> list[bytes]:
        asked.append(len(paths))
        return vanished(paths, at, reason)

    monkeypatch.setattr(driven.store, "vanished", count)
    for name in names:
        name.unlink()
    for _ in range(10):
        driven.step()
    assert asked == [BATCH, 1]
    assert driven.store.counts()[JobState.VANISHED] == BATCH + 1


@pytest.mark.parametrize("many", [2, 1000])
def test_names_do_not_depend_on_how_full_the_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Whether all names are read or only some asked for: a stem that two recordings share is nobody's."""
    monkeypatch.setattr(publish, "_MANY", many)
    for name in ("a.wav", "a.MP3", "b.wav", "c.wav", "c.txt.bak"):
        (tmp_path / name).write_bytes(b"x")
    written: dict[str, str] = {}
    for name in ("a.wav", "a.MP3", "b.wav", "c.wav"):
        (output,) = publish.stage(os.fsencode(tmp_path / name), {"txt": b"x"}, {})
        publish.discard([output])
        written[name] = os.path.basename(os.fsdecode(output.path))
    assert written == {"a.wav": "a.wav.txt", "a.MP3": "a.MP3.txt", "b.wav": "b.txt", "c.wav": "c.txt"}
    (tmp_path / "b.en.MOV").write_bytes(b"x")
    (output,) = publish.stage(os.fsencode(tmp_path / "b.wav"), {"txt": b"x"}, {}, suffix=".en")
    assert os.path.basename(output.path) == b"b.wav.en.txt"


def test_questions_without_a_limit_are_questions_of_the_cookbook() -> None:
    """A title that was changed would be measured against a limit that it cannot keep."""
    assert set(scale.OVER_ALL) <= {title for title, _ in COOKBOOK}
    assert len(LIMITED) > len(scale.OVER_ALL)


def test_the_benchmark_of_the_history_measures(tmp_path: Path) -> None:
    """On a small history: every figure has a value, and the page has a table of them."""
    long_history.write(tmp_path / "transcribed.db", 200, 10, 3)
    figures = list(scale.questions(tmp_path / "transcribed.db"))
    with closing(JobStore.open(tmp_path / "transcribed.db", "me")) as store:
        figures += [*scale.reads(store), *scale.claims(store, 20)]
        assert store.search(["annual budget"])
    assert {one.group for one in figures} == {scale.HISTORY, scale.QUESTIONS, scale.TABLES}
    missed = scale.Figure(scale.HISTORY, "too slow", 51.0, 60.0, "ms", 50.0)
    sizes = {"files": 0, "jobs": 200, "transcripts": 10, "lines": 3}
    results.save(scale.data_of([*figures, missed], sizes), tmp_path / "scale-cpu.json")
    page = report.page(tmp_path, tmp_path, draw=False)
    assert "Over its limit: " in page
    assert "| too slow | 51 | 60 | 50.0 | ms |" in page


def test_the_engine_that_does_nothing_answers_as_one(tmp_path: Path) -> None:
    """One line for each recording; its state is one that `status` can show."""
    engine, hurry = noop_daemon.NoEngine(tmp_path / "hold"), threading.Event()
    hurry.set()
    request = Request(7, Path("/nothing"), 16_000, (), JobOptions())
    transcript = engine.transcribe(request, Checkpoint(), cancelled=hurry)
    assert noop_daemon.WORD in transcript.segments[0].text
    assert engine.status().seats[0].state == "ready"
