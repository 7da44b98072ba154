"""The words of a transcript with their times, as subtitles are made of them. Pure.

A line whose words were timed gives their times; of any other line they are guessed, by their width. What may not be
broken is one piece, so no text is lost whatever is done with the pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from daemon.outputs.typesetting import cleaned, columns, needs_space, units
from daemon.transcript import Segment


@dataclass(frozen=True, slots=True)
class Piece:
    """A word, or a character of a script without spaces, in milliseconds of the recording; *space*: one is before it.

    *line* is the number of the transcript's line that it is in, *guessed* whether its times are.
    """

    text: str
    start_ms: int
    end_ms: int
    space: bool
    line: int
    guessed: bool


def pieces_of(segments: Iterable[Segment]) -> list[Piece]:
    """The pieces of *segments*, in order; none begins before the one before it ends."""
    pieces: list[Piece] = []
    for number, segment in enumerate(segments):
        text = cleaned(segment.text)
        heard = _of_words(text, segment)
        times = heard or _by_width(text, segment.start_s, segment.end_s)
        last_end = 0
        for first, end in units(text) if text else ():
            spaced = first > last_end or (first == 0 and bool(pieces) and needs_space(pieces[-1].text, text))
            floor_ms = pieces[-1].end_ms if pieces else 0
            start_ms = max(floor_ms, _ms(times[first][0]))
            end_ms = max(start_ms, _ms(times[end - 1][1]))
            pieces.append(Piece(text[first:end], start_ms, end_ms, spaced and bool(pieces), number, heard is None))
            last_end = end
    return pieces


Times = Sequence[tuple[float, float]]
"""When each character of a text begins and ends, in seconds."""


def _of_words(text: str, segment: Segment) -> Times | None:
    """By the segment's words; None where it has none, or where they are not those of its text."""
    times: list[tuple[float, float]] = []
    for word in segment.words:
        spoken = cleaned(word.text)
        if not spoken:
            continue
        at = text.find(spoken, len(times))
        if at < 0 or text[len(times) : at].strip(" "):
            return None
        times += [(word.start_s, word.start_s)] * (at - len(times))
        times += _by_width(spoken, word.start_s, word.end_s)
    return times if times and len(times) == len(text) else None


def _by_width(text: str, start_s: float, end_s: float) -> Times:
    widths = [max(1, columns(character)) for character in text]
    total = max(1, sum(widths))
    ends_s = [start_s + max(0.0, end_s - start_s) * done / total for done in accumulate(widths)]
    return list(zip([start_s, *ends_s[:-1]], ends_s, strict=True)) if text else []


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
