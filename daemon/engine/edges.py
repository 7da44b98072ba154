"""When somebody speaks in a window, to a few hundredths of a second. Pure.

The spans that come with a recording are wider than the speech in them, so that no sound is lost to the model. And the
model's own times stretch into the pauses beside them. For the times of a transcript both are taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from daemon.engine.assembly import DecodedSegment
from daemon.engine.runtime import Samples
from daemon.transcript import SAMPLE_RATE_HZ, Span, Word

Stretch = tuple[float, float]
"""start_s and end_s in the window."""

_FRAME_SAMPLES: Final = SAMPLE_RATE_HZ // 100
_MAX_TRIM_S: Final = 0.5
# What speech detection adds at each side (0.4 s), and what it is late by. No more than this can go wrong.

_STEADY_FRAMES: Final = 3  # a click is no speech
_MIN_RANGE_DB: Final = 12.0  # under this, speech and noise are not to be told apart by their level
_BELOW_PEAK_DB: Final = 30.0
_ABOVE_FLOOR_RATIO: Final = 0.4
# Speech is what is within 30 dB of the loud part of a span, and well above its noise.

_MIN_SHARED_S: Final = 0.25
# A line that has less than this of a stretch has it by mistake, if it has another.


def tightened(samples: Samples, speech: Sequence[Span]) -> list[Stretch]:
    """*speech* in seconds, each span without the quiet at its ends, at most half a second of it."""
    return [_tightened(samples[span.start : span.end], span.start / SAMPLE_RATE_HZ) for span in speech]


def line_in(line: DecodedSegment, stretches: Sequence[Stretch]) -> DecodedSegment:
    """*line* from where speech begins in it to where speech ends; as it is if there is none. Its words stay."""
    inside = [stretch for stretch in stretches if _shared_s(line.start_s, line.end_s, stretch) > 0]
    while len(inside) > 1 and _shared_s(line.start_s, line.end_s, inside[0]) < _MIN_SHARED_S:
        del inside[0]
    while len(inside) > 1 and _shared_s(line.start_s, line.end_s, inside[-1]) < _MIN_SHARED_S:
        del inside[-1]
    if not inside:
        return line
    return replace(line, start_s=max(line.start_s, inside[0][0]), end_s=min(line.end_s, inside[-1][1]))


def words_in(words: Sequence[Word], stretches: Sequence[Stretch]) -> tuple[Word, ...]:
    """*words*, each in the stretch that has most of it, else at the nearest; in order as before."""
    return tuple(_word_in(word, stretches) for word in words) if stretches else tuple(words)


def _word_in(word: Word, stretches: Sequence[Stretch]) -> Word:
    low, high = max(stretches, key=lambda stretch: _shared_s(word.start_s, word.end_s, stretch))
    return replace(word, start_s=min(max(word.start_s, low), high), end_s=min(max(word.end_s, low), high))


def _shared_s(start_s: float, end_s: float, stretch: Stretch) -> float:
    """How much of it is in *stretch*; negative: how far it is away."""
    return min(end_s, stretch[1]) - max(start_s, stretch[0])


def _tightened(samples: Samples, offset_s: float) -> Stretch:
    end_s = offset_s + len(samples) / SAMPLE_RATE_HZ
    n_frames = len(samples) // _FRAME_SAMPLES
    if n_frames < 2 * _STEADY_FRAMES:
        return offset_s, end_s
    frames = samples[: n_frames * _FRAME_SAMPLES].reshape(n_frames, _FRAME_SAMPLES)
    levels_db = 10.0 * np.log10(np.maximum(np.square(frames).mean(axis=1), 1e-9))
    floor_db, peak_db = np.percentile(levels_db, (5, 95))
    if peak_db - floor_db < _MIN_RANGE_DB:
        return offset_s, end_s
    least_db = max(peak_db - _BELOW_PEAK_DB, floor_db + _ABOVE_FLOOR_RATIO * (peak_db - floor_db))
    loud = np.convolve(levels_db > least_db, np.ones(_STEADY_FRAMES), "valid") >= _STEADY_FRAMES
    first = np.flatnonzero(loud)
    if not len(first):
        return offset_s, end_s
    before_s = min(_MAX_TRIM_S, float(first[0]) * _FRAME_SAMPLES / SAMPLE_RATE_HZ)
    after = len(samples) - (int(first[-1]) + _STEADY_FRAMES) * _FRAME_SAMPLES
    after_s = min(_MAX_TRIM_S, after / SAMPLE_RATE_HZ)
    return offset_s + before_s, max(offset_s + before_s, end_s - after_s)
