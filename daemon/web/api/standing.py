"""How the service stands: status, events, alerts, folders. Looks only."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from daemon.config import InboxConfig
from daemon.redo import settings_of
from daemon.web.api.common import Before, Limit, hidden, history, site_of
from daemon.web.api.shapes import (
    AlertShape,
    AlertsShape,
    EventShape,
    EventsShape,
    FolderShape,
    FoldersShape,
    InboxShape,
    text_of,
)
from daemon.web.errors import Declined
from daemon.web.site import Site
from monitor.history.errors import HistoryError
from monitor.history.reading import MetricsReader

router = APIRouter(tags=["service"])


@router.get("/status", summary="How the service stands: what is in hand, the engine, the inboxes, open alerts")
def status(request: Request) -> dict[str, Any]:
    """As `transcribed status --json` prints it; keys may come with each release."""
    site = site_of(request)
    answer = site.status()
    answer.pop("pid", None)
    own = tuple(os.fsdecode(folder) + "/" for folder in hidden(request))
    answer["in_hand"] = [one for one in answer["in_hand"] if not str(one["path"]).startswith(own)]
    return answer


@router.get("/events", summary="What happened, the newest first")
def events(request: Request, before: Before = None, limit: Limit = 50) -> EventsShape:
    """Events of jobs and of the service, and who did what."""
    with history(request) as reading:
        found = reading.events_page(before, limit, hidden(request))
    older = found[-1].id if len(found) == limit else None
    return EventsShape(events=[EventShape.of(event) for event in found], older=older)


@router.get("/alerts", summary="Alerts, the newest first")
def alerts(
    request: Request,
    limit: Limit = 50,
    open_only: Annotated[bool, Query(alias="open", description="Only those that are open")] = False,
) -> AlertsShape:
    """Alerts, those that are over too."""
    try:
        with closing(MetricsReader.open(site_of(request).metrics)) as reader:
            found = reader.alerts(limit, open_only=open_only)
    except HistoryError as error:
        raise Declined(503, "busy", str(error)) from error
    return AlertsShape(alerts=[AlertShape.of(alert) for alert in found])


@router.get("/folders", summary="The inboxes, and what holds in their folders")
def folders(request: Request) -> FoldersShape:
    """Each inbox first, then the folders in it that have settings of their own."""
    site = site_of(request)
    return FoldersShape(inboxes=[_inbox(site, config) for config in site.inboxes()])


def _inbox(site: Site, config: InboxConfig) -> InboxShape:
    settings = settings_of(site.store, config)
    effective = {settings.root: settings.above, **settings.files}
    return InboxShape(
        path=str(config.path),
        recursive=config.recursive,
        offline=str(site.ask("offline", inbox=str(config.path))),
        folders=[
            FolderShape(path=text_of(path), options=one.options(), origins=one.told_origins())
            for path, one in sorted(effective.items())
        ],
    )
