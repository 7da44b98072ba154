"""The text of transcripts with a full-text index, their documents; texts that are taken over, jobs asked for again."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    """
CREATE TABLE segment (
    id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    start_s REAL NOT NULL,
    end_s REAL NOT NULL,
    text TEXT NOT NULL,
    spaced TEXT,
    avg_logprob REAL NOT NULL,
    suspect TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    "CREATE UNIQUE INDEX segment_job ON segment (job_id, number)",
    "CREATE VIEW segment_words AS SELECT id, coalesce(spaced, text) AS text FROM segment",
    """
CREATE VIRTUAL TABLE segment_search USING fts5(
    text, content='segment_words', content_rowid='id',
    tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
)
""",
    """
CREATE TABLE suspect (
    id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    start_s REAL NOT NULL,
    end_s REAL NOT NULL,
    reasons TEXT NOT NULL,
    text TEXT NOT NULL,
    speech_s REAL NOT NULL,
    avg_logprob REAL,
    compression_ratio REAL,
    no_speech_prob REAL,
    PRIMARY KEY (id),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    "CREATE UNIQUE INDEX suspect_job ON suspect (job_id, number)",
    """
CREATE TABLE document (
    job_id INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (job_id),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    """
CREATE TABLE folder (
    path BLOB NOT NULL,
    inbox BLOB NOT NULL,
    settings TEXT NOT NULL,
    PRIMARY KEY (path)
)
 STRICT
""",
    "ALTER TABLE job ADD COLUMN again INTEGER DEFAULT 0 NOT NULL",
    "ALTER TABLE job ADD COLUMN same_as INTEGER",
    "ALTER TABLE job ADD COLUMN inbox BLOB",
    "ALTER TABLE job ADD COLUMN origins TEXT",
    "ALTER TABLE job ADD COLUMN told TEXT",
    "UPDATE job SET inbox = (SELECT file.inbox FROM file WHERE file.id = job.file_id)",
    "DROP INDEX job_claimable",
    """
CREATE INDEX job_claimable ON job (inbox)
WHERE (+state = 'queued' OR (+state = 'waiting' AND not_before_at IS NOT NULL))
""",
    "CREATE INDEX job_content ON job (size_bytes, options_digest, source_sha256) WHERE source_sha256 IS NOT NULL",
    "CREATE INDEX job_failed ON job (finished_at) WHERE state IN ('failed', 'quarantined')",
    "CREATE INDEX file_folder_text ON file (folder_text)",
    "CREATE INDEX job_ended ON job (state, finished_at)",
    "CREATE INDEX file_path_text ON file (path_text)",
    "CREATE INDEX job_day ON job (substr(finished_at, 1, 10))",
    "CREATE INDEX event_at ON event (at)",
    # A file that a later job wrote again belongs to that one alone.
    """
UPDATE output SET current = 0
WHERE current = 1 AND EXISTS (
    SELECT 1 FROM output AS later JOIN job ON job.id = later.job_id
    WHERE later.path = output.path AND later.job_id > output.job_id AND later.current = 1
      AND job.state = 'done' AND job.outcome <> 'duplicate'
)
""",
    # What the planner is told of the tables.
    "ANALYZE sqlite_schema",
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
    "ANALYZE sqlite_schema",
)


def upgrade() -> None:
    """Add them; transcripts of before have no text in the history."""
    for statement in _STATEMENTS:
        op.execute(statement)
