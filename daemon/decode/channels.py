"""Whether the two channels of a recording are two people apart, or one sound twice. Child side; knows no file format.

A conversation over the telephone or with a microphone each has a voice on each channel. Music, video, a microphone
with two capsules and most other stereo has the same voices on both. What tells them apart is the pattern of loud and
soft in eight bands of speech, second by second: it is the same on both channels where they hear the same voice, however
late, inverted, filtered or in what room, and unlike where they do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from daemon.decode.spans import FRAME_SAMPLES
from daemon.transcript import SAMPLE_RATE_HZ

_Float = npt.NDArray[np.float32]
_Bands = npt.NDArray[np.float16 | np.float32]
_Mask = npt.NDArray[np.bool_]

_EDGES_HZ: Final = (150, 300, 450, 650, 900, 1250, 1750, 2500, 3800)
"""Of the bands: what a telephone lets through, and no hum of the mains."""

_SILENT_DB: Final = -100.0
"""Below this a 16-bit sample has no bit left."""

_WINDOW: Final = SAMPLE_RATE_HZ // FRAME_SAMPLES
_HOP: Final = _WINDOW // 2
"""Patterns are compared over a second, from half a second to the next."""

_MAX_LAG: Final = 12
"""Frames by which one channel may be behind the other: 0.4 s, the echo of a loudspeaker over the network."""

_SMOOTH: Final = 5
"""Frames over which two levels are compared: 0.16 s, a syllable."""

_LAG_WINDOWS: Final = 400
_AT_ONCE: Final = 1024
_BLOCK_FRAMES: Final = 64
_FIRST_FRAMES: Final = 4096
# Windows that are asked for the lag, and windows and frames in memory at once.

_QUIET_DB: Final = 30.0
"""So far below its loud speech a channel is as good as silent."""

SAME_PATTERN: Final = 0.5
"""The least correlation of two patterns that are of one voice. Of one voice in a room, two metres apart and with noise,
nearly all seconds had 0.65 and more; of two people at once 95 % had 0.3 and less."""

LEAK_PATTERN: Final = 0.6
LEAKING_RATIO: Final = 0.3
"""The least correlation of a voice with its leak, and how many of the seconds with that voice must have it, before what
leaks is silenced: two people who begin at once are alike for that second."""

LEAK_DB: Final = 10.0
"""One voice on both channels, but so much softer on one: it leaks into the other's microphone. In a room that two
microphones share it is less."""

MOST_SHARED_RATIO: Final = 0.35
"""Of the seconds with speech that have the same voice about as loud on both channels, in channels that are apart. Of
106 conversations on two channels with leaks, echoes and noise, none had more than 0.04, two who begin at once for four
seconds 0.25; of 118 recordings of the same in rooms, placed left and right, softer or late on one side, none had less
than 0.7."""

INVERTED: Final = -0.8
"""A correlation of the samples below this: mixed to one, the channels would cancel out."""


class Layout(StrEnum):
    """What the channels of a recording are, and so what is heard of them."""

    MONO = "mono"
    """One channel, or more than two mixed to one."""
    JOINT = "joint"
    """The same on both: mixed to one."""
    DISTINCT = "distinct"
    """A voice on each: heard one after the other."""
    ONE_LIVE = "one_live"
    """A voice on one of them, nothing or noise on the other: that one is heard."""
    INVERTED = "inverted"
    """The same on both, but upside down on one: the left one is heard."""


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of each frame of two channels. *bands_db*: (n, 2, 8); *level_db*: (n, 2); *dot*: (n, 3)."""

    bands_db: _Bands
    level_db: _Float
    dot: _Float


class ChannelMeter:
    """Listens to both channels of a recording, fed in blocks of any size; keeps 5 MB an hour."""

    def __init__(self) -> None:
        self._waiting: list[npt.NDArray[np.int16]] = []
        self._n_waiting = 0
        # Two arrays that grow now and then: small ones, kept between large ones that go, would hold their memory.
        self._n_frames = 0
        self._bands = np.empty((_FIRST_FRAMES, 2, len(_EDGES_HZ) - 1), np.float16)
        self._dots = np.empty((_FIRST_FRAMES, 3), np.float32)
        bins = np.arange(FRAME_SAMPLES // 2 + 1) * SAMPLE_RATE_HZ / FRAME_SAMPLES
        self._matrix = np.stack([(bins >= low) & (bins < high) for low, high in pairwise(_EDGES_HZ)], axis=1).astype(
            np.float32
        )
        self._taper = np.hanning(FRAME_SAMPLES).astype(np.float32)[:, None]

    def feed(self, samples: npt.NDArray[np.int16]) -> None:
        """Take the next samples, shape (n, 2)."""
        self._waiting.append(samples)
        self._n_waiting += len(samples)
        if self._n_waiting >= _BLOCK_FRAMES * FRAME_SAMPLES:
            self._measure_waiting()

    def _measure_waiting(self) -> None:
        waiting = np.concatenate(self._waiting) if self._waiting else np.zeros((0, 2), np.int16)
        n_whole = len(waiting) // FRAME_SAMPLES * FRAME_SAMPLES
        for begin in range(0, n_whole, _BLOCK_FRAMES * FRAME_SAMPLES):
            block = waiting[begin : min(n_whole, begin + _BLOCK_FRAMES * FRAME_SAMPLES)]
            self._measure(block.astype(np.float32).reshape(-1, FRAME_SAMPLES, 2) / np.float32(32768))
        self._waiting = [waiting[n_whole:].copy()]
        self._n_waiting = len(waiting) - n_whole

    def _measure(self, frames: _Float) -> None:
        begin, end = self._n_frames, self._n_frames + len(frames)
        if end > len(self._dots):
            self._bands = np.concatenate((self._bands, np.empty_like(self._bands)))
            self._dots = np.concatenate((self._dots, np.empty_like(self._dots)))
        left, right = frames[..., 0], frames[..., 1]
        for column, (a, b) in enumerate(((left, left), (right, right), (left, right))):
            self._dots[begin:end, column] = (a * b).sum(axis=1)
        power: npt.NDArray[np.floating] = np.abs(np.fft.rfft(frames * self._taper, axis=1)) ** 2 / FRAME_SAMPLES**2
        self._bands[begin:end] = _decibels(np.einsum("nfc,fb->ncb", power, self._matrix))
        self._n_frames = end

    def finish(self) -> Features:
        """What was heard; the last frame is left out where it is not whole."""
        self._measure_waiting()
        bands = self._bands[: self._n_frames]
        level = np.empty((self._n_frames, 2), np.float32)
        for begin in range(0, self._n_frames, _FIRST_FRAMES):  # of half a day, all at once would be 300 MB
            some = bands[begin : begin + _FIRST_FRAMES].astype(np.float32)
            level[begin : begin + _FIRST_FRAMES] = _decibels((10 ** (some / 10)).sum(axis=2))
        return Features(bands, level, self._dots[: self._n_frames])


def _decibels(power: npt.NDArray[np.floating]) -> _Float:
    decibels: _Float = np.maximum(10 * np.log10(np.maximum(power, 1e-12)), _SILENT_DB).astype(np.float32)
    return decibels


@dataclass(frozen=True, slots=True)
class Judged:
    """What two channels are: joint, inverted, or distinct, as far as both have speech.

    *leaks*, shape (n, 2), are the frames of each channel that have only the voice of the other one.
    """

    layout: Layout
    leaks: _Mask


def judge(features: Features, speech: _Mask) -> Judged:
    """What *features* are of; *speech* are the frames in which anybody speaks, as many or a few less or more."""
    n = len(features.level_db)
    none = np.zeros((n, 2), np.bool_)
    left, right, both = features.dot.sum(axis=0, dtype=np.float64)
    if both < INVERTED * np.sqrt(left * right):
        return Judged(Layout.INVERTED, none)
    heard = np.zeros(n, np.bool_)
    heard[: len(speech)] = speech[:n]
    compared = _compare(features, heard)
    if compared is None:
        return Judged(Layout.JOINT, none)
    more_db = compared.difference_db - compared.middle_db
    shared = (compared.each >= SAME_PATTERN) & (np.abs(more_db) < LEAK_DB)
    if shared.mean(axis=1).max() > MOST_SHARED_RATIO:
        return Judged(Layout.JOINT, none)
    for channel, louder in enumerate((more_db < -LEAK_DB, more_db > LEAK_DB)):
        leaks = louder & (compared.likeness >= LEAK_PATTERN)
        if leaks.sum() > LEAKING_RATIO * louder.sum():
            none[_softer(features.level_db, compared, channel), channel] = True
    return Judged(Layout.DISTINCT, none)


@dataclass(frozen=True, slots=True)
class _Compared:
    """The seconds with speech: where each begins, how far the right channel is behind there, and how both compare.

    *each*: how alike they are, with each of the lags that come into question, shape (n_lags, n); *lags* is the best.
    """

    starts: npt.NDArray[np.intp]
    lags: npt.NDArray[np.intp]
    each: _Float
    difference_db: _Float

    @property
    def likeness(self) -> _Float:
        """How alike they are with the best lag."""
        best: _Float = self.each.max(axis=0)
        return best

    @property
    def middle_db(self) -> float:
        """Between both voices: each channel has a volume of its own, so that counts by how much they differ."""
        few = max(1, len(self.difference_db) // 100)
        ordered = np.sort(self.difference_db)
        return float(ordered[few - 1] + ordered[-few]) / 2


def _compare(features: Features, speech: _Mask) -> _Compared | None:
    """None where there is no second with speech."""
    starts = np.arange(0, len(speech) - _WINDOW + 1, _HOP)
    spoken = _sums(speech.astype(np.float32)[:, None], starts)[:, 0]
    starts = starts[spoken >= _HOP]
    if not len(starts):
        return None
    levels = _decibels(_sums(10 ** (features.level_db / 10), starts) / _WINDOW)
    # No np.percentile: it loads modules when it is first used, which the sandbox forbids.
    usual = np.sort(levels, axis=0)[int(0.9 * (len(levels) - 1))]
    loud = (levels > usual - _QUIET_DB).any(axis=1)
    starts, levels = starts[loud], np.maximum(levels[loud], usual - _QUIET_DB)
    lags = _lags(features.bands_db, starts)
    likeness = np.stack([_likeness(features.bands_db, starts, lag) for lag in lags])
    best = likeness.argmax(axis=0)
    return _Compared(starts, np.array(lags)[best], likeness, levels[:, 0] - levels[:, 1])


def _sums(values: npt.NDArray[np.floating], starts: npt.NDArray[np.intp]) -> _Float:
    """The sums of *values*, shape (n, k), over each window: (n_windows, k)."""
    total = np.concatenate((np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)))
    return (total[starts + _WINDOW] - total[starts]).astype(np.float32)


def _lags(bands_db: _Bands, starts: npt.NDArray[np.intp]) -> list[int]:
    """None, and the likeliest one in each direction."""
    some = starts[:: max(1, len(starts) // _LAG_WINDOWS)]

    def liked(lag: int) -> float:
        return float(np.maximum(_likeness(bands_db, some, lag), 0).mean())

    return [0, max(range(-_MAX_LAG, 0), key=liked), max(range(1, _MAX_LAG + 1), key=liked)]


def _likeness(bands_db: _Bands, starts: npt.NDArray[np.intp], lag: int) -> _Float:
    """The correlation of both channels' patterns in each window, the right one *lag* frames later."""
    last = len(bands_db) - _WINDOW
    found = [np.zeros(0, np.float32)]
    for n in range(0, len(starts), _AT_ONCE):
        some = starts[n : n + _AT_ONCE]
        left = _patterns(bands_db[:, 0], some)
        right = _patterns(bands_db[:, 1], np.clip(some + lag, 0, last))
        found.append(np.einsum("wp,wp->w", left, right))
    return np.concatenate(found)


def _patterns(bands_db: _Bands, starts: npt.NDArray[np.intp]) -> _Float:
    """What each window has more or less than its own mean in each band, as a vector of length 1, or 0 if constant."""
    pattern = bands_db[starts[:, None] + np.arange(_WINDOW)].astype(np.float32)
    pattern = (pattern - pattern.mean(axis=1, keepdims=True)).reshape(len(starts), -1)
    length = np.sqrt(np.einsum("wp,wp->w", pattern, pattern))
    unit: _Float = pattern / np.maximum(length, 1e-3)[:, None]
    return unit


def _softer(level_db: _Float, compared: _Compared, channel: int) -> _Mask:
    """The frames in which *channel* has what the other one has, and softer."""
    n = len(level_db)
    smooth = np.ones(_SMOOTH, np.float32) / _SMOOTH
    level = _decibels(np.stack([np.convolve(10 ** (each / 10), smooth, "same") for each in level_db.T], axis=1))
    softer = np.zeros(n, np.bool_)
    for lag in range(-_MAX_LAG, _MAX_LAG + 1):
        inside = np.zeros(n, np.bool_)
        starts = compared.starts[(compared.likeness >= LEAK_PATTERN) & (compared.lags == lag)]
        inside[starts[:, None] + np.arange(_WINDOW)] = True
        frames = np.flatnonzero(inside)
        late = np.clip(frames + lag, 0, n - 1)
        less = level[frames, 0] - level[late, 1] - compared.middle_db
        if channel == 0:
            softer[frames[less < -LEAK_DB / 2]] = True
        else:
            softer[late[less > LEAK_DB / 2]] = True
    return softer
