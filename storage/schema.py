"""The tables, private to this package: programs read the views (and segment_search). A change here needs a new VERSION.

file     a path in an inbox, once for ever
job      one try to transcribe one content of a file
output   the files that a job wrote or was about to write
segment  the lines of a transcript, and segment_search, the full-text index over them
suspect  the stretches of a recording that its transcript may be wrong about
event    what happened, append only
folder   what the settings in a folder said when they were last without a mistake

The database is opened with trusted_schema=OFF, under which SQLite 3.40 allows no JSON function in a table or a view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final

from sqlalchemy import DDL, REAL, CheckConstraint, ForeignKey, Index, Integer, LargeBinary, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from storage.columns import AnyText, EnumText, JsonText, UtcText
from storage.records import LIVE_STATES, JobState, Outcome
from storage.version import VERSION as VERSION


def _listed(values: Iterable[StrEnum]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))


# SQLite uses a partial index only where the query repeats its condition word for word, constants included, so index
# and query share these (sqlite.org/partialindex.html, section 3).
LIVE: Final = text(f"state IN ({_listed(LIVE_STATES)})")
# The plus keeps the planner from taking the index on state and sorting: 42 ms instead of 1 ms at 100 000 queued jobs.
CLAIMABLE: Final = text("(+state = 'queued' OR (+state = 'waiting' AND not_before_at IS NOT NULL))")
# The day of v_throughput_daily; the index on it lets the newest days be read without the others.
FINISHED_DAY: Final = text("substr(finished_at, 1, 10)")

WITH_CONTENT: Final = text("source_sha256 IS NOT NULL")
# As v_failures says it.
FAILED: Final = text("state IN ('failed', 'quarantined')")


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
    *reason*: whoever writes that writes this too.
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
        Index("job_claimable", "inbox", sqlite_where=CLAIMABLE),
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
    ('job', 'job_claimable', '1000 1000'),
    ('job', 'one_live_job_per_file', '1000 1'),
    ('output', 'output_job', '4000000 4'),
    ('output', 'output_path', '4000000 2'),
    ('segment', 'segment_job', '1000000 50 1'),
    ('suspect', 'suspect_job', '100000 3 1'),
    ('document', NULL, '1000000'),
    ('folder', 'sqlite_autoindex_folder_1', '1000 1'),
    ('event', 'event_job', '5000000 5'),
    ('event', 'event_at', '5000000 1')
""",
    "ANALYZE sqlite_schema",  # reads it
)
for _statement in (*SEARCH, *PLANNING):
    event.listen(Base.metadata, "after_create", DDL(_statement))  # type: ignore[no-untyped-call]  # theirs
