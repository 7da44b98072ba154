"""Writes the transcripts of talks that were recorded on several tracks (`daemon.tracks`) beside them.

On the thread of their inbox alone, so two jobs that end at once are no race. Each track has its own transcript too:
nothing is lost where one fails. Knows no queue.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Final

from daemon.clock import iso, utc_now
from daemon.errors import OutputBlocked, SourceVanished
from daemon.failpoints import reached
from daemon.options import JobOptions
from daemon.outputs import publish
from daemon.outputs.document import Document
from daemon.outputs.formats import contents_of, suffix_of
from daemon.outputs.kept import unpacked
from daemon.shares import Aside
from daemon.tracks import Told, beginnings_of, is_track_of, together
from storage.jobs import JobStore
from storage.records import Joint, TrackJobs

log = logging.getLogger(__name__)

NAME_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class _Made:
    """The content of each file, and the suffix of their names."""

    contents: Mapping[str, bytes]
    suffix: str


def write_due(store: JobStore, inbox: bytes, aside: Aside = nullcontext) -> None:
    """The transcripts of talks in *inbox*, which must be there, are written, as far as its folders can be written now.

    May hang with its share, but not *aside*: those of long talks take a while to be made.
    """
    for joint in store.joints_due(inbox):
        try:
            _write(store, joint, aside)
        except (OutputBlocked, SourceVanished, OSError) as error:
            extra = {"event": "publish_blocked", "path": os.fsdecode(joint.talk)}
            log.info("%s: no transcript of all tracks yet: %s", os.fsdecode(joint.talk), error, extra=extra)


def _write(store: JobStore, joint: Joint, aside: Aside) -> None:
    job = store.job(joint.due)
    with aside():
        document = _document(store, joint.talk, JobOptions.from_dict(job.options)) if job is not None else None
        made = _made(document) if document is not None else None
    if job is not None and document is not None and made is not None:
        outputs = _put_in_place(store, joint, made, job.path)
        names = [os.fsdecode(path) for path in outputs]
        detail = {"files": names, "notice": document.notice}
        store.note("joint_written", detail, utc_now(), job.id)
        log.info("%s: written for all tracks so far", names[0], extra={"event": "joint_written", "job_id": job.id})
    store.joint_done(joint)
    reached("joint.done")


def _document(store: JobStore, talk: bytes, options: JobOptions) -> Document | None:
    tracks = [track for track in store.tracks(beginnings_of(talk)) if is_track_of(talk, track.path)]
    return together(talk, [_told(store, track) for track in tracks], options)


def _told(store: JobStore, track: TrackJobs) -> Told:
    content = store.document(track.told) if track.told is not None else None
    kept = unpacked(content) if content is not None else None
    return Told(track.path, kept.document if kept is not None else None)


def _made(document: Document) -> _Made:
    return _Made(contents_of(replace(document, made_at=iso(utc_now()))), suffix_of(document))


def _put_in_place(store: JobStore, joint: Joint, made: _Made, like: bytes) -> tuple[bytes, ...]:
    for _ in range(NAME_TRIES):
        outputs = publish.stage_joint(joint.talk, made.contents, joint.written, like, suffix=made.suffix)
        try:
            reached("joint.staged")
            store.joint_intended(joint, outputs)
            reached("joint.intended")
            publish.commit(outputs, joint.written)
            reached("joint.committed")
            return tuple(output.path for output in outputs)
        except publish.NameTaken:
            continue  # somebody made a file of that name in between: choose again
        finally:
            publish.discard(outputs)
    raise OutputBlocked("another program takes every name that is chosen")
