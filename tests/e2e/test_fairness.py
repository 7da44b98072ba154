"""Somebody's archive and somebody else's memo, at a real daemon with the real model."""

from __future__ import annotations

import json
from pathlib import Path

from tests.harness import Daemon, MakeDaemon, copy_sample

N_ARCHIVE = 30
N_PLACES = 7  # of eight, one is not for one person alone


def states_in(daemon: Daemon, folder: Path) -> list[str]:
    """The states of the jobs of *folder*."""
    return [job["state"] for job in daemon.jobs() if job["path"].startswith(f"{folder}/")]


def test_a_memo_does_not_wait_for_an_archive(make_daemon: MakeDaemon) -> None:
    """An archive has all the places that it gets; a memo of somebody else is done long before the rest of it.

    No more of the archive ends meanwhile than was in hand, and a memo of the archive's own person is no later.
    """
    daemon = make_daemon(TRANSCRIBED_ENGINE_MAX_OPEN="6", TRANSCRIBED_OPTIONS_FORMATS="txt")
    archive, ben = daemon.inbox / "archive", daemon.inbox / "ben"
    archive.mkdir()
    ben.mkdir()
    for number in range(N_ARCHIVE):
        copy_sample("lecture.ogg", archive / f"{number:02d}.ogg")
    daemon.start()
    daemon.until(lambda: states_in(daemon, archive).count("queued") > 10, "the archive to be in the queue")
    status = json.loads(daemon.run("status", "--json", check=False).stdout)
    assert len(status["in_hand"]) <= N_PLACES
    memo = copy_sample("memo.wav", ben)
    daemon.until(lambda: daemon.jobs_of(memo), "a job for the memo")
    n_done = states_in(daemon, archive).count("done")
    daemon.until(memo.with_suffix(".txt").exists, "the memo")
    after = states_in(daemon, archive)
    assert after.count("done") - n_done <= N_PLACES
    assert after.count("queued") > 0
    told = json.loads(daemon.run("job", str(daemon.jobs_of(memo)[0]["id"]), "--json").stdout)
    assert (told["person"], told["priority"], told["n_before"]) == (str(ben), "normal", None)
    last = max(job["id"] for job in daemon.jobs() if job["state"] == "queued")
    assert "priority high" in daemon.run("priority", "high", str(last)).stdout
    daemon.until(lambda: _state(daemon, last) != "queued", "the job with priority")
    assert states_in(daemon, archive).count("queued") > 0
    assert daemon.run("priority", "low", str(last), check=False).returncode == 1
    daemon.kill()
    first = min(job["id"] for job in daemon.jobs() if job["state"] == "queued")
    assert "priority low" in daemon.run("priority", "low", str(first)).stdout
    assert "queued, low" in daemon.run("jobs", "--state", "queued").stdout


def _state(daemon: Daemon, number: int) -> str:
    return str(json.loads(daemon.run("job", str(number), "--json").stdout)["state"])
