"""What the engine hands to the writers: words, segments, a transcript. Plain data; knows nothing else of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SAMPLE_RATE_HZ: Final = 16_000
"""The rate of every spool file: Whisper's input (Radford et al. 2022, section 2.2)."""

BYTES_PER_SAMPLE: Final = 2
"""A spool file is signed 16-bit little-endian mono."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of speech, in samples of the spool file: *start* included, *end* not."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its times in seconds from the start of the recording."""

    start_s: float
    end_s: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One line of a transcript, times in seconds from the start of the recording.

    *avg_logprob*, *compression_ratio*, *no_speech_prob* and *temperature* are those of the window that it was
    decoded in. *suspect* names the checks that the text did not pass; empty for a text to be believed. *language* is
    that of its window, which differs from the recording's where each window has its own; empty: not known. *speaker*
    names who says it, empty where nobody could tell. *corrected*: a person wrote the text, so the figures say nothing.
    """

    start_s: float
    end_s: float
    text: str
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    words: tuple[Word, ...] = ()
    suspect: tuple[str, ...] = ()
    language: str = ""
    speaker: str = ""
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class Transcript:
    """The segments of one recording in order of time, and what they were made with.

    *language* is an ISO 639-1 code, *language_probability* 1.0 where the language was given. *model*, *device* and
    *compute_type* are those that were used, not those that were asked for. *translation* is the same speech in English,
    where that was asked for beside the text; its segments have times of their own.
    """

    segments: tuple[Segment, ...]
    language: str
    language_probability: float
    model: str
    device: str
    compute_type: str
    translation: tuple[Segment, ...] = ()
