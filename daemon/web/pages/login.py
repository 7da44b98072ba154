"""Logging in and out. ``/login`` needs no visitor; where there are no passwords it is not there."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon.web.access.access import TooOften
from daemon.web.access.hosts import is_local, name_of
from daemon.web.access.visitor import Visitor
from daemon.web.errors import Declined
from daemon.web.pages.asking import form_of
from daemon.web.pages.look import own
from daemon.web.rendering import catalogue_of, redirect, render
from daemon.web.site import Site


@dataclass(frozen=True, slots=True)
class LoginPage:
    """What `login.html` shows. *unsafe*: whoever is in the same network could read the password."""

    next: str
    name: str
    trouble: str
    unsafe: bool


def routes(site: Site) -> list[BaseRoute]:
    """``/login`` and ``/logout``."""
    doors = _Doors(site)
    return [
        Route("/login", doors.form, methods=["GET"]),
        Route("/login", doors.log_in, methods=["POST"]),
        Route("/logout", doors.log_out, methods=["POST"]),
    ]


class _Doors:
    def __init__(self, site: Site) -> None:
        self._access = site.access

    async def form(self, request: Request) -> Response:
        """The form; who is in already goes on."""
        following = own(request.query_params.get("next", "/"))
        visitor: Visitor | None = request.scope.get("visitor")
        if visitor is not None:
            return redirect(following)
        return self._page(request, following)

    async def log_in(self, request: Request) -> Response:
        """A new session, or the form again."""
        if not self._access.policy.passwords:
            raise Declined(404)
        form = await form_of(request)
        name, following = form.get("name", "").strip(), own(form.get("next", "/"))
        words = catalogue_of(request)
        try:
            token = await run_in_threadpool(
                self._access.log_in, name, form.get("password", ""), str(request.scope["from"])
            )
        except TooOften as error:
            said = words.say("access.too_often", time=words.duration(error.wait_s + 1))
            return self._page(request, following, name, said, status=429)
        if token is None:
            return self._page(request, following, name, words.say("access.wrong"), status=403)
        response = redirect(following, "flash.welcome", name=name)
        self._access.keep(response, token)
        return response

    async def log_out(self, request: Request) -> Response:
        """The session is over."""
        await run_in_threadpool(self._access.log_out, request)
        response = redirect("/login" if self._access.policy.passwords else "/", "flash.bye")
        self._access.keep(response, "")
        return response

    def _page(
        self, request: Request, following: str, name: str = "", trouble: str = "", *, status: int = 200
    ) -> Response:
        if not self._access.policy.passwords:
            raise Declined(404)
        policy = self._access.policy
        unsafe = not policy.https and not _on_this_machine(request)
        model = LoginPage(following, name[:64], trouble, unsafe)
        return render(request, "login.html", model, status=status)


def _on_this_machine(request: Request) -> bool:
    return is_local(name_of(request.headers.get("host", "")))
