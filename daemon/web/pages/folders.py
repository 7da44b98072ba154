"""``/folders``: the inboxes, the settings that hold in their folders, and why a path is treated as it is."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon.config import InboxConfig
from daemon.intake.explain import Explanation, explain
from daemon.web.pages.asking import query_of, teller
from daemon.web.rendering import render
from daemon.web.site import Site
from daemon.web.views.folders import Known, folders_page
from daemon.web.views.telling import from_query

_LONGEST = 4096


def routes(site: Site) -> list[BaseRoute]:
    """``GET /folders``."""

    def explained(text: str) -> tuple[str, Explanation] | None:
        if not text.startswith("/") or len(text) > _LONGEST or "\0" in text:
            return None
        path = Path(os.fsdecode(from_query(text)))
        return text, explain(
            path, site.inboxes(), site.store, lambda name: site.ask("unfinished", path=os.fsdecode(name))
        )

    def known(inbox: InboxConfig) -> Known:
        root = os.fsencode(inbox.path)
        return Known(inbox, site.store.folder_settings(root), site.mistakes(root))

    def show(request: Request) -> Response:
        asked = query_of(request).get("path", "").strip()
        inboxes = [known(inbox) for inbox in site.inboxes()]
        model = folders_page(inboxes, site.status(), teller(request, site), explained(asked) if asked else None)
        return render(request, "folders.html", model)

    return [Route("/folders", show)]
