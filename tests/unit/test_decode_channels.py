"""Two channels: two people apart, the same twice, one that is dead; what is in the spool file then."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.decode import decoding
from daemon.decode.channels import ChannelMeter, Layout
from daemon.decode.decoding import Job, Result
from daemon.decode.settings import APART_SAMPLES, DecodeLimits, DecodeSettings, SpeechThresholds
from daemon.decode.source import Pulse
from daemon.transcript import SAMPLE_RATE_HZ, Span
from tests.harness import DATA

Sound = npt.NDArray[np.floating[Any]]
"""Samples at 16 kHz, shape (n,) or, of both channels, (n, 2)."""

RANDOM: Final = np.random.default_rng(6)
PAUSE_S: Final = 0.6


@dataclass(frozen=True)
class Call:
    """A conversation: who speaks on the left and who on the right channel, in turns, and when."""

    sound: Sound
    left: tuple[Span, ...]
    right: tuple[Span, ...]

    @property
    def mono(self) -> Sound:
        """Both voices on one channel."""
        return self.sound[:, 0] + self.sound[:, 1]


def decode(path: Path, *, speakers: bool = True) -> tuple[Result, npt.NDArray[np.int16]]:
    """What the decode process would make of *path*: its result and its spool file."""
    recording_fd = os.open(path, os.O_RDONLY)
    try:
        with tempfile.TemporaryFile() as spool:
            job = Job(recording_fd, spool.fileno(), path.suffix.removeprefix("."), speakers=speakers)
            pulse = Pulse(lambda _decoded_s: None)
            result = decoding.decode(job, DecodeSettings(DecodeLimits(), SpeechThresholds()), pulse)
            spool.seek(0)
            return result, np.frombuffer(spool.read(), np.int16)
    finally:
        os.close(recording_fd)


def voice(name: str) -> Sound:
    """A sample clip as loud as the others."""
    _, samples = decode(DATA / name)
    sound = samples.astype(np.float32)
    return sound * np.float32(0.06 / np.sqrt(np.mean(sound**2)))


@pytest.fixture(scope="module")
def call() -> Call:
    turns = [("memo.wav", 0), ("meeting.flac", 1), ("interview.mp3", 0), ("phone-call.wav", 1)]
    spoken: list[tuple[Sound, int, int]] = []
    at = 0
    for name, channel in turns:
        sound = voice(name)
        spoken.append((sound, channel, at))
        at += len(sound) + int(PAUSE_S * SAMPLE_RATE_HZ)
    both = np.zeros((at, 2), np.float32)
    for sound, channel, begin in spoken:
        both[begin : begin + len(sound), channel] = sound
    spans = [tuple(Span(begin, begin + len(sound)) for sound, side, begin in spoken if side == one) for one in (0, 1)]
    return Call(both, spans[0], spans[1])


def noise(shape: tuple[int, ...], below_db: float) -> Sound:
    """Noise so far below full scale."""
    return (10 ** (-below_db / 20) * RANDOM.standard_normal(shape)).astype(np.float32)


def later(sound: Sound, seconds: float) -> Sound:
    """*sound* after so much silence, as long as before."""
    return np.concatenate((np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32), sound))[: len(sound)]


def in_room(sound: Sound) -> Sound:
    """*sound* as a microphone across a room hears it: half of it is the room, another half each time."""
    n_tail = SAMPLE_RATE_HZ // 2
    tail = RANDOM.standard_normal(n_tail) * 10 ** (-3 * np.arange(n_tail) / n_tail)
    response = np.concatenate(([1.0], tail / np.sqrt(np.sum(tail**2))))
    n_fft = 1 << (len(sound) + len(response)).bit_length()
    heard = np.fft.irfft(np.fft.rfft(sound, n_fft) * np.fft.rfft(response, n_fft), n_fft)
    return heard[: len(sound)].astype(np.float32)


def saved(folder: Path, sound: Sound, name: str = "call.wav") -> Path:
    path = folder / name
    soundfile.write(path, np.clip(sound, -1, 1), SAMPLE_RATE_HZ)
    return path


def written(sound: Sound) -> npt.NDArray[np.int16]:
    """What libsndfile makes of *sound* in a 16-bit file."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file.name, np.clip(sound, -1, 1), SAMPLE_RATE_HZ)
        samples: npt.NDArray[np.int16] = soundfile.read(file.name, dtype="int16")[0].astype(np.int16)
        return samples


def n_in(spans: tuple[Span, ...], where: tuple[Span, ...]) -> int:
    """The samples of *spans* that are in *where*."""
    return sum(max(0, min(a.end, b.end) - max(a.start, b.start)) for a in spans for b in where)


def test_a_voice_on_each_channel_is_heard_apart(call: Call, tmp_path: Path) -> None:
    """The left channel, half a minute of silence, the right one; its length is still that of the recording."""
    result, spool = decode(saved(tmp_path, call.sound))
    heard, n_samples = result.heard, len(call.sound)
    assert (heard.layout, heard.second, heard.n_samples) == (
        *(Layout.DISTINCT, n_samples + APART_SAMPLES),
        2 * n_samples + APART_SAMPLES,
    )
    assert result.reading.decoded_s == n_samples / SAMPLE_RATE_HZ
    samples = written(call.sound)
    assert np.array_equal(spool[:n_samples], samples[:, 0])
    assert np.array_equal(spool[heard.second :], samples[:, 1])
    assert not spool[n_samples : heard.second].any()
    left = tuple(span for span in heard.spans if span.end <= n_samples)
    right = tuple(Span(span.start - heard.second, span.end - heard.second) for span in heard.spans[len(left) :])
    for spans, own, other in ((left, call.left, call.right), (right, call.right, call.left)):
        assert n_in(spans, own) > 0.85 * sum(span.end - span.start for span in own)
        assert n_in(spans, other) == 0


@pytest.mark.parametrize("name", ["call.mp3", "call.ogg", "call.flac"])
def test_lossy_and_lossless_recordings_of_a_call_are_heard_apart(call: Call, tmp_path: Path, name: str) -> None:
    """Codecs that save on what both channels share leave the voices apart."""
    result, _ = decode(saved(tmp_path, call.sound, name))
    assert result.heard.layout is Layout.DISTINCT


@pytest.mark.parametrize("leak_db", [15, 25, 35])
@pytest.mark.parametrize("late_s", [0.0, 0.25])
def test_what_leaks_from_one_microphone_into_the_other_is_silenced(
    call: Call, tmp_path: Path, leak_db: float, late_s: float
) -> None:
    """So nobody's words are heard twice; an echo that comes back late counts too."""
    leak = np.float32(10 ** (-leak_db / 20))
    echo = np.stack([later(call.sound[:, 1], late_s), later(call.sound[:, 0], late_s)], axis=1)
    result, spool = decode(saved(tmp_path, call.sound + leak * echo + noise(call.sound.shape, 70)))
    heard = result.heard
    assert heard.layout is Layout.DISTINCT
    for begins, other in ((0, call.right), (heard.second, call.left)):
        spans = tuple(Span(span.start - begins, span.end - begins) for span in heard.spans)
        inside = tuple(Span(span.start + SAMPLE_RATE_HZ, span.end - SAMPLE_RATE_HZ) for span in other)
        assert n_in(spans, inside) == 0
        left_over = np.concatenate([spool[begins + span.start : begins + span.end] for span in inside]) / 32768.0
        assert np.mean(left_over**2) < 0.1 * np.mean((leak * 0.06) ** 2)


def test_two_people_who_begin_at_once_are_both_heard_whole(tmp_path: Path) -> None:
    """That they are alike for a moment is no leak."""
    left, right = voice("memo.wav"), voice("meeting.flac")
    n_samples = min(len(left), len(right))
    sound = np.stack([left[:n_samples], right[:n_samples]], axis=1)
    result, spool = decode(saved(tmp_path, sound))
    assert result.heard.layout is Layout.DISTINCT
    assert np.array_equal(spool[:n_samples], written(sound)[:, 0])
    assert np.array_equal(spool[result.heard.second :], written(sound)[:, 1])


JOINT: Final[dict[str, Callable[[Call], Sound]]] = {
    "the same twice": lambda call: np.stack([call.mono, call.mono], axis=1),
    "one of them softer": lambda call: np.stack([call.mono, call.mono / 10], axis=1),
    "one of them late": lambda call: np.stack([call.mono, later(call.mono, 0.1)], axis=1),
    "with noise of its own": lambda call: np.stack([call.mono, call.mono], axis=1) + noise(call.sound.shape, 34),
    "placed left and right": lambda call: call.sound + np.float32(0.5) * call.sound[:, ::-1],
    "two microphones in a room": lambda call: np.stack(
        [
            in_room(call.sound[:, 0]) + in_room(call.sound[:, 1]) / 2,
            in_room(call.sound[:, 0]) / 2 + in_room(call.sound[:, 1]),
        ],
        axis=1,
    ),
    "too short to tell": lambda call: call.sound[: SAMPLE_RATE_HZ // 2],
    "nobody speaks": lambda call: noise(call.sound.shape, 40),
    "digital silence": lambda call: np.zeros_like(call.sound),
}


@pytest.mark.parametrize("kind", JOINT)
def test_the_same_on_both_channels_is_heard_once_as_without(call: Call, tmp_path: Path, kind: str) -> None:
    """Sample for sample what is heard where nobody asks for speakers."""
    path = saved(tmp_path, JOINT[kind](call))
    result, spool = decode(path)
    without, mixed = decode(path, speakers=False)
    assert (result.heard.layout, without.heard.layout) == (Layout.JOINT, Layout.MONO)
    assert result.spans == without.spans
    assert np.array_equal(spool, mixed)


@pytest.mark.parametrize("live", [0, 1])
@pytest.mark.parametrize("dead", ["silent", "hum", "hiss"])
def test_one_live_channel_is_heard_alone(call: Call, tmp_path: Path, live: int, dead: str) -> None:
    """Mixed, it would be softer, and hum or hiss would be on top."""
    n_samples = len(call.mono)
    t = np.arange(n_samples) / SAMPLE_RATE_HZ
    nobody = {
        "silent": np.zeros(n_samples, np.float32),
        "hum": (0.1 * np.sin(2 * np.pi * 50 * t)).astype(np.float32),
        "hiss": noise((n_samples,), 30),
    }[dead]
    sound = np.stack([call.mono, nobody] if live == 0 else [nobody, call.mono], axis=1)
    result, spool = decode(saved(tmp_path, sound))
    assert (result.heard.layout, result.heard.second) == (Layout.ONE_LIVE, 0)
    assert np.array_equal(spool, written(sound)[:, live])
    assert n_in(result.spans, call.left + call.right) > 0.85 * n_in((Span(0, n_samples),), call.left + call.right)


def test_a_channel_upside_down_does_not_cancel_the_other_out(call: Call, tmp_path: Path) -> None:
    """Mixed, nothing would be left to hear."""
    sound = np.stack([call.mono, -call.mono], axis=1)
    result, spool = decode(saved(tmp_path, sound))
    assert result.heard.layout is Layout.INVERTED
    assert np.array_equal(spool, written(sound)[:, 0])
    assert result.spans


def test_more_or_fewer_channels_are_mixed(call: Call, tmp_path: Path) -> None:
    """Of one there is nothing to tell apart, of eight nobody knows who sits where."""
    for n_channels in (1, 3):
        sound = np.repeat(call.mono[:, None], n_channels, axis=1)
        result, spool = decode(saved(tmp_path, sound))
        assert (result.heard.layout, len(spool)) == (Layout.MONO, len(call.mono))


def test_not_asked_for_two_voices_are_mixed_as_ever(call: Call, tmp_path: Path) -> None:
    """One voice after the other on one channel."""
    result, spool = decode(saved(tmp_path, call.sound), speakers=False)
    assert (result.heard.layout, result.heard.second, len(spool)) == (Layout.MONO, 0, len(call.mono))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=20))
def test_blocks_of_any_size_give_the_same_features(sizes: list[int]) -> None:
    """Readers hand on what they like."""
    samples = np.random.default_rng(1).integers(-9000, 9000, (sum(sizes), 2)).astype(np.int16)
    whole, pieces = ChannelMeter(), ChannelMeter()
    whole.feed(samples)
    at = 0
    for size in sizes:
        pieces.feed(samples[at : at + size])
        at += size
    one, other = whole.finish(), pieces.finish()
    assert np.allclose(one.bands_db, other.bands_db, atol=0.1)
    assert np.allclose(one.level_db, other.level_db, atol=0.1)
    assert np.allclose(one.dot, other.dot, rtol=1e-3)
