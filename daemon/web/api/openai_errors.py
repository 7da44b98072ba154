"""What a client of OpenAI's is told where the answer is no: in the shape that it reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from daemon.web.errors import Declined
from storage.errors import StorageError


class ErrorDetail(BaseModel):
    """Why not, as OpenAI says it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorShape(BaseModel):
    """Every answer that is a no."""

    error: ErrorDetail


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorShape, "description": why}
    for status, why in (
        (400, "The request or its recording cannot be read"),
        (401, "No such token"),
        (403, "The role does not allow it"),
        (404, "There is no such model"),
        (413, "The recording is too large"),
        (429, "Too many at once"),
        (500, "The recording was not transcribed"),
        (503, "Not at present"),
    )
}
"""For the `responses` of every route."""


class Refused(Exception):
    """Raised where a request cannot be answered; *param* is the field that is to blame, *code* a word for programs."""

    def __init__(self, message: str, *, status: int = 400, param: str = "", code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


def error_answer(message: str, status: int, param: str = "", code: str = "") -> Response:
    """The answer that says why not."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    plain = message.encode("utf-8", "backslashreplace").decode()
    body = {"error": {"message": plain, "type": kind, "param": param or None, "code": code or None}}
    return JSONResponse(body, status)


async def _refused(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, Refused)
    return error_answer(str(error), error.status, error.param, error.code)


async def _declined(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, Declined)
    return error_answer(error.text or error.key, error.status, code=error.key)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: {request.method} {request.scope['path']}"
    return error_answer(message, error.status_code)


async def _invalid(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return error_answer(str(first["msg"]), 400, param=".".join(str(part) for part in first["loc"][1:]))


async def _busy(request: Request, error: Exception) -> Response:
    del request
    return error_answer(f"the job history does not answer at present: {error}", 503)


async def _bug(request: Request, error: Exception) -> Response:
    del request, error
    return error_answer("internal error; the log of the service has it", 500)


OPENAI_HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    Refused: _refused,
    Declined: _declined,
    HTTPException: _http,
    RequestValidationError: _invalid,
    StorageError: _busy,
    Exception: _bug,
}
"""For the `exception_handlers` of an application."""
