"""Trouble of the machine: limits of the kernel, clocks that jump, a log that cannot be written, thousands of files."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.intake.watch import PROBE_S
from tests.fault.test_kill_everywhere import go_on, write
from tests.harness import MakeDaemon, copy_sample
from tests.invariants import Expected, assert_invariants
from tests.world import World

INOTIFY = Path("/proc/sys/fs/inotify")
ALL = "ALL_FAULTS" in os.environ
N_FILES = 10_000 if ALL else 1_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@contextlib.contextmanager
def limit(name: str, value: int) -> Generator[None]:
    """The kernel's limit *name* is *value* inside the block."""
    path = INOTIFY / name
    before = path.read_text(encoding="ascii")
    try:
        path.write_text(str(value), encoding="ascii")
    except OSError:
        pytest.skip(f"needs root to set fs.inotify.{name}")
    try:
        yield
    finally:
        path.write_text(before, encoding="ascii")


@pytest.mark.fault(23, "fs.inotify.max_queued_events=16 and 2,000 files")
@pytest.mark.fault(33, "2,000 files while events are lost")
def test_files_whose_events_were_lost_are_found(tmp_path: Path) -> None:
    """The scan is the truth: every file has a job, whatever the queue of the kernel dropped."""
    with limit("max_queued_events", 16):
        world = World(tmp_path, watch="events", scan_interval_s=30)
        try:
            world.start()
            world.inbox.start_watching(lambda: None)
            world.step(1.0)
            for number in range(2000):
                (world.folder / f"{number}.wav").write_bytes(b"GOOD")
            for _ in range(15):
                world.step(3.0)
            assert len(world.store.jobs(limit=10_000)) == 2000
        finally:
            world.close()


@pytest.mark.fault(24, "fs.inotify.max_user_watches=1 and a tree of folders")
def test_without_watches_files_are_found_all_the_same(tmp_path: Path) -> None:
    """The limit of the kernel is no end: files are found by scans, and nothing else changes."""
    with limit("max_user_watches", 1):
        world = World(tmp_path, watch="auto", scan_interval_s=30)
        try:
            for number in range(5):
                (world.folder / str(number)).mkdir()
            world.start()
            world.inbox.start_watching(lambda: None)
            for _ in range(3):
                world.step(PROBE_S)
            path = world.folder / "3" / "a.wav"
            path.write_bytes(b"GOOD")
            world.settle()
            assert path.with_suffix(".txt").exists()
        finally:
            world.close()


@pytest.mark.fault(28, "the wall clock a year ahead and a year back, at every state")
@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365)])
def test_a_clock_that_jumps_changes_nothing(world: World, jump: timedelta) -> None:
    """What settles, what waits for a folder and what is in hand goes on by a clock that does not jump."""
    write(world, "a.wav")
    world.start()
    world.step(2.0)
    world.at += jump
    world.refuse_outputs(28)
    go_on(world)
    world.at += jump
    write(world, "b.wav")
    world.step(3.0)
    world.kill()
    world.at -= 2 * jump
    world.settle()
    assert world.broken() == []
    assert world.engine.n_calls == 2


@pytest.mark.fault(28, "recordings with times in 2099 and 1970")
def test_recordings_of_another_century_are_done(world: World) -> None:
    """A time stamp is compared, never believed."""
    for name, at in (("a.wav", 4_070_908_800), ("b.wav", 0), ("c.wav", -86_400)):
        os.utime(write(world, name), (at, at))
    world.start()
    world.settle()
    assert world.broken() == []
    assert len(list(world.folder.glob("*.txt"))) == 3


@pytest.mark.fault(58, "transcripts beside recordings, for many scans and a restart")
def test_our_outputs_are_never_recordings(tmp_path: Path) -> None:
    """All formats at once, names that look like recordings inside: as many jobs as recordings, for ever."""
    world = World(tmp_path, formats=["txt", "srt", "vtt", "tsv", "json"])
    try:
        for name in ("a.wav", "a.mp3.wav", "a.txt.wav", "x.wav.wav"):
            write(world, name)
        world.start()
        world.settle()
        world.stop()
        world.start()
        go_on(world)
        assert len(world.store.jobs(limit=100)) == 4
        assert world.engine.n_calls == 4
        assert world.broken() == []
    finally:
        world.close()


@pytest.mark.fault(33, "10,000 files at once, no engine")
def test_ten_thousand_files_are_queued_soon(world: World) -> None:
    """In a few steps every file has its job; a scan that finds nothing new is quick."""
    for number in range(N_FILES):
        (world.folder / f"{number}.wav").write_bytes(b"GOOD")
    world.start()
    began = time.monotonic()
    for _ in range(6):
        world.step(3.0)
    assert world.store.counts()["queued"] + len(world.pending) >= N_FILES - 10  # type: ignore[index]
    assert time.monotonic() - began < 60
    began = time.monotonic()
    world.step(10.0)
    assert time.monotonic() - began < 5


FULL_LOG = """
import sys, logging
sys.stdout = open("/dev/full", "w")
from daemon import log
log.set_up("json", "info")
logging.getLogger("x").info("one %s", "line")
sys.stderr.write("alive")
"""


@pytest.mark.fault(52, "stdout on a full disk")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_the_log_does_not_reach_the_work() -> None:
    """The line is lost, the work goes on, and nothing is said about it elsewhere."""
    done = subprocess.run([sys.executable, "-c", FULL_LOG], capture_output=True, text=True, check=False)
    assert done.stderr.startswith("alive")


@pytest.mark.skipif(not ALL, reason="`make faults` runs it")
@pytest.mark.fault(52, "a real daemon with its log on a full disk")
@pytest.mark.fault(19, "SIGKILL of a real daemon, then all promises")
def test_a_daemon_whose_log_cannot_be_written_works(make_daemon: MakeDaemon) -> None:
    """Not a line of it can be written, and the recording is done; killed and started again, all promises hold."""
    daemon = make_daemon()
    daemon.start(ready=False, output=Path("/dev/full"))
    daemon.log.touch()
    path = copy_sample("memo.wav", daemon.inbox)
    daemon.wait_ended(1)
    assert path.with_suffix(".txt").exists()
    daemon.kill()
    daemon.start()
    daemon.until(lambda: not list(daemon.inbox.glob(".tr-*")), "the probe of the watch to go", 15)
    assert daemon.stop() == 0
    assert_invariants(daemon.inbox, daemon.state_dir, daemon.log, Expected(exit_status=daemon.process.returncode))
    assert [json.loads(line) for line in daemon.log.read_text().splitlines()]
