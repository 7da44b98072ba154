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
    speaker TEXT DEFAULT '' NOT NULL,
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
    "ALTER TABLE job ADD COLUMN priority INTEGER DEFAULT 0 NOT NULL",
    "ALTER TABLE job ADD COLUMN person BLOB DEFAULT (x'') NOT NULL",
    "ALTER TABLE job ADD COLUMN is_long INTEGER DEFAULT 0 NOT NULL",
    "ALTER TABLE job ADD COLUMN expected_s REAL DEFAULT 0 NOT NULL",
    "ALTER TABLE job ADD COLUMN starts_s REAL DEFAULT 0 NOT NULL",
    "ALTER TABLE job ADD COLUMN turn_s REAL DEFAULT 0 NOT NULL",
    """
CREATE TABLE turn (
    priority INTEGER NOT NULL,
    reached_s REAL DEFAULT 0 NOT NULL,
    n_passed INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (priority)
)
 STRICT
""",
    "UPDATE job SET inbox = (SELECT file.inbox FROM file WHERE file.id = job.file_id)",
    # Those in the queue get in line by the folders of their inbox, as if they came together. Else all of them would be
    # before whatever comes anew. How long they may be is guessed from their size alone; see `storage.turns`.
    """
UPDATE job SET
    person = (
        SELECT CASE instr(substr(path, length(inbox) + 2), x'2f') WHEN 0 THEN inbox
            ELSE substr(path, 1, length(inbox) + instr(substr(path, length(inbox) + 2), x'2f')) END
        FROM file WHERE file.id = job.file_id
    ),
    expected_s = size_bytes / 16000.0,
    is_long = size_bytes / 16000.0 > 600.0
WHERE state IN ('publishing', 'queued', 'running', 'waiting')
""",
    """
UPDATE job SET starts_s = placed.starts_s, turn_s = placed.starts_s + min(expected_s, 3600.0)
FROM (
    SELECT id, sum(expected_s) OVER (PARTITION BY person, is_long ORDER BY expected_s, id) - expected_s AS starts_s
    FROM job WHERE state IN ('publishing', 'queued', 'running', 'waiting')
) AS placed
WHERE placed.id = job.id
""",
    "DROP INDEX job_claimable",
    """
CREATE INDEX job_claimable ON job (inbox, priority, is_long, turn_s)
WHERE (+state = 'queued' OR (+state = 'waiting' AND not_before_at IS NOT NULL))
""",
    """
CREATE INDEX job_queue ON job (inbox)
WHERE (+state = 'queued' OR (+state = 'waiting' AND not_before_at IS NOT NULL))
""",
    """
CREATE INDEX job_line ON job (person, priority, is_long, starts_s)
WHERE state IN ('publishing', 'queued', 'running', 'waiting')
""",
    "CREATE INDEX job_content ON job (size_bytes, options_digest, source_sha256) WHERE source_sha256 IS NOT NULL",
    "CREATE INDEX job_failed ON job (finished_at) WHERE state IN ('failed', 'quarantined')",
    "CREATE INDEX file_folder_text ON file (folder_text)",
    "CREATE INDEX job_ended ON job (state, finished_at)",
    "CREATE INDEX file_path_text ON file (path_text)",
    "CREATE INDEX job_day ON job (substr(finished_at, 1, 10))",
    "CREATE INDEX event_at ON event (at)",
    """
CREATE TABLE move (
    job_id INTEGER NOT NULL,
    inbox BLOB NOT NULL,
    state TEXT NOT NULL,
    source BLOB NOT NULL,
    target BLOB,
    plan BLOB,
    reason TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (job_id),
    CONSTRAINT known_state CHECK (state IN ('begun', 'due', 'given_up', 'moved')),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    "CREATE INDEX move_due ON move (inbox) WHERE state IN ('begun', 'due')",
    "CREATE INDEX move_source ON move (source)",
    """
CREATE TABLE joint (
    talk BLOB NOT NULL,
    inbox BLOB NOT NULL,
    due INTEGER,
    written TEXT NOT NULL,
    PRIMARY KEY (talk)
)
 STRICT
""",
    "CREATE INDEX joint_due ON joint (inbox) WHERE due IS NOT NULL",
    """
CREATE TABLE sound (
    job_id INTEGER NOT NULL,
    options_digest TEXT NOT NULL,
    n_before INTEGER NOT NULL,
    n_after INTEGER NOT NULL,
    mark INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (job_id),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    "CREATE INDEX sound_alike ON sound (options_digest, n_after, n_before, mark)",
    """
CREATE TABLE version (
    job_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    author TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (job_id, number),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    """
CREATE TABLE rewrite (
    job_id INTEGER NOT NULL,
    inbox BLOB NOT NULL,
    due INTEGER,
    reason TEXT DEFAULT '' NOT NULL,
    left_alone TEXT NOT NULL,
    PRIMARY KEY (job_id),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    "CREATE INDEX rewrite_due ON rewrite (inbox) WHERE due IS NOT NULL",
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
    "ANALYZE sqlite_schema",
)


def upgrade() -> None:
    """Add them; transcripts of before have no text in the history."""
    for statement in _STATEMENTS:
        op.execute(statement)
