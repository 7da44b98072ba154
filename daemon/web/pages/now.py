"""``/``: what happens at this moment, and ``/now/events``, which says so again whenever it changed.

The state is asked for once for all who look, however many they are, and only while somebody looks.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from daemon.clock import monotonic_s
from daemon.web.errors import Declined
from daemon.web.pages.asking import hidden, history, teller
from daemon.web.rendering import language_of, pieces, render
from daemon.web.site import Site
from daemon.web.views.now import NowPage, now_page
from daemon.web.wording import Language
from storage.errors import StorageError
from storage.records import Job

EVERY_S: Final = 2.0
"""How often who looks is told of changes."""

STILL_S: Final = 20.0
"""After so long without a change a sign of life is sent: programs between close what is silent."""

LONGEST_S: Final = 300.0
"""After that the page asks anew by itself, and it is looked at anew who asks: somebody may have logged out."""

MOST_LOOKING: Final = 64

PIECES: Final = ("alarms", "figures", "going", "queue", "ended", "devices")
"""The parts of the page that change; each is an element of this id."""

_N_QUEUED: Final = 15
_MOST_COMPARED: Final = 45
_N_ENDED: Final = 12


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is shown, before it is put in words."""

    status: dict[str, Any]
    queue: list[Job]
    ended: list[Job]


class _Now:
    """What is seen, at most EVERY_S old."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._seen: _Seen | None = None
        self._at = float("-inf")

    def seen(self) -> _Seen:
        """It, looked at anew where it is too old. Raises StorageError."""
        with self._lock:
            if self._seen is None or monotonic_s() - self._at >= 0.8 * EVERY_S:
                self._seen = self._look()
                self._at = monotonic_s()
            return self._seen

    def _look(self) -> _Seen:
        site = self._site
        status = site.status()
        own = tuple(os.fsdecode(folder) + "/" for folder in hidden(site))
        status["in_hand"] = [one for one in status["in_hand"] if not str(one["path"]).startswith(own)]
        queue = [job for inbox in site.inboxes() for job in site.store.waiting_in(os.fsencode(inbox.path), _N_QUEUED)]
        with history(site) as reading:
            ended = reading.ended_lately(_N_ENDED, hidden(site))
        return _Seen(status, self._in_turn(queue), ended)

    def _in_turn(self, jobs: list[Job]) -> list[Job]:
        """The first of *jobs*, as they will begin; those that wait for something come last."""
        if len(self._site.inboxes()) < 2:
            return jobs[:_N_QUEUED]
        jobs = sorted(jobs, key=lambda job: (-job.priority, job.id))[:_MOST_COMPARED]
        before = {job.id: self._site.store.standing(job.id) for job in jobs}
        last = float("inf")
        jobs.sort(key=lambda job: one.n_before if (one := before[job.id]) is not None else last)
        return jobs[:_N_QUEUED]


class _Telling(StreamingResponse):
    """News for one who looks; *over* is called once nobody does any more."""

    def __init__(self, news: AsyncIterator[bytes], over: Callable[[], None]) -> None:
        self._over = over
        # A web server in front of us would else keep them until there are enough.
        super().__init__(news, headers={"X-Accel-Buffering": "no"}, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


def routes(site: Site) -> list[BaseRoute]:
    """``GET /`` and ``GET /now/events``."""
    now = _Now(site)
    looking = threading.BoundedSemaphore(MOST_LOOKING)
    said_in: dict[Language, tuple[_Seen, dict[str, str]]] = {}

    def model(request: Request) -> NowPage:
        seen = now.seen()
        return now_page(seen.status, seen.queue, seen.ended, teller(request, site))

    def show(request: Request) -> Response:
        return render(request, "now.html", model(request))

    def written(request: Request) -> dict[str, str]:
        """The pieces of the page, written once for all who look in a language; nothing in them is of one person."""
        seen, language = now.seen(), language_of(request)
        kept = said_in.get(language)
        if kept is None or kept[0] is not seen:
            page = now_page(seen.status, seen.queue, seen.ended, teller(request, site))
            kept = said_in[language] = seen, pieces(request, "now_pieces.html", page, PIECES)
        return kept[1]

    def changed(request: Request, before: dict[str, str]) -> dict[str, str]:
        """The pieces of the page that are not as *before*, which is as they are after it."""
        try:
            found = written(request)
        except StorageError:
            return {}  # the page says so when it is loaded anew
        news = {name: text for name, text in found.items() if before.get(name) != text}
        before.update(news)
        return news

    async def tell(request: Request) -> AsyncIterator[bytes]:
        before: dict[str, str] = {}
        began = said = monotonic_s()
        yield b"retry: 5000\n\n"
        while (at := monotonic_s()) - began < LONGEST_S and not await request.is_disconnected():
            if news := await anyio.to_thread.run_sync(partial(changed, request, before)):
                said = at
                yield f"event: now\ndata: {json.dumps(news)}\n\n".encode()
            elif at - said > STILL_S:
                said = at
                yield b": still here\n\n"
            await asyncio.sleep(EVERY_S)

    async def events(request: Request) -> Response:
        if not looking.acquire(blocking=False):
            raise Declined(503, "many_looking")
        return _Telling(tell(request), looking.release)

    return [Route("/", show), Route("/now/events", events)]
