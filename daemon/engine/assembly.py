"""Decoded windows to the segments of a transcript.

Pure: in order of time, inside the window, none overlapping the one before, none empty. Knows nothing of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daemon.transcript import Segment, Word


@dataclass(frozen=True, slots=True)
class DecodedSegment:
    """One line as the model gave it, times in seconds from the start of its window."""

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class DecodedWindow:
    """What the model said about one window.

    *covered_s* is how far into the window its words reach: what comes after has not been heard. *suspect* names the
    checks that the text failed in every pass. *tokens* are those of the text, *language* is what the model took for
    that of the speech. *translation* is the same in English, where that was asked for too.
    """

    segments: tuple[DecodedSegment, ...]
    covered_s: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    suspect: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    language: str = ""
    translation: DecodedWindow | None = None


Placed = tuple[float, float, DecodedWindow]
"""A window's start and its end in seconds of the recording, and what was said in it."""


def is_its_own_translation(decoded: DecodedWindow) -> bool:
    """Whether there is nothing to translate: no text, or one in English."""
    return not decoded.segments or decoded.language == "en"


def translations_of(windows: Iterable[Placed]) -> list[Placed]:
    """The translations of *windows*, of those that have one."""
    return [(start_s, end_s, decoded.translation) for start_s, end_s, decoded in windows if decoded.translation]


def assemble(windows: Iterable[Placed], floor_s: float = 0.0) -> list[Segment]:
    """The segments of *windows*: each with its start and its end in seconds of the recording.

    No segment begins before *floor_s*, the end of what came before.
    """
    segments: list[Segment] = []
    for start_s, end_s, decoded in windows:
        for line in decoded.segments:
            segment = _segment(line, decoded, start_s, max(floor_s, start_s), end_s)
            if segment is not None:
                segments.append(segment)
                floor_s = segment.end_s
    return segments


def _segment(line: DecodedSegment, decoded: DecodedWindow, offset_s: float, low: float, high: float) -> Segment | None:
    text = line.text.strip()
    if not text:
        return None
    start_s = _clamp(offset_s + line.start_s, low, high)
    end_s = _clamp(offset_s + line.end_s, start_s, max(high, start_s))
    return Segment(
        start_s=round(start_s, 3),
        end_s=round(end_s, 3),
        text=text,
        avg_logprob=decoded.avg_logprob,
        compression_ratio=decoded.compression_ratio,
        no_speech_prob=decoded.no_speech_prob,
        temperature=decoded.temperature,
        words=_words(line.words, offset_s, start_s, end_s),
        suspect=decoded.suspect,
        language=decoded.language,
    )


def _words(words: Sequence[Word], offset_s: float, low: float, high: float) -> tuple[Word, ...]:
    placed: list[Word] = []
    for word in words:
        text = word.text.strip()
        if text:
            low = _clamp(offset_s + word.start_s, low, high)
            end_s = _clamp(offset_s + word.end_s, low, high)
            placed.append(Word(round(low, 3), round(end_s, 3), text, round(word.probability, 4)))
            low = end_s
    return tuple(placed)


def _clamp(value: float, low: float, high: float) -> float:
    return max(low, min(value, high))
