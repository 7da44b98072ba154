"""Files that end too early, cut in every format that says how long it is: noticed, and told from whole ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon.ahead import Ahead
from daemon.decode.pool import DecodeLimits, DecodePool
from daemon.errors import RecordingError, RecordingIncomplete
from daemon.incomplete import missing
from daemon.options import JobOptions
from daemon.outputs.kept import KeptDocuments
from daemon.transcript import Segment, Transcript
from daemon.transcription import perform
from daemon.workshop import Activity, Workshop
from storage.jobs import JobStore
from storage.records import Fingerprint, JobState, NewJob, Outcome, Result
from tests.recordings import decode_file

DATA = Path(__file__).parent.parent / "data"

SUFFIXES = {".wav", ".flac", ".mp3", ".m4a", ".mp4", ".ogg", ".opus"}
WHOLE = sorted(path.name for path in DATA.iterdir() if path.suffix in SUFFIXES and path.name != "broken.mp3")


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    """One worker for all."""
    made = DecodePool(workers=1, limits=DecodeLimits(), on_output=lambda _name, _line: None)
    yield made
    made.close(0)


def cut(tmp_path: Path, name: str, ratio: float) -> Path:
    content = (DATA / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * ratio)])
    return path


@pytest.mark.parametrize("name", WHOLE)
def test_nothing_is_missing_of_a_whole_recording(pool: DecodePool, name: str) -> None:
    """No format is called cut off that is not."""
    decoded = decode_file(pool, DATA / name)
    assert missing(decoded) == ""
    assert decoded.cut_off == ""


@pytest.mark.fault(35, "each format cut at several places")
@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        ("memo.wav", 0.1), ("memo.wav", 0.5), ("meeting.flac", 0.1), ("meeting.flac", 0.5), ("interview.mp3", 0.1),
        ("interview.mp3", 0.5), ("lecture.ogg", 0.1), ("lecture.ogg", 0.5), ("greeting.opus", 0.5),
    ],
)  # fmt: skip
def test_a_recording_that_was_cut_is_decoded_as_far_as_it_goes(
    pool: DecodePool, tmp_path: Path, name: str, ratio: float
) -> None:
    """What is there comes out, and what is missing is known: by duration, or in Ogg by the last page."""
    decoded = decode_file(pool, cut(tmp_path, name, ratio))
    assert 0 < decoded.decoded_s < decode_file(pool, DATA / name).decoded_s
    assert missing(decoded)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9, 0.999])
def test_an_ogg_file_misses_its_last_page_wherever_it_is_cut(pool: DecodePool, tmp_path: Path, ratio: float) -> None:
    """It declares no duration: only the page with the mark of the end tells."""
    assert "its last page is missing" in missing(decode_file(pool, cut(tmp_path, "lecture.ogg", ratio)))


@pytest.mark.parametrize("name", ["voice-note.m4a", "presentation.mp4"])
def test_without_its_index_an_mp4_file_is_unreadable_and_says_why(pool: DecodePool, tmp_path: Path, name: str) -> None:
    """The index is written last, so half a file has none: the reason is that the rest is missing, not the file."""
    content = (DATA / name).read_bytes()
    path = cut(tmp_path, name, 0.5 if content.index(b"moov") > content.index(b"mdat") else 0.02)
    with pytest.raises(RecordingError) as caught:
        decode_file(pool, path)
    assert caught.value.cut_off
    assert caught.value.cut_off in str(caught.value)


@pytest.mark.fault(35, "a header alone")
def test_a_wav_header_alone_says_that_the_rest_is_missing(pool: DecodePool, tmp_path: Path) -> None:
    """44 bytes of a longer file: empty, and cut off."""
    (tmp_path / "a.wav").write_bytes((DATA / "memo.wav").read_bytes()[:44])
    with pytest.raises(RecordingError, match="too early") as caught:
        decode_file(pool, tmp_path / "a.wav")
    assert caught.value.cut_off


def test_what_is_no_recording_is_not_called_incomplete(pool: DecodePool, tmp_path: Path) -> None:
    """Nobody has to wait to hear that a letter is no recording."""
    (tmp_path / "a.mp3").write_bytes(b"Dear all,\n" * 500)
    with pytest.raises(RecordingError) as caught:
        decode_file(pool, tmp_path / "a.mp3")
    assert caught.value.cut_off == ""


class Scribe:
    """An engine that hears one sentence in everything."""

    def transcribe(self, *_: Any, **__: Any) -> Transcript:
        """As `Engine.transcribe`."""
        return Transcript((Segment(0.0, 1.0, "Half of it.", -0.2, 1.4, 0.0, 0.0),), "en", 0.9, "base", "cpu", "int8")


class Desk:
    """A history, an inbox, real decoding and a job at a time."""

    def __init__(self, root: Path, pool: DecodePool, wait_s: float) -> None:
        self.inbox = root / "inbox"
        self.inbox.mkdir()
        (root / "spool").mkdir()
        self.store = JobStore.open(root / "history.db", "daemon-1")
        self._shop = Workshop(
            self.store,
            pool,
            Ahead(2, 1 << 40),
            Scribe(),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # as much of it as is called
            KeptDocuments(root / "kept"),
            root / "spool",
            lambda write: write(),
            incomplete_wait_s=wait_s,
        )

    def perform(self, path: Path) -> Result:
        """Do a job for what is at *path* now."""
        options = JobOptions()
        found = Fingerprint.of(path.lstat())
        new = NewJob(os.fsencode(path), os.fsencode(self.inbox), found, options.to_dict(), options.digest())
        self.store.enqueue([new], datetime.now(UTC))
        job = self.store.claim(datetime.now(UTC))
        assert job is not None
        try:
            return perform(Activity(job), self._shop)
        except RecordingError as error:
            self.store.fail(job, str(error), datetime.now(UTC))
            raise
        except RecordingIncomplete as error:
            self.store.hold(job, str(error), datetime.now(UTC), delay_s=error.wait_s, refund=True)
            raise


@pytest.fixture
def desks(pool: DecodePool, tmp_path: Path) -> Iterator[Callable[[float], Desk]]:
    """Makes a desk that waits for so many seconds."""
    with contextlib.ExitStack() as stack:

        def make(wait_s: float) -> Desk:
            desk = Desk(tmp_path, pool, wait_s)
            stack.callback(desk.store.close)
            return desk

        yield make


@pytest.mark.fault(35, "half a copy, then the rest")
@pytest.mark.parametrize("name", ["memo.wav", "meeting.flac", "voice-note.m4a", "presentation.mp4", "lecture.ogg"])
def test_the_rest_of_a_copy_that_broke_off_may_come(desks: Callable[[float], Desk], name: str) -> None:
    """Half of a recording that was written just now is not published; the whole one is, as if nothing had been."""
    desk = desks(300)
    path = cut(desk.inbox, name, 0.5)
    with pytest.raises(RecordingIncomplete, match="incomplete") as caught:
        desk.perform(path)
    assert 250 < caught.value.wait_s <= 300
    assert [entry.name for entry in desk.inbox.iterdir()] == [name]
    (waiting,) = desk.store.jobs()
    assert (waiting.state, waiting.attempt) == (JobState.WAITING, 0)
    path.write_bytes((DATA / name).read_bytes())
    assert desk.perform(path).outcome is Outcome.OK
    assert len(desk.store.jobs()) == 1


@pytest.mark.fault(35, "half a copy, and no rest")
@pytest.mark.parametrize("name", ["memo.wav", "meeting.flac", "lecture.ogg"])
def test_a_recording_that_stays_cut_is_published_as_partial(desks: Callable[[float], Desk], name: str) -> None:
    """Once its time is over: every transcript says that it is partial, and the history knows."""
    desk = desks(0)
    result = desk.perform(cut(desk.inbox, name, 0.5))
    assert result.outcome is Outcome.PARTIAL
    outputs = {path.suffix: path.read_text() for path in desk.inbox.iterdir() if path.name != name}
    assert set(outputs) == {".txt", ".srt", ".vtt", ".json"}
    assert outputs[".txt"].startswith("[partial: ")
    assert all("partial: " in text for text in outputs.values())


def test_half_an_mp4_file_without_its_index_fails_in_the_end(desks: Callable[[float], Desk]) -> None:
    """Nothing can be made of it, and the reason says what is missing."""
    desk = desks(0)
    with pytest.raises(RecordingError, match=r"too early|index"):
        desk.perform(cut(desk.inbox, "voice-note.m4a", 0.02))
