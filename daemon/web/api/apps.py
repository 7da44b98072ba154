"""The two applications for programs, with their descriptions (OpenAPI)."""

from __future__ import annotations

from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from daemon.version import VERSION
from daemon.web.answering import HANDLERS
from daemon.web.api import actions, corrections, jobs, openai, standing, uploads
from daemon.web.api.openai_errors import ERRORS as OPENAI_ERRORS
from daemon.web.api.openai_errors import OPENAI_HANDLERS
from daemon.web.api.shapes import ERRORS
from daemon.web.site import Site

_ABOUT = """
Jobs, transcripts, search, uploads and actions of this service. With a login configured, send a token as
`Authorization: Bearer TOKEN`; the role of the token says what it may do. `/v1/audio/transcriptions` beside it takes
what OpenAI's clients send.
"""


def make_api(site: Site) -> FastAPI:
    """The API of the service, to be mounted at ``/api/v1``."""
    app = FastAPI(
        title="transcribed",
        version=VERSION,
        description=_ABOUT,
        redirect_slashes=False,  # see `daemon.web.app`
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        responses={**cast("dict[int | str, dict[str, Any]]", ERRORS)},
    )
    app.state.site = site
    for kind, handler in {**HANDLERS, RequestValidationError: _invalid}.items():
        app.add_exception_handler(kind, handler)
    for router in (standing.router, jobs.router, corrections.router, actions.router, uploads.router):
        app.include_router(router)
    return app


def make_openai(site: Site) -> FastAPI:
    """What clients of OpenAI's speech service ask for, to be mounted at ``/v1``."""
    app = FastAPI(
        title="transcribed, as OpenAI's audio API",
        version=VERSION,
        responses=OPENAI_ERRORS,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.site = site
    for kind, handler in OPENAI_HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.include_router(openai.router)
    return app


async def _invalid(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    message = f"{place}: {first['msg']}".encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": {"message": message, "code": "invalid"}}, 422)
