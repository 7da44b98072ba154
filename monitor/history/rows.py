"""How the figures of a moment, or of a minute or an hour of them, are written in one row. Pure: knows no database.

One row for all figures: a sample costs one insert, and folding a minute is six rows and not six hundred. The figures
are a JSON object from the number of a series to its value, or to ``[mean, worst, last, n]`` where these differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from monitor.figures import FIGURES, Meaning
from monitor.history.errors import HistoryDamaged

_EXACT: Final = 2**53
"""Up to here a float holds every whole number: bytes stay exact. Fractions are kept to six digits."""

WORDS_CHARS: Final = 500
"""A driver's complaint fits; a page of it does not."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_UNKNOWN: Final = Meaning("A figure of another version")


class Cell(NamedTuple):
    """A figure over *n* samples. *worst* is the end of its range that counts as worse."""

    mean: float
    worst: float
    last: float
    n: int


@dataclass(frozen=True, slots=True)
class Row:
    """All figures of *n_samples* samples from *at_ms* on, by number of their series."""

    at_ms: int
    n_samples: int
    figures: Mapping[int, Cell]
    words: Mapping[int, str] = field(default_factory=dict[int, str])


def to_ms(at: datetime) -> int:
    """Milliseconds since 1970."""
    return (at - _EPOCH) // _MS


def from_ms(at_ms: int) -> datetime:
    """The UTC time of `to_ms`."""
    return _EPOCH + at_ms * _MS


def to_text(at: datetime) -> str:
    """*at* as ``2026-03-01T12:00:00.000Z``: what the job history writes too."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def readable(text: str) -> str:
    r"""*text* as it can be stored: bytes of a file name that are no UTF-8 as ``\\xNN``, as in the job history."""
    try:
        content = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair that is no byte of a name either
        content = text.encode("utf-8", "backslashreplace")
    return content.decode("utf-8", "backslashreplace")


def meaning(name: str) -> Meaning:
    """What *name* says; a high gauge where this version does not know it."""
    return FIGURES.get(name, _UNKNOWN)


def pack_values(values: Mapping[int, float]) -> str:
    """The figures of one sample. What is no number (infinite, NaN) is left out."""
    return _object(f'"{key}":{_number(value)}' for key, value in values.items() if math.isfinite(value))


def pack(row: Row) -> str:
    """The figures of *row*."""
    return _object(f'"{key}":{_cell(cell, row.n_samples)}' for key, cell in row.figures.items())


def pack_words(words: Mapping[int, str]) -> str | None:
    """The words, or None if there are none."""
    return json.dumps({str(key): readable(text[:WORDS_CHARS]) for key, text in words.items()}) if words else None


def unpack(row: tuple[int, int, str, str | None], wanted: Collection[str] | None = None) -> Row:
    """The row that was packed, only with the series that are *wanted*, all if None. Raises HistoryDamaged."""
    at_ms, n_samples, figures, words = row
    try:
        values: dict[str, Any] = json.loads(figures)
        # Few are wanted of many: not all that are there are looked at.
        keys = values.keys() if wanted is None else [key for key in wanted if key in values]
        cells = {int(key): _unpacked(values[key], n_samples) for key in keys}
        texts: dict[str, str] = json.loads(words) if words else {}
        told = {int(key): text for key, text in texts.items() if int(key) in cells}
    except (ValueError, TypeError, AttributeError) as error:
        raise HistoryDamaged(f"the figures of {from_ms(at_ms)} cannot be read: {error}") from error
    return Row(at_ms, n_samples, cells, told)


def merged(one: Cell, other: Cell, of: Meaning) -> Cell:
    """Both as one; *other* is the later. Of a counter only the last value says something."""
    if of.kind == "counter":
        return Cell(other.last, other.last, other.last, one.n + other.n)
    n = one.n + other.n
    worst = min(one.worst, other.worst) if of.worst == "low" else max(one.worst, other.worst)
    if one.mean == other.mean:
        return Cell(one.mean, worst, other.last, n)
    return Cell((one.mean * one.n + other.mean * other.n) / n, worst, other.last, n)


def fold(at_ms: int, rows: Iterable[Row], meaning_of: Callable[[int], Meaning | None]) -> Row:
    """*rows*, in the order of time, as one from *at_ms* on. Series without a meaning are left out."""
    cells: dict[int, Cell] = {}
    words: dict[int, str] = {}
    n_samples = 0
    for row in rows:
        n_samples += row.n_samples
        for key, cell in row.figures.items():
            of = meaning_of(key)
            if of is not None:
                before = cells.get(key)
                cells[key] = cell if before is None else merged(before, cell, of)
        words.update(row.words)
    return Row(at_ms, n_samples, cells, {key: text for key, text in words.items() if key in cells})


def _object(pairs: Iterable[str]) -> str:
    return "{" + ",".join(pairs) + "}"


def _number(value: float) -> str:
    if value == (whole := int(value)) and abs(whole) < _EXACT:
        return str(whole)
    return f"{value:.6g}"


def _cell(cell: Cell, n_samples: int) -> str:
    three = (_number(cell.mean), _number(cell.worst), _number(cell.last))
    if cell.n != n_samples:
        return f"[{','.join(three)},{cell.n}]"
    return three[0] if three[0] == three[1] == three[2] else f"[{','.join(three)}]"


def _unpacked(value: Any, n_samples: int) -> Cell:
    if isinstance(value, int | float):
        return Cell(value, value, value, n_samples)
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no figure")
    mean, worst, last, *n = value  # pyright: ignore[reportUnknownVariableType]  # as `_cell` wrote them
    return Cell(mean, worst, last, n[0] if n else n_samples)
