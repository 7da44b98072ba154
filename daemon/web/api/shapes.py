"""What the API gives and takes, as JSON: the contract with programs. Keys stay; new ones may come."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from daemon.corrections import MOST_CHARS, MOST_LINES, MOST_NAME_CHARS
from daemon.suspects import Suspect
from daemon.web.uploads.receiving import Upload
from monitor.alert import Alert
from storage.records import Event, Job, Rewrite, StoredSuspect, Version
from storage.searching import Hit

MOST_IDS = 500

JobId = Annotated[int, Field(ge=1, le=2**63 - 1)]
VersionNumber = Annotated[int, Field(ge=1, le=2**63 - 1)]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, values: Any) -> Any:
        """Names of files may hold what is no text, and messages name files."""
        return _plain(values)


def _plain(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_plain(key): _plain(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType]  # JSON
        case list() | tuple():
            return [_plain(one) for one in cast("list[Any]", value)]
        case _:
            return value


class _Request(BaseModel):
    # strict: "5" is no number; forbid: a key with a typing error is told, not left out.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ErrorDetail(_Shape):
    """Why not: for people, and as a word for programs.

    *newest* comes with ``text_changed``: the number of the newest version, 0 where there is none to correct any more.
    """

    message: str
    code: str
    newest: int | None = None


class Error(_Shape):
    """Every answer that is a no."""

    error: ErrorDetail


class JobShape(_Shape):
    """A job; times in UTC, lengths in seconds. *options* are those it has, *origins* says where they come from."""

    id: int
    path: str
    state: str
    outcome: str | None
    reason: str
    audio_s: float | None
    declared_s: float | None
    speech_s: float | None
    wall_s: float | None
    speed: float | None
    language: str | None
    language_probability: float | None
    model: str | None
    device: str | None
    compute_type: str | None
    options: dict[str, Any]
    origins: dict[str, Any]
    attempt: int
    engine_deaths: int
    source_sha256: str | None
    same_as: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> JobShape:
        """That of *job*."""
        plain = {
            name: getattr(job, name) for name in cls.model_fields if name not in ("path", "speed", "options", "origins")
        }
        return cls(
            path=text_of(job.path),
            speed=round(job.speed, 2) if job.speed else None,
            options=dict(job.options),
            origins=dict(job.origins),
            **plain,
        )


class JobsShape(_Shape):
    """Some jobs, the newest first. *older* goes into ``before`` for the next ones; null: there are no more.

    *looked*: fewer than asked for were found among those that were looked at, but there are older ones.
    """

    jobs: list[JobShape]
    older: int | None
    looked: bool


class EventShape(_Shape):
    """Something that happened, to a job or to the service."""

    id: int
    at: datetime
    job: int | None
    kind: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> EventShape:
        """That of *event*."""
        return cls(id=event.id, at=event.at, job=event.job_id, kind=event.kind, detail=dict(event.detail))


class EventsShape(_Shape):
    """Events, the newest first; *older* goes into ``before``."""

    events: list[EventShape]
    older: int | None = None


class HitShape(_Shape):
    """A line in which all words are; in *marked*, what was found is between U+0002 and U+0003."""

    job: int
    path: str
    finished_at: datetime
    number: int
    start_s: float
    end_s: float
    text: str
    marked: str

    @classmethod
    def of(cls, hit: Hit) -> HitShape:
        """That of *hit*."""
        return cls(
            job=hit.job_id,
            path=text_of(hit.path),
            finished_at=hit.finished_at,
            number=hit.number,
            start_s=hit.start_s,
            end_s=hit.end_s,
            text=hit.text,
            marked=hit.marked,
        )


class HitsShape(_Shape):
    """Lines; *older* goes into ``before``. *cut*: it took too long, so there may be more."""

    hits: list[HitShape]
    older: int | None
    cut: bool


class SuspectShape(_Shape):
    """A stretch to listen to; *rank* 1 is the most doubtful of its recording, *reasons* begin with the worst."""

    job: int
    path: str
    rank: int
    start_s: float
    end_s: float
    reasons: list[str]
    text: str

    @classmethod
    def of(cls, job_id: int, path: bytes, suspect: StoredSuspect | Suspect) -> SuspectShape:
        """That of *suspect* in the recording *path*."""
        return cls(
            job=job_id,
            path=text_of(path),
            rank=suspect.rank,
            start_s=suspect.start_s,
            end_s=suspect.end_s,
            reasons=list(suspect.reasons),
            text=suspect.text,
        )


class SuspectsShape(_Shape):
    """Stretches to listen to."""

    suspects: list[SuspectShape]


class AlertShape(_Shape):
    """An alert; *closed_at* null: it is open."""

    id: int | None
    rule: str
    subject: str
    severity: str
    title: str
    advice: str
    words: str
    opened_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, alert: Alert) -> AlertShape:
        """That of *alert*."""
        return cls(
            id=alert.id,
            rule=alert.rule,
            subject=alert.key.subject,
            severity=alert.severity,
            title=alert.title,
            advice=alert.advice,
            words=alert.words,
            opened_at=alert.opened_at,
            closed_at=alert.resolved_at,
        )


class AlertsShape(_Shape):
    """Alerts, the newest first."""

    alerts: list[AlertShape]


class FolderShape(_Shape):
    """A folder with settings of its own, or an inbox: what holds for recordings in it, and where that comes from."""

    path: str
    options: dict[str, Any]
    origins: dict[str, str]


class InboxShape(_Shape):
    """An inbox. *offline* says why it cannot be searched at present, else it is empty."""

    path: str
    recursive: bool
    offline: str
    folders: list[FolderShape]


class FoldersShape(_Shape):
    """All inboxes that people know of."""

    inboxes: list[InboxShape]


class JobsRequest(_Request):
    """The jobs that are meant."""

    jobs: list[JobId] = Field(min_length=1, max_length=MOST_IDS)


class RedoRequest(_Request):
    """What is to be different this time; nothing: as is configured now.

    *over_corrections*: also where a person corrected the text; the machine's takes its place.
    """

    options: dict[str, Any] = Field(default_factory=dict)
    over_corrections: bool = False


class PriorityRequest(_Request):
    """Before the others, like them, or behind them."""

    priority: str = Field(pattern="^(high|normal|low)$")


class ChangedShape(_Shape):
    """The jobs that were changed, and those that could not be: there is none, or its state does not allow it."""

    changed: list[int]
    refused: list[int]


class RedoneShape(_Shape):
    """The number of the job that was made."""

    job: int


class LineEdit(_Request):
    """What becomes of a line, which is numbered from 0 on: ``segments`` of the ``json`` transcript have it as ``id``.

    What is null stays as it is; an empty text takes the line away.
    """

    line: int = Field(ge=0, le=2**63 - 1)
    text: str | None = Field(default=None, max_length=MOST_CHARS)
    speaker: str | None = Field(default=None, max_length=MOST_NAME_CHARS)


class CorrectRequest(_Request):
    """A correction of version *base*, which must be the newest; *speakers*: who is called what from now on."""

    base: VersionNumber
    lines: list[LineEdit] = Field(default_factory=list, max_length=MOST_LINES)
    speakers: dict[str, Annotated[str, Field(max_length=MOST_NAME_CHARS)]] = Field(default_factory=dict)


class RestoreRequest(_Request):
    """The text of version *number* again, in place of *base*, which must be the newest."""

    base: VersionNumber
    number: VersionNumber


class MadeVersionShape(_Shape):
    """The number of the newest version; that of before where nothing was changed."""

    version: int


class VersionShape(_Shape):
    """A version of a text. *author* is empty for the machine."""

    number: int
    at: datetime
    author: str


class CorrectionsShape(_Shape):
    """The versions of a text, the first first; none where nobody corrected it: then the newest is 1, the machine's.

    *files_due*: its files are still to be written of that version, and *reason* is why that waits, if anything is in
    the way. *left_alone* are files that somebody changed by hand: the text is in others.
    """

    newest: int
    versions: list[VersionShape]
    files_due: int | None = None
    reason: str = ""
    left_alone: list[str] = Field(default_factory=list)

    @classmethod
    def of(cls, known: Sequence[Version], rewrite: Rewrite | None) -> CorrectionsShape:
        """That of *known*."""
        versions = [VersionShape(number=one.number, at=one.at, author=one.author) for one in known]
        newest = versions[-1].number if versions else 1
        if rewrite is None:
            return cls(newest=newest, versions=versions)
        left = [text_of(path) for path in rewrite.left_alone]
        return cls(newest=newest, versions=versions, files_due=rewrite.due, reason=rewrite.reason, left_alone=left)


class UploadRequest(_Request):
    """A recording to be sent. *folder* is the whole path of an inbox, or of a folder in one.

    *options* hold for this recording alone, such as ``{"language": "de", "task": "transcribe"}``; *sha256* is checked
    when all is there.
    """

    folder: str = Field(min_length=1, max_length=4096)
    name: str = Field(min_length=1, max_length=1024)
    size_bytes: int = Field(ge=1, le=2**62)
    sha256: str = Field(default="", max_length=64)
    options: dict[str, Any] = Field(default_factory=dict)


class UploadShape(_Shape):
    """An upload. *offset* is where to go on; once it is in its place, *path* says where and *job* is its job.

    *job* null then: its folder says that recordings in it are left alone, or the intake has yet to look.
    """

    id: str
    folder: str
    name: str
    size_bytes: int | None
    offset: int
    created_at: datetime
    path: str
    job: int | None

    @classmethod
    def of(cls, upload: Upload, offset: int) -> UploadShape:
        """That of *upload*."""
        return cls(
            id=upload.id,
            folder=printable(os.path.join(upload.inbox, upload.folder).rstrip("/")),
            name=printable(upload.name),
            size_bytes=upload.size_bytes,
            offset=offset,
            created_at=datetime.fromisoformat(upload.created_at),
            path=printable(upload.path),
            job=upload.job,
        )


class UploadsShape(_Shape):
    """The uploads of who asks that are not in their place yet."""

    uploads: list[UploadShape]


def text_of(path: bytes) -> str:
    """A path as text; bytes that are none are shown by their numbers."""
    return path.decode("utf-8", "backslashreplace")


def printable(path: str) -> str:
    """As `text_of`, of a path that came by `os.fsdecode`."""
    return text_of(os.fsencode(path))


ERRORS: Mapping[int | str, Mapping[str, Any]] = {
    status: {"model": Error, "description": why}
    for status, why in (
        (400, "The request cannot be read"),
        (401, "No such token"),
        (403, "The role does not allow it"),
        (404, "There is none"),
        (409, "Not in this state"),
        (413, "Too large"),
        (415, "Not of this type"),
        (422, "A value that cannot be"),
        (429, "Too often"),
        (503, "Not at present"),
        (507, "No room"),
    )
}
"""For the `responses` of every route."""
