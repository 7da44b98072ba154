"""``/history``: all jobs, the newest first."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon.web.pages.asking import folders, hidden, history, query_of, teller
from daemon.web.rendering import render
from daemon.web.site import Site
from daemon.web.views.history import asked_of, history_page, wanted_of


def routes(site: Site) -> list[BaseRoute]:
    """``GET /history``."""

    def show(request: Request) -> Response:
        asked = asked_of(query_of(request))
        wanted = wanted_of(asked, hidden(site))
        with history(site) as reading:
            page = reading.jobs_page(wanted, asked.before)
            # Where so many had to be looked at, counting them takes as long again.
            n_jobs = reading.count(wanted) if not page.looked else None
            languages = reading.languages()
        model = history_page(asked, page, n_jobs, teller(request, site), (languages, folders(site)))
        return render(request, "history.html", model)

    return [Route("/history", show)]
