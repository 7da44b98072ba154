"""A recording with the sound of one that is done gets its text: renamed, tagged anew, or in another container.

After it was decoded, before the model. Which sounds are the same: `daemon.sound`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from daemon.clock import iso, utc_now
from daemon.decode.pool import Decoded
from daemon.incomplete import missing
from daemon.options import JobOptions
from daemon.outputs.formats import Document
from daemon.outputs.kept import unpacked
from daemon.sound import MOST_FRAMES_MORE, MOST_STEPS, Sound, same_sound, shift_s
from daemon.sound import unpacked as sound_of
from daemon.speakers import renamed
from daemon.suspects import Suspect
from daemon.transcript import SAMPLE_RATE_HZ, Segment, Transcript, Word
from daemon.version import MADE_BY
from daemon.workshop import Activity, Workshop
from storage.records import Job, Outcome, StoredSound

MOST_COMPARED: Final = 5
"""Of those that may be the same: there is mostly none or one, and the newest is as good as any."""

_HEARD_S: Final = 0.01
"""Times that are off by less are right."""


def to_store(decoded: Decoded) -> StoredSound | None:
    """The fingerprint of what was decoded, as the history keeps it."""
    sound = sound_of(decoded.sound)
    return sound.stored() if sound is not None else None


def heard_before(activity: Activity, decoded: Decoded, shop: Workshop) -> Document | None:
    """The document of the same sound with the same options, for this recording; then the activity says whose it was."""
    job, sound = activity.job, sound_of(decoded.sound)
    if sound is None or job.again or not shop.reuse() or missing(decoded):
        return None
    found = _same(job, sound, shop)
    if found is None:
        return None
    before, document, shifted_s = found
    options = JobOptions.from_dict(job.options)
    activity.same_as, activity.same_what = before.id, "sound"
    transcript = moved(renamed(document, options).transcript, shifted_s)
    return replace(
        document,
        transcript=transcript,
        options=options,
        recording=os.path.basename(os.fsdecode(job.path)),
        source_sha256=decoded.source_sha256,
        audio_s=decoded.decoded_s,
        declared_s=decoded.declared_s,
        outcome=(Outcome.OK if transcript.segments else Outcome.NO_SPEECH).value,
        notice="" if transcript.segments else "no speech detected",
        made_by=MADE_BY,
        made_at=iso(utc_now()),
        suspects=tuple(_suspect(suspect, shifted_s) for suspect in document.suspects),
    )


def _same(job: Job, sound: Sound, shop: Workshop) -> tuple[Job, Document, float] | None:
    """The newest job with this sound, its document, and how much later all of it comes here."""
    alike = shop.patiently(
        lambda: shop.store.sounds_alike(
            job.options_digest, sound.stored(), ends=MOST_FRAMES_MORE, most=MOST_STEPS, limit=MOST_COMPARED
        )
    )
    for job_id in alike:
        content = shop.patiently(partial(shop.store.sound, job_id))
        other = sound_of(content) if content is not None else None
        if job_id == job.id or other is None or not same_sound(other, sound):
            continue
        before = shop.patiently(partial(shop.store.job, job_id))
        packed = shop.patiently(partial(shop.store.document, job_id))
        kept = unpacked(packed) if packed is not None else None
        if before is not None and kept is not None:
            return before, kept.document, shift_s(other, sound, SAMPLE_RATE_HZ)
    return None


def moved(transcript: Transcript, later_s: float) -> Transcript:
    """*transcript*, all of it *later_s* later, but not before the beginning."""
    if abs(later_s) < _HEARD_S:
        return transcript
    return replace(
        transcript,
        segments=_segments(transcript.segments, later_s),
        translation=_segments(transcript.translation, later_s),
    )


def _segments(segments: Iterable[Segment], later_s: float) -> tuple[Segment, ...]:
    return tuple(
        replace(
            segment,
            start_s=_later(segment.start_s, later_s),
            end_s=_later(segment.end_s, later_s),
            words=tuple(_word(word, later_s) for word in segment.words),
        )
        for segment in segments
    )


def _word(word: Word, later_s: float) -> Word:
    return replace(word, start_s=_later(word.start_s, later_s), end_s=_later(word.end_s, later_s))


def _suspect(suspect: Suspect, later_s: float) -> Suspect:
    return replace(suspect, start_s=_later(suspect.start_s, later_s), end_s=_later(suspect.end_s, later_s))


def _later(time_s: float, later_s: float) -> float:
    return max(0.0, time_s + later_s)
