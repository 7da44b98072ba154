"""How the pages look and in which language: kept in cookies of the browser."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon.web.pages.asking import form_of
from daemon.web.rendering import LOOK_S, THEMES, redirect, render
from daemon.web.site import Site
from daemon.web.wording import LANGUAGES


def routes(site: Site) -> list[BaseRoute]:
    """``POST /look``."""
    del site
    return [Route("/look", _look, methods=["POST"])]


async def _look(request: Request) -> Response:
    form = await form_of(request)
    response = redirect(own(form.get("next", "/")))
    for name, value, possible in (
        ("transcribed_lang", form.get("lang"), LANGUAGES),
        ("transcribed_theme", form.get("theme"), THEMES),
    ):
        if value is not None and value in possible:
            response.set_cookie(name, value, max_age=LOOK_S, path="/", httponly=True, samesite="lax")
    return response


def own(address: str) -> str:
    """*address* if it leads to a page of ours, else the first page."""
    plain = address.isprintable() and address.isascii()
    return address if plain and address.startswith("/") and address[1:2] not in ("/", "\\") else "/"


__all__ = ["own", "render", "routes"]
