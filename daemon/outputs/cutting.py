"""How a stretch of speech is cut into cues and rows: of all ways the one that costs least (dynamic programming). Pure.

A broken rule costs more than any ugly break. Knows nothing of files, and of times only when the words are said.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from daemon.outputs.clauses import SENTENCE, break_cost, ends_sentence
from daemon.outputs.pieces import Piece
from daemon.outputs.typesetting import columns, shortened, wide_columns

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

_LEAD_END: Final = ": "
_LEAD_COLUMNS: Final = 20  # half of a row
_LEAD_LEAST_COLUMNS: Final = 3


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


class Cutting:
    """The costs of all cues that the pieces could be cut into. A cue is a range of pieces.

    *lead*, a name, is what the first cue begins with, and each that begins in one of the lines *led*.
    """

    def __init__(
        self, pieces: Sequence[Piece], language: str, shape: Shape, lead: str = "", led: Collection[int] = ()
    ) -> None:
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
        is_led = [bool(lead) and (n == 0 or piece.line in led) for n, piece in enumerate(pieces)]
        self._leads = [self._fitting(lead, n) if is_led[n] else "" for n in range(len(pieces))]
        self._lead_columns = list(map(columns, self._leads))

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
        rows = [self._text(*edge) for edge in pairwise(edges)]
        return [self._leads[first] + rows[0], *rows[1:]]

    def lead(self, first: int) -> str:
        """What a cue that begins with this piece has before it."""
        return self._leads[first]

    def width(self, first: int, end: int) -> int:
        """The columns of a cue, in one row."""
        return self._lead_columns[first] + self._width(first, end)

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

    def _width(self, first: int, end: int) -> int:
        return self._columns[end] - self._columns[first] - self.pieces[first].space

    def _fitting(self, lead: str, first: int) -> str:
        """*lead*, as short as the row of a piece needs it; empty where there is no room."""
        shape = self.shape
        row_columns = min(shape.row_columns, shape.row_columns_wide) if self._wide[-1] else shape.row_columns
        room = min(_LEAD_COLUMNS, row_columns - self._width(first, first + 1) - columns(_LEAD_END))
        return shortened(lead, room) + _LEAD_END if room >= _LEAD_LEAST_COLUMNS else ""

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
        for cut in range(self._last_cut(first, end, n_rows, limit), first, -1):
            last = self._width(cut, end)
            if last > limit:
                break
            above = self._split(first, cut, n_rows - 1, limit) if n_rows > 2 else (0.0, [first, cut])
            if above is None:
                continue
            cost = above[0] + _ROW_BREAK * self._breaks[cut] + _UNBALANCED * (abs(last - share) / share) ** 2
            cost += _ROW_ORPHAN * (min(last, self.width(first, cut)) < _SHORT_COLUMNS)
            if best is None or cost < best[0]:
                best = cost, [*above[1], end]
        return best

    def _last_cut(self, first: int, end: int, n_rows: int, limit: int) -> int:
        """The last place for the last of *n_rows* to begin: of two rows, the first must fit."""
        if n_rows > 2:
            return end - 1
        room = limit - self._lead_columns[first] + self._columns[first] + self.pieces[first].space
        return min(end - 1, bisect_right(self._columns, room) - 1)

    def _text(self, first: int, end: int) -> str:
        return "".join(
            f" {piece.text}" if piece.space and n else piece.text for n, piece in enumerate(self.pieces[first:end])
        )
