"""The application: every page and the API behind one gate, beside what monitoring asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.web import actions, api, upload
from daemon.web.access.gate import HEADERS, Gate, from_elsewhere
from daemon.web.access.policy import Policy
from daemon.web.answering import HANDLERS, answer
from daemon.web.pages import correct, folders, health, history, login, look, now, recording, search
from daemon.web.site import Site

MONITORING: Final = ("/metrics", "/healthz", "/readyz")


PAGES: Final[tuple[Callable[[Site], list[BaseRoute]], ...]] = (
    look.routes,
    login.routes,
    now.routes,
    history.routes,
    search.routes,
    recording.routes,
    correct.routes,
    health.routes,
    folders.routes,
    upload.routes,
    actions.routes,
    api.routes,
)
"""What each page serves, and the API."""

N_THREADS: Final = 6
"""For what blocks: queries, files, the hashing of passwords. More would only wait for each other, and for the jobs."""

STATIC: Final = Path(__file__).parent / "static"

STATIC_S: Final = 7 * 86_400


class Front:
    """What the listener serves: monitoring from the first moment, the pages once `open` was called."""

    def __init__(self, monitoring: ASGIApp, endpoints: ASGIApp, policy: Policy) -> None:
        """*monitoring* is for this machine alone; *endpoints* are the same without that check."""
        self._monitoring = monitoring
        self._endpoints = endpoints
        self._policy = policy
        self._site: ASGIApp = _not_yet()
        self._begun = False

    def open(self, site: Site) -> None:
        """The pages are there from now on."""
        self._site = make_site_app(site, self._endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to whom it is for."""
        if not self._begun:
            self._begun = True
            to_thread.current_default_thread_limiter().total_tokens = N_THREADS
        watches = scope.get("path") in MONITORING and not (self._policy.login and from_elsewhere(scope))
        await (self._monitoring if watches else self._site)(scope, receive, send)


def make_site_app(site: Site, endpoints: ASGIApp | None = None) -> ASGIApp:
    """Every page and the API, behind the gate; *endpoints* too, for other machines that log in."""
    routes = [route for routes_of in PAGES for route in routes_of(site)]
    routes.append(Mount("/static", _Static(directory=STATIC)))
    if endpoints is not None:
        routes += [Route(path, endpoints, methods=["GET"]) for path in MONITORING]
    app = Starlette(routes=routes, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False  # it would lead to http:// where a web server in front speaks TLS
    app.state.site = site
    return Gate(app, site.access)


class _Static(StaticFiles):
    """Files that change their address with their content."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """As in the base, and kept by browsers."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = f"private, max-age={STATIC_S}"
        return response


def _not_yet() -> ASGIApp:
    """What is there before the pages are: what they look like, and for the rest a word; browsers ask again."""

    async def say_so(request: Request, error: Exception) -> Response:
        del error
        response = answer(request, 503, "starting")
        response.headers.update({**HEADERS, "Refresh": "3", "Retry-After": "3"})
        return response

    return Starlette(routes=[Mount("/static", _Static(directory=STATIC))], exception_handlers={HTTPException: say_so})
