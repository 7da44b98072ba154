"""A transcript as the bytes of a file: txt, srt, vtt, json, tsv. Pure; UTF-8 without BOM, LF line ends."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from daemon.options import Format, JobOptions
from daemon.transcript import Segment, Transcript

JSON_VERSION: Final = 1
"""Raised when a key of the JSON output changes its meaning or goes."""

_ARROW: Final = re.compile("-{2,}>")

LINE_CHARS: Final = 42
"""The longest line of a subtitle (Netflix timed text style guide, Latin scripts)."""


ENDING_S: Final = 5.0
"""How long a player shows that the rest is missing, behind the last of what is there."""


@dataclass(frozen=True, slots=True)
class Document:
    """A transcript and the recording it is of. *outcome* is ``ok``, ``partial`` or ``no_speech``."""

    transcript: Transcript
    options: JobOptions
    recording: str
    source_sha256: str
    audio_s: float
    declared_s: float | None
    outcome: str
    notice: str
    made_by: str
    made_at: str


def render(document: Document, format: Format) -> bytes:
    """*document* as the content of a file of this format."""
    return _WRITERS[format](document).encode("utf-8", "backslashreplace")


def _text(document: Document) -> str:
    lines = [f"[{document.notice}]"] if document.notice else []
    lines += [_line(segment) for segment in document.transcript.segments]
    return "".join(f"{line}\n" for line in lines)


def _srt(document: Document) -> str:
    cues = (
        f"{number}\n{_clock(segment.start_s, ',')} --> {_clock(segment.end_s, ',')}\n{_cue_text(segment)}\n"
        for number, segment in enumerate(document.transcript.segments, start=1)
    )
    return "\n".join([*cues, *_srt_ending(document)])


def _srt_ending(document: Document) -> list[str]:
    """Subtitles have no comments, so that the rest is missing is said where it is."""
    if document.outcome != "partial":
        return []
    number, start_s = len(document.transcript.segments) + 1, document.audio_s
    when = f"{_clock(start_s, ',')} --> {_clock(start_s + ENDING_S, ',')}"
    return [f"{number}\n{when}\n[{_one_line(document.notice)}]\n"]


def _vtt(document: Document) -> str:
    notice = [f"NOTE {_one_line(document.notice)}\n"] if document.notice else []
    cues = (
        f"{_clock(segment.start_s, '.')} --> {_clock(segment.end_s, '.')}\n{_escape_vtt(_cue_text(segment))}\n"
        for segment in document.transcript.segments
    )
    return "\n".join(["WEBVTT\n", *notice, *cues])


def _tsv(document: Document) -> str:
    rows = (
        f"{_milliseconds(segment.start_s)}\t{_milliseconds(segment.end_s)}\t{_line(segment)}\n"
        for segment in document.transcript.segments
    )
    return "start\tend\ttext\n" + "".join(rows)


def _json(document: Document) -> str:
    transcript = document.transcript
    content = {
        "version": JSON_VERSION,
        "outcome": document.outcome,
        "notice": document.notice,
        "recording": document.recording,
        "source_sha256": document.source_sha256,
        "audio_s": round(document.audio_s, 3),
        "declared_s": None if document.declared_s is None else round(document.declared_s, 3),
        "language": transcript.language,
        "language_probability": _rounded(transcript.language_probability, 4),
        "model": transcript.model,
        "device": transcript.device,
        "compute_type": transcript.compute_type,
        "options": document.options.to_dict(),
        "text": " ".join(_line(segment) for segment in transcript.segments),
        "segments": [_segment(number, segment) for number, segment in enumerate(transcript.segments)],
        "made_by": document.made_by,
        "made_at": document.made_at,
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": number,
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": _line(segment),
        "avg_logprob": _rounded(segment.avg_logprob, 4),
        "compression_ratio": _rounded(segment.compression_ratio, 3),
        "no_speech_prob": _rounded(segment.no_speech_prob, 4),
        "temperature": segment.temperature,
    }
    if segment.suspect:
        content["suspect"] = list(segment.suspect)
    if segment.words:
        content["words"] = [
            {
                "start": round(word.start_s, 3),
                "end": round(word.end_s, 3),
                "word": word.text,
                "probability": _rounded(word.probability, 4),
            }
            for word in segment.words
        ]
    return content


_WRITERS: Final[dict[Format, Callable[[Document], str]]] = {
    "txt": _text,
    "srt": _srt,
    "vtt": _vtt,
    "json": _json,
    "tsv": _tsv,
}


def _clock(seconds: float, separator: str) -> str:
    minutes, milliseconds = divmod(_milliseconds(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    whole_s, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole_s:02d}{separator}{milliseconds:03d}"


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _rounded(value: float, digits: int) -> float | None:
    # JSON has no number for NaN and infinity, and strict readers refuse the whole file for one.
    return round(value, digits) if math.isfinite(value) else None


def _line(segment: Segment) -> str:
    return _one_line(segment.text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cue_text(segment: Segment) -> str:
    # An arrow or an empty line inside a cue would end it.
    text = _ARROW.sub("->", _line(segment))
    return "\n".join(_balanced(text))


def _balanced(text: str) -> Iterable[str]:
    """*text* in as few lines as its length needs, none much longer than the others."""
    lines = textwrap.wrap(text, LINE_CHARS, break_long_words=False, break_on_hyphens=False)
    n_lines = len(lines)
    if n_lines < 2:
        return lines
    for width in range(-(-len(text) // n_lines), LINE_CHARS):
        narrower = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
        if len(narrower) == n_lines:
            return narrower
    return lines


def _escape_vtt(text: str) -> str:
    # "->" stays readable; a bare < or & would start a tag or an entity (WebVTT, section 6.4).
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("->", "-&gt;")
