"""A window's text as the lines of a transcript, with their times. Pure.

A short text is one line over the speech that it came from. A longer one is broken between words whose times are known:
where a sentence ends, where the speaker pauses, or where a line would become too long to read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from daemon.engine.assembly import DecodedSegment
from daemon.transcript import SAMPLE_RATE_HZ, Span, Word

MAX_LINE_S: Final = 7.0
MAX_LINE_WIDTH: Final = 84
"""The most that a subtitle holds: seven seconds, two rows of 42 (Netflix Timed Text Style Guide)."""

_SENTENCE_ENDS: Final = frozenset(".?!\u2026\u3002\uff1f\uff01\uff61")  # and those of Chinese and Japanese
_CLAUSE_ENDS: Final = frozenset(",;:\uff0c\u3001\uff1b\uff1a\u2013\u2014")
_CLOSING: Final = " \"'\u00bb\u201d\u2019)]"
_LONG_PAUSE_S: Final = 1.0
_MIN_SENTENCE_S: Final = 1.0  # "Yes. No." stays together


def fits_one_line(text: str, duration_s: float) -> bool:
    """Whether *text* is short enough for one line."""
    return duration_s <= MAX_LINE_S and width(text) <= MAX_LINE_WIDTH


def one_line(text: str, duration_s: float, speech: Sequence[Span]) -> DecodedSegment:
    """The whole text, from the first to the last moment of speech."""
    if not speech:
        return DecodedSegment(0.0, duration_s, text)
    return DecodedSegment(speech[0].start / SAMPLE_RATE_HZ, speech[-1].end / SAMPLE_RATE_HZ, text)


def lines_of_words(words: Sequence[Word]) -> list[DecodedSegment]:
    """*words* in lines, none lost, in order; a line's times are those of its first and its last word."""
    return [
        DecodedSegment(line[0].start_s, line[-1].end_s, "".join(word.text for word in line), tuple(line))
        for sentence in _sentences(words)
        for line in _short_enough(sentence)
    ]


def width(text: str) -> int:
    """Columns that *text* takes: two for each wide character."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    sentence: list[Word] = []
    for word in words:
        if sentence and _ends_before(sentence, word):
            yield sentence
            sentence = []
        sentence.append(word)
    if sentence:
        yield sentence


def _ends_before(sentence: Sequence[Word], following: Word) -> bool:
    last = sentence[-1]
    if following.start_s - last.end_s >= _LONG_PAUSE_S:
        return True
    return _ends_with(last, _SENTENCE_ENDS) and last.end_s - sentence[0].start_s >= _MIN_SENTENCE_S


def _short_enough(words: list[Word]) -> list[list[Word]]:
    """*words* halved at the best place until every part fits a line."""
    is_short = words[-1].end_s - words[0].start_s <= MAX_LINE_S
    if len(words) == 1 or (is_short and sum(width(word.text) for word in words) <= MAX_LINE_WIDTH):
        return [words]
    cut = max(range(1, len(words)), key=lambda n: _merit(words, n))
    return _short_enough(words[:cut]) + _short_enough(words[cut:])


def _merit(words: Sequence[Word], n: int) -> float:
    """How good it is to break before word *n*: after a comma, at a pause, near the middle."""
    widths = [width(word.text) for word in words]
    off_middle = abs(sum(widths[:n]) / max(1, sum(widths)) - 0.5)
    pause_s = max(0.0, words[n].start_s - words[n - 1].end_s)
    return 0.4 * _ends_with(words[n - 1], _CLAUSE_ENDS) + min(pause_s, 0.5) - 2.0 * off_middle


def _ends_with(word: Word, marks: frozenset[str]) -> bool:
    return word.text.rstrip(_CLOSING)[-1:] in marks
