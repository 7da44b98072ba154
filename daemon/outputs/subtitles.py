"""A transcript as cues: what is on the screen, in how many rows, and when. Pure.

The rules are those of the field (Netflix Timed Text Style Guide, BBC Subtitle Guidelines): rows of a length, a number
of them, the least and the most time on the screen, the speed of reading, a gap of two frames. Where people speak faster
than others can read, no cut helps; then the cue is as long as it can be.

A cue is of one speaker. Each speaker's cues keep the rules for themselves; those of two are on the screen together
where both speak, or where one could not be read in time otherwise.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from daemon.outputs.cutting import Cutting, Shape
from daemon.outputs.pieces import Piece, pieces_of
from daemon.outputs.typesetting import columns, name_of
from daemon.transcript import Segment

__all__ = ["Cue", "Shape", "cues_of"]

_PAUSE_MS: Final = 1500  # no cue goes on over a pause of this length

_CHAIN_MS: Final = 500  # a smaller gap flickers: the cue stays until the next one but for the shortest gap

_AT_ONCE_MS: Final = 250  # who begins so little before the other one ends takes a turn, and talks over nobody


@dataclass(frozen=True, slots=True)
class Cue:
    """What is on the screen from *start_ms* until *end_ms*. *speaker* is empty where nobody knows who.

    *lead* is what the first row begins with: the name, where people could take the text for that of somebody else.
    """

    start_ms: int
    end_ms: int
    rows: tuple[str, ...]
    speaker: str = ""
    lead: str = ""

    @property
    def columns_per_s(self) -> float:
        """How fast it has to be read."""
        return columns(" ".join(self.rows)) * 1000 / max(1, self.end_ms - self.start_ms)


def cues_of(segments: Iterable[Segment], language: str, shape: Shape, until_ms: int | None = None) -> list[Cue]:
    """The cues of *segments* in order of time: every word once, none earlier than it is said.

    None overlaps another of the same speaker. After *until_ms*, if it is given, comes something else.
    """
    lanes: dict[str, list[_Span]] = {}
    for turn in _turns(segments):
        pieces = pieces_of(turn.segments)
        cutting = Cutting(pieces, language, shape, turn.speaker, turn.led)
        spans = [_Span(cutting, *span) for block in _blocks(pieces) for span in cutting.best(*block)]
        lanes.setdefault(turn.speaker, []).extend(spans)
    cues = [cue for speaker in lanes for cue in _timed(speaker, lanes, shape, until_ms)]
    return sorted(cues, key=lambda cue: cue.start_ms)


@dataclass(frozen=True, slots=True)
class _Turn:
    """Lines of one speaker that follow each other. *led*: the numbers of those in which each cue has the name."""

    speaker: str
    segments: Sequence[Segment]
    led: frozenset[int]


def _turns(segments: Iterable[Segment]) -> Iterator[_Turn]:
    """Where two speak at once, and in the line after that, each cue may come behind one of somebody else."""
    lines = list(segments)
    names = [name_of(line.speaker) for line in lines]
    over_another = _over_another(lines, names)
    for speaker, numbers in groupby(range(len(lines)), key=lambda n: names[n]):
        turn = list(numbers)
        led = frozenset(n - turn[0] for n in turn if over_another[n] or (n > turn[0] and over_another[n - 1]))
        yield _Turn(speaker, [lines[n] for n in turn], led)


def _over_another(lines: Sequence[Segment], names: Sequence[str]) -> list[bool]:
    """Which lines are said while somebody else speaks."""
    found = [False] * len(lines)
    if len(set(names)) < 2:
        return found
    running: list[int] = []
    for n in sorted(range(len(lines)), key=lambda n: lines[n].start_s):
        running = [one for one in running if (lines[one].end_s - lines[n].start_s) * 1000 > _AT_ONCE_MS]
        for one in running:
            if names[one] != names[n]:
                found[one] = found[n] = True
        running.append(n)
    return found


def _blocks(pieces: Sequence[Piece]) -> Iterator[tuple[int, int]]:
    """The stretches between long pauses."""
    first = 0
    for n in range(1, len(pieces) + 1):
        if n == len(pieces) or pieces[n].start_ms - pieces[n - 1].end_ms >= _PAUSE_MS:
            yield first, n
            first = n


@dataclass(frozen=True, slots=True)
class _Span:
    """What becomes a cue: a range of the pieces of a turn."""

    cutting: Cutting
    first: int
    end: int

    @property
    def start_ms(self) -> int:
        """When its first word begins."""
        return self.cutting.pieces[self.first].start_ms

    @property
    def spoken_ms(self) -> int:
        """When its last word ends."""
        return self.cutting.pieces[self.end - 1].end_ms

    def read_ms(self, shape: Shape) -> int:
        """How long it must be there."""
        width = self.cutting.width(self.first, self.end)
        return max(shape.min_ms, math.ceil(width * 1000 / shape.columns_per_s))


def _timed(speaker: str, lanes: Mapping[str, Sequence[_Span]], shape: Shape, until_ms: int | None) -> Iterator[Cue]:
    """Each cue of *speaker*, from its first word on, for as long as it must be read, not longer than until the next."""
    spans = lanes[speaker]
    others = sorted(span.start_ms for lane in lanes if lane != speaker for span in lanes[lane])
    free_ms = 0  # where the one before left off, and the gap
    for n, span in enumerate(spans):
        start_ms = max(free_ms, span.start_ms)
        read_ms = start_ms + span.read_ms(shape)
        end_ms = max(span.spoken_ms, read_ms)
        latest_ms = spans[n + 1].start_ms - shape.gap_ms if n + 1 < len(spans) else until_ms
        if latest_ms is not None and end_ms > latest_ms - _CHAIN_MS:
            end_ms = latest_ms
        at = bisect_left(others, max(span.spoken_ms - _AT_ONCE_MS, read_ms + shape.gap_ms))
        if at < len(others) and (answer_ms := others[at] - shape.gap_ms) - _CHAIN_MS < end_ms:
            end_ms = answer_ms if latest_ms is None else min(answer_ms, latest_ms)
        end_ms = max(min(end_ms, start_ms + shape.max_ms), start_ms + 1)
        free_ms = end_ms + shape.gap_ms
        yield Cue(
            start_ms, end_ms, tuple(span.cutting.rows(span.first, span.end)), speaker, span.cutting.lead(span.first)
        )
