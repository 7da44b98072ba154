"""The schema of release 0.1.0."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_STATEMENTS = (
    """
CREATE TABLE file (
    id INTEGER NOT NULL,
    path BLOB NOT NULL,
    inbox BLOB NOT NULL,
    path_text TEXT NOT NULL,
    folder_text TEXT NOT NULL,
    name_text TEXT NOT NULL,
    inbox_text TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (path)
)
 STRICT
""",
    """
CREATE TABLE job (
    id INTEGER NOT NULL,
    file_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    outcome TEXT,
    reason TEXT DEFAULT '' NOT NULL,
    attempt INTEGER DEFAULT 0 NOT NULL,
    max_attempts INTEGER NOT NULL,
    engine_deaths INTEGER DEFAULT 0 NOT NULL,
    owner TEXT,
    lease INTEGER DEFAULT 0 NOT NULL,
    options TEXT NOT NULL,
    options_digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    source_device INTEGER NOT NULL,
    source_inode INTEGER NOT NULL,
    source_sha256 TEXT,
    audio_s REAL,
    declared_s REAL,
    speech_s REAL,
    wall_s REAL,
    language TEXT,
    language_probability REAL,
    model TEXT,
    device TEXT,
    compute_type TEXT,
    n_segments INTEGER,
    n_words INTEGER,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    not_before_at TEXT,
    PRIMARY KEY (id),
    CONSTRAINT known_state CHECK (
        state IN ('cancelled', 'done', 'failed', 'publishing', 'quarantined',
                  'queued', 'running', 'vanished', 'waiting')
    ),
    CONSTRAINT known_outcome CHECK (outcome IN ('duplicate', 'no_speech', 'ok', 'partial')),
    FOREIGN KEY(file_id) REFERENCES file (id)
)
 STRICT
""",
    """
CREATE TABLE output (
    id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    format TEXT NOT NULL,
    path BLOB NOT NULL,
    path_text TEXT NOT NULL,
    temp_path BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    current INTEGER DEFAULT 1 NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    """
CREATE TABLE event (
    id INTEGER NOT NULL,
    at TEXT NOT NULL,
    job_id INTEGER,
    kind TEXT NOT NULL,
    reason TEXT,
    detail TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    "CREATE INDEX file_inbox ON file (inbox)",
    """
CREATE UNIQUE INDEX one_live_job_per_file ON job (file_id)
WHERE state IN ('publishing', 'queued', 'running', 'waiting')
""",
    "CREATE INDEX job_state ON job (state)",
    "CREATE INDEX job_file ON job (file_id)",
    """
CREATE INDEX job_claimable ON job (id)
WHERE (+state = 'queued' OR (+state = 'waiting' AND not_before_at IS NOT NULL))
""",
    "CREATE INDEX output_job ON output (job_id)",
    "CREATE INDEX output_path ON output (path)",
    "CREATE INDEX event_job ON event (job_id)",
)


def upgrade() -> None:
    """Make the tables and their indexes in an empty database."""
    for statement in _STATEMENTS:
        op.execute(statement)
