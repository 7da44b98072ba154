"""``/jobs/ID/correct``: the text of a recording to be corrected; ``/jobs/ID/versions``: what people made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon.corrections import Edit
from daemon.errors import TextChanged, TranscribedError
from daemon.outputs.document import Document
from daemon.web import audio
from daemon.web.errors import Declined
from daemon.web.pages.asking import form_of, history, job_of, teller
from daemon.web.rendering import catalogue_of, redirect, render, visitor_of
from daemon.web.site import Site
from daemon.web.transcripts import document_of
from daemon.web.views import correct as view
from daemon.web.views import versions as told
from daemon.web.views.telling import recording
from storage.records import Job

_MOST_FIELDS = 5 * told.LINES_IN_PART


def routes(site: Site) -> list[BaseRoute]:
    """The pages, the form, and ``POST /jobs/ID/restore``."""
    pages = _Pages(site)
    return [
        Route("/jobs/{job_id}/correct", pages.edit, methods=["GET"]),
        Route("/jobs/{job_id}/correct", pages.save, methods=["POST"]),
        Route("/jobs/{job_id}/versions", pages.versions, methods=["GET"]),
        Route("/jobs/{job_id}/restore", pages.restore, methods=["POST"]),
    ]


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def edit(self, request: Request) -> Response:
        """The form with a part of the newest version."""
        if not visitor_of(request).may_act:
            raise Declined(403)
        job, document = self._transcript(request)
        if self._site.store.may_rewrite(job.id) is None:
            raise Declined(409, "bad", catalogue_of(request).say("correct.closed"))
        page = self._page(request, job, document, self._newest(job.id), _number(request.query_params.get("part", "1")))
        return render(request, "correct.html", page)

    async def save(self, request: Request) -> Response:
        """What was written in the form is the newest version."""
        fields = await form_of(request, _MOST_FIELDS)
        return await to_thread.run_sync(self._save, request, fields)

    def _save(self, request: Request, fields: Mapping[str, str]) -> Response:
        posted = _posted(fields)
        job, newest = self._transcript(request)
        old = document_of(self._site.store.version(job.id, posted.base))
        if old is None or any(number >= len(old.transcript.segments) for number in posted.edits):
            raise Declined(400)
        edits = view.changed_only(posted, old)
        lines = [{"line": number, "text": edit.text, "speaker": edit.speaker} for number, edit in edits.items()]
        speakers = {fields["rename"]: fields["name"]} if fields.get("rename") and "name" in fields else {}
        try:
            made = self._site.ask(
                "correct", job=job.id, base=posted.base, lines=lines, speakers=speakers, by=visitor_of(request).name
            )
        except TextChanged as error:
            return self._conflict(request, job, old, newest, posted, closed=not error.newest)
        except TranscribedError as error:
            page = self._page(request, job, newest, posted.base, posted.part)
            page = view.conflict_page(page, old, newest, posted, teller(request, self._site))
            return render(request, "correct.html", replace(page, trouble=str(error)), status=400)
        number = int(made["version"])
        flash = "flash.corrected" if number != posted.base else "flash.not_corrected"
        stays = fields.get("then") == "stay"
        return redirect(f"/jobs/{job.id}{f'/correct?part={posted.part}' if stays else ''}", flash, n=number)

    def _conflict(
        self, request: Request, job: Job, old: Document, newest: Document, posted: view.Posted, *, closed: bool
    ) -> Response:
        """What was written is shown beside what somebody else wrote meanwhile."""
        known = self._site.store.versions(job.id)
        who = known[-1].author if known else ""
        say, tell = catalogue_of(request).say, teller(request, self._site)
        at = tell.moment(known[-1].at).text if known else ""
        page = self._page(request, job, newest, self._newest(job.id), posted.part)
        page = view.conflict_page(page, old, newest, posted, tell)
        stale = say("correct.closed") if closed else say("correct.stale", who=who, at=at)
        return render(request, "correct.html", replace(page, stale=stale, closed=closed), status=409)

    def versions(self, request: Request) -> Response:
        """All versions; the text of one, or what is different in another."""
        job, _document = self._transcript(request)
        known = self._site.store.versions(job.id)
        newest = known[-1].number if known else 1
        new = min(newest, _number(request.query_params.get("new", ""), newest))
        old = _number(request.query_params.get("old", ""), max(0, new - 1) if "new" not in request.query_params else 0)
        old = old if 0 < old <= newest and old != new else 0
        text = document_of(self._site.store.version(job.id, new))
        before = document_of(self._site.store.version(job.id, old)) if old else None
        if text is None:
            raise Declined(404)
        found = told.differences(before, text) if before is not None else ()
        lines = () if before is not None else told.said(text)
        tell = teller(request, self._site)
        page = told.VersionsPage(
            id=job.id,
            recording=recording(job.path),
            versions=told.shown_versions(known, tell),
            newest=newest,
            old=old if before is not None else 0,
            new=new,
            differences=found[: told.MOST_SHOWN],
            lines=lines,
            n_more=max(0, len(found) - told.MOST_SHOWN),
            files=told.files_note(self._site.store.rewrite_of(job.id), tell),
            language_tag=text.language,
        )
        return render(request, "versions.html", page)

    async def restore(self, request: Request) -> Response:
        """An older version is the newest again."""
        fields = await form_of(request)
        return await to_thread.run_sync(self._restore, request, fields)

    def _restore(self, request: Request, fields: Mapping[str, str]) -> Response:
        job, _document = self._transcript(request)
        base, number = (_number(fields.get(name, "")) for name in ("base", "number"))
        try:
            made = self._site.ask("restore", job=job.id, base=base, number=number, by=visitor_of(request).name)
        except TextChanged:
            return redirect(f"/jobs/{job.id}/versions", "flash.text_changed")
        except TranscribedError as error:
            raise Declined(409, "bad", str(error)) from error
        return redirect(f"/jobs/{job.id}/versions", "flash.corrected", n=int(made["version"]))

    def _transcript(self, request: Request) -> tuple[Job, Document]:
        with history(self._site) as reading:
            job = job_of(request, self._site, reading)
            document = document_of(reading.document(job.id))
        if document is None:
            raise Declined(404)
        return job, document

    def _newest(self, job_id: int) -> int:
        known = self._site.store.versions(job_id)
        return known[-1].number if known else 1

    def _page(self, request: Request, job: Job, document: Document, base: int, part: int) -> view.EditPage:
        return view.edit_page(
            job.id,
            recording(job.path),
            document,
            base,
            audio.media_type_of(job.path).partition("/")[0],
            teller(request, self._site),
            part,
            with_speakers="speakers" in request.query_params,
        )


def _posted(fields: Mapping[str, str]) -> view.Posted:
    texts = _by_line(fields, "t")
    speakers = _by_line(fields, "s")
    edits = {number: Edit(texts.get(number), speakers.get(number)) for number in sorted(texts.keys() | speakers.keys())}
    return view.Posted(_number(fields.get("base", ""), 0), _number(fields.get("part", "")), edits)


def _by_line(fields: Mapping[str, str], letter: str) -> dict[int, str]:
    named = {name[1:]: value for name, value in fields.items() if name[:1] == letter}
    return {int(name): value for name, value in named.items() if _is_number(name)}


def _number(text: str, otherwise: int = 1) -> int:
    return int(text) if _is_number(text) else otherwise


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 8
