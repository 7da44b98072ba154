"""``/jobs/ID``: a recording with its player and its words, the recording itself, and every file of its transcript."""

from __future__ import annotations

import math
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon.web import audio
from daemon.web.errors import Declined
from daemon.web.pages.asking import history, job_of, teller
from daemon.web.rendering import render
from daemon.web.site import Site
from daemon.web.transcripts import document_of, download
from daemon.web.views.recording import QUEUED, Known, recording_page
from storage.records import Fingerprint, Job
from storage.web_reading import WebReading

_LONGEST_S = 1e6


def routes(site: Site) -> list[BaseRoute]:
    """The page, ``/audio`` and ``/download/KIND`` below it."""

    def page(request: Request) -> Response:
        with history(site) as reading:
            job = job_of(request, site, reading)
            content = reading.document(job.id)
            versions, events = reading.versions(job.id), reading.latest_events(job.id)
        standing = site.store.standing(job.id) if job.state in QUEUED else None
        known = Known(
            *(job, document_of(content), versions, events, _part(request), _start(request), standing),
            corrections=site.store.versions(job.id),
            rewrite=site.store.rewrite_of(job.id),
            may_correct=site.store.may_rewrite(job.id) is not None,
        )
        model = recording_page(known, audio.media_type_of(job.path), teller(request, site))
        return render(request, "recording.html", model)

    def play(request: Request) -> Response:
        with history(site) as reading:
            job = job_of(request, site, reading)
            known = _fingerprints(job, reading)
        fd, fingerprint = audio.opened(job.inbox, job.path, known)
        name = job.path.rpartition(b"/")[2]
        return audio.answer(fd, fingerprint, name, request.headers, save="save" in request.query_params)

    def save(request: Request) -> Response:
        with history(site) as reading:
            job = job_of(request, site, reading)
            document = document_of(reading.document(job.id))
        if document is None:
            raise Declined(404)
        try:
            file = download(document, request.path_params["kind"])
        except KeyError:
            raise Declined(404) from None
        name = quote(file.name.encode("utf-8", "surrogateescape"))
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(file.content, headers=headers, media_type=file.media_type)

    return [
        Route("/jobs/{job_id}", page),
        Route("/jobs/{job_id}/audio", play),
        Route("/jobs/{job_id}/download/{kind}", save),
    ]


def _fingerprints(job: Job, reading: WebReading) -> tuple[Fingerprint, ...]:
    """What the file of *job* may look like: later jobs may have found that it was only touched."""
    same = [one for one in reading.versions(job.id) if one.source_sha256 == job.source_sha256 is not None]
    return (job.fingerprint, *(one.fingerprint for one in same))


def _part(request: Request) -> int:
    text = request.query_params.get("part", "")
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


def _start(request: Request) -> float | None:
    try:
        start_s = float(request.query_params.get("t", ""))
    except ValueError:
        return None
    return start_s if math.isfinite(start_s) and 0 <= start_s < _LONGEST_S else None
