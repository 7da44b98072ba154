"""One small file for each published transcript that no snapshot of the history knows yet, to rebuild the history from.

It is on disk before the intent is committed. So whatever is lost of the database, each transcript is either known to
the newest snapshot, or described here, or was never begun to be published.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from daemon.clock import utc_now
from daemon.outputs.kept import Kept, KeptDocuments, fields_of, kept_from, lines_of, packed, stretches_of
from daemon.outputs.publish import digest_of
from daemon.shares import NoAnswer, within
from daemon.versions import version_of
from storage.adopting import Published
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, JobState, Outcome, Output, Result

log = logging.getLogger(__name__)

_VERSION: Final = 1

SHARE_S: Final = 5.0
"""How long the start waits for the folder of a transcript."""

_IN_HAND: Final = (JobState.RUNNING, JobState.PUBLISHING)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A job as it was claimed, what came of it, and the document that its outputs are made from."""

    job: Job
    result: Result
    outputs: tuple[Output, ...]
    kept: Kept
    at: datetime


class Sidecars:
    """A folder with one file a job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, sidecar: Sidecar) -> None:
        """It is on disk when this returns, or a warning says why not: then the database is the only copy."""
        try:
            self._write(sidecar.job.id, _content(sidecar))
        except OSError as error:
            log.warning("job %d: no sidecar: %s", sidecar.job.id, error, extra={"event": "sidecar_failed"})

    def _write(self, job_id: int, content: Mapping[str, object]) -> None:
        path = self._path(job_id)
        part = path.with_suffix(".part")
        with part.open("w", encoding="ascii") as file:
            file.write(json.dumps(content, ensure_ascii=True))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        self._sync()

    def unknown(self, is_known: Callable[[int, int, bytes], bool]) -> Iterator[tuple[Published, Kept]]:
        """What each file says, the oldest job first; what a crash left half written is removed.

        Left out are those that *is_known* is true of, given the job, its claims and its path.
        """
        for leftover in self._folder.glob("*.part"):
            leftover.unlink()
        for job_id in self.job_ids():
            try:
                content = json.loads(self._path(job_id).read_bytes())
                job = content["job"]
                if not is_known(job["id"], job["lease"], os.fsencode(job["path"])):
                    yield _parsed(content)
            except (OSError, ValueError, LookupError, TypeError) as error:
                log.warning("%s cannot be read: %s", self._path(job_id), error, extra={"event": "sidecar_bad"})

    def job_ids(self) -> list[int]:
        """The jobs that have one, in order."""
        return sorted(int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())

    def drop_known(self, standing: Callable[[Sequence[int]], Mapping[int, tuple[int, JobState]]]) -> int:
        """Remove those of jobs whose end is in a snapshot; how many went.

        *standing* tells the claims and the state of jobs in it, by job id, and those of its newest.
        """
        n_dropped = 0
        job_ids = self.job_ids()
        known = standing(job_ids)
        for job_id in job_ids:
            try:
                if _is_settled(job_id, self._lease(job_id), known):
                    self._path(job_id).unlink(missing_ok=True)
                    n_dropped += 1
            except (OSError, ValueError, LookupError, TypeError) as error:
                log.warning("%s stays: %s", self._path(job_id), error, extra={"event": "sidecar_bad"})
        return n_dropped

    def relocate(self, job_id: int, places: Mapping[bytes, bytes]) -> None:
        """What that of the job says of files holds where they are now, if it has one. Raises OSError."""
        names = {os.fsdecode(path): os.fsdecode(place) for path, place in places.items()}
        try:
            content = json.loads(self._path(job_id).read_bytes())
            for fields in (content["job"], *content["outputs"]):
                fields["path"] = names.get(fields["path"], fields["path"])
        except FileNotFoundError:
            return
        except (ValueError, LookupError, TypeError) as error:
            log.warning("%s stays: %s", self._path(job_id), error, extra={"event": "sidecar_bad"})
            return
        self._write(job_id, content)

    def drop(self, job_id: int) -> None:
        """The job has none."""
        self._path(job_id).unlink(missing_ok=True)

    def drop_of(self, inbox: bytes) -> None:
        """No job of *inbox* has one. By what each says of itself: a number may be that of another job by now."""
        name = os.fsdecode(inbox)
        mentioned = json.dumps(name, ensure_ascii=True).encode()
        for job_id in self.job_ids():
            try:
                content = self._path(job_id).read_bytes()
                if mentioned in content and json.loads(content)["job"]["inbox"] == name:
                    self.drop(job_id)
            except (OSError, ValueError, LookupError, TypeError) as error:
                log.warning("%s stays: %s", self._path(job_id), error, extra={"event": "sidecar_bad"})

    def _lease(self, job_id: int) -> int:
        return int(json.loads(self._path(job_id).read_bytes())["job"]["lease"])

    def _path(self, job_id: int) -> Path:
        return self._folder / f"{job_id}.json"

    def _sync(self) -> None:
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def adopt(sidecars: Sidecars, store: JobStore, kept: KeptDocuments) -> int:
    """Every job that only its sidecar knows is in the history; how many there were. Before `daemon.recovery`.

    With its files in place it is done. Else it is publishing, for the recovery to end; where not even the temporary
    files are left, the document is published from *kept*. Nothing is transcribed again.
    """
    n_adopted = 0
    silent: set[bytes] = set()
    for published, document in sidecars.unknown(partial(_is_known, store)):
        job = store.job(published.job_id)
        unknown = job is None or job.path != published.path
        earlier = store.written(published.path)
        done = published.inbox not in silent and _in_place(published, earlier, silent, edited_counts=unknown)
        job_id = store.adopt(published, utc_now(), done=done)
        if job_id is not None:
            n_adopted += 1
            if not done:
                kept.save(job_id, document)
            log.warning(
                "job %d: %s is in the history again, from its sidecar",
                *(job_id, os.fsdecode(published.path)),
                extra={"event": "job_adopted", "job_id": job_id},
            )
    return n_adopted


def _is_known(store: JobStore, job_id: int, lease: int, path: bytes) -> bool:
    """Whether the history is as new as a sidecar: its intent is committed, or the job was claimed again since."""
    job = store.job(job_id)
    if job is None:
        return False
    if job.path != path:  # a recording that goes elsewhere is there in the one before it is in the other
        move = store.move_of(job_id)
        return move is not None and path in (move.source, move.target)
    return job.lease > lease or (job.lease == lease and job.state is not JobState.RUNNING)


def _in_place(
    published: Published, earlier: Mapping[bytes, frozenset[str]], silent: set[bytes], *, edited_counts: bool
) -> bool:
    """Whether its outputs are there. *edited_counts*: also those that hold something that we never wrote.

    Not so where the job was running: then they are not ours. What *earlier* says that we wrote there is an earlier
    version, which this one was to replace. A share that does not answer counts as no, and is added to *silent*: its
    thread settles the job.
    """

    def is_there(output: Output) -> bool:
        digest = digest_of(output.path)
        edited = edited_counts and os.path.lexists(output.path) and digest not in earlier.get(output.path, ())
        return digest == output.sha256 or edited

    try:
        return within(SHARE_S, "sidecars", lambda: all(is_there(output) for output in published.outputs))
    except NoAnswer:
        silent.add(published.inbox)
        return False


def _is_settled(job_id: int, lease: int, standing: Mapping[int, tuple[int, JobState]]) -> bool:
    known = standing.get(job_id)
    if known is None:  # removed from the history on purpose, unless it is newer than all that is known
        return job_id < max(standing, default=0)
    return known[0] > lease or (known[0] == lease and known[1] not in _IN_HAND)


def _content(sidecar: Sidecar) -> dict[str, object]:
    job = sidecar.job
    return {
        "version": _VERSION,
        "job": {
            **{name: getattr(job, name) for name in ("id", "lease", "attempt", "max_attempts", "options_digest")},
            "owner": job.owner,
            "options": dict(job.options),
            "origins": dict(job.origins),
            "path": os.fsdecode(job.path),
            "inbox": os.fsdecode(job.inbox),
            "created_at": job.created_at.isoformat(),
            "started_at": job.started_at.isoformat() if job.started_at else None,
        },
        "result": asdict(sidecar.result),
        "outputs": [
            asdict(output) | {"path": os.fsdecode(output.path), "temp_path": os.fsdecode(output.temp_path)}
            for output in sidecar.outputs
        ],
        "kept": fields_of(sidecar.kept),
        "at": sidecar.at.isoformat(),
    }


def _parsed(content: Mapping[str, Any]) -> tuple[Published, Kept]:
    if content["version"] != _VERSION:
        raise ValueError(f"version {content['version']}, not {_VERSION}")
    job, kept = content["job"], kept_from(content["kept"])
    document = kept.document
    started_at = job["started_at"]
    published = Published(
        job_id=job["id"],
        lease=job["lease"],
        owner=job["owner"] or "",
        attempt=job["attempt"],
        max_attempts=job["max_attempts"],
        path=os.fsencode(job["path"]),
        inbox=os.fsencode(job["inbox"]),
        fingerprint=Fingerprint(**content["kept"]["fingerprint"]),
        options=job["options"],
        options_digest=job["options_digest"],
        source_sha256=document.source_sha256,
        audio_s=document.audio_s,
        declared_s=document.declared_s,
        created_at=datetime.fromisoformat(job["created_at"]),
        started_at=datetime.fromisoformat(started_at) if started_at else None,
        published_at=datetime.fromisoformat(content["at"]),
        result=_result(content["result"]),
        outputs=tuple(_output(fields) for fields in content["outputs"]),
        segments=lines_of(document.transcript),
        document=packed(kept),
        suspects=stretches_of(document),
        origins=job.get("origins", {}),
        version=version_of(document),
    )
    return published, kept


def _result(fields: Mapping[str, Any]) -> Result:
    return replace(Result(**fields), outcome=Outcome(fields["outcome"]))


def _output(fields: Mapping[str, Any]) -> Output:
    return Output(fields["format"], os.fsencode(fields["path"]), os.fsencode(fields["temp_path"]), fields["sha256"])
