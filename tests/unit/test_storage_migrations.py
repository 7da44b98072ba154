"""Databases of earlier versions: brought up to date with all their rows, or left exactly as they were."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

from storage import preparing
from storage.connection import open_writer
from storage.errors import NewerSchema, StorageError
from storage.jobs import JobStore
from storage.migrations import runner
from storage.reading import JobReader
from storage.records import LIVE_STATES, Fingerprint, NewJob
from storage.schema import VERSION
from storage.snapshots import Snapshots, check

SCHEMAS = Path(__file__).parent.parent / "data" / "schemas"
RELEASED = sorted(SCHEMAS.glob("v*.sql"), key=lambda path: int(path.stem[1:]))
OLDER = [path for path in RELEASED if int(path.stem[1:]) < VERSION]


def load(dump: Path, path: Path) -> Path:
    """A database at *path* from a dump."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(dump.read_text(encoding="utf-8"))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return path


def rows(path: Path) -> dict[str, list[dict[str, object]]]:
    """Every row of every table that is no search index, by table."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    query = "SELECT name FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND schema = 'main'"
    names = [row["name"] for row in connection.execute(query)]
    found = {name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}" ORDER BY 1')] for name in names}
    connection.close()
    return found


def version(path: Path) -> int:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


def schema(path: Path) -> dict[str, object]:
    """What the database is made of, whatever the order of its columns and the spaces in its SQL."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
    connection.close()
    return {f"{kind} {name}": _parts(sql) if kind == "table" else _plain(sql) for kind, name, sql in found}


def _plain(sql: str) -> str:
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.replace('"', "").split()))


def _parts(sql: str) -> list[str]:
    """The columns and constraints of a table, sorted, and what stands around them."""
    before, _, rest = _plain(sql).partition("(")
    body, _, after = rest.rpartition(")")
    parts, depth, start = [before, after], 0, 0
    for index, character in enumerate(body + ","):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append(body[start:index])
            start = index + 1
    return sorted(parts)


def test_the_last_revision_is_the_present_schema() -> None:
    """There is one revision for each version up to VERSION."""
    assert runner.head() == VERSION


def test_all_revisions_give_the_same_schema_as_a_new_database(tmp_path: Path) -> None:
    """Tables, constraints, indexes, views: a migrated database is no other than a fresh one."""
    open_writer(tmp_path / "fresh.db").dispose()
    migrated = load(SCHEMAS / "v1.sql", tmp_path / "migrated.db")
    open_writer(migrated).dispose()
    assert schema(migrated) == schema(tmp_path / "fresh.db")


def test_the_first_revision_is_the_first_release(tmp_path: Path) -> None:
    """Revision 0001 on an empty file gives the tables of the dump of version 1."""
    first = load(SCHEMAS / "v1.sql", tmp_path / "v1.db")
    empty = tmp_path / "empty.db"
    empty.touch()
    only_first = _versions(tmp_path)
    writer = _plain_engine(empty)
    with writer.begin() as connection:
        runner.run(connection, 0, only_first)
    writer.dispose()
    without_views = {name: sql for name, sql in schema(first).items() if not name.startswith("view ")}
    assert schema(empty) == without_views


@pytest.mark.fault(51, "databases of each release")
@pytest.mark.parametrize("dump", RELEASED, ids=lambda dump: dump.stem)
def test_every_released_schema_is_brought_up_to_date_with_its_rows(tmp_path: Path, dump: Path) -> None:
    """All rows are there with all their values, the history works, and its version is the present one."""
    path = load(dump, tmp_path / "history.db")
    before = rows(path)
    store = JobStore.open(path, "me")
    assert sum(store.counts().values()) == len(before["job"])
    assert store.jobs(limit=1000)
    store.close()
    after = rows(path)
    for table, old in before.items():
        kept = [{column: row[column] for column in old[0]} for row in after[table]] if old else []
        assert kept == old, table
    assert version(path) == VERSION
    assert check(path) == len(before["job"])


def test_what_was_in_the_queue_gets_in_line(tmp_path: Path) -> None:
    """By folder and size, as if it had come together: what comes anew is not behind all of it."""
    path = load(SCHEMAS / "v1.sql", tmp_path / "history.db")
    connection = sqlite3.connect(path)
    live = "state IN ('publishing', 'queued', 'running', 'waiting')"
    connection.execute(f"UPDATE job SET size_bytes = 16000 * (7200 + id) WHERE {live}")  # our own
    connection.execute("UPDATE file SET path = x'2f7372762f696e626f782fff2fff2f61' WHERE name_text = 'queued.wav'")
    connection.commit()
    connection.close()
    with closing(JobStore.open(path, "me")) as store:
        jobs = [job for job in store.jobs(limit=1000) if job.state in LIVE_STATES]
        assert {job.person for job in jobs} == {b"/srv/inbox", b"/srv/inbox/\xff"}
        assert all(job.expected_s == 7200 + job.id for job in jobs)
        new = NewJob(
            b"/srv/inbox/b/memo.wav", b"/srv/inbox", Fingerprint(1, 2, 3, 4, 5), {}, "d", person=b"/srv/inbox/b"
        )
        store.enqueue([new], datetime.now(UTC))
        claimed = store.claim(datetime.now(UTC))
        assert claimed is not None
        assert claimed.path == new.path
    connection = sqlite3.connect(path)
    query = f"SELECT starts_s, expected_s FROM job WHERE {live} AND person = ? ORDER BY starts_s"  # our own
    line = connection.execute(query, (b"/srv/inbox",)).fetchall()
    connection.close()
    assert line[0][0] == 0.0
    assert all(after[0] == before[0] + before[1] for before, after in pairwise(line))


def _versions(tmp_path: Path, *more: str) -> Path:
    """A folder of revisions: the released first one, and further ones with these bodies."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    shutil.copy(runner.FOLDER / "versions" / "v0001_first.py", folder / "versions")
    for number, body in enumerate(more, start=2):
        lines = [f'revision = "{number:04}"', f'down_revision = "{number - 1:04}"', "from alembic import op"]
        text = "\n".join([*lines, "def upgrade():", *(f"    {line}" for line in body.splitlines())])
        (folder / "versions" / f"v{number:04}_more.py").write_text(text)
    return folder


def _plain_engine(path: Path) -> Engine:
    from storage.connection import _engine  # pyright: ignore[reportPrivateUsage]  # without what open_writer does to it

    return _engine(path, "rw", 1, "BEGIN IMMEDIATE")


REBUILD = """
op.execute("ALTER TABLE job ADD COLUMN priority INTEGER DEFAULT 0 NOT NULL")
op.execute("CREATE TABLE fresh (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, inbox BLOB NOT NULL,"
           " path_text TEXT NOT NULL, folder_text TEXT NOT NULL, name_text TEXT NOT NULL,"
           " inbox_text TEXT NOT NULL) STRICT")
op.execute("INSERT INTO fresh SELECT * FROM file")
op.execute("DROP TABLE file")
op.execute("ALTER TABLE fresh RENAME TO file")
op.execute("CREATE INDEX file_inbox ON file (inbox)")
"""


def _killed_at(path: Path, limit: int) -> bool:
    """Open the writer in a process that is killed at the statement of this number; whether it was."""
    pid = os.fork()
    if pid == 0:
        counted = 0

        def count(*_: object) -> None:
            nonlocal counted
            counted += 1
            if counted == limit:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(Engine, "after_cursor_execute", count)
        event.listen(Engine, "commit", count)  # before it is done
        open_writer(path).dispose()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.fault(51, "kill -9 after each statement")
def test_killed_after_any_statement_the_old_schema_is_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL after each statement of a migration, and before its commit; the next start does it."""
    _use(monkeypatch, _versions(tmp_path, REBUILD), 2)
    original = load(SCHEMAS / "v1.sql", tmp_path / "original.db")
    before, before_schema = rows(original), schema(original)
    limit, path = 1, Path(shutil.copy(original, tmp_path / "killed-1.db"))
    while _killed_at(path, limit):
        assert (version(path), rows(path), schema(path)) == (1, before, before_schema), limit
        limit += 1
        path = Path(shutil.copy(original, tmp_path / f"killed-{limit}.db"))
    assert limit > 15
    assert (version(path), rows(path)["file"]) == (2, before["file"])
    killed = tmp_path / f"killed-{limit - 1}.db"
    assert not _killed_at(killed, 0)
    assert (version(killed), schema(killed)) == (2, schema(path))


@pytest.mark.fault(51, "an error after each statement")
def test_a_failure_after_any_statement_leaves_the_old_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error at each statement in turn: nothing of the migration is in the database, and it can be tried again."""
    folder = _versions(tmp_path, REBUILD)
    _use(monkeypatch, folder, 2)
    original = load(SCHEMAS / "v1.sql", tmp_path / "original.db")
    before, before_schema = rows(original), schema(original)
    limit, failed, path = 0, True, original
    while failed:
        limit += 1
        path = Path(shutil.copy(original, tmp_path / "failing.db"))
        failed = _fails_at(path, limit)
        if failed:
            assert (version(path), rows(path), schema(path)) == (1, before, before_schema), limit
    assert version(path) == 2
    assert limit > 15


def _fails_at(path: Path, limit: int) -> bool:
    counted = 0

    def count(*_: object) -> None:
        nonlocal counted
        counted += 1
        if counted == limit:
            raise OSError("pulled the plug")

    event.listen(Engine, "after_cursor_execute", count)
    try:
        open_writer(path).dispose()
    except OSError:
        return True
    finally:
        event.remove(Engine, "after_cursor_execute", count)
    return False


def _use(monkeypatch: pytest.MonkeyPatch, folder: Path, new_version: int) -> None:
    run = runner.run

    def run_these(connection: Connection, old: int) -> None:
        run(connection, old, folder)

    monkeypatch.setattr(preparing, "VERSION", new_version)
    monkeypatch.setattr(runner, "run", run_these)


def test_a_migration_is_preceded_by_a_snapshot_of_the_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has the old version and all rows, and is there even where the migration fails."""
    _use(monkeypatch, _versions(tmp_path, 'op.execute("ALTER TABLE nothing RENAME TO something")'), 2)
    path = load(SCHEMAS / "v1.sql", tmp_path / "history.db")
    before = rows(path)
    with pytest.raises(Exception, match="nothing"):
        open_writer(path)
    (snapshot,) = Snapshots.beside(path).all()
    assert (snapshot.kind, version(snapshot.path), rows(snapshot.path)) == ("schema-1", 1, before)
    assert (version(path), rows(path)) == (1, before)


def test_a_migration_that_leaves_rows_pointing_nowhere_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Foreign keys are checked before the commit."""
    _use(monkeypatch, _versions(tmp_path, 'op.execute("DELETE FROM job")'), 2)
    path = load(SCHEMAS / "v1.sql", tmp_path / "history.db")
    before = rows(path)
    with pytest.raises(StorageError, match="point nowhere"):
        open_writer(path)
    assert (version(path), rows(path)) == (1, before)


def test_after_a_migration_foreign_keys_are_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are off for the migration alone."""
    _use(monkeypatch, _versions(tmp_path, REBUILD), 2)
    engine = open_writer(load(SCHEMAS / "v1.sql", tmp_path / "history.db"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
    engine.dispose()


def test_a_reader_refuses_an_older_schema_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the writer migrates; a command beside it says what to do."""
    path = load(SCHEMAS / "v1.sql", tmp_path / "history.db")
    monkeypatch.setattr("storage.version.VERSION", 2)
    monkeypatch.setattr(preparing, "VERSION", 2)
    with pytest.raises(StorageError, match="has schema 1, this program reads 2: start the service"):
        JobReader.open(path)


@pytest.mark.fault(51, "a newer schema")
def test_a_newer_schema_is_refused_naming_both_versions(tmp_path: Path) -> None:
    """And nothing is written, no snapshot either."""
    path = tmp_path / "history.db"
    JobStore.open(path, "me").close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 7}")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(NewerSchema, match=f"schema {VERSION + 7}, this program knows {VERSION}"):
        JobStore.open(path, "me")
    assert path.read_bytes() == content
    assert Snapshots.beside(path).all() == []
