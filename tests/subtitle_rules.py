"""Holds a subtitle file against the rules of the field, knowing nothing of how it was made but its shape.

Where speakers have names, each one's cues are held against them for themselves: two may be on the screen together.
``python -m tests.subtitle_rules FILE.srt ...`` prints what it finds; who speaks is read from the FILE.vtt beside it.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Final

from daemon.outputs.subtitles import Shape
from tests.subtitle_readers import by_srt, voices_by_webvtt

FLICKER_MS: Final = 500
"""A smaller gap between two cues is closed, but for the shortest one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A cue as a file has it; *speaker* is empty where no file says who."""

    start_ms: int
    end_ms: int
    rows: tuple[str, ...]
    speaker: str = ""

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


def read_srt(content: str, vtt: str = "") -> list[Shown]:
    """The cues of a SubRip file; with the speakers of the WebVTT file of the same recording, if that is given."""
    voices = {(start_ms, end_ms): voice for start_ms, end_ms, voice in voices_by_webvtt(vtt)} if vtt else {}
    return [
        Shown(start_ms, end_ms, tuple(text.split("\n")), voices.get((start_ms, end_ms), ""))
        for start_ms, end_ms, text in by_srt(content)
    ]


def broken_rules(cues: Sequence[Shown], shape: Shape) -> list[Broken]:
    """Every rule that is broken, by cue."""
    found: list[Broken] = []
    for (_, cue), (n, following) in pairwise(enumerate(cues)):
        if following.start_ms < cue.start_ms:
            found.append(Broken("order", n + 1, f"{cue.start_ms - following.start_ms} ms"))
    for speaker in dict.fromkeys(cue.speaker for cue in cues):
        found += _of_lane([(n, cue) for n, cue in enumerate(cues) if cue.speaker == speaker], cues, shape)
    return sorted(found, key=lambda broken: broken.number)


def _of_lane(lane: Sequence[tuple[int, Shown]], cues: Sequence[Shown], shape: Shape) -> Iterator[Broken]:
    for (n, cue), after in zip_longest(lane, lane[1:]):
        yield from (Broken(rule, n + 1, what, why) for rule, what, why in _of_one(cue, after and after[1], shape))
    for (n, cue), (m, following) in pairwise(lane):
        answered = m > n + 1  # somebody else's cue begins in between: neither could go together with the other
        for rule, what in _of_two(cue, following, shape):
            if not (answered and rule in ("flicker", "orphan")):
                yield Broken(rule, n + 1, what)


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
        beside = Path(path).with_suffix(".vtt")
        vtt = beside.read_text(encoding="utf-8") if beside.exists() else ""
        for broken in broken_rules(read_srt(Path(path).read_text(encoding="utf-8"), vtt), Shape()):
            n_bad += not broken.unavoidable
            why = f" (unavoidable: {broken.unavoidable})" if broken.unavoidable else ""
            sys.stdout.write(f"{path}:{broken.number}: {broken.rule}: {broken.what}{why}\n")
    return n_bad


if __name__ == "__main__":
    raise SystemExit(min(1, main(sys.argv[1:])))
