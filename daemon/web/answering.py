"""What is answered where the answer is no: a page for people, JSON for programs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from daemon.web.errors import KEYS, Declined, ErrorPage
from daemon.web.rendering import catalogue_of, render
from storage.errors import StorageError

log = logging.getLogger(__name__)


def answer(request: Request, status: int, key: str, text: str = "", newest: int | None = None) -> Response:
    """The page that says why not; JSON for programs."""
    words = catalogue_of(request)
    text = text or words.say(f"error.{key}_text")
    if for_programs(request.scope["path"]) or "json" in request.headers.get("accept", ""):
        error: dict[str, str | int | None] = {"message": text, "code": key}
        if newest is not None:
            error |= {"newest": newest}
        if request.scope["path"].startswith("/v1/"):  # as OpenAI's clients read it
            error |= {"type": "server_error" if status >= 500 else "invalid_request_error", "param": None}
        return JSONResponse({"error": error}, status)
    return render(request, "error.html", ErrorPage(words.say(f"error.{key}_title"), text), status=status)


def for_programs(path: str) -> bool:
    """Whether *path* is one of the API."""
    return path.startswith(("/api/", "/v1/"))


async def _declined(request: Request, error: Exception) -> Response:
    assert isinstance(error, Declined)
    return answer(request, error.status, error.key, error.text, error.newest)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer(request, error.status_code, KEYS.get(error.status_code, "bad"))


async def _busy(request: Request, error: Exception) -> Response:
    log.warning("A page could not be made: %s", error, extra={"event": "web_storage"})
    return answer(request, 503, "busy")


async def _bug(request: Request, error: Exception) -> Response:
    del error  # Starlette raises it again, and the gate logs it
    return answer(request, 500, "bug")


HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    Declined: _declined,
    HTTPException: _http,
    StorageError: _busy,
    Exception: _bug,
}
"""For the `exception_handlers` of every application."""
