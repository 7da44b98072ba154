"""The tables, private to this package: programs read the views (and segment_search). A change here needs a new VERSION.

file     a path in an inbox, once for ever
job      one try to transcribe one content of a file
output   the files that a job wrote or was about to write
segment  the lines of a transcript, and segment_search, the full-text index over them
suspect  the stretches of a recording that its transcript may be wrong about
event    what happened, append only
folder   what the settings in a folder said when they were last without a mistake
move     the recordings that go to another folder once they are done, or went there
joint    the transcripts of several recordings of one talk
sound    fingerprints of decoded sound
version  the versions of transcripts that people corrected
rewrite  the files of such transcripts, which are to be written anew or were
turn     how far the queue has got, for each priority

The database is opened with trusted_schema=OFF, under which SQLite 3.40 allows no JSON function in a table or a view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final

from sqlalchemy import DDL, REAL, CheckConstraint, ForeignKey, Index, Integer, LargeBinary, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from storage import standing
from storage.columns import AnyText, EnumText, JsonText, UtcText
from storage.records import LIVE_STATES, JobState, MoveState, Outcome
from storage.version import VERSION as VERSION


def _listed(values: Iterable[StrEnum]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))


# SQLite uses a partial index only where the query repeats its condition word for word, constants included, so index
# and query share these (sqlite.org/partialindex.html, section 3).
LIVE: Final = text(f"state IN ({_listed(LIVE_STATES)})")
CLAIMABLE: Final = text(standing.CLAIMABLE)
# The day of v_throughput_daily; the index on it lets the newest days be read without the others.
FINISHED_DAY: Final = text("substr(finished_at, 1, 10)")

WITH_CONTENT: Final = text("source_sha256 IS NOT NULL")
# As v_failures says it.
FAILED: Final = text("state IN ('failed', 'quarantined')")
MOVING: Final = text("state IN ('begun', 'due')")
TO_WRITE: Final = text("due IS NOT NULL")


class Base(DeclarativeBase):
    """The types of every column that its annotation decides."""

    type_annotation_map: ClassVar = {
        str: AnyText,
        float: REAL,
        bytes: LargeBinary,
        int: Integer,
        datetime: UtcText,
        JobState: EnumText(JobState),
        Outcome: EnumText(Outcome),
        MoveState: EnumText(MoveState),
        Mapping[str, object]: JsonText,
    }


class FileRow(Base):
    """A path. *path_text*, *folder_text* and *name_text* are for people; *path* is the name."""

    __tablename__ = "file"
    __table_args__ = (
        Index("file_inbox", "inbox"),
        Index("file_path_text", "path_text"),
        Index("file_folder_text", "folder_text"),
        {"sqlite_strict": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[bytes] = mapped_column(unique=True)
    inbox: Mapped[bytes]
    path_text: Mapped[str]
    folder_text: Mapped[str]
    name_text: Mapped[str]
    inbox_text: Mapped[str]


class JobRow(Base):
    """A job; see `storage.records.Job` for the meaning of each column.

    *inbox* is that of its file, here so that a claim can pass over all jobs of an inbox at once. *told* goes with
    *reason*: whoever writes that writes this too. For *priority* to *turn_s* see
    `storage.turns`.
    """

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(f"state IN ({_listed(JobState)})", name="known_state"),
        CheckConstraint(f"outcome IN ({_listed(Outcome)})", name="known_outcome"),
        Index("job_file", "file_id"),
        Index("job_state", "state"),
        Index("job_ended", "state", "finished_at"),
        Index("job_day", FINISHED_DAY),
        Index("job_failed", "finished_at", sqlite_where=FAILED),
        Index("job_content", "size_bytes", "options_digest", "source_sha256", sqlite_where=WITH_CONTENT),
        Index("job_claimable", "inbox", "priority", "is_long", "turn_s", sqlite_where=CLAIMABLE),
        Index("job_queue", "inbox", sqlite_where=CLAIMABLE),
        Index("job_line", "person", "priority", "is_long", "starts_s", sqlite_where=LIVE),
        Index("one_live_job_per_file", "file_id", unique=True, sqlite_where=LIVE),
        {"sqlite_strict": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("file.id"))
    state: Mapped[JobState]
    outcome: Mapped[Outcome | None]
    reason: Mapped[str] = mapped_column(server_default="")
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    max_attempts: Mapped[int]
    engine_deaths: Mapped[int] = mapped_column(server_default=text("0"))
    owner: Mapped[str | None]
    lease: Mapped[int] = mapped_column(server_default=text("0"))
    options: Mapped[Mapping[str, object]]
    options_digest: Mapped[str]
    size_bytes: Mapped[int]
    mtime_ns: Mapped[int]
    ctime_ns: Mapped[int]
    source_device: Mapped[int]
    source_inode: Mapped[int]
    source_sha256: Mapped[str | None]
    audio_s: Mapped[float | None]
    declared_s: Mapped[float | None]
    speech_s: Mapped[float | None]
    wall_s: Mapped[float | None]
    language: Mapped[str | None]
    language_probability: Mapped[float | None]
    model: Mapped[str | None]
    device: Mapped[str | None]
    compute_type: Mapped[str | None]
    n_segments: Mapped[int | None]
    n_words: Mapped[int | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    not_before_at: Mapped[datetime | None]
    again: Mapped[int] = mapped_column(server_default=text("0"))
    same_as: Mapped[int | None]
    inbox: Mapped[bytes | None]
    origins: Mapped[Mapping[str, object] | None]
    told: Mapped[Mapping[str, object] | None]
    priority: Mapped[int] = mapped_column(server_default=text("0"))
    person: Mapped[bytes] = mapped_column(server_default=text("x''"))
    is_long: Mapped[int] = mapped_column(server_default=text("0"))
    expected_s: Mapped[float] = mapped_column(server_default=text("0"))
    starts_s: Mapped[float] = mapped_column(server_default=text("0"))
    turn_s: Mapped[float] = mapped_column(server_default=text("0"))

    file: Mapped[FileRow] = relationship(lazy="joined", innerjoin=True)
    outputs: Mapped[list[OutputRow]] = relationship(
        lazy="selectin",
        order_by="OutputRow.id",
        primaryjoin="and_(JobRow.id == OutputRow.job_id, OutputRow.current == 1)",
        viewonly=True,
    )


class OutputRow(Base):
    """A file of a transcript. *current* is 1 while it belongs to the last publication of its job, else 0."""

    __tablename__ = "output"
    __table_args__ = (Index("output_job", "job_id"), Index("output_path", "path"), {"sqlite_strict": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    format: Mapped[str]
    path: Mapped[bytes]
    path_text: Mapped[str]
    temp_path: Mapped[bytes]
    sha256: Mapped[str]
    current: Mapped[int] = mapped_column(server_default=text("1"))


class SegmentRow(Base):
    """A line of a transcript. *spaced* is its text as it is indexed, where that differs: see `storage.scripts`."""

    __tablename__ = "segment"
    __table_args__ = (Index("segment_job", "job_id", "number", unique=True), {"sqlite_strict": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    number: Mapped[int]
    start_s: Mapped[float]
    end_s: Mapped[float]
    text: Mapped[str]
    spaced: Mapped[str | None]
    avg_logprob: Mapped[float]
    suspect: Mapped[str] = mapped_column(server_default="")
    speaker: Mapped[str] = mapped_column(server_default="")


class SuspectRow(Base):
    """A stretch to listen to; see `storage.records.StoredSuspect`. *number* counts them in order of time, from 1."""

    __tablename__ = "suspect"
    __table_args__ = (Index("suspect_job", "job_id", "number", unique=True), {"sqlite_strict": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    number: Mapped[int]
    rank: Mapped[int]
    start_s: Mapped[float]
    end_s: Mapped[float]
    reasons: Mapped[str]
    text: Mapped[str]
    speech_s: Mapped[float]
    avg_logprob: Mapped[float | None]
    compression_ratio: Mapped[float | None]
    no_speech_prob: Mapped[float | None]


class DocumentRow(Base):
    """The whole document of a transcript, packed as its maker likes it; its lines are in `SegmentRow` too."""

    __tablename__ = "document"
    __table_args__ = ({"sqlite_strict": True},)

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    content: Mapped[bytes]


class FolderRow(Base):
    """What the settings of the folder *path* said when they were last without a mistake."""

    __tablename__ = "folder"
    __table_args__ = ({"sqlite_strict": True},)

    path: Mapped[bytes] = mapped_column(primary_key=True)
    inbox: Mapped[bytes]
    settings: Mapped[Mapping[str, object]]


class TurnRow(Base):
    """How far the queue of a *priority* has got, in seconds of audio; see `storage.turns` for both figures."""

    __tablename__ = "turn"
    __table_args__ = ({"sqlite_strict": True},)

    priority: Mapped[int] = mapped_column(primary_key=True)
    reached_s: Mapped[float] = mapped_column(server_default=text("0"))
    n_passed: Mapped[int] = mapped_column(server_default=text("0"))


class MoveRow(Base):
    """A recording that goes to another folder, with or without its transcripts; see `storage.moves`.

    *source* is where it was, *target* where it is to be, or is by now. *plan* is its mover's.
    """

    __tablename__ = "move"
    __table_args__ = (
        CheckConstraint(f"state IN ({_listed(MoveState)})", name="known_state"),
        Index("move_due", "inbox", sqlite_where=MOVING),
        Index("move_source", "source"),
        {"sqlite_strict": True},
    )

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    inbox: Mapped[bytes]
    state: Mapped[MoveState]
    source: Mapped[bytes]
    target: Mapped[bytes | None]
    plan: Mapped[bytes | None]
    reason: Mapped[str] = mapped_column(server_default="")


class JointRow(Base):
    """The transcript of all recordings of *talk*, a path without the number and the extension; see `storage.joints`.

    *due* is the job since whose end it is to be written anew. *written* has the hashes of all that was ever meant for
    each path.
    """

    __tablename__ = "joint"
    __table_args__ = (Index("joint_due", "inbox", sqlite_where=TO_WRITE), {"sqlite_strict": True})

    talk: Mapped[bytes] = mapped_column(primary_key=True)
    inbox: Mapped[bytes]
    due: Mapped[int | None]
    written: Mapped[Mapping[str, object]]


class SoundRow(Base):
    """The fingerprint of what was decoded for a job. The first columns find those that may be equal to one."""

    __tablename__ = "sound"
    __table_args__ = (
        Index("sound_alike", "options_digest", "n_after", "n_before", "mark"),
        {"sqlite_strict": True},
    )

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    options_digest: Mapped[str]
    n_before: Mapped[int]
    n_after: Mapped[int]
    mark: Mapped[int]
    content: Mapped[bytes]


class VersionRow(Base):
    """A version of the transcript of a job, never changed; see `storage.versions`. *author*: empty for the machine."""

    __tablename__ = "version"
    __table_args__ = ({"sqlite_strict": True},)

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    author: Mapped[str]
    content: Mapped[bytes]


class RewriteRow(Base):
    """The files of a corrected transcript. *due* is the version that they are to be written of; NULL: they were.

    *reason* is why they are not yet; *left_alone* has the paths of those that a person had changed,
    quoted as in an address.
    """

    __tablename__ = "rewrite"
    __table_args__ = (Index("rewrite_due", "inbox", sqlite_where=TO_WRITE), {"sqlite_strict": True})

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    inbox: Mapped[bytes]
    due: Mapped[int | None]
    reason: Mapped[str] = mapped_column(server_default="")
    left_alone: Mapped[Mapping[str, object]]


class EventRow(Base):
    """Something that happened, to a job or to the service. *reason* is a column because the views show it."""

    __tablename__ = "event"
    __table_args__ = (Index("event_job", "job_id"), Index("event_at", "at"), {"sqlite_strict": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    kind: Mapped[str]
    reason: Mapped[str | None]
    detail: Mapped[Mapping[str, object]]


# The index has no copy of the text, so its rows are written and removed by hand (`storage.segments`): a trigger or a
# view may not touch FTS5 under trusted_schema=OFF ("unsafe use of virtual table", SQLite 3.40). Mn and Mc are the vowel
# signs of Indic scripts, which would else cut words apart.
SEARCH: Final = (
    "CREATE VIEW segment_words AS SELECT id, coalesce(spaced, text) AS text FROM segment",
    """
CREATE VIRTUAL TABLE segment_search USING fts5(
    text, content='segment_words', content_rowid='id',
    tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
)
""",
)
# SQLite's planner takes ten rows for what any index finds, unless it is told better: v_history of one path would go
# through all that is done. So it is told, once and for all, what a long history looks like, and plans do not change
# with what is in it (sqlite.org/optoverview.html, "Manual Control Of Query Plans Using SQLITE_STAT Tables"). Of each
# state less than there is: those that people ask for are few.
PLANNING: Final = (
    "ANALYZE sqlite_schema",  # makes the table
    "DELETE FROM sqlite_stat1",
    """
INSERT INTO sqlite_stat1 VALUES
    ('file', 'sqlite_autoindex_file_1', '1000000 1'),
    ('file', 'file_inbox', '1000000 100000'),
    ('file', 'file_path_text', '1000000 1'),
    ('file', 'file_folder_text', '1000000 100'),
    ('job', 'job_file', '1000000 2'),
    ('job', 'job_state', '1000000 10000'),
    ('job', 'job_ended', '1000000 10000 1'),
    ('job', 'job_day', '1000000 1000'),
    ('job', 'job_failed', '10000 1'),
    ('job', 'job_content', '1000000 10 10 2'),
    ('job', 'job_claimable', '1000 1000 500 300 1'),
    ('job', 'job_queue', '1000 1000'),
    ('job', 'job_line', '1000 20 20 10 1'),
    ('job', 'one_live_job_per_file', '1000 1'),
    ('output', 'output_job', '4000000 4'),
    ('output', 'output_path', '4000000 2'),
    ('segment', 'segment_job', '1000000 50 1'),
    ('suspect', 'suspect_job', '100000 3 1'),
    ('document', NULL, '1000000'),
    ('folder', 'sqlite_autoindex_folder_1', '1000 1'),
    ('move', 'move_due', '100 100'),
    ('move', 'move_source', '1000000 1'),
    ('joint', 'joint_due', '10 10'),
    ('joint', 'sqlite_autoindex_joint_1', '10000 1'),
    ('sound', 'sound_alike', '1000000 100000 200 2 1'),
    ('version', 'sqlite_autoindex_version_1', '10000 3 1'),
    ('rewrite', 'rewrite_due', '10 10'),
    ('event', 'event_job', '5000000 5'),
    ('event', 'event_at', '5000000 1')
""",
    "ANALYZE sqlite_schema",  # reads it
)
for _statement in (*SEARCH, *PLANNING):
    event.listen(Base.metadata, "after_create", DDL(_statement))  # type: ignore[no-untyped-call]  # theirs
