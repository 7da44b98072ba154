"""What may be done with a job, as forms of its page: each goes through the commands of the service, with who asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon.errors import TranscribedError
from daemon.redo import is_corrected
from daemon.web.errors import Declined
from daemon.web.pages.asking import form_of, history, job_of
from daemon.web.rendering import redirect, visitor_of
from daemon.web.site import Site

PRIORITIES: Final = ("high", "normal", "low")
REDO: Final = ("language", "task", "quality")
"""What can be chosen when a recording is transcribed again; empty is as it is configured."""


def routes(site: Site) -> list[BaseRoute]:
    """``POST /jobs/N/retry``, ``cancel``, ``priority`` and ``redo``."""
    actions = _Actions(site)
    return [
        Route(f"/jobs/{{job_id}}/{name}", actions.asked, methods=["POST"], name=name)
        for name in ("retry", "cancel", "priority", "redo")
    ]


class _Actions:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def asked(self, request: Request) -> Response:
        """Do what the address says, and go back to the page of the job."""
        form = await form_of(request)
        command = request.url.path.rpartition("/")[2]
        return await to_thread.run_sync(self._do, request, command, form)

    def _do(self, request: Request, command: str, form: Mapping[str, str]) -> Response:
        with history(self._site) as reading:
            job_id = job_of(request, self._site, reading).id
        by = visitor_of(request).name
        try:
            match command:
                case "redo":
                    return self._redo(job_id, form, by)
                case "priority":
                    if (wanted := form.get("priority", "")) not in PRIORITIES:
                        raise Declined(400)
                    changed = self._site.ask("priority", jobs=[job_id], priority=wanted, by=by)
                case _:
                    changed = self._site.ask(command, jobs=[job_id], by=by)
        except TranscribedError as error:
            raise Declined(409, "bad", str(error)) from error
        return redirect(f"/jobs/{job_id}", f"flash.{command}_done" if changed else "flash.not_in_this_state")

    def _redo(self, job_id: int, form: Mapping[str, str], by: str) -> Response:
        options = {name: form[name] for name in REDO if form.get(name)}
        over = bool(form.get("over_corrections"))
        made = self._site.ask("redo", jobs=[job_id], options=options, by=by, over_corrections=over)
        number: int | None = made.get(str(job_id))
        if number is None:
            corrected = not over and is_corrected(self._site.store, job_id)
            return redirect(f"/jobs/{job_id}", "flash.redo_corrected" if corrected else "flash.already_queued")
        return redirect(f"/jobs/{number}", "flash.redo_done")
