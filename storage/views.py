"""The views: what people and programs may query. Columns are only ever added; docs/sql.md shows their use."""

from __future__ import annotations

from typing import Final

_JOBS: Final = """
CREATE VIEW v_jobs AS
SELECT job.id AS job_id,
       file.path_text AS path,
       file.folder_text AS folder,
       file.name_text AS name,
       file.inbox_text AS inbox,
       job.state,
       job.outcome,
       job.reason,
       job.attempt,
       job.max_attempts,
       job.engine_deaths,
       job.size_bytes,
       job.audio_s,
       job.declared_s,
       job.speech_s,
       job.wall_s,
       CASE WHEN job.wall_s > 0 THEN job.audio_s / job.wall_s END AS speed,
       job.language,
       job.language_probability,
       job.model,
       job.device,
       job.compute_type,
       job.n_segments,
       job.n_words,
       job.source_sha256,
       job.options,
       job.created_at,
       job.started_at,
       job.finished_at,
       job.not_before_at
FROM job JOIN file ON file.id = job.file_id
"""

_HISTORY: Final = """
CREATE VIEW v_history AS
SELECT job_id, path, folder, name, inbox, outcome, reason, attempt, size_bytes, audio_s, declared_s, speech_s, wall_s,
       speed, language, language_probability, model, device, compute_type, n_segments, n_words, source_sha256,
       created_at, started_at, finished_at
FROM v_jobs WHERE state = 'done'
"""

_FAILURES: Final = """
CREATE VIEW v_failures AS
SELECT job_id, path, folder, name, inbox, state, reason, attempt, max_attempts, engine_deaths, size_bytes, audio_s,
       declared_s, created_at, started_at, finished_at
FROM v_jobs WHERE state IN ('failed', 'quarantined')
"""

_EVENTS: Final = """
CREATE VIEW v_events AS
SELECT event.id AS event_id,
       event.at,
       event.job_id,
       file.path_text AS path,
       event.kind,
       event.reason,
       event.detail
FROM event LEFT JOIN job ON job.id = event.job_id LEFT JOIN file ON file.id = job.file_id
"""

_OUTPUTS: Final = """
CREATE VIEW v_outputs AS
SELECT output.job_id,
       file.path_text AS recording,
       output.format,
       output.path_text AS path,
       output.sha256,
       job.finished_at
FROM output JOIN job ON job.id = output.job_id JOIN file ON file.id = job.file_id
WHERE output.current = 1 AND job.state = 'done'
"""

VIEWS: Final = (_JOBS, _HISTORY, _FAILURES, _EVENTS, _OUTPUTS)
"""The statements that make them, in the order in which they build on each other."""
