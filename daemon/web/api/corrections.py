"""Texts that people correct: their versions, a new one, an older one again."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request

from daemon.corrections import BadCorrection
from daemon.errors import TextChanged, TranscribedError
from daemon.versions import NotNow, NoTranscript
from daemon.web.api.common import by, history, job_or_404, site_of
from daemon.web.api.shapes import CorrectionsShape, CorrectRequest, JobId, MadeVersionShape, RestoreRequest
from daemon.web.errors import Declined

router = APIRouter(tags=["corrections"])

_ANSWERS: Final[tuple[tuple[type[TranscribedError], int, str], ...]] = (
    (BadCorrection, 422, "bad_correction"),
    (NoTranscript, 404, "no_transcript"),
    (NotNow, 503, "not_now"),
)


@router.get("/jobs/{job_id}/corrections", summary="The versions of a text, and how it stands with its files")
def corrections(request: Request, job_id: JobId) -> CorrectionsShape:
    """`/transcript?version=N` gives the text of one."""
    store = site_of(request).store
    with history(request) as reading:
        job_or_404(request, reading, job_id)
    if store.version(job_id, 1) is None:
        raise Declined(404, "no_transcript", f"job {job_id} has no transcript")
    return CorrectionsShape.of(store.versions(job_id), store.rewrite_of(job_id))


@router.post("/jobs/{job_id}/correct", summary="Correct a text")
def correct(request: Request, job_id: JobId, wanted: CorrectRequest) -> MadeVersionShape:
    """A new version; the earlier ones stay. 409 ``text_changed`` where `base` is not the newest: look again.

    The files beside the recording follow within seconds.
    """
    lines = [edit.model_dump() for edit in wanted.lines]
    return _made(request, job_id, "correct", base=wanted.base, lines=lines, speakers=wanted.speakers)


@router.post("/jobs/{job_id}/restore", summary="Take an older version of a text again")
def restore(request: Request, job_id: JobId, wanted: RestoreRequest) -> MadeVersionShape:
    """As a new version. 409 ``text_changed`` where `base` is not the newest."""
    return _made(request, job_id, "restore", base=wanted.base, number=wanted.number)


def _made(request: Request, job_id: int, command: str, **arguments: object) -> MadeVersionShape:
    with history(request) as reading:
        job_or_404(request, reading, job_id)
    try:
        made: dict[str, Any] = site_of(request).ask(command, job=job_id, by=by(request), **arguments)
    except TextChanged as error:
        raise Declined(409, "text_changed", str(error), newest=error.newest) from error
    except TranscribedError as error:
        said = ((status, code) for kind, status, code in _ANSWERS if isinstance(error, kind))
        status, code = next(said, (409, "refused"))
        raise Declined(status, code, str(error)) from error
    return MadeVersionShape(version=made["version"])
