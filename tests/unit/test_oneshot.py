"""`transcribed transcribe` on real files, with a decoder and an engine that are fakes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.config import Config
from daemon.decode.pool import Decoded
from daemon.oneshot import Done, OneShot
from daemon.options import JobOptions
from tests.world import FakeDecode, FakeEngine


class Decode(FakeDecode):
    """*meanwhile* happens after the recording was read."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def decode(self, recording_fd: int, spool_fd: int, *, progress: Callable[[float], None], **rest: Any) -> Decoded:
        """As `DecodePool.decode`."""
        decoded = super().decode(recording_fd, spool_fd, progress=progress, **rest)
        self.meanwhile()
        return decoded


def nobody(*_: object) -> None:
    """Nobody watches."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "memo.wav"
    path.write_bytes(b"GOOD" * 100)
    return path


def transcribe(path: Path, decode: Decode) -> Done:
    """*path* through the fakes, its text beside it."""
    spool = path.parent / "spool"
    spool.mkdir()
    engine: Any = FakeEngine()
    pool: Any = decode
    one = OneShot(Config.model_validate({}), pool, engine, spool)
    (done,) = one.transcribe([os.fsencode(path)], JobOptions(formats=("txt",)), None, nobody, write=True)
    return done


def test_a_recording_gets_its_transcript(path: Path) -> None:
    """Beside it, and readable for whoever may read the recording."""
    path.chmod(0o604)
    done = transcribe(path, Decode())
    assert (done.error, done.files) == ("", (os.fsencode(path.with_suffix(".txt")),))
    assert path.with_suffix(".txt").stat().st_mode & 0o777 == 0o604


def test_a_recording_that_changes_meanwhile_gets_none(path: Path) -> None:
    """The words would be those of a file that is not there any more; the message says what to do."""
    decode = Decode()
    decode.meanwhile = lambda: path.write_bytes(b"GOOD" * 200)
    done = transcribe(path, decode)
    assert done.error == "it changed while it was transcribed; ask again once it is finished"
    assert not path.with_suffix(".txt").exists()


def test_a_recording_that_is_only_touched_meanwhile_gets_one(path: Path) -> None:
    """Same bytes, same words."""
    decode = Decode()
    decode.meanwhile = lambda: os.utime(path, ns=(1, 1))
    assert transcribe(path, decode).error == ""


def test_a_recording_that_is_gone_meanwhile_gets_one(path: Path) -> None:
    """Nothing else took its place, so the words are still its own."""
    decode = Decode()
    decode.meanwhile = path.unlink
    assert transcribe(path, decode).error == ""
