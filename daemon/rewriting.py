"""Writes the files of transcripts that a person corrected anew, in the steps of `daemon.outputs.publish`.

On a thread that may hang with the share. That they are to be written is in the history since the correction, so a
crash, a dead share or a full disk forget nothing. A file that a person changed by hand is left alone: the text of that
format is then in another one. Knows no queue.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Final

from daemon.clock import utc_now
from daemon.errors import OutputBlocked, SourceVanished
from daemon.failpoints import reached
from daemon.outputs import publish
from daemon.outputs.formats import contents_of, suffix_of
from daemon.outputs.kept import unpacked
from daemon.shares import Aside
from daemon.versions import VersionFiles
from storage.errors import StorageError
from storage.jobs import JobStore
from storage.records import Job, Output, Rewrite

log = logging.getLogger(__name__)

NAME_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class Rewriting:
    """The corrected transcripts of an inbox, as far as they are below *folder*, which must be there when it is done."""

    store: JobStore
    inbox: bytes
    folder: bytes
    files: VersionFiles | None = None

    def write_due(self, aside: Aside = nullcontext) -> None:
        """Those that are due are written, as far as their folders can be written now.

        May hang with the share, but not *aside*: files of long recordings take a while to be made.
        """
        for rewrite in self.store.rewrites_due(self.inbox):
            job = self.store.job(rewrite.job_id)
            if job is None or not job.path.startswith(self.folder + b"/"):
                continue
            try:
                self._write(rewrite, job, aside)
            except (OutputBlocked, SourceVanished, OSError) as error:
                self._put_off(rewrite, str(error))
            except StorageError:
                raise
            except Exception as error:  # one text that cannot be written must not keep the inbox from its work
                log.exception("job %d: its correction cannot be written", job.id, extra={"event": "bug"})
                self._put_off(rewrite, f"internal error: {error!r}")

    def _put_off(self, rewrite: Rewrite, reason: str) -> None:
        if reason != rewrite.reason:
            self.store.put_off_rewrite(rewrite.job_id, reason)
            extra = {"event": "publish_blocked", "job_id": rewrite.job_id}
            log.info("job %d: its correction is not written yet: %s", rewrite.job_id, reason, extra=extra)

    def _write(self, rewrite: Rewrite, job: Job, aside: Aside) -> None:
        may = self.store.may_rewrite(job.id)
        if may is None:  # what took its place is written already
            self.store.rewrite_done(rewrite, (), utc_now())
            return
        if not may:
            return  # soon
        if not os.path.lexists(job.path):
            raise SourceVanished("the recording is not there")
        content = self.store.document(job.id)
        kept = unpacked(content) if content is not None else None
        if kept is None:
            self.store.rewrite_done(rewrite, (), utc_now())
            return
        with aside():
            contents = contents_of(kept.document)
        self._put_in_place(rewrite, job, contents, suffix_of(kept.document))

    def _put_in_place(self, rewrite: Rewrite, job: Job, contents: Mapping[str, bytes], suffix: str) -> None:
        assert rewrite.due is not None
        store = self.store
        for _ in range(NAME_TRIES):
            if not store.may_rewrite(job.id):
                return  # the share hung meanwhile, say
            ours = store.written(job.path)
            edited = _edited(job, ours)
            outputs = _staged(job, contents, ours, edited, suffix)
            try:
                reached("rewrite.staged")
                if self.files is not None:
                    self.files.published(job.id, rewrite.due, outputs)
                store.rewrite_intended(job.id, outputs)
                reached("rewrite.intended")
                publish.commit(outputs, ours)
                reached("rewrite.committed")
            except publish.NameTaken:
                continue  # somebody made a file of that name in between: choose again
            finally:
                publish.discard(outputs)
            left = tuple(output.path for output in edited)
            store.rewrite_done(replace(rewrite, left_alone=left, reason=""), outputs, utc_now())
            reached("rewrite.done")
            names = ", ".join(os.fsdecode(os.path.basename(output.path)) for output in outputs)
            extra = {"event": "rewritten", "job_id": job.id}
            log.info("job %d: version %d is in %s", job.id, rewrite.due, names, extra=extra)
            return
        raise OutputBlocked("another program takes every name that is chosen")


def _edited(job: Job, ours: publish.Ours) -> list[Output]:
    """The files of the transcript that a person changed, and that are there."""
    return [
        output
        for output in job.outputs
        if os.path.lexists(output.path) and publish.digest_of(output.path) not in ours.get(output.path, ())
    ]


def _staged(
    job: Job, contents: Mapping[str, bytes], ours: publish.Ours, edited: Sequence[Output], suffix: str
) -> tuple[Output, ...]:
    """Those that nobody changed keep their names; the others get some of their own."""
    outputs: tuple[Output, ...] = ()
    changed = {output.format for output in edited}
    try:
        for kinds in (contents.keys() - changed, contents.keys() & changed):
            some = {kind: content for kind, content in contents.items() if kind in kinds}
            outputs += publish.stage(job.path, some, ours, suffix=suffix)
    except BaseException:
        publish.discard(outputs)
        raise
    return outputs
