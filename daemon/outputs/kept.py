"""Transcripts that could not be published yet, kept in the state folder so that they need not be made again."""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from daemon.failpoints import reached
from daemon.options import JobOptions
from daemon.outputs.document import Document
from daemon.suspects import Suspect
from daemon.transcript import Segment, Transcript, Word
from storage.records import Fingerprint, StoredSegment, StoredSuspect

log = logging.getLogger(__name__)

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished document and the recording that it was made from."""

    document: Document
    fingerprint: Fingerprint
    options_digest: str


class KeptDocuments:
    """A folder with one file a job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, job_id: int, kept: Kept) -> None:
        """Keep it; it is on disk when this returns. Raises OSError."""
        path = self._path(job_id)
        temporary = path.with_suffix(".part")
        content = json.dumps({"version": _VERSION, **fields_of(kept)}, ensure_ascii=True)
        with temporary.open("w", encoding="ascii") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        reached("kept.synced")
        temporary.replace(path)
        reached("kept.named")
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def load(self, job_id: int) -> Kept | None:
        """What is kept for a job; None where there is nothing that we can read."""
        try:
            content: dict[str, Any] = json.loads(self._path(job_id).read_bytes())
            return kept_from(content) if content["version"] == _VERSION else None
        except (OSError, ValueError, LookupError, TypeError):
            return None  # then the recording is transcribed again

    def drop(self, job_id: int) -> None:
        """Keep nothing for a job any more."""
        try:
            self._path(job_id).unlink(missing_ok=True)
        except OSError as error:  # the start of the next daemon drops it
            log.warning("cannot remove %s: %s", self._path(job_id), error, extra={"event": "sweep_failed"})

    def job_ids(self) -> list[int]:
        """The jobs that something is kept for; what a crash left half written is removed."""
        for leftover in self._folder.glob("*.part"):
            leftover.unlink()
        return sorted(int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())

    def present(self) -> list[int]:
        """The jobs that something is kept for at present; changes nothing, so it may be asked while others save."""
        return sorted(int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())

    def _path(self, job_id: int) -> Path:
        return self._folder / f"{job_id}.json"


def lines_of(transcript: Transcript) -> tuple[StoredSegment, ...]:
    """The lines of *transcript* as the history keeps them."""
    return tuple(
        StoredSegment(line.start_s, line.end_s, line.text, line.avg_logprob, line.suspect, line.speaker)
        for line in transcript.segments
    )


def stretches_of(document: Document) -> tuple[StoredSuspect, ...]:
    """The stretches of *document* to listen to, as the history keeps them."""
    return tuple(StoredSuspect(**asdict(suspect)) for suspect in document.suspects)


def packed(kept: Kept) -> bytes:
    """*kept* for the history, compressed: an hour of speech is about 125 kB, two thirds of it the words."""
    return zlib.compress(json.dumps({"version": _VERSION, **fields_of(kept)}, ensure_ascii=True).encode("ascii"))


def unpacked(content: bytes) -> Kept | None:
    """What `packed` made it of; None where that is not to be read by this version."""
    try:
        fields: dict[str, Any] = json.loads(zlib.decompress(content))
        return kept_from(fields) if fields["version"] == _VERSION else None
    except (zlib.error, ValueError, LookupError, TypeError):
        return None


def fields_of(kept: Kept) -> dict[str, Any]:
    """*kept* as JSON types; a word, of which there are many, is a list of its fields."""
    transcript = kept.document.transcript
    bare = replace(transcript, segments=(), translation=())
    fields = asdict(replace(kept, document=replace(kept.document, transcript=bare)))
    fields["document"]["transcript"]["segments"] = [_fields_of_one(segment) for segment in transcript.segments]
    fields["document"]["transcript"]["translation"] = [_fields_of_one(segment) for segment in transcript.translation]
    return fields


def _fields_of_one(segment: Segment) -> dict[str, Any]:
    words = [[word.start_s, word.end_s, word.text, word.probability] for word in segment.words]
    return asdict(replace(segment, words=())) | {"words": words}


def kept_from(content: Mapping[str, Any]) -> Kept:
    """What `fields_of` made of one, through JSON. Raises LookupError, TypeError, ValueError."""
    fields = dict(content["document"])
    transcript = dict(fields.pop("transcript"))
    segments = tuple(_segment(segment) for segment in transcript.pop("segments"))
    translation = tuple(_segment(segment) for segment in transcript.pop("translation", ()))
    document = Document(
        transcript=Transcript(segments=segments, translation=translation, **transcript),
        options=JobOptions.from_dict(fields.pop("options")),
        suspects=tuple(_suspect(suspect) for suspect in fields.pop("suspects", ())),
        **fields,
    )
    return Kept(document, Fingerprint(**content["fingerprint"]), content["options_digest"])


def _segment(content: Mapping[str, Any]) -> Segment:
    fields = dict(content)
    # Until 0.1 words were kept as objects, with the names of their fields.
    kept: list[Any] = fields.pop("words")
    words = tuple(Word(*(word.values() if isinstance(word, dict) else word)) for word in kept)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]  # JSON
    return Segment(words=words, suspect=tuple(fields.pop("suspect")), **fields)


def _suspect(content: Mapping[str, Any]) -> Suspect:
    fields = dict(content)
    return Suspect(reasons=tuple(fields.pop("reasons")), **fields)
