"""The database is damaged, deleted, replaced or without room under a real daemon: no transcript is made twice."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path

import pytest

from storage.snapshots import Snapshots
from tests.harness import Daemon, MakeDaemon, copy_sample

HISTORY_LOST = 75


def transcripts(daemon: Daemon) -> dict[str, tuple[str, int]]:
    """The text and the inode of every transcript: one that is written again has another inode."""
    return {path.name: (path.read_text(), path.stat().st_ino) for path in daemon.transcripts()}


def ask(daemon: Daemon, query: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{daemon.state_dir}/transcribed.db?mode=ro", uri=True)) as history:
        return history.execute(query).fetchall()


def n_decoded(daemon: Daemon) -> int:
    ((count,),) = ask(daemon, "SELECT count(*) FROM v_events WHERE kind IN ('decoded', 'running')")
    assert isinstance(count, int)
    return count


def start_again(daemon: Daemon) -> None:
    """Start it after an end that left no word in the log, and wait until this start is ready."""
    daemon.log.rename(daemon.log.with_suffix(".before"))
    daemon.start()


def damage(path: Path) -> None:
    """Flip what is not in the log, as a failing disk does, and the log too."""
    for file in (path, path.with_name(path.name + "-wal")):
        if file.exists() and file.stat().st_size:
            file.write_bytes(b"\xa5" * file.stat().st_size)


@pytest.mark.fault(30, "a damaged database under a real daemon")
def test_row_30_a_corrupt_database_is_rebuilt_and_nothing_transcribed_again(make_daemon: MakeDaemon) -> None:
    """Killed, its database overwritten, started: the jobs are done, the damaged file is aside, no engine is used."""
    daemon = make_daemon().start()
    copy_sample("memo.wav", daemon.inbox)
    daemon.wait_ended(1)
    Snapshots.beside(daemon.state_dir / "transcribed.db").take()
    copy_sample("greeting.opus", daemon.inbox)
    jobs = daemon.wait_ended(2)
    before = transcripts(daemon)
    daemon.kill()
    damage(daemon.state_dir / "transcribed.db")
    start_again(daemon)
    assert daemon.has_logged("history_mended")
    assert {(job["path"], job["state"], tuple(job["outputs"])) for job in daemon.wait_ended(2)} == {
        (job["path"], job["state"], tuple(job["outputs"])) for job in jobs
    }
    # A scan that took one of them for new would have made a third job, and the settle time is three seconds.
    copy_sample("studio.flac", daemon.inbox)
    assert len(daemon.wait_ended(3)) == 3
    after = transcripts(daemon)
    assert {name: after[name] for name in before} == before
    ((detail,),) = ask(daemon, "SELECT detail FROM v_events WHERE kind = 'history_mended'")
    assert os.path.exists(json.loads(str(detail))["set_aside"])
    assert n_decoded(daemon) == 4  # claimed and decoded: the job in the snapshot, and the third recording
    assert daemon.stop() == 0
    assert ask(daemon, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.fault(32, "unlink under a real daemon")
def test_row_32_a_database_deleted_under_the_daemon_ends_it(make_daemon: MakeDaemon) -> None:
    """It ends with status 75 within seconds; the next start has every job, and transcribes nothing again."""
    daemon = make_daemon().start()
    copy_sample("memo.wav", daemon.inbox)
    daemon.wait_ended(1)
    before = transcripts(daemon)
    path = daemon.state_dir / "transcribed.db"
    path.unlink()
    assert daemon.process.wait(30) == HISTORY_LOST
    assert daemon.has_logged("history_lost")
    assert daemon.has_logged("history_rescued")
    start_again(daemon)
    copy_sample("greeting.opus", daemon.inbox)
    jobs = daemon.wait_ended(2)
    assert [(job["id"], job["state"]) for job in jobs] == [(1, "done"), (2, "done")]
    after = transcripts(daemon)
    assert {name: after[name] for name in before} == before
    assert daemon.stop() == 0
    assert ask(daemon, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.fault(51, "a newer schema under a real daemon")
def test_row_51_a_newer_schema_is_refused_with_both_versions(make_daemon: MakeDaemon) -> None:
    """Exit code 78, and the file is as it was."""
    daemon = make_daemon().start()
    assert daemon.stop() == 0
    path = daemon.state_dir / "transcribed.db"
    with contextlib.closing(sqlite3.connect(path)) as history:
        (version,) = history.execute("PRAGMA user_version").fetchone()
        history.execute("PRAGMA user_version = 9999")
    done = daemon.run("run", check=False)
    assert done.returncode == 78
    assert "schema 9999" in done.stderr
    assert f"knows {version}" in done.stderr
