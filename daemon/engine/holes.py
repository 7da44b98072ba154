"""Speech that a window's text leaves out: where it is, how the window is cut to hear it, and whether that did better.

Pure. The model may pass over the middle or an end of a window without a sign of doubt: its text is right as far as it
goes, and long enough for the other checks. Only the times of its words tell.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from daemon.engine.assembly import DecodedWindow
from daemon.engine.windows import Window
from daemon.transcript import SAMPLE_RATE_HZ, Word

_MIN_HOLE_SAMPLES: Final = 2 * SAMPLE_RATE_HZ
# Speech without words for so long is a hole. Of 454 windows in ten languages (base) 23 had more than 2.3 s, and in all
# that were looked at words were missing; the others had at most 1.8 s.

_MAX_MEDIAN_WORD_S: Final = 0.7
_LOOSE: Final = 2.0
# A word of more than twice the usual length, or more than 1.4 s, is spoken somewhere in it: beside a hole the alignment
# stretches words into it.

_ZONE_SAMPLES: Final = SAMPLE_RATE_HZ
_LATE_SAMPLES: Final = SAMPLE_RATE_HZ // 5
# How far in a hole a pause is looked for, and by how much the alignment may be late.

_MIN_PART_SAMPLES: Final = SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a window that is asked for by itself; *lost*: its text was left out, or most of it."""

    window: Window
    lost: bool


@dataclass(frozen=True, slots=True)
class _Hole:
    """From the end of a word to the start of another, in samples of the recording; *loose* is for words within."""

    start: int
    end: int
    loose: int


def recut(window: Window, answer: DecodedWindow, quietest: Callable[[int, int], int]) -> tuple[Part, ...]:
    """*window* in two or more parts, cut where its text leaves out speech; empty if it leaves out none.

    A text whose words have no times is taken to be whole. *quietest(lowest, highest)* gives the sample to cut at.
    """
    holes = list(_holes(window, answer))
    cuts = [window.start]
    for low, high in (zone for hole in holes for zone in _zones(window, hole)):
        cut = quietest(low, high)
        if min(cut - cuts[-1], window.end - cut) >= _MIN_PART_SAMPLES:
            cuts.append(cut)
    if len(cuts) == 1:
        return ()
    parts = (window.part(start, end) for start, end in pairwise([*cuts, window.end]))
    middles = [(hole.start + hole.end) // 2 for hole in holes]
    return tuple(Part(part, any(part.start <= at < part.end for at in middles)) for part in parts if part.speech)


def is_heard(answer: DecodedWindow) -> bool:
    """Whether the model has text for a stretch that it had left out, and one to be believed."""
    return bool(answer.segments) and not answer.suspect


def hears_more(answer: DecodedWindow, parts: Sequence[DecodedWindow]) -> bool:
    """Whether the texts of *parts* are to be kept instead of *answer*: none doubtful, together longer."""
    return not any(part.suspect for part in parts) and sum(map(_n_characters, parts)) > _n_characters(answer)


def _n_characters(answer: DecodedWindow) -> int:
    return sum(character.isalnum() for segment in answer.segments for character in segment.text)


def _holes(window: Window, answer: DecodedWindow) -> Iterator[_Hole]:
    if not answer.segments or not all(segment.words for segment in answer.segments):
        return
    words = [word for segment in answer.segments for word in segment.words]
    longest_s = _longest_s(words)
    firm = [n for n, word in enumerate(words) if word.end_s - word.start_s <= longest_s]
    for before, after in pairwise([-1, *firm, len(words)]):
        start = window.start + _samples(words[before].end_s) if before >= 0 else window.start
        end = window.start + _samples(words[after].start_s) if after < len(words) else window.end
        hole = _Hole(start, end, _samples((after - before - 1) * longest_s))
        if start < end and window.part(start, end).n_spoken - hole.loose >= _MIN_HOLE_SAMPLES:
            yield hole


def _longest_s(words: Sequence[Word]) -> float:
    lengths_s = [word.end_s - word.start_s for word in words if word.end_s > word.start_s]
    return _LOOSE * min(_MAX_MEDIAN_WORD_S, statistics.median(lengths_s)) if lengths_s else 0.0


def _zones(window: Window, hole: _Hole) -> Iterator[tuple[int, int]]:
    """Where to cut: at the start of the hole and at its end, but not at those of the window."""
    middle = (hole.start + hole.end) // 2
    low, high = hole.start - _LATE_SAMPLES, hole.end + _LATE_SAMPLES
    if low >= window.start:
        yield low, min(middle, hole.start + _ZONE_SAMPLES + hole.loose)
    if high <= window.end:
        yield max(middle, hole.end - _ZONE_SAMPLES - hole.loose), high


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)
