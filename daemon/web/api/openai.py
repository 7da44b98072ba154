"""``/v1/audio/transcriptions`` and its like, as OpenAI's clients ask: through the same queue and engine as every file.

The answer comes when the job has ended. Whoever goes away before has the job cancelled. Neither sound nor words stay.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, Path
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from daemon.options import Task
from daemon.requests import Asked, Gone, Requests, TooMany
from daemon.web.api import openai_answers
from daemon.web.api.common import by, site_of
from daemon.web.api.openai_errors import Refused
from daemon.web.api.openai_fields import FORMATS, Fields, asked_of, model_shape, models
from daemon.web.api.openai_fields import Asked as Wanted
from daemon.web.site import Site
from daemon.web.uploads.forms import BadForm, Field, FileBegins, FileEnds, FormReader
from daemon.web.uploads.names import BadName, cleaned
from daemon.web.uploads.sink import Sink
from daemon.web.uploads.streaming import Buffer, apart
from daemon.web.uploads.trouble import UploadError
from storage.records import Job, JobState

router = APIRouter(tags=["OpenAI"])

FIRST_LOOK_S: Final = 0.05
LATER_LOOK_S: Final = 0.5
"""How often it is looked whether a job has ended, at first and later."""

ALIVE_S: Final = 10.0
"""How often who waits for a stream is told that it lives."""

_BY_RECORDING: Final = frozenset(
    {
        *("unreadable", "not_audio", "cut_off", "no_sound", "empty"),
        *("too_large", "too_long", "too_long_for_its_kind", "too_big"),
        *("too_many_channels", "odd_rate", "too_demanding"),
    }
)
"""Why a recording fails that would fail again, as `daemon.words` has it: who sent it is to send another."""

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The text, in the format that was asked for",
        "content": {kind: {} for kind in ("application/json", "text/plain", "text/vtt", "text/event-stream")},
    }
}

_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "model"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string", "examples": ["whisper-1"]},
                        "language": {"type": "string"},
                        "prompt": {"type": "string"},
                        "response_format": {"type": "string", "enum": list(FORMATS)},
                        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
                        "timestamp_granularities[]": {
                            "type": "array",
                            "items": {"type": "string", "enum": ["word", "segment"]},
                        },
                        "stream": {"type": "boolean"},
                    },
                }
            }
        },
    }
}

_SPEECH: Final[dict[str, Any]] = {"openapi_extra": _FORM, "responses": _ANSWERS, "response_model": None}


@router.get("/models", summary="The models that may be asked for")
def list_models(request: Request) -> dict[str, Any]:
    """``whisper-1`` is that of the first inbox."""
    names = models(site_of(request).config())
    return {"object": "list", "data": [dict(model_shape(name)) for name in names]}


@router.get("/models/{model}", summary="One model")
def one_model(request: Request, model: Annotated[str, Path(max_length=200)]) -> dict[str, Any]:
    """404 where there is none."""
    if model not in models(site_of(request).config()):
        raise Refused(f"The model {model!r} does not exist here", status=404, param="model", code="model_not_found")
    return dict(model_shape(model))


@router.post(
    "/audio/transcriptions", summary="A recording as text", openapi_extra=_FORM, responses=_ANSWERS, response_model=None
)
async def transcriptions(request: Request) -> Response:
    """In the language spoken."""
    return await _answer(request, "transcribe")


@router.post(
    "/audio/translations",
    summary="A recording as English text",
    openapi_extra=_FORM,
    responses=_ANSWERS,
    response_model=None,
)
async def translations(request: Request) -> Response:
    """Whatever language is spoken."""
    return await _answer(request, "translate")


async def _answer(request: Request, task: Task) -> Response:
    site = site_of(request)
    received = _Receiving(request, site)
    try:
        await received.receive()
        wanted = asked_of(received.fields, task, site.config())
        asked = received.asked
        if asked is None:
            raise Refused("file is missing", param="file")
        if not received.n_bytes:
            raise Refused("The audio file is empty", param="file")
        options = wanted.options(site.config())
        attempts = site.config().max_attempts
        asked = received.asked = await apart(site.requests.submit, asked, options.to_dict(), options.digest(), attempts)
        if wanted.stream:
            received.handed_on = True
            stream = _stream(site.requests, asked, wanted)
            return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        return await _whole(request, site.requests, asked, wanted)
    finally:
        if received.asked is not None and not received.handed_on:
            site.requests.leave(received.asked)


class _Receiving:
    """The form of a request: small fields are kept, the file goes to disk as it comes."""

    def __init__(self, request: Request, site: Site) -> None:
        self._request = request
        self._site = site
        self._requests = site.requests
        self._sink: Sink | None = None
        self._buffer: Buffer | None = None
        self.fields = Fields()
        self.asked: Asked | None = None
        self.n_bytes = 0
        self.handed_on = False

    async def receive(self) -> None:
        """All of it is here. Raises Refused."""
        try:
            reader = FormReader(self._request.headers.get("content-type", ""))
            async for content in self._request.stream():
                for piece in reader.feed(content):
                    await self._take(piece)
            reader.end()
        except Exception as error:
            raise _told(error) from error
        finally:
            if self._sink is not None:
                with anyio.CancelScope(shield=True):
                    await apart(self._sink.close)

    async def _take(self, piece: Field | FileBegins | bytes | FileEnds) -> None:
        match piece:
            case Field():
                self.fields.add(piece.name, piece.value)
            case FileBegins():
                await self._begin(piece)
            case bytes():
                self.n_bytes += len(piece)
                assert self._buffer is not None
                await self._buffer.add(piece)
            case FileEnds():
                assert self._buffer is not None
                assert self._sink is not None
                await self._buffer.flush()
                await apart(self._sink.close)

    async def _begin(self, piece: FileBegins) -> None:
        if piece.name != "file" or self.asked is not None:
            raise Refused("there must be one file, in the field file", param="file")
        try:
            name = cleaned(piece.file_name)
        except BadName:
            name = "audio"  # what it is shows when it is read
        length = self._request.headers.get("content-length", "")
        size_bytes = int(length) if length.isdecimal() and len(length) < 19 else 0
        self.asked = await apart(self._requests.begin, name, by(self._request), size_bytes)
        fd = await apart(os.open, self.asked.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        limit = self._site.config().decode.max_source_bytes
        self._sink = Sink(fd, 0, limit, lambda: None, lambda: None)
        self._buffer = Buffer(self._sink)


def _told(error: Exception) -> Exception:
    """*error* as a client of OpenAI's reads it."""
    match error:
        case BadForm():
            return Refused(str(error))
        case TooMany():
            return Refused(str(error), status=429, code="rate_limit_exceeded")
        case UploadError(kind="large"):
            return Refused(f"The audio file is too large: {error}", status=413, param="file")
        case UploadError():
            return Refused(str(error), status=503)
        case ClientDisconnect():
            return Refused("the request broke off")
        case _:
            return error


async def _whole(request: Request, requests: Requests, asked: Asked, wanted: Wanted) -> Response:
    wait_s = FIRST_LOOK_S
    while (job := await _ended(requests, asked)) is None:
        if await request.is_disconnected():
            raise Refused("nobody waits for the answer", status=499)
        await anyio.sleep(wait_s)
        wait_s = min(LATER_LOOK_S, wait_s * 1.5)
    document = await anyio.to_thread.run_sync(_document, requests, job)
    return await anyio.to_thread.run_sync(openai_answers.answer, document, wanted)


async def _stream(requests: Requests, asked: Asked, wanted: Wanted) -> AsyncIterator[bytes]:
    """The lines once they are there; until then comments say that the answer is still to come."""
    try:
        wait_s, waited_s = FIRST_LOOK_S, 0.0
        while (job := await _ended(requests, asked)) is None:
            await anyio.sleep(wait_s)
            waited_s += wait_s
            wait_s = min(LATER_LOOK_S, wait_s * 1.5)
            if waited_s >= ALIVE_S:
                waited_s = 0.0
                yield b": on its way\n\n"
        document = await anyio.to_thread.run_sync(_document, requests, job)
        for event in openai_answers.events(document, wanted):
            yield event
    except Refused as error:
        yield openai_answers.error_event(str(error), by_client=error.status < 500)
    finally:
        requests.leave(asked)


async def _ended(requests: Requests, asked: Asked) -> Job | None:
    try:
        return await anyio.to_thread.run_sync(requests.ended, asked)
    except Gone as error:
        raise Refused(str(error), status=503) from error


def _document(requests: Requests, job: Job) -> Any:
    """What came of the job. Raises Refused."""
    if job.state is not JobState.DONE:
        of_recording = job.told is not None and job.told.key in _BY_RECORDING
        if of_recording:
            raise Refused(
                f"The audio file could not be decoded or its format is not supported: {job.reason}", param="file"
            )
        raise Refused(f"The recording was not transcribed ({job.state.value}): {job.reason}", status=500)
    kept = requests.document(job)
    if kept is None:
        raise Refused("the transcript is not there any more", status=500)
    return kept.document
