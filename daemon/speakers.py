"""Who says what, where two channels were heard apart: lines back to their times, with names, in one order. Pure.

The spool file has one channel after the other (`daemon.decode.hearing`), and so has what the engine made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from daemon.decode.pool import Decoded
from daemon.options import JobOptions
from daemon.outputs.document import Document
from daemon.suspects import Track
from daemon.transcript import SAMPLE_RATE_HZ, Segment, Span, Transcript, Word

_NAMELESS: Final = "Speaker"

_SAID_TWICE: Final = 4
"""Words of a line that the other one says at the same time: fewer may be chance, such as "thank you" and "bye"."""


def name_of(number: int, options: JobOptions) -> str:
    """What the speaker on channel or track *number*, from 0 on, is called."""
    names = options.speaker_names
    return names[number] if number < len(names) else f"{_NAMELESS} {number + 1}"


def tracks_of(transcript: Transcript, decoded: Decoded) -> tuple[Track, ...]:
    """What was heard by itself, in times of the recording: all of it, or one channel after the other."""
    if not decoded.second:
        return (Track(transcript.segments, decoded.spans),)
    return tuple(
        Track(lines, spans)
        for lines, spans in zip(
            _apart(transcript.segments, decoded.second), _spans_apart(decoded.spans, decoded.second), strict=True
        )
    )


def told_apart(transcript: Transcript, decoded: Decoded, options: JobOptions) -> Transcript:
    """*transcript* in times of the recording and in order of time; each line with its speaker, where there are two."""
    if not decoded.second:
        return transcript
    names = [name_of(number, options) for number in (0, 1)]

    def together(lines: Sequence[Segment]) -> tuple[Segment, ...]:
        return merged(zip(names, _apart(lines, decoded.second), strict=True))

    return replace(transcript, segments=together(transcript.segments), translation=together(transcript.translation))


def merged(tracks: Iterable[tuple[str, Sequence[Segment]]]) -> tuple[Segment, ...]:
    """The lines of all *tracks*, each a speaker and lines, in order of time; what one hears of another is left out."""
    lines = [replace(line, speaker=speaker) for speaker, track in tracks for line in track]
    lines.sort(key=lambda line: (line.start_s, line.end_s))
    twice = _said_twice(lines)
    return tuple(line for number, line in enumerate(lines) if number not in twice)


def speech_s(decoded: Decoded) -> float:
    """The seconds of the recording in which anybody speaks."""
    spans = sorted(
        (span for part in _spans_apart(decoded.spans, decoded.second) for span in part), key=lambda span: span.start
    )
    n_samples = reached = 0
    for span in spans:
        n_samples += max(0, span.end - max(reached, span.start))
        reached = max(reached, span.end)
    return n_samples / SAMPLE_RATE_HZ


def part_done_s(done_s: float, decoded: Decoded) -> float:
    """How far the recording is when the engine has done *done_s* of what was decoded of it."""
    total_s = decoded.n_samples / SAMPLE_RATE_HZ
    return min(done_s, total_s) * decoded.decoded_s / total_s if decoded.second else done_s


def renamed(document: Document, options: JobOptions) -> Document:
    """*document* with the names that *options* have for its speakers."""
    before = document.options
    n_names = max(len(before.speaker_names), len(options.speaker_names), 2)
    names = {name_of(number, before): name_of(number, options) for number in range(n_names)}
    if all(old == new for old, new in names.items()):
        return document

    def called(lines: tuple[Segment, ...]) -> tuple[Segment, ...]:
        return tuple(replace(line, speaker=names.get(line.speaker, line.speaker)) for line in lines)

    transcript = document.transcript
    changed = replace(transcript, segments=called(transcript.segments), translation=called(transcript.translation))
    return replace(document, transcript=changed)


def _apart(lines: Sequence[Segment], second: int) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    begins_s = second / SAMPLE_RATE_HZ
    left = tuple(line for line in lines if line.start_s < begins_s)
    return left, tuple(_earlier(line, begins_s) for line in lines[len(left) :])


def _earlier(line: Segment, by_s: float) -> Segment:
    def moved(time_s: float) -> float:
        return round(max(0.0, time_s - by_s), 3)

    words = tuple(Word(moved(word.start_s), moved(word.end_s), word.text, word.probability) for word in line.words)
    return replace(line, start_s=moved(line.start_s), end_s=moved(line.end_s), words=words)


def _spans_apart(spans: Sequence[Span], second: int) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    if not second:
        return tuple(spans), ()
    left = tuple(span for span in spans if span.start < second)
    return left, tuple(Span(span.start - second, span.end - second) for span in spans[len(left) :])


def _said_twice(lines: Sequence[Segment]) -> set[int]:
    """The numbers of the lines that another speaker says at the same time, and that the model was less sure of."""
    twice: set[int] = set()
    open_lines: list[int] = []
    for number, line in enumerate(lines):
        open_lines = [other for other in open_lines if lines[other].end_s > line.start_s]
        for other in open_lines:
            if other not in twice and _is_same(lines[other], line):
                twice.add(min(number, other, key=lambda each: lines[each].avg_logprob))
        open_lines.append(number)
    return twice


def _is_same(one: Segment, other: Segment) -> bool:
    if one.speaker == other.speaker:
        return False
    both_s = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
    if both_s < 0.5 * max(one.end_s - one.start_s, other.end_s - other.start_s):
        return False
    words = _words(one.text)
    return len(words) >= _SAID_TWICE and words == _words(other.text)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
