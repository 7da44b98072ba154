"""A transcript as JSON. Pure. Our own keys, and beside them those that other programs look for.

WhisperX writes ``start``, ``end``, ``words`` with ``word`` and ``score``, and ``word_segments``; the transcripts of
podcasts (Podcasting 2.0) have ``startTime``, ``endTime`` and ``body``. In both ``speaker`` is who says it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from daemon.options import JobOptions
from daemon.outputs.document import Document
from daemon.outputs.subtitle_files import n_too_fast, shape_of
from daemon.outputs.subtitles import Cue
from daemon.suspects import Suspect
from daemon.transcript import Segment, Word

_FIGURES: Final = ("avg_logprob", "compression_ratio", "no_speech_prob", "temperature")

JSON_VERSION: Final = 1
"""Raised when a key of the JSON output changes its meaning or goes."""


def json_text(document: Document, cues: Sequence[Cue] | None) -> str:
    """The whole of *document*; with *cues*, how many of them there are and how many are too fast to read."""
    transcript = document.transcript
    with_words = document.options.word_timestamps
    content: dict[str, Any] = {
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
        "segments": _segments(transcript.segments, document.options),
    }
    if document.corrected_by:
        content["corrected"] = {"by": document.corrected_by, "at": document.corrected_at}
    if document.options.task == "both":
        content["translation"] = _translation(document)
    content["suspects"] = [_suspect(suspect) for suspect in document.suspects]
    if with_words:
        content["word_segments"] = [_word(word, segment) for segment in transcript.segments for word in segment.words]
    if cues is not None:
        content["subtitles"] = {"n_cues": len(cues), "n_too_fast": n_too_fast(cues, shape_of(document))}
    content |= {"made_by": document.made_by, "made_at": document.made_at}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _segments(segments: Sequence[Segment], options: JobOptions) -> list[dict[str, Any]]:
    return [_segment(number, segment, options) for number, segment in enumerate(segments)]


def _translation(document: Document) -> dict[str, Any] | None:
    """None where the text needs none: it is English, or there is no text."""
    english = document.translated
    if english is None:
        return None
    segments = english.transcript.segments
    return {
        "language": english.language,
        "text": " ".join(_line(segment) for segment in segments),
        "segments": _segments(segments, document.options),
    }


def _segment(number: int, segment: Segment, options: JobOptions) -> dict[str, Any]:
    start, end, text = round(segment.start_s, 3), round(segment.end_s, 3), _line(segment)
    content: dict[str, Any] = {
        "id": number,
        "start": start,
        "end": end,
        "text": text,
        "startTime": start,
        "endTime": end,
        "body": text,
        "avg_logprob": _rounded(segment.avg_logprob, 4),
        "compression_ratio": _rounded(segment.compression_ratio, 3),
        "no_speech_prob": _rounded(segment.no_speech_prob, 4),
        "temperature": segment.temperature,
    }
    if segment.corrected:
        content |= dict.fromkeys(_FIGURES) | {"corrected": True}
    if segment.suspect:
        content["suspect"] = list(segment.suspect)
    if options.multilingual and segment.language:
        content["language"] = segment.language
    if options.word_timestamps and segment.words:
        content["words"] = [_word(word, segment) for word in segment.words]
    if speaker := _one_line(segment.speaker):
        content["speaker"] = speaker
    return content


def _suspect(suspect: Suspect) -> dict[str, Any]:
    """A stretch to listen to; figures that there are none of are left out."""
    figures = {
        "avg_logprob": (suspect.avg_logprob, 4),
        "compression_ratio": (suspect.compression_ratio, 3),
        "no_speech_prob": (suspect.no_speech_prob, 4),
    }
    return {
        "rank": suspect.rank,
        "start": round(suspect.start_s, 3),
        "end": round(suspect.end_s, 3),
        "reasons": list(suspect.reasons),
        "text": suspect.text,
        "speech_s": round(suspect.speech_s, 3),
        **{name: _rounded(value, digits) for name, (value, digits) in figures.items() if value is not None},
    }


def _word(word: Word, segment: Segment) -> dict[str, Any]:
    content: dict[str, Any] = {"start": round(word.start_s, 3), "end": round(word.end_s, 3), "word": word.text}
    if not segment.corrected:  # how sure the model was of another text says nothing of this one
        probability = _rounded(word.probability, 4)
        content |= {"probability": probability, "score": probability}
    if name := _one_line(segment.speaker):
        content["speaker"] = name
    return content


def _rounded(value: float, digits: int) -> float | None:
    # JSON has no number for NaN and infinity, and strict readers refuse the whole file for one.
    return round(value, digits) if math.isfinite(value) else None


def _line(segment: Segment) -> str:
    return _one_line(segment.text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
