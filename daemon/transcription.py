"""One job from its recording to its outputs: decode, engine, publish. Knows no queue and no retry policy.

Every step that changes the history is committed before the next one begins, so a crash at any point leaves a job that
`daemon.recovery` or another claim can finish.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Final, Protocol, TypeVar

from daemon.clock import iso, utc_now
from daemon.decode.pool import Decoded, DecodePool
from daemon.engine.client import Checkpoint, Engine, Request
from daemon.errors import EngineDied, Quarantined
from daemon.intake.rules import extension_of
from daemon.options import JobOptions
from daemon.outputs import publish
from daemon.outputs.formats import Document, render
from daemon.outputs.kept import Kept, KeptDocuments
from daemon.source import Source
from daemon.transcript import SAMPLE_RATE_HZ, Transcript
from daemon.version import MADE_BY
from storage.jobs import JobStore
from storage.records import Job, Outcome, Output, Result

ENGINE_DEATHS: Final = 2
"""A recording that was in the engine at this many deaths, the last time alone, is quarantined."""

MISSING_S: Final = 2.0
MISSING_RATIO: Final = 0.01
"""Decoded audio may be shorter than declared by the larger of both: encoders round, players estimate."""


@dataclass(slots=True)
class Activity:
    """A job in hand, for people to look at and to cancel. *stage* is ``decode``, ``engine`` or ``publish``."""

    job: Job
    cancelled: Event
    stage: str = "decode"
    done_s: float = 0.0
    total_s: float = 0.0

    def advance(self, stage: str, done_s: float, total_s: float) -> None:
        """Take note of progress, in seconds of audio."""
        self.stage, self.done_s, self.total_s = stage, done_s, total_s


T = TypeVar("T")


class Patiently(Protocol):
    """Does a write however long the history cannot take it."""

    def __call__(self, write: Callable[[], T]) -> T:
        """What *write* returns."""
        ...


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a job needs to be done."""

    store: JobStore
    decode: DecodePool
    engine: Engine
    kept: KeptDocuments
    spool_dir: Path
    patiently: Patiently


def perform(activity: Activity, shop: Workshop) -> Result:
    """Do the job: its outputs are in place and it is done in the history when this returns.

    Raises the errors of `daemon.errors`; the job is then still in the hand of the caller.
    """
    job = activity.job
    began = time.monotonic()
    with closing(Source(job.path, job.fingerprint)) as source:
        if (result := _same_as_last_time(job, source, shop, began)) is not None:
            shop.patiently(lambda: shop.store.finish(job, result, utc_now()))
            return result
        document = _kept_document(job, source, shop) or _transcribe(activity, source, shop)
        activity.advance("publish", document.audio_s, document.audio_s)
        return _publish(job, source, document, shop, began)


def _same_as_last_time(job: Job, source: Source, shop: Workshop, began: float) -> Result | None:
    """The result of a recording that was only touched: same bytes, same options, transcripts still there."""
    before = shop.store.last_done(job.path)
    if before is None or before.source_sha256 is None or before.options_digest != job.options_digest:
        return None
    if before.fingerprint.size_bytes != source.fingerprint.size_bytes or before.result is None:
        return None
    if not before.outputs or not all(os.path.lexists(output.path) for output in before.outputs):
        return None
    if shop.decode.digest(source.fd) != before.source_sha256:
        return None
    reason = f"same content as in job {before.id}; its transcript stands"
    return replace(before.result, outcome=Outcome.DUPLICATE, reason=reason, wall_s=time.monotonic() - began)


def _kept_document(job: Job, source: Source, shop: Workshop) -> Document | None:
    kept = shop.kept.load(job.id)
    if kept is None or (kept.fingerprint, kept.options_digest) != (source.fingerprint, job.options_digest):
        return None
    return kept.document


def _transcribe(activity: Activity, source: Source, shop: Workshop) -> Document:
    job = activity.job
    spool_path = shop.spool_dir / f"{job.id}-{job.lease}.s16"
    try:
        decoded = _decode(activity, source, spool_path, shop)
        speech_s = sum(span.end - span.start for span in decoded.spans) / SAMPLE_RATE_HZ
        shop.patiently(
            lambda: shop.store.decoded(
                job,
                source_sha256=decoded.source_sha256,
                audio_s=decoded.decoded_s,
                declared_s=decoded.declared_s,
                speech_s=speech_s,
                at=utc_now(),
            )
        )
        options = JobOptions.from_dict(job.options)
        request = Request(job.id, spool_path, decoded.n_samples, decoded.spans, options)
        transcript = _in_engine(activity, request, shop)
    finally:
        spool_path.unlink(missing_ok=True)
    return make_document(job.path, options, decoded, transcript)


def _decode(activity: Activity, source: Source, spool_path: Path, shop: Workshop) -> Decoded:
    spool_fd = os.open(spool_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        return shop.decode.decode(
            source.fd,
            spool_fd,
            extension=extension_of(os.path.basename(os.fsdecode(source.path))),
            cancelled=activity.cancelled,
            progress=lambda done_s: activity.advance("decode", done_s, 0.0),
        )
    finally:
        os.close(spool_fd)


def _in_engine(activity: Activity, request: Request, shop: Workshop) -> Transcript:
    """Through the engine, as often as it dies: what is finished is kept, and one that killed it twice is set aside."""
    checkpoint = Checkpoint()
    alone = activity.job.engine_deaths > 0
    while True:
        try:
            return shop.engine.transcribe(
                request,
                checkpoint,
                progress=lambda done_s, total_s: activity.advance("engine", done_s, total_s),
                cancelled=activity.cancelled,
                alone=alone,
            )
        except EngineDied as error:
            n_deaths = shop.patiently(lambda: shop.store.engine_death(activity.job, utc_now()))
            if error.alone and n_deaths >= ENGINE_DEATHS:
                raise Quarantined(f"the engine died {n_deaths} times on this recording, last: {error}") from error
            alone = True


def make_document(path: bytes, options: JobOptions, decoded: Decoded, transcript: Transcript) -> Document:
    """The document of a recording, with its outcome and what a reader must know first."""
    outcome, notice = _outcome(decoded, transcript)
    return Document(
        transcript=transcript,
        options=options,
        recording=os.path.basename(os.fsdecode(path)),
        source_sha256=decoded.source_sha256,
        audio_s=decoded.decoded_s,
        declared_s=decoded.declared_s,
        outcome=outcome.value,
        notice=notice,
        made_by=MADE_BY,
        made_at=iso(utc_now()),
    )


def _outcome(decoded: Decoded, transcript: Transcript) -> tuple[Outcome, str]:
    declared_s = decoded.declared_s
    if declared_s is not None and decoded.decoded_s < declared_s - max(MISSING_S, MISSING_RATIO * declared_s):
        notice = f"partial: only {decoded.decoded_s:.0f} s of {declared_s:.0f} s could be decoded"
        return Outcome.PARTIAL, notice
    if not transcript.segments:
        return Outcome.NO_SPEECH, "no speech detected"
    return Outcome.OK, ""


def _publish(job: Job, source: Source, document: Document, shop: Workshop, began: float) -> Result:
    fingerprint = source.check_unchanged(document.source_sha256, shop.decode.digest)
    if fingerprint != job.fingerprint:
        shop.patiently(lambda: shop.store.refresh_fingerprint(job, fingerprint, utc_now()))
    contents = {format: render(document, format) for format in document.options.formats}
    try:
        while True:
            ours = shop.store.written(job.path)
            outputs = publish.stage(job.path, contents, ours)
            try:
                result = _result(document, time.monotonic() - began)
                _intend(job, outputs, result, shop)
                publish.commit(outputs, ours)
                break
            except publish.NameTaken:
                continue  # somebody made a file of that name in between: choose again
            finally:
                publish.discard(outputs)
    except BaseException:
        shop.kept.save(job.id, Kept(document, source.fingerprint, job.options_digest))
        raise
    shop.patiently(lambda: shop.store.finish(job, result, utc_now()))
    shop.kept.drop(job.id)
    return result


def _intend(job: Job, outputs: tuple[Output, ...], result: Result, shop: Workshop) -> None:
    shop.patiently(lambda: shop.store.publishing(job, outputs, result, utc_now()))


def _result(document: Document, wall_s: float) -> Result:
    transcript = document.transcript
    text = " ".join(segment.text for segment in transcript.segments)
    return Result(
        outcome=Outcome(document.outcome),
        reason=document.notice,
        language=transcript.language or None,
        language_probability=transcript.language_probability if transcript.language else None,
        model=transcript.model,
        device=transcript.device,
        compute_type=transcript.compute_type,
        wall_s=wall_s,
        n_segments=len(transcript.segments),
        n_words=len(text.split()),
    )
