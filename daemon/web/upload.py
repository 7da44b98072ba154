"""``/upload``: recordings are sent from a browser. With JavaScript in pieces (the API), without as one form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import anyio
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon import asked
from daemon.asked import BadChoice
from daemon.config.schema import OWN_FOLDERS
from daemon.errors import TranscribedError
from daemon.redo import settings_of
from daemon.web.errors import Declined
from daemon.web.rendering import catalogue_of, link, redirect, render, visitor_of
from daemon.web.site import Site
from daemon.web.uploads.forms import BadForm, Field, FileBegins, FileEnds, FormReader
from daemon.web.uploads.receiving import Upload, UploadError, Wanted
from daemon.web.uploads.sink import Sink
from daemon.web.uploads.streaming import Buffer, apart
from daemon.web.views.telling import Teller
from daemon.web.views.upload import CHOICES, Place, place_of, places_of, upload_page
from storage.records import Job
from storage.web_reading import Wanted as WantedJobs
from storage.web_reading import WebReading

MOST_SHOWN: Final = 50
_NEWEST: Final = 200  # jobs whose folders are offered


def routes(site: Site) -> list[BaseRoute]:
    """``GET`` and ``POST /upload``."""
    page = _Page(site)
    return [Route("/upload", page.show, methods=["GET"]), Route("/upload", page.send, methods=["POST"])]


@dataclass(slots=True)
class _Came:
    """What came of a form."""

    values: dict[str, str] = field(default_factory=dict[str, str])
    jobs: list[int] = field(default_factory=list[int])
    n_files: int = 0
    trouble: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Of each file that was not taken the name, the kind of trouble, and a message."""


class _Page:
    def __init__(self, site: Site) -> None:
        self._site = site

    def show(self, request: Request) -> Response:
        """The page; the jobs in the address are shown with how they stand."""
        if not visitor_of(request).may_act:
            raise Declined(403)
        numbers = [int(text) for text in request.query_params.getlist("job")[:MOST_SHOWN] if _is_number(text)]
        return self._page(request, request.query_params.get("folder", ""), numbers, [])

    async def send(self, request: Request) -> Response:
        """Take the recordings of a form; those that came get their jobs, whatever becomes of the others."""
        came = _Came()
        try:
            await self._receive(request, came)
        except BadForm as error:
            raise Declined(400, "bad", str(error)) from error
        except ClientDisconnect as error:
            raise Declined(400) from error
        if came.n_files and not came.trouble:
            url = link("/upload", folder=came.values.get("folder", ""))
            jobs = "".join(f"&job={job_id}" for job_id in came.jobs[:MOST_SHOWN])
            return redirect(f"{url}{jobs}" if "?" in url else f"{url}?{jobs[1:]}", "flash.uploaded", n=came.n_files)
        if not came.n_files and not came.trouble:
            came.trouble.append(("", "no_file", ""))
        return await to_thread.run_sync(
            lambda: self._page(request, came.values.get("folder", ""), came.jobs, came.trouble, status=422)
        )

    async def _receive(self, request: Request, came: _Came) -> None:
        reader = FormReader(request.headers.get("content-type", ""))
        receiving: _File | None = None
        try:
            async for content in request.stream():
                for piece in reader.feed(content):
                    match piece:
                        case Field():
                            came.values[piece.name] = piece.value
                        case FileBegins():
                            receiving = _File(self._site, visitor_of(request).name, piece.file_name, came)
                            await receiving.begin()
                        case bytes():
                            assert receiving is not None
                            await receiving.add(piece)
                        case FileEnds():
                            assert receiving is not None
                            await receiving.end()
                            receiving = None
            reader.end()
        finally:
            if receiving is not None:
                with anyio.CancelScope(shield=True):
                    await receiving.give_up()

    def _page(
        self,
        request: Request,
        folder: str,
        numbers: Sequence[int],
        trouble: Sequence[tuple[str, str, str]],
        status: int = 200,
    ) -> Response:
        site = self._site
        with closing(WebReading.open(site.database)) as reading:
            jobs = [job for number in numbers if (job := reading.job(number)) is not None and site.shows(job.inbox)]
            places = self._places(reading)
        teller = Teller(catalogue_of(request), site.clock())
        limit = site.config().decode.max_source_bytes
        model = upload_page(places, folder, limit, teller, sent=jobs, trouble=trouble)
        return render(request, "upload.html", model, status=status)

    def _places(self, reading: WebReading) -> tuple[Place, ...]:
        site = self._site
        hidden = tuple(os.fsencode(site.config().state_dir / name) for name in OWN_FOLDERS)
        newest: Sequence[Job] = reading.jobs_page(WantedJobs(but_not_in=hidden), limit=_NEWEST).jobs
        folders = {os.path.dirname(job.path) for job in newest}
        for inbox in site.inboxes():
            folders |= set(settings_of(site.store, inbox).files)
        return places_of(site.inboxes(), folders)


class _File:
    """One file of a form on its way into its folder. What goes wrong with it is noted, and the rest passed over."""

    def __init__(self, site: Site, by: str, name: str, came: _Came) -> None:
        self._site = site
        self._by = by
        self._name = name
        self._came = came
        self._upload: Upload | None = None
        self._sink: Sink | None = None
        self._buffer: Buffer | None = None

    async def begin(self) -> None:
        """It has a place, unless it may have none. A field in which no file was chosen is no file."""
        if not self._name:
            return
        try:
            wanted = self._wanted()
            self._upload = await apart(self._site.uploads.begin, wanted, self._by)
            self._sink = await apart(self._site.uploads.add, self._upload, 0)
            self._buffer = Buffer(self._sink)
        except (UploadError, TranscribedError) as error:
            await self._fail(error)

    async def add(self, content: bytes) -> None:
        """More of it came."""
        try:
            if self._buffer is not None:
                await self._buffer.add(content)
        except UploadError as error:
            await self._fail(error)

    async def end(self) -> None:
        """All of it came: it is put in its place."""
        if self._buffer is None or self._sink is None or self._upload is None:
            return
        try:
            await self._buffer.flush()
            await apart(self._sink.close)
            done = await apart(self._site.uploads.finish, self._upload)
            self._came.n_files += 1
            if done.job is not None:
                self._came.jobs.append(done.job)
        except UploadError as error:
            await self._fail(error)

    async def give_up(self) -> None:
        """The form broke off in the middle of it."""
        self._buffer = None
        if self._sink is not None:
            await apart(self._sink.close)
        if self._upload is not None:
            try:
                await apart(self._site.uploads.give_up, self._upload)
            except UploadError:
                pass  # it is removed a day later

    async def _fail(self, error: Exception) -> None:
        kind = error.kind if isinstance(error, UploadError) else ""
        self._came.trouble.append((self._name, kind, str(error)))
        await self.give_up()

    def _wanted(self) -> Wanted:
        values = self._came.values
        place = place_of(values.get("folder", ""), self._site.inboxes())
        if place is None:
            raise UploadError("folder", "there is no such folder")
        choices = {name: values[name] for name in CHOICES if values.get(name)}
        try:
            return Wanted(*place, self._name, None, "", asked.checked(choices, self._site.config()))
        except BadChoice as error:
            raise UploadError("option", str(error)) from error


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
