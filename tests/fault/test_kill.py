"""kill -9 of each kind of process in the middle of a job: nothing is lost, nothing is left over."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.harness import Daemon, MakeDaemon, copy_sample


def _assert_all_done(daemon: Daemon, jobs: list[dict[str, Any]], n_jobs: int) -> None:
    assert len(jobs) == n_jobs
    assert {job["state"] for job in jobs} == {"done"}, jobs
    for job in jobs:
        assert all(os.path.exists(path) for path in job["outputs"])
        assert job["attempt"] <= 3
    # The probe of the watch is there for five seconds, and the jobs may be done before.
    daemon.until(lambda: not daemon.leftovers(), "the temporary files to go", 10)
    assert len(daemon.transcripts()) == n_jobs


@pytest.mark.fault(43, "SIGKILL of the real engine")
@pytest.mark.fault(44, "SIGKILL of the real engine")
def test_engine_killed_in_a_job(make_daemon: MakeDaemon) -> None:
    """The daemon lives, starts another engine, and the jobs go on; each has its words once."""
    daemon = make_daemon().start()
    for number in range(3):
        copy_sample("lecture.ogg", daemon.inbox / f"{number}.ogg")
    daemon.wait_stage("engine")
    (engine,) = daemon.children("daemon.engine.server")
    os.kill(engine, signal.SIGKILL)
    _assert_all_done(daemon, daemon.wait_ended(3), 3)
    assert daemon.children("daemon.engine.server") != [engine]
    assert daemon.process.poll() is None
    texts = {path.read_text() for path in daemon.transcripts()}
    assert len(texts) == 1
    assert daemon.has_logged("engine_died")


def test_engine_killed_with_ten_recordings_inside(make_daemon: MakeDaemon) -> None:
    """All ten are done once by the next engine, and their texts are those of a day without trouble."""
    samples = ["memo.wav", "meeting.flac", "phone-call.wav", "interview.mp3", "studio.flac", "presentation.mp4"]
    samples += ["greeting.opus", "memo.wav", "meeting.flac", "lecture.ogg"]
    quiet, daemon = make_daemon("quiet").start(), make_daemon("struck").start()
    (engine,) = daemon.children("daemon.engine.server")
    os.kill(engine, signal.SIGSTOP)  # so that none is done before all are inside
    for run in (quiet, daemon):
        for number, sample in enumerate(samples):
            copy_sample(sample, run.inbox / f"{number}{os.path.splitext(sample)[1]}")
    daemon.until(lambda: _n_inside(daemon) == len(samples), "all recordings in the engine", 25)
    os.kill(engine, signal.SIGKILL)
    _assert_all_done(daemon, daemon.wait_ended(len(samples)), len(samples))
    _assert_all_done(quiet, quiet.wait_ended(len(samples)), len(samples))
    assert daemon.has_logged("engine_died")
    texts = [{path.name: path.read_text() for path in run.transcripts()} for run in (quiet, daemon)]
    assert texts[0] == texts[1]


def _n_inside(daemon: Daemon) -> int:
    return int(json.loads(daemon.run("status", "--json", check=False).stdout)["engine"]["n_jobs"])


@pytest.mark.fault(43, "SIGSEGV twice on one recording")
def test_engine_crashed_twice_on_one_recording_quarantines_it_alone(make_daemon: MakeDaemon) -> None:
    """A recording that takes the engine with it twice is set aside with a reason; the others are done."""
    daemon = make_daemon(TRANSCRIBED_ENGINE_MAX_OPEN="1").start()
    poison = copy_sample("lecture.ogg", daemon.inbox / "poison.ogg")
    for _ in range(2):
        engine = _engine_with_a_job(daemon)
        os.kill(engine, signal.SIGSEGV)
    copy_sample("memo.wav", daemon.inbox)
    jobs = {os.path.basename(job["path"]): job for job in daemon.wait_ended(2)}
    assert jobs["poison.ogg"]["state"] == "quarantined"
    assert "engine died" in jobs["poison.ogg"]["reason"]
    assert poison.exists()
    assert jobs["memo.wav"]["state"] == "done"
    # The probe of the watch is there for five seconds, and the jobs may be done before.
    daemon.until(lambda: not daemon.leftovers(), "the temporary files to go", 10)


def _engine_with_a_job(daemon: Daemon) -> int:
    """The process id of a live engine, once a job is in it."""
    found: list[int] = []

    def there() -> bool:
        engine = json.loads(daemon.run("status", "--json", check=False).stdout)["engine"]
        found[:] = [engine["pid"]] if engine["state"] == "ready" and engine["n_jobs"] else []
        return bool(found) and daemon.children("daemon.engine.server") == found

    daemon.until(there, "a job in a live engine")
    return found[0]


@pytest.mark.fault(44, "SIGKILL of a real decoder")
def test_decode_worker_killed_in_a_job(make_daemon: MakeDaemon) -> None:
    """It costs the file some seconds and no attempt: it is no fault of the recording."""
    daemon = make_daemon(TRANSCRIBED_DECODE_WORKERS="1").start()
    copy_sample("memo.wav", daemon.inbox)
    daemon.wait_ended(1)  # a worker runs now
    (worker,) = daemon.children("daemon.decode.worker")
    os.kill(worker, signal.SIGSTOP)
    copy_sample("studio.flac", daemon.inbox)
    daemon.wait_stage("decode")
    os.kill(worker, signal.SIGKILL)
    jobs = {os.path.basename(job["path"]): job for job in daemon.wait_ended(2)}
    assert jobs["studio.flac"]["state"] == "done"
    assert jobs["studio.flac"]["attempt"] == 1
    # The probe of the watch is there for five seconds, and the jobs may be done before.
    daemon.until(lambda: not daemon.leftovers(), "the temporary files to go", 10)


@pytest.mark.fault(19, "SIGKILL of a real daemon")
@pytest.mark.parametrize("stage", ["decode", "engine"])
def test_daemon_killed_in_a_job(make_daemon: MakeDaemon, stage: str) -> None:
    """After the restart every recording is done once; no child outlives the daemon."""
    daemon = make_daemon().start()
    for number in range(3):
        copy_sample("lecture.ogg", daemon.inbox / f"{number}.ogg")
    if stage == "engine":
        daemon.wait_stage("engine")
    else:
        daemon.until(lambda: daemon.children("daemon.decode.worker"), "a decode worker")
    children = daemon.children("daemon.engine.server") + daemon.children("daemon.decode.worker")
    daemon.kill()
    daemon.until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), "the children to end", 10)
    daemon.start()
    _assert_all_done(daemon, daemon.wait_ended(3), 3)
    assert daemon.stop() == 0
