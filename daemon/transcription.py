"""One job from its recording to its outputs: decode, engine, publish. Knows no queue and no retry policy.

Every step that changes the history is committed before the next one begins, so a crash at any point leaves a job that
`daemon.recovery` or another claim can finish.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from daemon.ahead import Share
from daemon.clock import iso, utc_now
from daemon.decode.pool import Decoded
from daemon.engine.client import Checkpoint, Request, company_after
from daemon.errors import (
    EngineDied,
    OutputBlocked,
    Quarantined,
    RecordingError,
    RecordingIncomplete,
    SourceBlocked,
    SourceChanged,
    SourceVanished,
    SpoolBlocked,
)
from daemon.failpoints import reached
from daemon.fairness import weight_of
from daemon.incomplete import missing, wait_left_s
from daemon.intake.rules import extension_of
from daemon.options import JobOptions
from daemon.outputs import publish
from daemon.outputs.formats import Document, contents_of, suffix_of
from daemon.outputs.kept import Kept, lines_of, packed, stretches_of
from daemon.reuse import corrected_meanwhile, kept_document, persons_text, same_as_last_time, taken_over
from daemon.same_sound import heard_before, to_store
from daemon.sidecars import Sidecar
from daemon.source import Source
from daemon.speakers import part_done_s, speech_s, told_apart, tracks_of
from daemon.suspects import suspects_of_tracks
from daemon.tracks import talk_of
from daemon.transcript import SAMPLE_RATE_HZ, Transcript
from daemon.version import MADE_BY
from daemon.versions import version_of
from daemon.workshop import Activity, Workshop
from storage.errors import LostJob
from storage.records import Job, Outcome, Output, Result

log = logging.getLogger(__name__)

ENGINE_DEATHS: Final = 2
"""A recording that was in the engine at this many deaths or more, the last time alone, is quarantined."""

DEATHS_BY_OTHERS: Final = 6
"""The same where the last death was a SIGKILL from outside: no recording sends one.

But what watches over memory besides the kernel (systemd-oomd, earlyoom) does, so it cannot go on for ever.
"""

SAMPLE_BYTES: Final = 2
"""Of a spool file."""

NAME_TRIES: Final = 10
"""How often other names are chosen because a file came in between, before it counts as trouble with the folder."""


def perform(activity: Activity, shop: Workshop) -> Result:
    """Do the job: its outputs are in place and it is done in the history when this returns.

    Raises the errors of `daemon.errors`; the job is then still in the hand of the caller.
    """
    job = activity.job
    with closing(Source(job.path, job.fingerprint, lambda: shop.touching(activity))) as source:
        result = same_as_last_time(activity, source, shop)
        if result is None:
            kept = kept_document(job, source, shop)
            activity.was_kept = kept is not None
            document = kept or _known(activity, source, shop) or _transcribe(activity, source, shop)
            if activity.same_as is None:  # somebody may have corrected the earlier text meanwhile
                document = persons_text(activity, source, shop) or document
            activity.begin_publishing()
            activity.advance("publish", document.audio_s, document.audio_s)
            result = _publish(activity, source, document, shop)
        # After the last commit: from here on the intake makes a new job of a change, before it left ours alone.
        activity.outdated = source.outdated()
        return result


def _known(activity: Activity, source: Source, shop: Workshop) -> Document | None:
    return persons_text(activity, source, shop) or taken_over(activity, source, shop)


def _transcribe(activity: Activity, source: Source, shop: Workshop) -> Document:
    with shop.ahead.admitted(source.fingerprint.size_bytes, activity.cancelled, activity.job.person) as share:
        activity.began = time.monotonic()
        return _transcribe_now(activity, source, share, shop)


def _transcribe_now(activity: Activity, source: Source, share: Share, shop: Workshop) -> Document:
    job = activity.job
    spool_path = shop.spool_dir / f"{job.id}-{job.lease}.s16"
    try:
        decoded = _decode(activity, source, spool_path, share, shop)
        reached("job.decoded")
        shop.ahead.decoded(share, decoded.n_samples * SAMPLE_BYTES)
        shop.patiently(
            lambda: shop.store.decoded(
                job,
                source_sha256=decoded.source_sha256,
                audio_s=decoded.decoded_s,
                declared_s=decoded.declared_s,
                speech_s=speech_s(decoded),
                at=utc_now(),
                layout=decoded.layout,
                sound=to_store(decoded),
            )
        )
        if (document := heard_before(activity, decoded, shop)) is not None:
            return document
        options = JobOptions.from_dict(job.options)
        request = Request(
            *(job.id, spool_path, decoded.n_samples, decoded.spans, options),
            person=job.person.hex(),
            weight=weight_of(job.priority),
        )
        transcript = _in_engine(activity, request, decoded, shop)
        reached("job.transcribed")
    finally:
        _remove_spool(spool_path)
    return make_document(job.path, options, decoded, transcript)


def _remove_spool(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # the next start removes it; the transcript must not be lost for it
        log.warning("cannot remove %s: %s", path, error, extra={"event": "sweep_failed"})


def _decode(activity: Activity, source: Source, spool_path: Path, share: Share, shop: Workshop) -> Decoded:
    def advance(done_s: float) -> None:
        share.grew(int(done_s * SAMPLE_RATE_HZ) * SAMPLE_BYTES)
        activity.advance("decode", done_s, 0.0)

    try:
        spool_fd = os.open(spool_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolBlocked(f"cannot write {spool_path}: {error.strerror}") from error
    try:
        decoded = shop.decode.decode(
            source.fd,
            spool_fd,
            extension=extension_of(os.path.basename(os.fsdecode(source.path))),
            cancelled=activity.cancelled,
            progress=advance,
            speakers=JobOptions.from_dict(activity.job.options).speakers == "auto",
        )
        _may_grow(activity.job, source, missing(decoded), shop)
        return decoded
    except RecordingError as error:
        _may_grow(activity.job, source, error.cut_off, shop)
        raise
    finally:
        os.close(spool_fd)


def _may_grow(job: Job, source: Source, what: str, shop: Workshop) -> None:
    """Raises RecordingIncomplete where *what* is missing of a recording that was written to lately."""
    wait_s = wait_left_s(source.fingerprint, job.created_at, utc_now(), shop.incomplete_wait_s)
    if what and wait_s > 0 and shop.may_grow(job.inbox):
        raise RecordingIncomplete(
            f"incomplete: {what}; waits {wait_s:.0f} s for the rest, then it is taken as it is", wait_s=wait_s
        )


def _in_engine(activity: Activity, request: Request, decoded: Decoded, shop: Workshop) -> Transcript:
    """Through the engine, as often as it dies: what is finished is kept, and one that killed it twice is set aside."""
    checkpoint = Checkpoint()
    activity.advance("engine", 0.0, decoded.decoded_s)
    company = 1 if activity.job.engine_deaths else None
    while True:
        try:
            return shop.engine.transcribe(
                request,
                checkpoint,
                progress=lambda done_s, _: activity.advance("engine", part_done_s(done_s, decoded), decoded.decoded_s),
                cancelled=activity.cancelled,
                company=company,
            )
        except EngineDied as error:
            n_deaths = shop.patiently(lambda: shop.store.engine_death(activity.job, utc_now()))
            if error.alone and n_deaths >= (DEATHS_BY_OTHERS if error.by_others else ENGINE_DEATHS):
                raise Quarantined(f"the engine died {n_deaths} times on this recording, last: {error}") from error
            company = company_after(error, n_deaths)


def make_document(path: bytes, options: JobOptions, decoded: Decoded, transcript: Transcript) -> Document:
    """The document of a recording, with its outcome and what a reader must know first."""
    outcome, notice = _outcome(decoded, transcript)
    return Document(
        transcript=told_apart(transcript, decoded, options),
        options=options,
        recording=os.path.basename(os.fsdecode(path)),
        source_sha256=decoded.source_sha256,
        audio_s=decoded.decoded_s,
        declared_s=decoded.declared_s,
        outcome=outcome.value,
        notice=notice,
        made_by=MADE_BY,
        made_at=iso(utc_now()),
        suspects=suspects_of_tracks(tracks_of(transcript, decoded)),
    )


def _outcome(decoded: Decoded, transcript: Transcript) -> tuple[Outcome, str]:
    if what := missing(decoded):
        return Outcome.PARTIAL, f"partial: {what}"
    if not transcript.segments:
        return Outcome.NO_SPEECH, "no speech detected"
    return Outcome.OK, ""


def _publish(activity: Activity, source: Source, document: Document, shop: Workshop) -> Result:
    job = activity.job
    kept = Kept(document, source.fingerprint, job.options_digest)
    try:
        shop.check_unchanged(job, source, document.source_sha256)
        result, document = _put_in_place(activity, source, kept, shop)
    except (OutputBlocked, SourceBlocked) as error:
        if _keep(job, kept, shop):
            raise type(error)(f"{error}; the transcript is made and kept, it appears once that is mended") from error
        raise
    except SourceVanished:
        _keep(job, kept, shop)  # with its whole share, maybe
        raise
    except (LostJob, SourceChanged):
        raise  # nobody will ask for the document again
    except BaseException:
        _keep(job, kept, shop)
        raise
    goes = shop.goes(job, result.outcome)
    talk = talk_of(job.path, document.options)
    shop.patiently(lambda: shop.store.finish(job, result, utc_now(), goes=goes, talk=talk))
    reached("job.done")
    shop.kept.drop(job.id)
    return result


def _put_in_place(activity: Activity, source: Source, kept: Kept, shop: Workshop) -> tuple[Result, Document]:
    """The result and the document that is in place: a later one than *kept* where somebody corrected it just now."""
    job = activity.job
    folder = os.fsdecode(os.path.dirname(job.path))
    for _ in range(NAME_TRIES):
        document = kept.document
        contents, suffix = contents_of(document), suffix_of(document)
        ours = shop.patiently(lambda: shop.store.written(job.path))
        with shop.touching(activity):
            outputs = publish.stage(job.path, contents, ours, suffix=suffix)
        try:
            # How long a text took that an earlier attempt made, nobody knows; that of this one would be a wonder.
            wall_s = 0.0 if activity.was_kept else time.monotonic() - activity.began
            result = _result(document, wall_s, activity)
            reached("publish.staged")
            if shop.sidecars is not None:
                shop.sidecars.save(Sidecar(job, result, outputs, kept, utc_now()))
            _intend(job, outputs, result, kept, shop)
            reached("publish.intended")
            if (text := corrected_meanwhile(activity, source, document, shop)) is not None:
                kept = replace(kept, document=text)
                continue
            with shop.touching(activity):
                publish.commit(outputs, ours)
            reached("publish.committed")
            return result, document
        except publish.NameTaken:
            continue  # somebody made a file of that name in between: choose again
        except FileNotFoundError as error:
            raise OutputBlocked(f"another program removes our temporary files from {folder}") from error
        finally:
            with shop.touching(activity):
                publish.discard(outputs)
    raise OutputBlocked(f"another program takes every name that is chosen for the transcript in {folder}")


def _keep(job: Job, kept: Kept, shop: Workshop) -> bool:
    try:
        shop.kept.save(job.id, kept)
        return True
    except OSError as error:  # then it is transcribed again
        log.warning("job %d: its transcript cannot be kept: %s", job.id, error, extra={"event": "not_kept"})
        return False


def _intend(job: Job, outputs: tuple[Output, ...], result: Result, kept: Kept, shop: Workshop) -> None:
    lines, whole, suspects = lines_of(kept.document.transcript), packed(kept), stretches_of(kept.document)
    version = version_of(kept.document)
    shop.patiently(lambda: shop.store.publishing(job, outputs, result, utc_now(), lines, whole, suspects, version))


def _result(document: Document, wall_s: float, activity: Activity) -> Result:
    transcript, same_as = document.transcript, activity.same_as
    what = activity.same_what
    again = f"same {what} as in job {same_as}; its text was used again" if same_as is not None else ""
    text = " ".join(segment.text for segment in transcript.segments)
    return Result(
        outcome=Outcome(document.outcome),
        reason="; ".join(part for part in (document.notice, again) if part),
        language=transcript.language or None,
        language_probability=transcript.language_probability if transcript.language else None,
        model=transcript.model,
        device=transcript.device,
        compute_type=transcript.compute_type,
        wall_s=wall_s,
        n_segments=len(transcript.segments),
        n_words=len(text.split()),
        same_as=same_as,
    )
