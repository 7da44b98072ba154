"""What the real decoders and the real engine make of speech whose words, languages and times are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from daemon.engine.client import Engine, EngineSettings
from daemon.options import JobOptions, Quality
from daemon.transcript import SAMPLE_RATE_HZ, Segment, Transcript
from tests.harness import word_error_rate, words_of
from tests.recordings import (
    Clip,
    Decode,
    Sound,
    ask,
    ask_all,
    decoding,
    joined,
    noisy,
    request,
    running,
    save,
    silence,
    trimmed,
)

NEAR_S: Final = 0.3
SENTENCES: Final = ("memo", "meeting", "phone-call", "studio", "interview", "presentation")
PAUSES_S: Final = (0.9, 4.2, 1.2, 2.5, 1.0, 3.4)


@pytest.fixture(scope="module")
def engine(models_dir: Path) -> Iterator[Engine]:
    with running(EngineSettings(models_dir, device="cpu")) as started:
        started.start("base")
        yield started


@pytest.fixture(scope="module")
def decode() -> Iterator[Decode]:
    with decoding() as started:
        yield started


def told(engine: Engine, decode: Decode, folder: Path, sound: Sound, options: JobOptions) -> Transcript:
    """What becomes of *sound* as a file."""
    heard, spans = decode(save(folder / "recording.wav", sound))
    end = ask(engine, request(folder, "recording", heard, options, spans))
    assert end.transcript is not None, end.error
    return end.transcript


def text_of(segments: tuple[Segment, ...] | list[Segment]) -> str:
    return " ".join(segment.text for segment in segments)


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence in a recording: from when to when somebody speaks."""

    start_s: float
    end_s: float
    text: str


@pytest.fixture(scope="module")
def speech(clips: Mapping[str, Clip]) -> tuple[Sound, list[Said]]:
    """Six sentences with pauses of known length between them."""
    parts, said = [silence(1.3)], list[Said]()
    for name, pause_s in zip(SENTENCES, PAUSES_S, strict=True):
        sound = trimmed(clips[name].sound)
        start_s = sum(map(len, parts)) / SAMPLE_RATE_HZ
        said.append(Said(start_s, start_s + len(sound) / SAMPLE_RATE_HZ, clips[name].text))
        parts += [sound, silence(pause_s)]
    return joined(*parts), said


@pytest.mark.parametrize("quality", ["fast", "faithful"])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_segments_begin_and_end_with_the_speech(
    engine: Engine, decode: Decode, speech: tuple[Sound, list[Said]], tmp_path: Path, quality: Quality, noise: float
) -> None:
    """No boundary is in a pause, and where a sentence begins or ends, a segment does, within 0.3 s."""
    sound, said = speech
    heard = noisy(sound, noise, 1) if noise else sound
    transcript = told(engine, decode, tmp_path, heard, JobOptions(language="en", quality=quality))
    segments = transcript.segments
    assert word_error_rate(" ".join(one.text for one in said), text_of(segments)) <= 0.1
    times = [(segment.start_s, segment.end_s) for segment in segments]
    for start_s, end_s in times:
        assert any(one.start_s - NEAR_S <= start_s <= one.end_s + NEAR_S for one in said), times
        assert any(one.start_s - NEAR_S <= end_s <= one.end_s + NEAR_S for one in said), times
    if quality == "fast":  # the original algorithm writes several sentences as one line
        for one in said:
            assert min(abs(start_s - one.start_s) for start_s, _ in times) <= NEAR_S, (one, times)
            assert min(abs(end_s - one.end_s) for _, end_s in times) <= NEAR_S, (one, times)


@pytest.mark.parametrize("quality", ["fast", "faithful"])
def test_words_have_their_times_inside_their_sentence(
    engine: Engine, decode: Decode, speech: tuple[Sound, list[Said]], tmp_path: Path, quality: Quality
) -> None:
    """Words go on in time, lie in their segment, together are its text, and are heard while somebody speaks."""
    sound, said = speech
    options = JobOptions(language="en", quality=quality, word_timestamps=True)
    transcript = told(engine, decode, tmp_path, sound, options)
    for segment in transcript.segments:
        times = [time_s for word in segment.words for time_s in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert segment.start_s <= times[0]
        assert times[-1] <= segment.end_s
        assert " ".join(word.text for word in segment.words) == segment.text
    words = [word for segment in transcript.segments for word in segment.words]
    assert all(left.end_s <= right.start_s for left, right in pairwise(words))
    for word in words:
        middle_s = (word.start_s + word.end_s) / 2
        assert any(one.start_s - NEAR_S <= middle_s <= one.end_s + NEAR_S for one in said), word
    for one in said:
        first = min(words, key=lambda word: abs(word.start_s - one.start_s))
        assert abs(first.start_s - one.start_s) <= NEAR_S
        assert words_of(first.text) == words_of(one.text)[:1]


@pytest.mark.parametrize("quality", ["careful", "faithful"])
def test_the_other_qualities_hear_the_words_too(
    engine: Engine, clips: Mapping[str, Clip], tmp_path: Path, quality: Quality
) -> None:
    """Every sample clip has its language and, but for a word here and there, its words."""
    wanted = {
        name: request(tmp_path, name, clip.sound, JobOptions(quality=quality), clip.spans)
        for name, clip in clips.items()
    }
    ends = ask_all(engine, wanted)
    errors = {name: word_error_rate(clips[name].text, end.text) for name, end in ends.items()}
    assert max(errors.values()) <= 0.2, errors
    assert sum(errors.values()) / len(errors) <= 0.06, errors
    for name, end in ends.items():
        assert end.transcript is not None
        assert end.transcript.language == clips[name].language
        assert not any(segment.suspect for segment in end.transcript.segments)


@pytest.mark.parametrize("quality", ["fast", "careful", "faithful"])
def test_a_translation_is_in_english(
    engine: Engine, clips: Mapping[str, Clip], tmp_path: Path, quality: Quality
) -> None:
    """The language is that of the speech, the words are English."""
    clip = clips["greeting"]
    end = ask(
        engine, request(tmp_path, "greeting", clip.sound, JobOptions(task="translate", quality=quality), clip.spans)
    )
    assert end.transcript is not None
    assert end.transcript.language == "es"
    assert {"today", "garden"} <= set(words_of(end.text)), end.text
    assert not {"hoy", "mucho", "niños", "jardín"} & set(words_of(end.text))


@pytest.mark.parametrize("quality", ["fast", "careful", "faithful"])
def test_a_text_and_its_translation_come_together(
    engine: Engine, clips: Mapping[str, Clip], tmp_path: Path, quality: Quality
) -> None:
    """The text is the very one of a recording that is only transcribed; lines of both are over the same speech."""
    plain, names = JobOptions(quality=quality), ("voice-note", "greeting", "memo")
    both = replace(plain, task="both")
    text = ask_all(engine, {name: request(tmp_path, name, clips[name].sound, plain) for name in names})
    ends = ask_all(engine, {name: request(tmp_path, name, clips[name].sound, both) for name in names})
    for name, end in ends.items():
        assert end.transcript is not None, end.error
        assert replace(end.transcript, translation=()) == text[name].transcript
        segments, english = end.transcript.segments, end.transcript.translation
        assert abs(english[0].start_s - segments[0].start_s) <= NEAR_S
        assert abs(english[-1].end_s - segments[-1].end_s) <= NEAR_S
        assert (english == segments) == (name == "memo")
    said = {name: set(words_of(text_of(end.transcript.translation))) for name, end in ends.items() if end.transcript}
    assert {"good", "morning"} <= said["voice-note"]
    assert {"children", "garden"} <= said["greeting"]
    assert not {"morgen", "heute", "hoy", "mucho"} & (said["voice-note"] | said["greeting"])


def test_the_language_is_that_of_the_speech_however_late(
    engine: Engine, decode: Decode, clips: Mapping[str, Clip], tmp_path: Path
) -> None:
    """A minute of hiss and silence before the first word is not listened to."""
    hiss = np.random.default_rng(3).normal(0, 60, 30 * SAMPLE_RATE_HZ).astype(np.int16)
    clip = clips["greeting"]
    transcript = told(engine, decode, tmp_path, joined(hiss, silence(30), clip.sound), JobOptions())
    assert transcript.language == clip.language
    assert transcript.language_probability > 0.5
    assert word_error_rate(clip.text, text_of(transcript.segments)) <= 0.2
    assert abs(transcript.segments[0].start_s - 60.0) <= NEAR_S


@pytest.mark.parametrize("quality", ["fast", "faithful"])
def test_each_language_of_a_recording_is_written_as_it_is_spoken(
    engine: Engine, decode: Decode, clips: Mapping[str, Clip], tmp_path: Path, quality: Quality
) -> None:
    """English, then Spanish, then English again, with pauses between."""
    parts = [clips[name] for name in ("meeting", "greeting", "interview")]
    sound = joined(*(piece for clip in parts for piece in (clip.sound, silence(2))))
    transcript = told(engine, decode, tmp_path, sound, JobOptions(multilingual=True, quality=quality))
    at_s = 0.0
    for clip in parts:
        until_s = at_s + len(clip.sound) / SAMPLE_RATE_HZ + 2
        own = [segment for segment in transcript.segments if at_s <= (segment.start_s + segment.end_s) / 2 < until_s]
        assert word_error_rate(clip.text, text_of(own)) <= 0.2
        at_s = until_s


def test_the_vote_on_a_recordings_language_is_that_of_most_of_it(
    engine: Engine, decode: Decode, clips: Mapping[str, Clip], tmp_path: Path
) -> None:
    """A few Spanish words of welcome do not make an English talk Spanish."""
    parts = (clips["greeting"].sound[: 2 * SAMPLE_RATE_HZ], silence(3.5), clips["meeting"].sound, silence(3.5))
    sound = joined(*parts, clips["phone-call"].sound)
    transcript = told(engine, decode, tmp_path, sound, JobOptions())
    assert transcript.language == "en"
