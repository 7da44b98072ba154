"""Recordings of one talk, one for each who speaks: which belong together by their names, and what they say together.

``talk-1.wav``, ``talk-2.wav`` (or ``talk_1``, ``talk 1``), as recorders and Audacity name them, and Zoom's
``audioAnna12345678901.m4a``. Dates are no numbers of tracks. Pure.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from daemon.intake.rules import judge_file
from daemon.log import escape
from daemon.options import JobOptions
from daemon.outputs.document import Document
from daemon.speakers import merged, name_of
from daemon.suspects import MAX_LISTED, Suspect
from daemon.transcript import Segment

_NUMBERED: Final = re.compile(rb"(?P<talk>.*[^-_ ])(?P<apart>[-_ ])(?P<number>\d{1,2})", re.DOTALL)
_DATED: Final = re.compile(rb"\d{4}[-_ ]?\d{2}[-_ ]\d{2}$")
_ZOOM: Final = re.compile(rb"audio(?P<speaker>[^\d].*?)\d{6,}\.m4a", re.DOTALL)

_SEPARATORS: Final = (b"-", b"_", b" ")


@dataclass(frozen=True, slots=True)
class TrackName:
    """What the name of a recording says: the *talk* it is of, as a path, its *number*, or who speaks."""

    talk: bytes
    number: int = 0
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A recording of a talk at *path*, and its document; None where it has none."""

    path: bytes
    document: Document | None


def track_of(path: bytes) -> TrackName | None:
    """What the name of the recording at *path* says; None where it is no track of anything."""
    folder, name = os.path.split(path)
    if (zoom := _ZOOM.fullmatch(name)) is not None:
        return TrackName(os.path.join(folder, b"audio"), speaker=os.fsdecode(zoom["speaker"]))
    stem = name.rpartition(b".")[0]
    numbered = _NUMBERED.fullmatch(stem)
    if numbered is None or _DATED.search(stem) is not None:
        return None
    return TrackName(os.path.join(folder, numbered["talk"]), int(numbered["number"]))


def talk_of(path: bytes, options: JobOptions) -> bytes:
    """The talk that the recording at *path* is a track of, if *options* ask for that; else empty."""
    name = track_of(path) if options.tracks else None
    return name.talk if name is not None else b""


def beginnings_of(talk: bytes) -> tuple[bytes, ...]:
    """How the paths of its tracks begin."""
    if os.path.basename(talk) == b"audio":
        return (talk,)
    return tuple(talk + separator for separator in _SEPARATORS)


def together(talk: bytes, tracks: Sequence[Told], options: JobOptions) -> Document | None:
    """What the recordings of *talk* say together, with the looks of *options*; None for fewer than two transcripts.

    Of *tracks*, those that are none of it are left out. It is partial where one has no transcript, and says which.
    """
    ours = _recordings(talk, tracks)
    first = min((name.number for _, name in ours), default=0)
    told = [
        (track.document, _speaker(name, n, first, options)) for n, (track, name) in enumerate(ours) if track.document
    ]
    if len(told) < 2:
        return None
    missing = [track.path for track, _ in ours if track.document is None]
    documents = [document for document, _ in told]
    longest = max(documents, key=lambda document: document.audio_s)
    partial = bool(missing) or any(document.outcome == "partial" for document in documents)
    return replace(
        longest,
        transcript=replace(
            longest.transcript,
            segments=merged(voice for doc, who in told for voice in _voices(who, doc.transcript.segments)),
            translation=merged(voice for doc, who in told for voice in _voices(who, doc.transcript.translation)),
        ),
        options=options,
        recording=", ".join(document.recording for document in documents),
        source_sha256=hashlib.sha256(" ".join(document.source_sha256 for document in documents).encode()).hexdigest(),
        declared_s=None,
        outcome="partial" if partial else longest.outcome,
        notice=_notice(missing, documents),
        suspects=_worst([suspect for document in documents for suspect in document.suspects]),
        corrected_by=", ".join(dict.fromkeys(document.corrected_by for document in documents if document.corrected_by)),
        corrected_at=max(document.corrected_at for document in documents),
    )


def is_track_of(talk: bytes, path: bytes) -> bool:
    """Whether the file at *path* is a recording of *talk*, by its name."""
    name = track_of(path)
    return name is not None and name.talk == talk and judge_file(os.fsdecode(os.path.basename(path))).recording


def _recordings(talk: bytes, tracks: Sequence[Told]) -> list[tuple[Told, TrackName]]:
    """Those of *talk*, in order. Of one in two formats (``talk-1.wav``, ``talk-1.mp3``) the first with a transcript."""
    ours: dict[bytes, Told] = {}
    for track in sorted(tracks, key=lambda track: (track.document is None, track.path)):
        if is_track_of(talk, track.path):
            ours.setdefault(track.path.rpartition(b".")[0], track)
    named = [(track, name) for track in ours.values() if (name := track_of(track.path)) is not None]
    return sorted(named, key=lambda pair: (pair[1].number, pair[0].path))


def _speaker(name: TrackName, position: int, first: int, options: JobOptions) -> str:
    """Names that are configured go by the numbers, from that of the first track on."""
    number = position if name.speaker else name.number - min(first, 1)
    if name.speaker and number >= len(options.speaker_names):
        return name.speaker
    return name_of(number, options)


def _voices(who: str, lines: Sequence[Segment]) -> Iterator[tuple[str, list[Segment]]]:
    """The lines of a track, by who says them: mostly one, but a track may have two channels."""
    for speaker in dict.fromkeys(line.speaker for line in lines):
        yield f"{who}, {speaker}" if speaker else who, [line for line in lines if line.speaker == speaker]


def _notice(missing: Sequence[bytes], documents: Sequence[Document]) -> str:
    names = ", ".join(escape(os.fsdecode(os.path.basename(path))) for path in missing)
    notes = [f"partial: without {names}"] if names else []
    return "; ".join(
        [*notes, *(f"{document.recording}: {document.notice}" for document in documents if document.notice)]
    )


def _worst(suspects: Sequence[Suspect]) -> tuple[Suspect, ...]:
    worst = sorted(suspects, key=lambda suspect: (suspect.rank, suspect.start_s))[:MAX_LISTED]
    ranked = [replace(suspect, rank=rank) for rank, suspect in enumerate(worst, start=1)]
    return tuple(sorted(ranked, key=lambda suspect: suspect.start_s))
