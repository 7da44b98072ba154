from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from faster_whisper import vad as faster_whisper_vad  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given
from hypothesis import strategies as st

from daemon.decode import speech
from daemon.decode.settings import SpeechThresholds
from daemon.decode.spans import FRAME_SAMPLES, SpanFinder
from daemon.transcript import Span

THRESHOLDS = SpeechThresholds()
PAD = 6400  # 400 ms

DATA = Path(__file__).parent.parent / "data"


def found(probabilities: list[float], n_samples: int | None = None) -> list[tuple[int, int]]:
    finder = SpanFinder(THRESHOLDS)
    finder.feed(probabilities)
    spans = finder.finish(len(probabilities) * FRAME_SAMPLES if n_samples is None else n_samples)
    return [(span.start, span.end) for span in spans]


def test_silence_has_no_spans() -> None:
    """Nothing over the threshold, nothing found; also for no audio at all."""
    assert found([0.1, 0.49] * 100) == []
    assert found([]) == []


def test_a_span_is_padded_on_both_sides_and_stays_inside_the_recording() -> None:
    """400 ms before the first and after the last frame of speech, as far as there is audio."""
    silence, words = [0.0] * 40, [0.9] * 10
    assert found(silence + words + silence) == [(40 * 512 - PAD, 50 * 512 + PAD)]
    assert found(words) == [(0, 10 * 512)]
    assert found([0.0] * 5 + words, n_samples=15 * 512 - 100) == [(0, 15 * 512 - 100)]


def test_speech_ends_only_after_500_ms_below_the_lower_threshold() -> None:
    """Fifteen silent frames (480 ms) are a breath; the lower threshold alone ends nothing; sixteen do."""
    words = [0.9] * 10
    assert len(found(words + [0.0] * 15 + words)) == 1
    assert len(found(words + [0.4] * 100 + words)) == 1
    assert len(found(words + [0.0] * 17 + words)) == 2


def test_two_spans_close_together_share_the_silence_between_them() -> None:
    """Padding never makes spans overlap."""
    first, second = found([0.9] * 10 + [0.0] * 20 + [0.9] * 10)
    assert first[1] == second[0] == 10 * 512 + 20 * 512 // 2


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 40)), max_size=30),
    st.lists(st.integers(1, 50), max_size=20),
)
def test_spans_are_in_order_and_do_not_depend_on_the_portions(
    runs: list[tuple[float, int]], portions: list[int]
) -> None:
    """However the probabilities are cut, the spans are the same, inside the recording and apart from each other."""
    probabilities = [value for value, n in runs for _ in range(n)]
    finder = SpanFinder(THRESHOLDS)
    rest = list(probabilities)
    for n in portions:
        finder.feed(rest[:n])
        rest = rest[n:]
    finder.feed(rest)
    n_samples = len(probabilities) * FRAME_SAMPLES
    spans = finder.finish(n_samples)
    assert [(span.start, span.end) for span in spans] == found(probabilities)
    edges = [edge for span in spans for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= n_samples for edge in edges)


def clips() -> npt.NDArray[np.int16]:
    """Speech with pauses of half a second to three seconds, and noise."""
    import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none

    memo, rate_hz = soundfile.read(os.fspath(DATA / "memo.wav"), dtype="int16")
    assert rate_hz == 16_000
    noise = np.random.default_rng(1).normal(0, 30, 48_000).astype(np.int16)
    parts = [memo, noise[:8_000], memo[: len(memo) // 2], noise, memo, noise[:12_345]]
    return np.concatenate(parts).astype(np.int16)


@pytest.mark.parametrize("block_samples", [480_000, 16_001, 511])
def test_spans_in_blocks_are_those_of_the_whole_at_once(block_samples: int) -> None:
    """Fed in blocks of any size, the spans equal what faster-whisper finds in the whole recording."""
    samples = clips()
    meter, finder = speech.SpeechMeter(speech.load()), SpanFinder(THRESHOLDS)
    for start in range(0, len(samples), block_samples):
        finder.feed(meter.feed(samples[start : start + block_samples]))
    finder.feed(meter.finish())
    expected: list[dict[str, int]] = cast(Any, faster_whisper_vad).get_speech_timestamps(
        samples.astype(np.float32) / 32768.0, min_silence_duration_ms=500
    )
    assert finder.finish(len(samples)) == tuple(Span(span["start"], span["end"]) for span in expected)
    assert len(expected) >= 3
