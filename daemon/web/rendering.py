"""How a page is written: its template with what it shows, the words of the visitor's language, and what frames it.

The door to Jinja2 for the pages. Everything that is put into a template is escaped; nothing in it is read as HTML.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from daemon.log import escape
from daemon.version import VERSION
from daemon.web.access.visitor import Visitor
from daemon.web.wording import LANGUAGES, Language, chosen, words
from daemon.words import Catalogue, Figure

FLASH: Final = "transcribed_flash"
"""The cookie that carries one sentence over a redirect."""

THEMES: Final = ("auto", "light", "dark")
LOOK_S: Final = 365 * 86_400
FLASH_S: Final = 60
_LONGEST_FLASH: Final = 1024

NAV: Final = (
    ("/", "nav.now"),
    ("/history", "nav.history"),
    ("/search", "nav.search"),
    ("/upload", "nav.upload"),
    ("/folders", "nav.folders"),
    ("/health", "nav.health"),
)
"""The pages that every page leads to."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What `base.html` needs of a request."""

    visitor: Visitor | None
    path: str
    language: Language
    theme: str
    csrf: str
    login: bool
    flash: str
    version: str = VERSION
    nav: tuple[tuple[str, str], ...] = NAV
    languages: tuple[Language, ...] = LANGUAGES
    themes: tuple[str, ...] = THEMES

    @property
    def may_act(self) -> bool:
        """Whether forms that change something are shown."""
        return self.visitor is not None and self.visitor.may_act


def render(
    request: Request,
    template: str,
    model: object = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The page *template* with *model*, as an answer to *request*. May be called from any thread."""
    frame = frame_of(request)
    catalogue = words(frame.language)
    text = (
        _environment()
        .get_template(template)
        .render(model=model, frame=frame, say=catalogue.say, words=catalogue, request=request)
    )
    response = Response(
        text.encode("utf-8", "backslashreplace"), status, {"Vary": "Accept-Language, Cookie", **(headers or {})},
        media_type="text/html",
    )  # fmt: skip
    if frame.flash:
        response.delete_cookie(FLASH, path="/")
    return response


def pieces(request: Request, template: str, model: object, names: Iterable[str]) -> dict[str, str]:
    """The macros *names* of *template*, which take nothing, written with *model*: parts of a page by their names."""
    frame = frame_of(request)
    catalogue = words(frame.language)
    known: dict[str, Any] = {"model": model, "frame": frame, "say": catalogue.say, "words": catalogue}
    module = _environment().get_template(template).make_module(known | {"request": request})
    return {name: str(getattr(module, name)()).encode("utf-8", "backslashreplace").decode() for name in names}


def language_of(request: Request) -> Language:
    """What the visitor reads best of what there is."""
    return chosen(request.cookies.get("transcribed_lang", ""), request.headers.get("accept-language", ""))


def catalogue_of(request: Request) -> Catalogue:
    """The words of the visitor's language."""
    return words(language_of(request))


def visitor_of(request: Request) -> Visitor:
    """Who asks. Everybody who gets as far as a page is one."""
    return cast("Visitor", request.scope["visitor"])


def csrf_of(request: Request) -> str:
    """What a form must send as ``csrf``, or a script as ``X-CSRF-Token``."""
    return str(request.scope.get("csrf", ""))


def redirect(url: str, flash: str = "", **figures: Figure) -> Response:
    """To *url* by GET; the page there shows the sentence *flash* once. *url* must be one of ours, from ``/`` on."""
    assert url.startswith("/")
    assert not url.startswith("//")
    response = RedirectResponse(url, 303)
    if flash:
        packed = base64.urlsafe_b64encode(json.dumps([flash, figures]).encode()).decode()
        response.set_cookie(FLASH, packed, max_age=FLASH_S, path="/", httponly=True, samesite="strict")
    return response


def frame_of(request: Request) -> Frame:
    """The frame of the answer to *request*."""
    language = language_of(request)
    theme = request.cookies.get("transcribed_theme", "auto")
    return Frame(
        visitor=request.scope.get("visitor"),
        path=request.url.path,
        language=language,
        theme=theme if theme in THEMES else "auto",
        csrf=csrf_of(request),
        login=bool(request.scope.get("login", False)),
        flash=_flash(request.cookies.get(FLASH, ""), words(language)),
    )


def _flash(packed: str, catalogue: Catalogue) -> str:
    """The sentence that was carried over; whoever can set cookies here could choose another, but no words of theirs."""
    try:
        key, figures = json.loads(base64.urlsafe_b64decode(packed[:_LONGEST_FLASH]))
        return catalogue.say(key, **figures) if key.startswith("flash.") else ""
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError):
        return ""


def link(path: str, **query: object) -> str:
    """*path* with those of *query* that are neither None nor empty, safe to stand in an attribute."""
    given = {key: str(value) for key, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given, errors='surrogateescape')}" if given else path


def shown(name: bytes | str) -> str:
    """A name as people can read it: no character in it hides or turns what stands around it."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace") if not isinstance(name, str) else name
    return escape(text.encode("utf-8", "backslashreplace").decode())


@cache
def static_version() -> str:
    """Changes with each file of `static`, so that no browser shows yesterday's."""
    folder = Path(__file__).parent / "static"
    newest = max((file.stat().st_mtime_ns for file in folder.iterdir()), default=0)
    return f"{VERSION}-{newest:x}"


def static(name: str) -> str:
    """The address of the file *name* of `static`."""
    return f"/static/{name}?v={static_version()}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    cast("dict[str, Any]", environment.globals).update(link=link, static=static)
    environment.filters["shown"] = shown
    return environment
