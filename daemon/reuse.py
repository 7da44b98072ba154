"""What need not be transcribed: a recording that was only touched, that is kept, or that is the same as another one."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from daemon.clock import utc_now
from daemon.failpoints import reached
from daemon.options import JobOptions
from daemon.outputs.formats import Document
from daemon.outputs.kept import unpacked
from daemon.source import Source, content_differs
from daemon.speakers import renamed
from daemon.workshop import Activity, Workshop
from storage.records import Job, Outcome, Result


def same_as_last_time(activity: Activity, source: Source, shop: Workshop) -> Result | None:
    """The result of a recording that was only touched: same bytes, same options, transcripts still there.

    The job is done then, with the outputs of the earlier one.
    """
    job = activity.job
    if job.again:
        return None
    before = shop.patiently(lambda: shop.store.last_done(job.path))
    if before is None or before.source_sha256 is None or before.result is None:
        return None
    with shop.touching(activity):
        stands = _stands(before, job)
    if not stands:
        return None
    if before.fingerprint.size_bytes != source.fingerprint.size_bytes:
        return None
    if shop.decode.digest(source.fd, activity.cancelled) != before.source_sha256:
        return None
    shop.check_unchanged(job, source, before.source_sha256)
    reason = f"same content as in job {before.id}; its transcript stands"
    activity.begin_publishing()
    wall_s = time.monotonic() - activity.began
    result = replace(before.result, outcome=Outcome.DUPLICATE, reason=reason, wall_s=wall_s, same_as=before.id)
    shop.patiently(lambda: shop.store.publishing(job, before.outputs, result, utc_now()))
    reached("job.same_intended")
    goes = shop.goes(job, result.outcome)
    shop.patiently(lambda: shop.store.finish(job, result, utc_now(), goes=goes))
    return result


def _stands(before: Job, job: Job) -> bool:
    """Whether what *before* published is all that *job* is asked for, and still there, edited or not."""
    wanted = JobOptions.from_dict(job.options)
    return (
        before.options_digest == job.options_digest
        and wanted.looks_like(JobOptions.from_dict(before.options))
        and set(wanted.formats) <= {output.format for output in before.outputs}
        and all(os.path.lexists(output.path) for output in before.outputs)
    )


def kept_document(job: Job, source: Source, shop: Workshop) -> Document | None:
    """The document that could not be published at an earlier attempt, if it is of these bytes and options."""
    kept = shop.kept.load(job.id)
    if kept is None or kept.options_digest != job.options_digest:
        return None
    if content_differs(source.fingerprint, kept.fingerprint):
        return None
    _take_note(job, kept.document, None, shop)
    options = JobOptions.from_dict(job.options)  # the files may be others by now
    return replace(renamed(kept.document, options), options=options)


def persons_text(activity: Activity, source: Source, shop: Workshop) -> Document | None:
    """The document of this recording that a person corrected, where the machine's may not take its place.

    It may where somebody asked for it after the correction, where the recording has other bytes, and where another task
    is asked for.
    """
    job = activity.job
    before = shop.patiently(lambda: shop.store.last_done(job.path))
    if before is None or before.id == job.id or before.fingerprint.size_bytes != source.fingerprint.size_bytes:
        return None
    versions = shop.patiently(lambda: shop.store.versions(before.id))
    if not versions or not versions[-1].author or (job.again and versions[-1].at < job.created_at):
        return None
    options = JobOptions.from_dict(job.options)
    if options.task != JobOptions.from_dict(before.options).task:
        return None
    document = _stored_document(before, shop)
    sha256 = shop.decode.digest(source.fd, activity.cancelled)
    if document is None or sha256 != document.source_sha256:
        return None
    _take_note(job, document, before.speech_s, shop)
    activity.same_as, activity.same_what = before.id, "content"
    return replace(renamed(document, options), options=options)


def corrected_meanwhile(activity: Activity, source: Source, document: Document, shop: Workshop) -> Document | None:
    """As `persons_text`, where that is not *document*. Once the job is publishing, nobody corrects an earlier text."""
    text = persons_text(activity, source, shop)
    if text is None or (text.corrected_by, text.corrected_at) == (document.corrected_by, document.corrected_at):
        return None
    return text


def taken_over(activity: Activity, source: Source, shop: Workshop) -> Document | None:
    """The document of the same bytes with the same options, for this recording; then the activity says whose it was."""
    job = activity.job
    if job.again or not shop.reuse():
        return None
    size_bytes = source.fingerprint.size_bytes
    if not shop.patiently(lambda: shop.store.has_size(size_bytes, job.options_digest)):
        return None  # most recordings end here, unread
    sha256 = shop.decode.digest(source.fd, activity.cancelled)
    same_as = shop.patiently(lambda: shop.store.transcript_of(sha256, size_bytes, job.options_digest))
    before = shop.patiently(lambda: shop.store.job(same_as)) if same_as is not None else None
    document = _stored_document(before, shop) if before is not None else None
    if before is None or document is None or document.source_sha256 != sha256:
        return None
    _take_note(job, document, before.speech_s, shop)
    activity.same_as = before.id
    name = os.path.basename(os.fsdecode(job.path))
    options = JobOptions.from_dict(job.options)
    return replace(renamed(document, options), options=options, recording=name)


def _stored_document(job: Job, shop: Workshop) -> Document | None:
    content = shop.patiently(lambda: shop.store.document(job.id))
    kept = unpacked(content) if content is not None else None
    return kept.document if kept is not None else None


def _take_note(job: Job, document: Document, speech_s: float | None, shop: Workshop) -> None:
    """What decoding would have found out is stored with the job: its claim has forgotten what an earlier one knew."""
    shop.patiently(
        lambda: shop.store.decoded(
            job,
            source_sha256=document.source_sha256,
            audio_s=document.audio_s,
            declared_s=document.declared_s,
            speech_s=speech_s,
            at=utc_now(),
        )
    )
