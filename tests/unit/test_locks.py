"""Locks between real processes: who holds one, and when it ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pytest

from daemon.errors import AlreadyRunning
from daemon.locks import Lock, Owner, holder_of

OWNER: Final = Owner("u1", 4711, "host", "/var/lib/transcribed", "2025-03-01T12:00:00Z")

_HOLD = """
import sys
from pathlib import Path
from daemon.locks import Lock, Owner
lock = Lock.take(Path(sys.argv[1]), Owner.this_process("other", Path("/other/state"), "2025-01-01T00:00:00Z"), "it")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(path: Path) -> Generator[subprocess.Popen[str]]:
    """Another process that holds the lock at *path* until it is killed or its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_names_its_holder(tmp_path: Path) -> None:
    """In the file, for people and for whoever is refused."""
    path = tmp_path / "lock"
    lock = Lock.take(path, OWNER, "it")
    assert json.loads(path.read_text()) == asdict(OWNER)
    assert holder_of(path) == OWNER
    assert str(OWNER) == ("process 4711 on host, with its state in /var/lib/transcribed, since 2025-03-01T12:00:00Z")
    lock.release()


@pytest.mark.fault(22, "a second process")
def test_another_process_is_refused_by_name(tmp_path: Path) -> None:
    """Its process id and state folder say which one to stop."""
    path = tmp_path / "lock"
    with other_process(path) as process:
        with pytest.raises(AlreadyRunning) as refused:
            Lock.take(path, OWNER, "the inbox /srv/inbox")
        assert "the inbox /srv/inbox is in use" in str(refused.value)
        assert f"process {process.pid} " in str(refused.value)
        assert "/other/state" in str(refused.value)
        holder = holder_of(path)
        assert holder is not None
        assert holder.pid == process.pid


@pytest.mark.fault(22, "kill -9 of the first")
def test_kill_9_gives_the_lock_back(tmp_path: Path) -> None:
    """The kernel does it; nobody has to clean up, and the old name is not taken for a holder."""
    path = tmp_path / "lock"
    with other_process(path) as process:
        process.kill()
        process.wait()
        assert path.exists()
        assert holder_of(path) is None
        lock = Lock.take(path, OWNER, "it")
        assert holder_of(path) == OWNER
        lock.release()


def test_the_same_process_cannot_take_a_lock_twice(tmp_path: Path) -> None:
    """Two inboxes on one folder would be such a case."""
    lock = Lock.take(tmp_path / "lock", OWNER, "it")
    with pytest.raises(AlreadyRunning, match="process 4711"):
        Lock.take(tmp_path / "lock", OWNER, "it")
    lock.release()


def test_a_released_lock_can_be_taken_and_has_no_holder(tmp_path: Path) -> None:
    """The file stays, with the name of the one before: that counts for nothing."""
    path = tmp_path / "lock"
    Lock.take(path, OWNER, "it").release()
    assert path.exists()
    assert holder_of(path) is None
    Lock.take(path, OWNER, "it").release()


def test_a_longer_name_before_leaves_no_trace(tmp_path: Path) -> None:
    """The file holds one owner, whole."""
    path = tmp_path / "lock"
    path.write_text("x" * 5000)
    lock = Lock.take(path, OWNER, "it")
    assert holder_of(path) == OWNER
    lock.release()


def test_a_look_at_the_holder_does_not_refuse_one_who_takes_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look holds the lock, shared, for a moment: a daemon that starts just then must not give up."""
    path = tmp_path / "lock"
    real, looks = fcntl.flock, [True]

    def flock(fd: int, operation: int) -> None:
        if looks:
            looks.clear()
            raise BlockingIOError(errno.EAGAIN, "in use")
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    Lock.take(path, OWNER, "it").release()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"uuid": 1}'])
def test_a_holder_that_left_no_name_is_still_one(tmp_path: Path, content: bytes) -> None:
    """Whatever is in the file: the lock is what counts."""
    path = tmp_path / "lock"
    lock = Lock.take(path, OWNER, "it")
    path.write_bytes(content)
    with pytest.raises(AlreadyRunning, match="one that left no name"):
        Lock.take(path, OWNER, "it")
    lock.release()


def test_a_full_disk_does_not_keep_us_from_locking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is for people; the lock holds without it."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = Lock.take(tmp_path / "lock", OWNER, "it")
    with pytest.raises(AlreadyRunning):
        Lock.take(tmp_path / "lock", OWNER, "it")
    lock.release()


def test_a_lock_knows_whether_its_file_is_still_in_place(tmp_path: Path) -> None:
    """Not once it was removed, made anew, or its folder taken away."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    path = folder / "lock"
    lock = Lock.take(path, OWNER, "it")
    assert lock.in_place()
    folder.rename(tmp_path / "away")
    assert not lock.in_place()
    (tmp_path / "away").rename(folder)
    assert lock.in_place()
    path.unlink()
    assert not lock.in_place()
    path.write_text("")
    assert not lock.in_place()
    lock.release()


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    """Whoever can write in an inbox could otherwise have us empty any file of ours."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        Lock.take(tmp_path / "lock", OWNER, "it")
    assert victim.read_text() == "precious"


def test_nothing_is_held_where_there_is_nothing(tmp_path: Path) -> None:
    """Asking makes no file."""
    assert holder_of(tmp_path / "nothing") is None
    assert list(tmp_path.iterdir()) == []


def test_this_process_as_an_owner() -> None:
    """Process id and host are those of the one who asks."""
    owner = Owner.this_process("u", Path("/state"), "now")
    assert (owner.pid, owner.state_dir) == (os.getpid(), "/state")
    assert owner.host
