"""Jobs, their transcripts and what is in those. Looks only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.requests import Request

from daemon.web import transcripts
from daemon.web.api.common import (
    Before,
    Folder,
    Limit,
    Since,
    Until,
    attachment,
    folder_of,
    hidden,
    history,
    is_shown,
    job_or_404,
    site_of,
    utc,
)
from daemon.web.api.shapes import (
    EventShape,
    EventsShape,
    HitShape,
    HitsShape,
    JobId,
    JobShape,
    JobsShape,
    SuspectShape,
    SuspectsShape,
)
from daemon.web.errors import Declined
from storage.records import JobState
from storage.searching import NothingToFind
from storage.web_reading import Wanted

router = APIRouter(tags=["jobs"])


@router.get("/jobs", summary="Jobs, the newest first")
def jobs(
    request: Request,
    *,
    state: Annotated[list[JobState] | None, Query(description="May be given several times")] = None,
    folder: Folder = "",
    language: Annotated[str, Query(max_length=20, description="The language that was spoken, such as de")] = "",
    since: Since = None,
    until: Until = None,
    text: Annotated[str, Query(max_length=500, description="A part of the path")] = "",
    before: Before = None,
    limit: Limit = 50,
) -> JobsShape:
    """Those that all filters let through; `older` of the answer is `before` of the next question."""
    wanted = Wanted(
        states=frozenset(state or ()),
        folder=folder_of(folder),
        language=language,
        since=utc(since),
        until=utc(until),
        text=text.replace("\0", ""),
        but_not_in=hidden(request),
    )
    with history(request) as reading:
        page = reading.jobs_page(wanted, before, limit)
    return JobsShape(jobs=[JobShape.of(job) for job in page.jobs], older=page.older, looked=page.looked)


@router.get("/jobs/{job_id}", summary="One job")
def job(request: Request, job_id: JobId) -> JobShape:
    """As it stands now."""
    with history(request) as reading:
        return JobShape.of(job_or_404(request, reading, job_id))


@router.get("/jobs/{job_id}/versions", summary="All jobs of the same recording, the newest first")
def versions(request: Request, job_id: JobId) -> JobsShape:
    """The newest of them."""
    with history(request) as reading:
        job_or_404(request, reading, job_id)
        found = reading.versions(job_id)
    return JobsShape(jobs=[JobShape.of(one) for one in found], older=None, looked=False)


@router.get("/jobs/{job_id}/events", summary="What happened to a job, the oldest first")
def events_of(request: Request, job_id: JobId) -> EventsShape:
    """Its newest events."""
    with history(request) as reading:
        job_or_404(request, reading, job_id)
        return EventsShape(events=[EventShape.of(event) for event in reading.latest_events(job_id)])


@router.get(
    "/jobs/{job_id}/transcript",
    summary="The transcript of a job, as one of its files",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in sorted(set(transcripts.MEDIA_TYPES.values()))}}},
)
def transcript(
    request: Request,
    job_id: JobId,
    format: Annotated[
        str, Query(max_length=16, description="txt, srt, vtt, json, tsv, md, docx, lrc; txt.en for a translation")
    ] = "json",
    version: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="One of `/corrections`; without it the newest")
    ] = None,
) -> Response:
    """Made from what the history keeps, so it is there when the file is not."""
    with history(request) as reading:
        job_or_404(request, reading, job_id)
        content = reading.document(job_id) if version is None else site_of(request).store.version(job_id, version)
        document = transcripts.document_of(content)
    if document is None and version is not None:
        raise Declined(404, "no_version", f"job {job_id} has no version {version} of a transcript")
    if document is None:
        raise Declined(404, "no_transcript", f"job {job_id} has no transcript")
    try:
        made = transcripts.download(document, format)
    except KeyError:
        possible = ", ".join(transcripts.kinds_of(document))
        raise Declined(404, "no_format", f"there is no {format!r} of this transcript; there are {possible}") from None
    return Response(made.content, media_type=made.media_type, headers=dict(attachment(made.name)))


@router.get("/jobs/{job_id}/suspects", summary="Where to listen in one recording")
def suspects_of(request: Request, job_id: JobId) -> SuspectsShape:
    """The stretches about which its transcript may be wrong."""
    with history(request) as reading:
        job = job_or_404(request, reading, job_id)
        document = transcripts.document_of(reading.document(job_id))
    found = document.suspects if document is not None else ()
    return SuspectsShape(suspects=[SuspectShape.of(job.id, job.path, suspect) for suspect in found])


@router.get("/suspects", summary="Where to listen, the recordings transcribed last first")
def suspects(request: Request, *, folder: Folder = "", since: Since = None, limit: Limit = 50) -> SuspectsShape:
    """Of the newest transcripts."""
    with history(request) as reading:
        places = reading.suspects(limit, folder_of(folder), utc(since))
    shown = [place for place in places if is_shown(request, place.path)]
    return SuspectsShape(suspects=[SuspectShape.of(place.job_id, place.path, place.suspect) for place in shown])


@router.get("/search", summary="Lines of transcripts with all words")
def search(
    request: Request,
    *,
    q: Annotated[str, Query(min_length=1, max_length=1000, description='Words; "a phrase", or wor* for any ending')],
    folder: Folder = "",
    since: Since = None,
    before: Before = None,
    limit: Limit = 20,
) -> HitsShape:
    """In the newest transcript of each recording."""
    with history(request) as reading:
        try:
            page = reading.search_page([q] if '"' in q else q.split(), before, limit, folder_of(folder), utc(since))
        except NothingToFind as error:
            raise Declined(422, "nothing_to_find", str(error)) from error
    hits = [HitShape.of(hit) for hit in page.hits if is_shown(request, hit.path)]
    return HitsShape(hits=hits, older=page.older, cut=page.cut)
