"""A transcript as cues: what is on the screen, in how many rows, and when. Pure.

The rules are those of the field (Netflix Timed Text Style Guide, BBC Subtitle Guidelines): rows of a length, a number
of them, the least and the most time on the screen, the speed of reading, a gap of two frames. Of all ways to cut a
stretch of speech between two pauses the one is taken that costs least (dynamic programming): a broken rule costs more
than any ugly break. Where people speak faster than others can read, no cut helps; then the cue is as long as it can be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from daemon.outputs.clauses import SENTENCE, break_cost, ends_sentence
from daemon.outputs.pieces import Piece, pieces_of
from daemon.outputs.typesetting import columns, wide_columns
from daemon.transcript import Segment

_PAUSE_MS: Final = 1500  # no cue goes on over a pause of this length

_CHAIN_MS: Final = 500  # a smaller gap flickers: the cue stays until the next one but for the shortest gap

_CUE: Final = 3.0
_SENTENCE_INSIDE: Final = 4.0
_CUT_SENTENCE: Final = 3.0
_ORPHAN: Final = 6.0
_SHORT_COLUMNS: Final = 10
_ROW_ORPHAN: Final = 3.0
_UNBALANCED: Final = 3.0
_ROW_BREAK: Final = 0.6
_INNER_PAUSE_MS: Final = 600
_GUESSED: Final = 5.0  # to break a line of which nobody knows when its words were said
_RULE: Final = 60.0
# Costs on the scale of `clauses`: another cue is as bad as a break between any two words. Found by reading.


@dataclass(frozen=True, slots=True)
class Shape:
    """What cues may look like.

    *row_columns_wide* is for text of which most is Chinese, Japanese or Korean; in columns, two for a wide character.
    """

    row_columns: int = 42
    row_columns_wide: int = 32
    n_rows: int = 2
    min_ms: int = 1000
    max_ms: int = 7000
    columns_per_s: float = 20.0
    gap_ms: int = 83


@dataclass(frozen=True, slots=True)
class Cue:
    """What is on the screen from *start_ms* until *end_ms*."""

    start_ms: int
    end_ms: int
    rows: tuple[str, ...]

    @property
    def columns_per_s(self) -> float:
        """How fast it has to be read."""
        return columns(" ".join(self.rows)) * 1000 / max(1, self.end_ms - self.start_ms)


def cues_of(segments: Iterable[Segment], language: str, shape: Shape, until_ms: int | None = None) -> list[Cue]:
    """The cues of *segments* in order, none overlapping another: every word once, none earlier than it is said.

    After *until_ms*, if it is given, comes something else.
    """
    pieces = pieces_of(segments)
    cutting = _Cutting(pieces, language, shape)
    spans = [span for block in _blocks(pieces) for span in cutting.best(*block)]
    return list(_timed(spans, cutting, until_ms))


def _blocks(pieces: Sequence[Piece]) -> Iterator[tuple[int, int]]:
    """The stretches between long pauses."""
    first = 0
    for n in range(1, len(pieces) + 1):
        if n == len(pieces) or pieces[n].start_ms - pieces[n - 1].end_ms >= _PAUSE_MS:
            yield first, n
            first = n


class _Cutting:
    """The costs of all cues that the pieces could be cut into. A cue is a range of pieces."""

    def __init__(self, pieces: Sequence[Piece], language: str, shape: Shape) -> None:
        self.pieces = pieces
        self.shape = shape
        self._columns, self._narrow, self._wide, self._sentences, self._pauses = [0], [0], [0], [0], [0.0]
        self._breaks, self._blind = [SENTENCE], [0.0]  # what it costs to break before each, and to guess when
        for n, piece in enumerate(pieces):
            self._columns.append(self._columns[-1] + piece.space + columns(piece.text))
            wide = wide_columns(piece.text)
            self._wide.append(self._wide[-1] + wide)
            self._narrow.append(self._narrow[-1] + columns(piece.text.replace(" ", "")) - wide)
            following = pieces[n + 1] if n + 1 < len(pieces) else None
            pause_ms = following.start_ms - piece.end_ms if following is not None else 0
            self._sentences.append(self._sentences[-1] + ends_sentence(piece.text))
            self._pauses.append(self._pauses[-1] + max(0.0, pause_ms / _INNER_PAUSE_MS - 1.0))
            cost = SENTENCE if following is None else break_cost(piece.text, following.text, pause_ms, language)
            self._breaks.append(cost)
            within = following is not None and piece.line == following.line
            self._blind.append(_GUESSED if piece.guessed and within else 0.0)

    def best(self, first: int, end: int) -> list[tuple[int, int]]:
        """The cheapest cues of the pieces *first* to *end*."""
        costs, cuts = {first: 0.0}, dict[int, int]()
        for till in range(first + 1, end + 1):
            costs[till] = float("inf")
            for since in self._since(first, till):
                cost = costs[since] + self._cost(since, till, end)
                if cost < costs[till]:  # its rows, which take longest, are looked at last
                    rows_cost, edges = self._rows(since, till)
                    if edges and cost + rows_cost < costs[till]:
                        costs[till], cuts[till] = cost + rows_cost, since
        spans: list[tuple[int, int]] = []
        while end > first:
            spans.append((cuts[end], end))
            end = cuts[end]
        return spans[::-1]

    def rows(self, first: int, end: int) -> list[str]:
        """The text of a cue in its rows."""
        edges = self._rows(first, end)[1]
        return [self._text(*edge) for edge in pairwise(edges)]

    def width(self, first: int, end: int) -> int:
        """The columns of a range, in one row."""
        return self._columns[end] - self._columns[first] - self.pieces[first].space

    def shown_ms(self, first: int, end: int) -> int:
        """How long a cue can be on the screen, whatever it is."""
        if end == len(self.pieces):
            return self.shape.max_ms
        room_ms = self.pieces[end].start_ms - self.shape.gap_ms - self.pieces[first].start_ms
        return min(self.shape.max_ms, room_ms)

    def row_columns(self, first: int, end: int) -> int:
        """The width of a row for a range."""
        is_wide = self._wide[end] - self._wide[first] > self._narrow[end] - self._narrow[first]
        return self.shape.row_columns_wide if is_wide else self.shape.row_columns

    def _since(self, first: int, till: int) -> Iterator[int]:
        """Where a cue that ends at *till* may begin: a single piece always may."""
        yield till - 1
        most = self.shape.n_rows * (max(self.shape.row_columns, self.shape.row_columns_wide) + 1)
        earliest_ms = self.pieces[till - 1].end_ms - self.shape.max_ms
        for since in range(till - 2, first - 1, -1):
            if self.width(since, till) > most or self.pieces[since].start_ms < earliest_ms:
                return
            yield since

    def _cost(self, first: int, end: int, block_end: int) -> float:
        """What a cue costs, but for its rows."""
        width, cut = self.width(first, end), self._breaks[end] if end < block_end else SENTENCE
        cost = _CUE + cut + self._blind[end] + self._pauses[end - 1] - self._pauses[first]
        if inside := self._sentences[end - 1] - self._sentences[first]:
            cost += _SENTENCE_INSIDE * inside + _CUT_SENTENCE * (cut > SENTENCE)
        if width < _SHORT_COLUMNS:
            cost += _ORPHAN
        shown_ms = self.shown_ms(first, end)
        needed_ms = max(self.shape.min_ms, width * 1000 / self.shape.columns_per_s)
        if shown_ms < needed_ms:
            cost += _RULE * (0.2 + min(5.0, needed_ms / max(1, shown_ms) - 1.0))
        return cost

    def _rows(self, first: int, end: int) -> tuple[float, list[int]]:
        """What its breaks cost and where its rows begin, with the end; no rows where it does not fit."""
        limit = self.row_columns(first, end)
        if self.width(first, end) <= limit or end == first + 1:
            return 0.0, [first, end]
        for n_rows in range(2, self.shape.n_rows + 1):
            found = self._split(first, end, n_rows, limit)
            if found is not None:
                return found
        return 0.0, []

    def _split(self, first: int, end: int, n_rows: int, limit: int) -> tuple[float, list[int]] | None:
        """The cheapest way into just *n_rows*."""
        if n_rows == 1:
            return (0.0, [first, end]) if self.width(first, end) <= limit else None
        best: tuple[float, list[int]] | None = None
        share = self.width(first, end) / n_rows
        for cut in range(end - 1, first, -1):
            last = self.width(cut, end)
            if last > limit:
                break
            above = self._split(first, cut, n_rows - 1, limit)
            if above is None:
                continue
            cost = above[0] + _ROW_BREAK * self._breaks[cut] + _UNBALANCED * (abs(last - share) / share) ** 2
            cost += _ROW_ORPHAN * (min(last, self.width(first, cut)) < _SHORT_COLUMNS)
            if best is None or cost < best[0]:
                best = cost, [*above[1], end]
        return best

    def _text(self, first: int, end: int) -> str:
        return "".join(
            f" {piece.text}" if piece.space and n else piece.text for n, piece in enumerate(self.pieces[first:end])
        )


def _timed(spans: Sequence[tuple[int, int]], cutting: _Cutting, until_ms: int | None) -> Iterator[Cue]:
    """Each from its first word on, for as long as it must be read, no longer than until the next one."""
    shape, pieces = cutting.shape, cutting.pieces
    free_ms = 0  # where the one before left off, and the gap
    for n, (first, end) in enumerate(spans):
        start_ms = max(free_ms, pieces[first].start_ms)
        spoken_ms = pieces[end - 1].end_ms
        read_ms = start_ms + max(shape.min_ms, math.ceil(cutting.width(first, end) * 1000 / shape.columns_per_s))
        end_ms = max(spoken_ms, read_ms)
        latest_ms = pieces[end].start_ms - shape.gap_ms if n + 1 < len(spans) else until_ms
        if latest_ms is not None and end_ms > latest_ms - _CHAIN_MS:
            end_ms = latest_ms
        end_ms = max(min(end_ms, start_ms + shape.max_ms), start_ms + 1)
        free_ms = end_ms + shape.gap_ms
        yield Cue(start_ms, end_ms, tuple(cutting.rows(first, end)))
