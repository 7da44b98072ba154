"""A document as OpenAI's answers have it, in each of their formats. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from daemon.outputs.document import Document
from daemon.outputs.formats import render
from daemon.outputs.typesetting import joined, needs_space
from daemon.transcript import Segment
from daemon.web.api.languages import name_of
from daemon.web.api.openai_fields import Asked


def answer(document: Document, asked: Asked) -> Response:
    """The whole answer."""
    match asked.response_format:
        case "text":
            return PlainTextResponse(_plain(text_of(document)) + "\n")
        case "srt":
            return PlainTextResponse(render(document, "srt"))
        case "vtt":
            return PlainTextResponse(render(document, "vtt"), media_type="text/vtt")
        case "verbose_json":
            return JSONResponse(_verbose(document, asked))
        case "diarized_json":
            return JSONResponse(_diarized(document))
        case _:
            return JSONResponse({"text": _plain(text_of(document)), "usage": _usage(document)})


def events(document: Document, asked: Asked) -> Iterator[bytes]:
    """The answer as server-sent events: a piece for each line, then the whole."""
    before = ""
    for number, segment in enumerate(_spoken(document)):
        line = _line(segment)
        space = " " if needs_space(before, line) else ""
        delta: dict[str, Any] = {"type": "transcript.text.delta", "delta": space + line}
        if asked.response_format == "diarized_json":
            yield _event(_speaker_segment(segment, number))
            delta["segment_id"] = f"seg_{number:03}"
        yield _event(delta)
        before = line
    yield _event({"type": "transcript.text.done", "text": _plain(text_of(document))})


def error_event(message: str, *, by_client: bool) -> bytes:
    """That there is no answer, to who already reads one."""
    kind = "invalid_request_error" if by_client else "server_error"
    return _event({"error": {"message": _plain(message), "type": kind, "param": None, "code": None}})


def text_of(document: Document) -> str:
    """All that was said, in one line."""
    return joined([_line(segment) for segment in _spoken(document)])


def _spoken(document: Document) -> Sequence[Segment]:
    return [segment for segment in document.transcript.segments if segment.text.strip()]


def _line(segment: Segment) -> str:
    return _plain(" ".join(segment.text.split()))


def _verbose(document: Document, asked: Asked) -> dict[str, Any]:
    found: dict[str, Any] = {
        "task": asked.task,
        "language": name_of(document.language),
        "duration": round(document.audio_s, 3),
        "text": _plain(text_of(document)),
        "usage": _usage(document),
    }
    if asked.words:
        found["words"] = [
            {"word": _plain(word.text.strip()), "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
            for segment in document.transcript.segments
            for word in segment.words
        ]
    if "segment" in asked.granularities:
        found["segments"] = [_segment(number, segment) for number, segment in enumerate(_spoken(document))]
    return found


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": number,
        "seek": round(segment.start_s * 100),
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": f" {_line(segment)}",
        "tokens": list[int](),  # of an engine that does not give them away
        "temperature": _number(segment.temperature),
        "avg_logprob": _number(segment.avg_logprob),
        "compression_ratio": _number(segment.compression_ratio),
        "no_speech_prob": _number(segment.no_speech_prob),
    }


def _diarized(document: Document) -> dict[str, Any]:
    return {
        "task": "transcribe",
        "duration": round(document.audio_s, 3),
        "text": _plain(text_of(document)),
        "segments": [_speaker_segment(segment, number) for number, segment in enumerate(_spoken(document))],
        "usage": _usage(document),
    }


def _speaker_segment(segment: Segment, number: int) -> dict[str, Any]:
    """Who was not told apart is all one speaker, A."""
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{number:03}",
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": _line(segment),
        "speaker": _plain(segment.speaker) or "A",
    }


def _usage(document: Document) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(document.audio_s)}


def _number(value: float) -> float:
    return round(value, 4) if math.isfinite(value) else 0.0


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()
