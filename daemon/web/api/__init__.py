"""The API for programs: what the pages show and do, as JSON, and what clients of OpenAI's speech service ask for."""

from __future__ import annotations

from starlette.routing import BaseRoute, Mount

from daemon.web.api.apps import make_api, make_openai
from daemon.web.site import Site


def routes(site: Site) -> list[BaseRoute]:
    """``/api/v1`` and ``/v1``."""
    return [Mount("/api/v1", make_api(site)), Mount("/v1", make_openai(site))]
