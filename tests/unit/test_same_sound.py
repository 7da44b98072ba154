"""A recording is known again by its sound: renamed, tagged anew or in another container, and nothing else."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from daemon.decode.decoding import Job, decode
from daemon.decode.pool import Decoded
from daemon.decode.settings import DecodeLimits, DecodeSettings, SpeechThresholds
from daemon.decode.sound import fingerprint
from daemon.decode.source import Pulse
from daemon.sound import MOST_FRAMES_MORE, MOST_STEPS, Sound, same_sound, shift_s, unpacked
from daemon.transcript import SAMPLE_RATE_HZ
from storage.records import Fingerprint, NewJob, Outcome, StoredSound
from tests.harness import DATA
from tests.remuxing import remuxed
from tests.unit.test_transcription import AT, OPTIONS, Bench, FakeDecode, put

Samples = npt.NDArray[np.int16]


def read(path: Path, speakers: bool = False) -> tuple[Samples, Sound]:
    """What a decoder makes of a file: its samples and their fingerprint."""
    recording, spool = os.open(path, os.O_RDONLY), os.memfd_create("spool")
    settings = DecodeSettings(DecodeLimits(), SpeechThresholds())
    try:
        job = Job(recording, spool, path.suffix.removeprefix("."), speakers)
        result = decode(job, settings, Pulse(lambda _decoded_s: None))
        return np.frombuffer(os.pread(spool, 1 << 28, 0), np.int16), result.sound
    finally:
        os.close(recording)
        os.close(spool)


@cache
def clip(name: str = "memo.wav") -> Samples:
    return read(DATA / name)[0]


def sound_of(samples: Samples, second: int = 0) -> Sound:
    spool = os.memfd_create("spool")
    try:
        os.write(spool, samples.astype(np.int16).tobytes())
        return fingerprint(spool, len(samples) if not second else second - 1000, lambda: None, second)
    finally:
        os.close(spool)


def tagged(source: Path, target: Path) -> Path:
    """An MP3 file with other ID3 tags at both ends."""
    content = source.read_bytes()
    if content.startswith(b"ID3"):
        content = content[10 + sum(byte << 7 * (3 - index) for index, byte in enumerate(content[6:10])) :]
    title = b"TIT2" + (3001).to_bytes(4, "big") + bytes(3) + b"A" * 3000
    size = bytes((len(title) >> 7 * (3 - index)) & 127 for index in range(4))
    target.write_bytes(b"ID3\x03\0\0" + size + title + content + b"TAG" + bytes(125))
    return target


@pytest.mark.parametrize(
    ("name", "form", "suffix"),
    [
        ("interview.mp3", "matroska", "mkv"),
        ("interview.mp3", "mp4", "mp4"),
        ("voice-note.m4a", "matroska", "mkv"),
        ("voice-note.m4a", "adts", "aac"),
        ("greeting.opus", "webm", "webm"),
        ("lecture.ogg", "matroska", "mka"),
        ("meeting.flac", "matroska", "mka"),
    ],
)
def test_another_container_is_the_same_sound(tmp_path: Path, name: str, form: str, suffix: str) -> None:
    """Though it may begin or end with a little more silence, at a place between two samples."""
    _, one = read(DATA / name)
    _, other = read(remuxed(DATA / name, tmp_path / f"copy.{suffix}", form))
    assert same_sound(one, other)
    assert abs(shift_s(one, other, SAMPLE_RATE_HZ)) < 0.15


def test_other_tags_are_the_same_sound(tmp_path: Path) -> None:
    """And the same time."""
    _, one = read(DATA / "interview.mp3")
    _, other = read(tagged(DATA / "interview.mp3", tmp_path / "copy.mp3"))
    assert same_sound(one, other)
    assert shift_s(one, other, SAMPLE_RATE_HZ) == 0.0


def test_all_sample_clips_are_different() -> None:
    """Each is the same as itself."""
    names = ("memo.wav", "interview.mp3", "voice-note.m4a", "greeting.opus", "lecture.ogg", "meeting.flac")
    sounds = [sound_of(clip(name)) for name in names]
    found = [(one, other) for one in range(6) for other in range(6) if same_sound(sounds[one], sounds[other])]
    assert found == [(number, number) for number in range(6)]


def loudest(samples: Samples, n_samples: int) -> int:
    """Where the loudest stretch begins."""
    sums = np.cumsum(np.square(samples.astype(np.int64)))
    return int(np.argmax(sums[n_samples:] - sums[:-n_samples]))


@pytest.mark.parametrize("edit", ["silenced", "spoken otherwise", "cut out", "put in", "without its end", "softer"])
def test_speech_that_was_edited_is_another_sound(edit: str) -> None:
    """A word of 0.16 s is enough."""
    before = clip()
    n_word = SAMPLE_RATE_HZ * 16 // 100
    place = loudest(before, n_word)
    word = clip("interview.mp3")[(start := loudest(clip("interview.mp3"), n_word)) : start + n_word]
    after = before.copy()
    if edit == "silenced":
        after[place : place + n_word] = 0
    elif edit == "spoken otherwise":
        after[place : place + n_word] = word
    elif edit == "cut out":
        after = np.concatenate((before[:place], before[place + n_word :]))
    elif edit == "put in":
        after = np.concatenate((before[:place], word, before[place:]))
    elif edit == "without its end":
        after = before[: place + n_word]
    else:
        after = (before // 2).astype(np.int16)
    assert not same_sound(sound_of(before), sound_of(after))


def test_silence_before_and_after_is_forgiven_and_speech_is_not() -> None:
    """As much as encoders add; more may be more than silence."""
    samples = clip()
    frame = 1280

    def framed(before: Samples, after: Samples) -> Sound:
        return sound_of(np.concatenate((before, samples, after)))

    one = sound_of(samples)
    silence = np.zeros(2 * frame, np.int16)
    speech = samples[(start := loudest(samples, 2 * frame)) : start + 2 * frame] // 2
    assert same_sound(one, framed(silence[:1105], silence))
    assert not same_sound(one, framed(speech, silence[:0]))
    assert not same_sound(one, framed(silence[:0], np.zeros((MOST_FRAMES_MORE + 2) * frame, np.int16)))


@pytest.mark.parametrize("name", ["silence.flac", "tone.flac"])
def test_what_says_nothing_is_compared_without_danger(name: str) -> None:
    """Silence is not known by its sound; a tone may not be known again, since all of its moments are as loud."""
    sound = sound_of(clip(name))
    assert sound.known_by == (name == "tone.flac")
    assert unpacked(sound.packed()) == sound


def test_two_channels_are_two_sounds() -> None:
    """They lie one behind the other in the spool file; either may be spoken otherwise."""
    n_samples = SAMPLE_RATE_HZ * 3
    left, right, other = (clip(name)[:n_samples] for name in ("memo.wav", "interview.mp3", "lecture.ogg"))
    gap = np.zeros(1000, np.int16)
    second = n_samples + len(gap)
    one = sound_of(np.concatenate((left, gap, right)), second)
    assert len(one.channels) == 2
    assert same_sound(one, sound_of(np.concatenate((left, gap, right)), second))
    assert not same_sound(one, sound_of(np.concatenate((left, gap, other)), second))
    assert not same_sound(one, sound_of(left))
    assert unpacked(one.packed()) == one


def test_a_fingerprint_is_small_and_survives_its_storage() -> None:
    """Some 60 bytes a second; what is damaged is no fingerprint."""
    samples = np.tile(clip("meeting.flac"), 3)
    sound = sound_of(samples)
    packed = sound.packed()
    assert len(packed) < 75 * len(samples) / SAMPLE_RATE_HZ
    assert unpacked(packed) == sound
    bomb = packed[:18] + zlib.compress(bytes(1 << 26))
    damaged = (b"", packed[: len(packed) // 2], b"\x07" + packed[1:], bomb, packed[:14] + b"\xff" * 4 + packed[18:])
    assert [unpacked(content) for content in damaged] == [None] * 5


@dataclass
class Hearing(FakeDecode):
    """Says what the recording sounds like."""

    sound: Sound | None = None

    def decode(self, recording_fd: int, spool_fd: int, **asked: Any) -> Decoded:
        """As `DecodePool.decode`."""
        decoded = super().decode(recording_fd, spool_fd, **asked)
        return replace(decoded, sound=b"" if self.sound is None else self.sound.packed())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.decode = Hearing(sound=sound_of(clip()))
    bench.shop = replace(bench.shop, decode=bench.decode)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    yield bench
    bench.store.close()


def hear(bench: Bench, sound: Sound | None) -> None:
    assert isinstance(bench.decode, Hearing)
    bench.decode.sound = sound


def test_a_recording_with_the_same_sound_gets_the_text(bench: Bench) -> None:
    """Under its own name, at its own times, with a note; without the model."""
    bench.enqueue()
    first = bench.perform()
    put(bench, "copy.mka", b"other bytes")
    hear(bench, sound_of(np.concatenate((np.zeros(1600, np.int16), clip()))))
    bench.enqueue()
    second = bench.perform()
    assert (second.outcome, second.same_as) == (Outcome.OK, first.id)
    assert second.reason == f"same sound as in job {first.id}; its text was used again"
    assert second.source_sha256 != first.source_sha256
    assert len(bench.engine.calls) == 1
    assert bench.outputs()["copy.txt"] == "Good morning.\n"
    assert "00:00:05,100 -->" in bench.outputs()["copy.srt"]


def test_speakers_are_called_by_the_names_of_the_new_recording(bench: Bench) -> None:
    """Names are no words: the text is the same with others."""
    bench.decode.second = 80_000
    bench.enqueue(replace(OPTIONS, formats=("tsv",), speaker_names=("Anna", "Ben")))
    first = bench.perform()
    assert "\tBen" in bench.outputs()["memo.tsv"]
    put(bench, "copy.mka", b"other bytes")
    bench.enqueue(replace(OPTIONS, formats=("tsv",), speaker_names=("Clara", "David")))
    assert bench.perform().same_as == first.id
    assert "\tDavid" in bench.outputs()["copy.tsv"]
    assert "Ben" not in bench.outputs()["copy.tsv"]


def test_another_sound_or_other_options_are_transcribed(bench: Bench) -> None:
    """Nor is one taken over by a recording that ends too early."""
    bench.enqueue()
    bench.perform()
    for number, (sound, options, declared_s) in enumerate(
        [
            (sound_of(clip("lecture.ogg")), OPTIONS, 10.0),
            (sound_of(clip()), replace(OPTIONS, language="de"), 10.0),
            (sound_of(clip()), OPTIONS, 60.0),
            (None, OPTIONS, 10.0),
        ],
        start=2,
    ):
        put(bench, f"{number}.wav", b"%d other bytes" % number)
        hear(bench, sound)
        bench.decode.declared_s = declared_s
        bench.enqueue(options)
        assert bench.perform().same_as is None
        assert len(bench.engine.calls) == number


def test_an_operator_may_have_the_same_sound_transcribed_each_time(bench: Bench) -> None:
    """And a person who asks for it again gets it done again."""
    bench.enqueue()
    job = bench.perform()
    put(bench, "copy.wav", b"other bytes")
    job_id = bench.enqueue()
    shop, bench.shop = bench.shop, replace(bench.shop, reuse=lambda: False)
    assert bench.perform().same_as is None
    bench.shop = shop
    found = bench.store.job(job_id)
    assert found is not None
    again = bench.store.redo([_anew(bench)], AT)
    assert again != [None]
    assert bench.perform().same_as is None
    assert len(bench.engine.calls) == 3
    assert job.same_as is None


def _anew(bench: Bench) -> NewJob:
    path = os.fsencode(bench.path)
    fingerprint = Fingerprint.of(os.lstat(path))
    return NewJob(path, os.fsencode(bench.inbox), fingerprint, OPTIONS.to_dict(), OPTIONS.digest())


def test_a_text_that_was_let_go_takes_its_sound_along(bench: Bench) -> None:
    """What is forgotten is asked for no more."""
    bench.enqueue()
    job = bench.perform()
    sound = sound_of(clip()).stored()
    asked = {"ends": MOST_FRAMES_MORE, "most": MOST_STEPS, "limit": 5}
    assert bench.store.sounds_alike(job.options_digest, sound, **asked) == [job.id]
    bench.store.remove_texts([job.id])
    assert bench.store.sound(job.id) is None


def test_the_history_finds_those_that_are_nearly_equal(bench: Bench) -> None:
    """A byte of the mark or an end that differs by a little, but not by more."""
    bench.enqueue()
    job = bench.claim()
    sound = StoredSound(10, 20, int.from_bytes(bytes([7, 9, 0, 255, 1, 3]), "little"), b"")
    bench.store.decoded(job, source_sha256="a", audio_s=1.0, declared_s=None, speech_s=None, at=AT, sound=sound)
    hear(bench, None)
    bench.perform(job)
    near = int.from_bytes(bytes([8, 8, 1, 254, 0, 4]), "little")
    far = int.from_bytes(bytes([9, 9, 0, 255, 1, 3]), "little")
    for asked, expected in (
        (sound, [job.id]),
        (replace(sound, n_before=11, n_after=19, mark=near), [job.id]),
        (replace(sound, n_before=14), []),
        (replace(sound, n_after=24), []),
        (replace(sound, mark=far), []),
    ):
        assert bench.store.sounds_alike(job.options_digest, asked, ends=3, most=1, limit=5) == expected
    assert bench.store.sounds_alike("other", sound, ends=3, most=1, limit=5) == []
