"""What has the name of a recording and is no file: never a job, and harmless even where it reaches a decoder."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.config import InboxConfig
from daemon.decode.pool import DecodeLimits, DecodePool
from daemon.errors import RecordingError, SourceBlocked, TranscribedError
from daemon.intake.explain import explain
from daemon.intake.scanner import scan
from daemon.source import Source
from storage.records import Fingerprint

SOON_S = 10.0


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("making a device needs root")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))


KINDS: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "device": device,
    "socket": listening,
    "folder": Path.mkdir,
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path),
    "dangling link": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.fault(11, "FIFO, device, socket, folder and links under an audio name")
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_no_recording_and_explain_says_why(tmp_path: Path, kind: str) -> None:
    """No scan finds it, no job could open it, and nobody waits for it."""
    path = tmp_path / "x.wav"
    KINDS[kind](path)
    began = time.monotonic()
    assert scan(os.fsencode(tmp_path), recursive=True).recordings == {}
    said = explain(path, [InboxConfig(path=tmp_path)], None, lambda _name: None).rule
    assert "only regular files" in said or "links are not followed" in said
    with pytest.raises((RecordingError, SourceBlocked)):
        Source(os.fsencode(path), Fingerprint.of(path.lstat()))
    assert time.monotonic() - began < SOON_S


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    """One worker for all."""
    made = DecodePool(workers=1, limits=DecodeLimits(), on_output=lambda _name, line: pytest.fail(line))
    yield made
    made.close(0)


@pytest.mark.fault(11, "a decoder that is given a device or a folder")
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/status", "/"])
def test_a_decoder_that_is_given_no_file_says_so(pool: DecodePool, path: str) -> None:
    """Devices, folders and files of /proc: refused in words, and the worker lives."""
    fd, spool_fd = os.open(path, os.O_RDONLY), os.memfd_create("spool")
    began = time.monotonic()
    try:
        with pytest.raises(TranscribedError):
            pool.decode(fd, spool_fd, extension=".wav", cancelled=threading.Event())
    finally:
        os.close(fd)
        os.close(spool_fd)
    assert time.monotonic() - began < SOON_S
    assert len(pool.pids()) == 1


@pytest.mark.fault(11, "a decoder that is given a FIFO")
def test_a_decoder_does_not_wait_for_a_fifo(pool: DecodePool, tmp_path: Path) -> None:
    """Nobody will ever write to it."""
    os.mkfifo(tmp_path / "x.wav")
    fd, spool_fd = os.open(tmp_path / "x.wav", os.O_RDWR | os.O_NONBLOCK), os.memfd_create("spool")
    try:
        with pytest.raises(TranscribedError):
            pool.decode(fd, spool_fd, extension=".wav", cancelled=threading.Event())
    finally:
        os.close(fd)
        os.close(spool_fd)
