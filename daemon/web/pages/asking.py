"""What several pages need of the daemon: the history for one page, who may see what of it, how it is told."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from daemon.config.schema import OWN_FOLDERS
from daemon.web.errors import Declined
from daemon.web.rendering import catalogue_of
from daemon.web.site import Site
from daemon.web.views.telling import Teller
from storage.records import Job
from storage.web_reading import WebReading

_MOST_FIELDS: Final = 50


def history(site: Site) -> AbstractContextManager[WebReading]:
    """The job history for one page."""
    return closing(WebReading.open(site.database))


def query_of(request: Request) -> dict[str, str]:
    """The fields of the address; bytes of names that are no text stay what they are (`from_query`)."""
    query: bytes = request.scope["query_string"]
    text = query.decode("latin-1")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise Declined(400) from None


async def form_of(request: Request, most: int = _MOST_FIELDS) -> dict[str, str]:
    """The fields of a form without files, at most so many. Raises Declined where it cannot be read."""
    try:
        async with request.form(max_fields=most, max_files=0) as form:
            fields = [(name, value) for name, value in form.items() if isinstance(value, str)]
    except UnicodeError:  # who sends it chooses how it is encoded
        raise Declined(400) from None
    return {name: value.encode("utf-8", "replace").decode() for name, value in fields}


def teller(request: Request, site: Site) -> Teller:
    """Who says things in the language of the visitor."""
    return Teller(catalogue_of(request), site.clock())


def hidden(site: Site) -> tuple[bytes, ...]:
    """The folders whose inboxes people do not know of."""
    return tuple(os.fsencode(site.config().state_dir / name) for name in OWN_FOLDERS)


def folders(site: Site) -> list[bytes]:
    """The inboxes that people know of."""
    return [os.fsencode(inbox.path) for inbox in site.inboxes()]


def job_of(request: Request, site: Site, reading: WebReading) -> Job:
    """The job that the address names. Raises Declined where there is none, or none for people."""
    number = str(request.path_params["job_id"])
    job = reading.job(int(number)) if number.isascii() and number.isdecimal() and len(number) < 19 else None
    if job is None or not site.shows(job.inbox):
        raise Declined(404)
    return job
