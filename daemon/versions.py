"""Corrections of transcripts by people: taken, kept on disk beside the history, taken up again where that lost them.

Each is a small file before it is in the history, until a snapshot knows it; so nothing that a person wrote is in one
place only. The files beside the recording are for `daemon.rewriting`.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from daemon.clock import iso, utc_now
from daemon.corrections import BadCorrection, Edits, author_of, corrected, n_words, signed
from daemon.errors import TextChanged, TranscribedError
from daemon.failpoints import reached
from daemon.outputs.document import Document
from daemon.outputs.kept import Kept, lines_of, packed, stretches_of, unpacked
from daemon.tracks import talk_of
from storage.jobs import JobStore
from storage.records import Correction, Job, Output, Version

log = logging.getLogger(__name__)

MOST_VERSIONS: Final = 500
MOST_BYTES: Final = 64 * 1024**2
"""Of one version, packed: a hundred hours of speech."""

_VERSION: Final = 1
_SUFFIX: Final = ".version"


class NoTranscript(TranscribedError):
    """Raised where there is nothing to correct."""


class NotNow(TranscribedError):
    """Raised where a correction cannot be taken at present; the message says why."""


@dataclass(frozen=True, slots=True)
class Written:
    """A version as its file tells of it. *outputs* are the files that were made of it, or were about to be."""

    job_id: int
    number: int
    path: bytes
    source_sha256: str
    at: datetime
    author: str
    n_lines: int
    content: bytes
    outputs: tuple[Output, ...] = ()


class VersionFiles:
    """The folder of the sidecars, with one file for each version that a person made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, written: Written) -> None:
        """It is on disk when this returns. Raises OSError."""
        path = self._path(written.job_id, written.number)
        part = path.with_suffix(f"{_SUFFIX}.part")
        with part.open("w", encoding="ascii") as file:
            file.write(json.dumps(_fields(written), ensure_ascii=True))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def published(self, job_id: int, number: int, outputs: Sequence[Output]) -> None:
        """These files are about to be made of that version, if it has a file still; else the history knows them."""
        try:
            written = self.load(self._path(job_id, number))
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError) as error:
            log.warning("job %d: version %d: %s", job_id, number, error, extra={"event": "sidecar_bad"})
            return
        try:
            self.save(replace(written, outputs=(*written.outputs, *outputs)))
        except OSError as error:
            log.warning("job %d: no sidecar: %s", job_id, error, extra={"event": "sidecar_failed"})

    def load(self, path: Path) -> Written:
        """What the file at *path* says. Raises OSError, ValueError, LookupError, TypeError."""
        return _parsed(json.loads(path.read_bytes()))

    def all(self) -> Iterator[Path]:
        """The files, in order of job and version."""
        found = [(*numbers, path) for path in self._folder.glob(f"*{_SUFFIX}") if (numbers := _numbers(path))]
        yield from (path for *_numbers_, path in sorted(found))

    def relocate(self, job_id: int, places: Mapping[bytes, bytes]) -> None:
        """What those of the job say of files holds where they are now."""
        for path in self.all():
            numbers = _numbers(path)
            if numbers is None or numbers[0] != job_id:
                continue
            try:
                written = self.load(path)
                outputs = tuple(replace(one, path=places.get(one.path, one.path)) for one in written.outputs)
                self.save(replace(written, path=places.get(written.path, written.path), outputs=outputs))
            except FileNotFoundError:
                continue  # a snapshot has it
            except (ValueError, LookupError, TypeError) as error:
                log.warning("%s stays: %s", path, error, extra={"event": "sidecar_bad"})

    def drop(self, job_id: int, number: int) -> None:
        """There is none of that version."""
        self._path(job_id, number).unlink(missing_ok=True)

    def drop_known(self, newest: Callable[[Sequence[int]], Mapping[int, int]]) -> int:
        """Remove those of versions that a snapshot has; how many went.

        *newest* tells the number of the newest version of each of these jobs that it has.
        """
        files = [(*numbers, path) for path in self.all() if (numbers := _numbers(path))]
        known = newest([job_id for job_id, _number, _path in files])
        gone = [path for job_id, number, path in files if number <= known.get(job_id, 0)]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    def _path(self, job_id: int, number: int) -> Path:
        return self._folder / f"{job_id}-{number}{_SUFFIX}"


class Versions:
    """Takes corrections. Call from any thread; there is one for a history."""

    def __init__(self, store: JobStore, files: VersionFiles | None = None) -> None:
        self._store = store
        self._files = files
        self._lock = threading.Lock()
        self.on_new: Callable[[bytes], None] = lambda _inbox: None
        """Called with the inbox of a recording whose files are to be written."""

    def correct(self, job_id: int, base: int, edits: Edits, by: str) -> int:
        """The number of the newest version: the text of version *base* with *edits*, which are *by* somebody.

        *base* itself where they change nothing. Raises NoTranscript, BadCorrection, NotNow, StorageError; TextChanged
        where *base* is not the newest.
        """
        with self._lock:
            job, kept = self._newest(job_id, base)
            at = utc_now()
            made = corrected(kept.document, edits, by, iso(at))
            if not made.n_lines:
                return base
            return self._add(job, base, replace(kept, document=made.document), made.n_lines, at)

    def restore(self, job_id: int, base: int, number: int, by: str) -> int:
        """The number of the newest version: the text of version *number* again. Raises as `correct`."""
        with self._lock:
            job, _kept = self._newest(job_id, base)
            content = self._store.version(job_id, number)
            kept = unpacked(content) if content is not None else None
            if kept is None:
                raise NoTranscript(f"job {job_id} has no version {number} that can be read")
            at = utc_now()
            kept = replace(kept, document=signed(kept.document, by, iso(at)))
            return self._add(job, base, kept, len(kept.document.transcript.segments), at)

    def _newest(self, job_id: int, base: int) -> tuple[Job, Kept]:
        job = self._store.job(job_id)
        content = self._store.document(job_id) if job is not None else None
        kept = unpacked(content) if content is not None else None
        if job is None or kept is None:
            raise NoTranscript(f"job {job_id} has no transcript that can be corrected")
        known = self._store.versions(job_id)
        newest = known[-1].number if known else 1
        if self._store.may_rewrite(job_id) is None:
            raise _changed(f"job {job_id}: a later job of the recording has a transcript; correct that one", 0)
        if base != newest:
            raise _changed(f"job {job_id}: version {newest} is the newest, this is of version {base}", newest)
        if newest >= MOST_VERSIONS:
            raise BadCorrection(f"job {job_id} has {newest} versions; there may be no more")
        return job, kept

    def _add(self, job: Job, base: int, kept: Kept, n_lines: int, at: datetime) -> int:
        document = kept.document
        content = packed(kept)
        if len(content) > MOST_BYTES:
            raise BadCorrection(f"job {job.id}: the text is too long")
        written = Written(
            *(job.id, base + 1, job.path, document.source_sha256, at, document.corrected_by, n_lines, content)
        )
        if self._files is not None:
            try:
                self._files.save(written)
            except OSError as error:
                raise NotNow(f"the correction cannot be kept in the state folder: {error.strerror}") from error
        reached("version.saved")
        try:
            number = self._store.correct(_correction(written, job.id, base, document), _talk(job, document))
        except Exception:
            self._forget(written)
            raise
        if number is None:
            self._forget(written)
            self._newest(job.id, base)  # says what changed
            raise NotNow(f"job {job.id}: its recording is being transcribed anew at this moment; try again in a minute")
        reached("version.committed")
        log.info(
            *("job %d: corrected, version %d", job.id, number),
            extra={"event": "corrected", "job_id": job.id, "by": document.corrected_by},
        )
        self.on_new(job.inbox)
        return number

    def _forget(self, written: Written) -> None:
        if self._files is not None:
            self._files.drop(written.job_id, written.number)


def adopt(files: VersionFiles, store: JobStore) -> int:
    """Every correction that only its file knows is in the history; how many there were. After `daemon.sidecars.adopt`.

    One whose recording the history does not know stays where it is.
    """
    n_adopted = 0
    for path in list(files.all()):
        try:
            written = files.load(path)
        except (OSError, ValueError, LookupError, TypeError) as error:
            log.warning("%s cannot be read: %s", path, error, extra={"event": "sidecar_bad"})
            continue
        if _adopt(files, written, store):
            n_adopted += 1
            log.warning(
                *("job %d: version %d is in the history again, from its file", written.job_id, written.number),
                extra={"event": "version_adopted", "job_id": written.job_id},
            )
    return n_adopted


def _adopt(files: VersionFiles, written: Written, store: JobStore) -> bool:
    job = _job_of(written, store)
    kept = unpacked(written.content)
    if job is None or kept is None:
        return False
    known = store.versions(job.id)
    newest = known[-1].number if known else 1
    if newest >= written.number and store.version(job.id, written.number) == written.content:
        return False
    document = kept.document
    number = store.correct(_correction(written, job.id, newest, document), _talk(job, document))
    if number is None:
        return False
    if (job.id, number) != (written.job_id, written.number):
        files.save(replace(written, job_id=job.id, number=number))
        files.drop(written.job_id, written.number)
    if written.outputs:
        store.rewrite_intended(job.id, written.outputs)  # the files that are there are ours
    return True


def _job_of(written: Written, store: JobStore) -> Job | None:
    """The job that it is a version of; the history may have been rebuilt, with other numbers."""
    job = store.job(written.job_id)
    if job is not None:
        move = store.move_of(job.id)
        if written.path in (job.path, move.source if move is not None else job.path):
            return job
    last = store.last_done(written.path)
    if last is not None and last.source_sha256 == written.source_sha256 and last.created_at <= written.at:
        return last  # a later one was made although it was known that there is a correction
    return job if job is not None and job.source_sha256 == written.source_sha256 else None


def version_of(document: Document) -> Version | None:
    """The first version of a transcript whose text a person had corrected for another one; None for the machine's."""
    if not document.corrected_by:
        return None
    return Version(1, datetime.fromisoformat(document.corrected_at), document.corrected_by)


def _correction(written: Written, job_id: int, base: int, document: Document) -> Correction:
    return Correction(
        job_id,
        base,
        written.at,
        author_of(written.author),
        written.content,
        lines_of(document.transcript),
        stretches_of(document),
        n_words(document.transcript),
        written.n_lines,
    )


def _talk(job: Job, document: Document) -> bytes:
    return talk_of(job.path, document.options)


def _changed(message: str, newest: int) -> TextChanged:
    error = TextChanged(message)
    error.newest = newest
    return error


def _numbers(path: Path) -> tuple[int, int] | None:
    job_id, _, number = path.name.removesuffix(_SUFFIX).partition("-")
    return (int(job_id), int(number)) if job_id.isdecimal() and number.isdecimal() else None


def _fields(written: Written) -> dict[str, object]:
    return {
        "version": _VERSION,
        "job": written.job_id,
        "number": written.number,
        "path": os.fsdecode(written.path),
        "source_sha256": written.source_sha256,
        "at": written.at.isoformat(),
        "author": written.author,
        "n_lines": written.n_lines,
        "content": b64encode(written.content).decode("ascii"),
        "outputs": [
            [one.format, os.fsdecode(one.path), os.fsdecode(one.temp_path), one.sha256] for one in written.outputs
        ],
    }


def _parsed(content: Mapping[str, Any]) -> Written:
    if content["version"] != _VERSION:
        raise ValueError(f"version {content['version']}, not {_VERSION}")
    return Written(
        content["job"],
        content["number"],
        os.fsencode(content["path"]),
        content["source_sha256"],
        datetime.fromisoformat(content["at"]),
        content["author"],
        content["n_lines"],
        b64decode(content["content"]),
        tuple(
            Output(format, os.fsencode(path), os.fsencode(temp_path), sha256)
            for format, path, temp_path, sha256 in content["outputs"]
        ),
    )
