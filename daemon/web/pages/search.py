"""``/search``: what was said, in all transcripts."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon.web.pages.asking import folders, history, query_of, teller
from daemon.web.rendering import render
from daemon.web.site import Site
from daemon.web.views.search import asked_of, search_page
from daemon.web.views.telling import from_query
from storage.searching import MAX_CHARS, MAX_TERMS, NothingToFind

LINES: Final = 40
"""So many lines are on a page."""


def routes(site: Site) -> list[BaseRoute]:
    """``GET /search``."""

    def show(request: Request) -> Response:
        asked = asked_of(query_of(request))
        tells = teller(request, site)
        found, trouble = None, ""
        if asked.text:
            since = site.clock() - timedelta(days=asked.n_days) if asked.n_days else None
            folder = from_query(asked.folder) if asked.folder else None
            try:
                with history(site) as reading:
                    found = reading.search_page(asked.words, asked.before, LINES, folder, since)
            except NothingToFind:
                trouble = tells.say("search.nothing_asked", n=MAX_TERMS, chars=MAX_CHARS)
        return render(request, "search.html", search_page(asked, found, tells, folders(site), trouble))

    return [Route("/search", show)]
