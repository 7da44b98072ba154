"""Holds a subtitle file against the rules of the field, knowing nothing of how it was made but its shape.

``python -m tests.subtitle_rules FILE.srt ...`` prints what it finds.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from daemon.outputs.subtitles import Shape
from tests.subtitle_readers import by_srt

FLICKER_MS: Final = 500
"""A smaller gap between two cues is closed, but for the shortest one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A cue as a file has it."""

    start_ms: int
    end_ms: int
    rows: tuple[str, ...]

    @property
    def columns(self) -> int:
        """Of the whole text; the end of a row counts one."""
        return columns(" ".join(self.rows))


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a cue breaks; *unavoidable* is the reason why no other times could keep it, if that is so."""

    rule: str
    number: int
    what: str
    unavoidable: str = ""


def read_srt(content: str) -> list[Shown]:
    """The cues of a SubRip file."""
    return [Shown(start_ms, end_ms, tuple(text.split("\n"))) for start_ms, end_ms, text in by_srt(content)]


def broken_rules(cues: Sequence[Shown], shape: Shape) -> list[Broken]:
    """Every rule that is broken, by cue."""
    found: list[Broken] = []
    for n, cue in enumerate(cues):
        following = cues[n + 1] if n + 1 < len(cues) else None
        found += (Broken(rule, n + 1, what, why) for rule, what, why in _of_one(cue, following, shape))
    for n, (cue, following) in enumerate(pairwise(cues)):
        found += (Broken(rule, n + 1, what) for rule, what in _of_two(cue, following, shape))
    return found


def _of_one(cue: Shown, following: Shown | None, shape: Shape) -> Iterator[tuple[str, str, str]]:
    shown_ms = cue.end_ms - cue.start_ms
    if len(cue.rows) > shape.n_rows:
        yield "rows", f"{len(cue.rows)}", ""
    for row in cue.rows:
        if columns(row) > row_limit(cue, shape):
            yield "width", f"{columns(row)}: {row}", "one word" if " " not in row and cue.rows == (row,) else ""
        if not row.strip() or row != row.strip():
            yield "blank", repr(row), ""
    if shown_ms > shape.max_ms:
        yield "too long", f"{shown_ms} ms", ""
    # The last moment that it could stay: there is no more time for it, whatever is done.
    is_full = following is not None and cue.end_ms == following.start_ms - shape.gap_ms
    if shown_ms < shape.min_ms:
        yield "too short", f"{shown_ms} ms: {cue.rows}", "the next words are said" if is_full else ""
    speed = cue.columns * 1000 / shown_ms
    if speed > shape.columns_per_s * 1.001:
        full = is_full or shown_ms == shape.max_ms
        yield "too fast", f"{speed:.1f} a second: {cue.rows}", "spoken so fast" if full else ""


def _of_two(cue: Shown, following: Shown, shape: Shape) -> Iterator[tuple[str, str]]:
    gap_ms = following.start_ms - cue.end_ms
    if gap_ms < shape.gap_ms:
        yield "gap", f"{gap_ms} ms"
    elif shape.gap_ms < gap_ms < FLICKER_MS and following.start_ms - shape.gap_ms - cue.start_ms <= shape.max_ms:
        yield "flicker", f"{gap_ms} ms"
    if len(cue.rows) == 1 and " " not in cue.rows[0] and cue.columns < 10 and gap_ms <= shape.gap_ms:
        yield "orphan", cue.rows[0]


def row_limit(cue: Shown, shape: Shape) -> int:
    """The width of a row: another one where most of the text is wide."""
    text = "".join(cue.rows).replace(" ", "")
    wide = sum(2 for character in text if unicodedata.east_asian_width(character) in "WF")
    return shape.row_columns_wide if 2 * wide > columns(text) else shape.row_columns


def columns(text: str) -> int:
    """A wide character counts two, a combining one nothing."""
    marks = sum(unicodedata.category(character) in ("Mn", "Me", "Cf") for character in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


def main(paths: Sequence[str]) -> int:
    """Print what is found in the files; how many rules are broken that need not be."""
    n_bad = 0
    for path in paths:
        for broken in broken_rules(read_srt(Path(path).read_text(encoding="utf-8")), Shape()):
            n_bad += not broken.unavoidable
            why = f" (unavoidable: {broken.unavoidable})" if broken.unavoidable else ""
            sys.stdout.write(f"{path}:{broken.number}: {broken.rule}: {broken.what}{why}\n")
    return n_bad


if __name__ == "__main__":
    raise SystemExit(min(1, main(sys.argv[1:])))
