"""What every part of the API needs: the daemon behind it, the history for one request, who asks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Query
from starlette.requests import Request

from daemon.asked import BadChoice
from daemon.config.schema import OWN_FOLDERS
from daemon.errors import TranscribedError
from daemon.web.errors import Declined
from daemon.web.site import Site
from storage.records import Job
from storage.web_reading import WebReading

MOST: Final = 500
"""In one answer."""

FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 9000

Before = Annotated[
    int | None, Query(ge=1, le=2**63 - 1, description="What the answer before gave as `older`: the next ones")
]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at the most")]
Since = Annotated[datetime | None, Query(description="At this time or later; without an offset it is UTC")]
Until = Annotated[datetime | None, Query(description="Before this time")]
Folder = Annotated[str, Query(max_length=4096, description="A folder, whole; what is below it counts too")]


def site_of(request: Request) -> Site:
    """The daemon."""
    site: Site = request.app.state.site
    return site


def by(request: Request) -> str:
    """Who asks, for the events."""
    return str(request.scope["visitor"].name)


def history(request: Request) -> AbstractContextManager[WebReading]:
    """The job history for one answer."""
    return closing(WebReading.open(site_of(request).database))


def job_or_404(request: Request, reading: WebReading, job_id: int) -> Job:
    """The job of that number, if people know of it. Raises Declined."""
    job = reading.job(job_id)
    if job is None or not site_of(request).shows(job.inbox):
        raise Declined(404, "no_job", f"there is no job {job_id}")
    return job


def utc(at: datetime | None) -> datetime | None:
    """*at* as the history has times. Raises Declined for a year that no job is of."""
    if at is None:
        return None
    if not FIRST_YEAR < at.year < LAST_YEAR:
        raise Declined(422, "bad_time", f"times are from {FIRST_YEAR} to {LAST_YEAR}")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def folder_of(path: str) -> bytes | None:
    """*path* as a folder to look below; None for none. Raises Declined."""
    if not path:
        return None
    if "\0" in path or not path.startswith("/"):
        raise Declined(422, "bad_folder", "folder must be a whole path")
    return os.fsencode(os.path.normpath(path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")))


def ask(request: Request, command: str, **arguments: object) -> Any:
    """What the daemon answers, with who asks. Raises Declined."""
    try:
        return site_of(request).ask(command, by=by(request), **arguments)
    except BadChoice as error:
        raise Declined(422, "bad_option", str(error)) from error
    except TranscribedError as error:
        raise Declined(409, "refused", str(error)) from error


def hidden(request: Request) -> tuple[bytes, ...]:
    """The folders whose inboxes people do not know of."""
    return tuple(os.fsencode(site_of(request).config().state_dir / name) for name in OWN_FOLDERS)


def is_shown(request: Request, path: bytes) -> bool:
    """Whether people know of the recording at *path*."""
    return not path.startswith(tuple(folder + b"/" for folder in hidden(request)))


def attachment(name: str) -> Mapping[str, str]:
    """The header by which a browser keeps an answer under *name*, without starting it."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)[:100]
    whole = quote(name.encode("utf-8", "replace"), safe="")
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"}
