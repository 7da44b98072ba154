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
CREATE TABLE document (
    job_id INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (job_id),
    FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT
""",
    "ALTER TABLE job ADD COLUMN again INTEGER DEFAULT 0 NOT NULL",
    "ALTER TABLE job ADD COLUMN same_as INTEGER",
    "CREATE INDEX job_content ON job (size_bytes, options_digest) WHERE source_sha256 IS NOT NULL",
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
)


def upgrade() -> None:
    """Add them; transcripts of before have no text in the history."""
    for statement in _STATEMENTS:
        op.execute(statement)
