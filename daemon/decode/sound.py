"""A fingerprint of decoded sound, to know a recording again that was renamed, tagged anew or put in another container.

Child side; knows no recording and no history. How two are compared: `daemon.sound`.

Such a copy decodes to the same samples, but for a little silence more or less at either end (encoders begin with some,
and containers say or do not say that it is to be left out) and the last bit. So nothing has to be forgiven but that,
and one word spoken otherwise is to be seen: the level of each of six bands in each 80 ms. They are counted from the
loudest moment, which is in both copies, and not from the beginning, which may not be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.fft import rfft
from numpy.lib.stride_tricks import sliding_window_view

from daemon.sound import FLOOR_DB, FRAME_SAMPLES, N_BANDS, STEP_DB, Sound
from daemon.transcript import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

BANDS_HZ: Final = (60, 400, 800, 1400, 2300, 3600, 7600)
"""The edges of the bands: about as wide as each other to the ear, in what telephones and speech have."""

_SMOOTH: Final = 25
"""Samples: averaged twice over so many the sound has nothing above some 600 Hz, and its peaks lie between samples."""

_NEAR_PEAK: Final = 0.97
_BLOCK_FRAMES: Final = 300

_Ints = npt.NDArray[np.int64]

_TAPER: Final = 320
"""Samples over which a frame fades into the next. With hard edges what is loud in one band shows in all, and how much
depends on where between two samples the frame begins."""

_RAMP: Final = np.sin(np.pi / 2 * (np.arange(_TAPER) + 0.5) / _TAPER).astype(np.float32)
_WINDOW: Final = np.concatenate((_RAMP, np.ones(FRAME_SAMPLES - _TAPER, np.float32), _RAMP[::-1]))
_EDGES: Final = [round(edge_hz * len(_WINDOW) / SAMPLE_RATE_HZ) for edge_hz in BANDS_HZ]
assert len(_EDGES) == N_BANDS + 1


def fingerprint(spool_fd: int, n_samples: int, beat: Callable[[], None], second: int = 0) -> Sound:
    """That of the *n_samples* in the spool file, and of as many from *second* on where a second channel begins there.

    *beat* is called as it gets on; an hour of sound takes a second.
    """
    anchor = _loudest(spool_fd, n_samples, beat)
    n_before = -(-anchor // FRAME_SAMPLES)
    n_frames = n_before - (anchor - n_samples) // FRAME_SAMPLES
    start = anchor - n_before * FRAME_SAMPLES
    channels: list[bytes] = []
    for begin in (0, second) if second else (0,):
        levels: list[bytes] = []
        for number in range(0, n_frames, _BLOCK_FRAMES):
            count = min(_BLOCK_FRAMES, n_frames - number) * FRAME_SAMPLES + _TAPER
            first = start + number * FRAME_SAMPLES - _TAPER // 2
            levels.append(_levels(_read(spool_fd, begin, n_samples, first, count)))
            beat()
        channels.append(b"".join(levels))
    return Sound(anchor, n_before, tuple(channels))


def _read(spool_fd: int, begin: int, n_samples: int, start: int, count: int) -> npt.NDArray[np.int16]:
    """*count* samples from *start* on of the channel that begins at *begin*; silence where it has none."""
    samples = np.zeros(count, np.int16)
    first, last = max(start, 0), min(start + count, n_samples)
    if first < last:
        data = os.pread(spool_fd, (last - first) * BYTES_PER_SAMPLE, (begin + first) * BYTES_PER_SAMPLE)
        found = np.frombuffer(data[: len(data) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE], np.int16)
        samples[first - start : first - start + len(found)] = found
    return samples


def _levels(samples: npt.NDArray[np.int16]) -> bytes:
    """The levels of the bands of whole frames, in steps above the floor, frame by frame."""
    frames = sliding_window_view(samples.astype(np.float32) / np.float32(32768.0), len(_WINDOW))[::FRAME_SAMPLES]
    spectrum = rfft(frames * _WINDOW, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    bands = np.stack([power[:, low:high].sum(axis=1) for low, high in pairwise(_EDGES)], axis=1)
    mean_square = bands.astype(np.float64) * (2.0 / (FRAME_SAMPLES * len(_WINDOW)))  # Parseval
    level_db = 10.0 * np.log10(np.maximum(mean_square, 1e-12))
    return np.clip(np.rint((level_db - FLOOR_DB) / STEP_DB), 0, 255).astype(np.uint8).tobytes()


def _loudest(spool_fd: int, n_samples: int, beat: Callable[[], None]) -> int:
    """The sample at the highest peak of the sound below 600 Hz, to the nearest."""
    best, place = 0.0, 0
    block = _BLOCK_FRAMES * FRAME_SAMPLES
    margin = 2 * _SMOOTH
    for start in range(0, n_samples, block):
        samples = _read(spool_fd, 0, n_samples, start - margin, block + 2 * margin)
        smooth = np.abs(_smoothed(_smoothed(samples.astype(np.int64))))
        for height, index in _peaks(smooth):
            if height > best:
                # Each smoothing loses _SMOOTH - 1 samples, half of them at the beginning.
                best, place = height, round(start - margin + index + _SMOOTH - 1)
        beat()
    return min(max(place, 0), n_samples)


def _smoothed(samples: _Ints) -> _Ints:
    sums = np.cumsum(samples)
    smooth = sums[_SMOOTH - 1 :].copy()
    smooth[1:] -= sums[:-_SMOOTH]
    return smooth


def _peaks(heights: _Ints) -> Iterator[tuple[float, float]]:
    """The height and place between the samples of each peak that may be the highest, by a parabola through three."""
    highest = int(heights.max())
    if highest == 0:
        return
    for index in np.flatnonzero(heights >= highest * _NEAR_PEAK).tolist():
        if not 0 < index < len(heights) - 1:
            continue
        left, middle, right = (int(height) for height in heights[index - 1 : index + 2])
        bend = left - 2 * middle + right
        if middle < left or middle < right or bend == 0:
            continue
        shift = 0.5 * (left - right) / bend
        yield middle - 0.25 * (left - right) * shift, index + shift
