"""What may be done with jobs. Each goes through the commands of the service, and leaves an event with who did it."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request

from daemon.redo import is_corrected
from daemon.web.api.common import ask, history, job_or_404, site_of
from daemon.web.api.shapes import ChangedShape, JobId, JobsRequest, PriorityRequest, RedoneShape, RedoRequest
from daemon.web.errors import Declined

router = APIRouter(tags=["actions"])


@router.post("/jobs/retry", summary="Queue jobs again that failed, waited or were cancelled")
def retry_all(request: Request, wanted: JobsRequest) -> ChangedShape:
    """As new: nothing that was tried counts."""
    known = _known(request, wanted.jobs)
    return _changed(wanted.jobs, ask(request, "retry", jobs=known))


@router.post("/jobs/cancel", summary="Cancel jobs that have not ended")
def cancel_all(request: Request, wanted: JobsRequest) -> ChangedShape:
    """Those in hand end within seconds."""
    known = _known(request, wanted.jobs)
    return _changed(wanted.jobs, ask(request, "cancel", jobs=known))


@router.post("/jobs/{job_id}/retry", summary="Queue a job again")
def retry(request: Request, job_id: JobId) -> ChangedShape:
    """409 where its state does not allow it."""
    return _one(request, job_id, "retry")


@router.post("/jobs/{job_id}/cancel", summary="Cancel a job")
def cancel(request: Request, job_id: JobId) -> ChangedShape:
    """409 where it has ended, or its transcript is being put in place."""
    return _one(request, job_id, "cancel")


@router.post("/jobs/{job_id}/priority", summary="Let a job come before the others, or behind them")
def priority(request: Request, job_id: JobId, wanted: PriorityRequest) -> ChangedShape:
    """409 where it does not wait."""
    return _one(request, job_id, "priority", priority=wanted.priority)


@router.post("/jobs/{job_id}/redo", summary="Transcribe a recording again", status_code=201)
def redo(request: Request, job_id: JobId, wanted: RedoRequest) -> RedoneShape:
    """A new job; what was made before stays in the history.

    409 ``corrected`` where a person corrected the text, unless `over_corrections` is true.
    """
    _known(request, [job_id], must=True)
    over = wanted.over_corrections
    made = ask(request, "redo", jobs=[job_id], options=wanted.options, over_corrections=over)
    number: int | None = made.get(str(job_id))
    if number is None and not over and is_corrected(site_of(request).store, job_id):
        raise Declined(409, "corrected", f"a person corrected the text of job {job_id}; see over_corrections")
    if number is None:
        raise Declined(409, "state", f"the recording of job {job_id} is in the queue already")
    return RedoneShape(job=number)


def _one(request: Request, job_id: int, command: str, **arguments: object) -> ChangedShape:
    _known(request, [job_id], must=True)
    answer = _changed([job_id], ask(request, command, jobs=[job_id], **arguments))
    if answer.refused:
        raise Declined(409, "state", f"job {job_id}: its state does not allow it, or its recording has a newer job")
    return answer


def _known(request: Request, job_ids: Sequence[int], *, must: bool = False) -> list[int]:
    """Those of *job_ids* that people know of. Raises Declined where all *must* be."""
    known: list[int] = []
    with history(request) as reading:
        for job_id in dict.fromkeys(job_ids):
            try:
                known.append(job_or_404(request, reading, job_id).id)
            except Declined:
                if must:
                    raise
    return known


def _changed(asked: Sequence[int], changed: Sequence[int]) -> ChangedShape:
    refused = [job_id for job_id in dict.fromkeys(asked) if job_id not in set(changed)]
    return ChangedShape(changed=list(changed), refused=refused)
