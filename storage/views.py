"""The views: what people and programs may query. Columns are only ever added; docs/sql.md shows their use."""

from __future__ import annotations

from typing import Final

# A plus before a state keeps the planner from going through all jobs of that state instead of those of one file.

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
       job.not_before_at,
       file.path AS path_bytes,
       job.same_as AS same_as_job_id,
       job.priority,
       job.expected_s
FROM job JOIN file ON file.id = job.file_id
"""

_HISTORY: Final = """
CREATE VIEW v_history AS
SELECT job_id, path, folder, name, inbox, outcome, reason, attempt, size_bytes, audio_s, declared_s, speech_s, wall_s,
       speed, language, language_probability, model, device, compute_type, n_segments, n_words, source_sha256,
       created_at, started_at, finished_at, path_bytes, same_as_job_id
FROM v_jobs WHERE state = 'done'
"""

_FAILURES: Final = """
CREATE VIEW v_failures AS
SELECT job_id, path, folder, name, inbox, state, reason, attempt, max_attempts, engine_deaths, size_bytes, audio_s,
       declared_s, created_at, started_at, finished_at, path_bytes
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
       job.finished_at,
       output.path AS path_bytes
FROM output JOIN job ON job.id = output.job_id JOIN file ON file.id = job.file_id
WHERE output.current = 1 AND job.state = 'done'
"""

# Duplicates are the work of the job that they refer to.
_THROUGHPUT: Final = """
CREATE VIEW v_throughput_daily AS
SELECT substr(finished_at, 1, 10) AS day,
       sum(state = 'done' AND outcome <> 'duplicate') AS n_recordings,
       sum(state = 'done' AND outcome = 'duplicate') AS n_duplicates,
       sum(state IN ('failed', 'quarantined')) AS n_failures,
       total(CASE WHEN state = 'done' AND outcome <> 'duplicate' THEN audio_s END) AS audio_s,
       total(CASE WHEN state = 'done' AND outcome <> 'duplicate' THEN speech_s END) AS speech_s,
       total(CASE WHEN state = 'done' AND outcome <> 'duplicate' THEN wall_s END) AS wall_s,
       sum(CASE WHEN state = 'done' AND outcome <> 'duplicate' THEN n_words ELSE 0 END) AS n_words
FROM job WHERE substr(finished_at, 1, 10) IS NOT NULL
GROUP BY substr(finished_at, 1, 10)
"""

_FILES: Final = """
CREATE VIEW v_files AS
SELECT file.id AS file_id,
       file.path_text AS path,
       file.folder_text AS folder,
       file.name_text AS name,
       file.inbox_text AS inbox,
       (SELECT count(*) FROM job AS any_job WHERE any_job.file_id = file.id) AS n_jobs,
       newest.id AS job_id,
       newest.state,
       newest.outcome,
       newest.reason,
       newest.size_bytes,
       newest.created_at,
       newest.finished_at,
       transcribed.id AS transcribed_job_id,
       transcribed.model,
       transcribed.language,
       transcribed.audio_s,
       transcribed.n_words,
       transcribed.finished_at AS transcribed_at,
       file.path AS path_bytes
FROM file
LEFT JOIN job AS newest ON newest.id = (SELECT max(any_job.id) FROM job AS any_job WHERE any_job.file_id = file.id)
LEFT JOIN job AS transcribed ON transcribed.id = (
    SELECT max(any_job.id) FROM job AS any_job
    WHERE any_job.file_id = file.id AND +any_job.state = 'done' AND any_job.outcome <> 'duplicate'
)
"""

_SEGMENTS: Final = """
CREATE VIEW v_segments AS
SELECT segment.id AS segment_id,
       segment.job_id,
       file.path_text AS path,
       file.folder_text AS folder,
       file.name_text AS name,
       segment.number,
       segment.start_s,
       segment.end_s,
       segment.text,
       segment.avg_logprob,
       segment.suspect,
       job.language,
       job.model,
       job.finished_at,
       NOT EXISTS (
           SELECT 1 FROM job AS later
           WHERE later.file_id = job.file_id AND later.id > job.id
             AND +later.state = 'done' AND later.outcome <> 'duplicate'
       ) AS newest,
       file.path AS path_bytes,
       segment.speaker
FROM segment JOIN job ON job.id = segment.job_id JOIN file ON file.id = job.file_id
WHERE +job.state = 'done'
"""

_SUSPECTS: Final = """
CREATE VIEW v_suspects AS
SELECT suspect.id AS suspect_id,
       suspect.job_id,
       file.path_text AS path,
       file.folder_text AS folder,
       file.name_text AS name,
       suspect.number,
       suspect.rank,
       suspect.start_s,
       suspect.end_s,
       suspect.reasons,
       suspect.text,
       suspect.speech_s,
       suspect.avg_logprob,
       suspect.compression_ratio,
       suspect.no_speech_prob,
       job.language,
       job.model,
       job.finished_at,
       NOT EXISTS (
           SELECT 1 FROM job AS later
           WHERE later.file_id = job.file_id AND later.id > job.id
             AND +later.state = 'done' AND later.outcome <> 'duplicate'
       ) AS newest,
       file.path AS path_bytes
FROM suspect JOIN job ON job.id = suspect.job_id JOIN file ON file.id = job.file_id
WHERE +job.state = 'done'
"""

_VERSIONS: Final = """
CREATE VIEW v_versions AS
SELECT version.job_id,
       file.path_text AS path,
       file.folder_text AS folder,
       file.name_text AS name,
       version.number,
       version.at,
       version.author,
       NOT EXISTS (
           SELECT 1 FROM version AS later WHERE later.job_id = version.job_id AND later.number > version.number
       ) AS newest,
       file.path AS path_bytes
FROM version JOIN job ON job.id = version.job_id JOIN file ON file.id = job.file_id
WHERE +job.state = 'done'
"""

VIEWS: Final = (_JOBS, _HISTORY, _FAILURES, _EVENTS, _OUTPUTS, _THROUGHPUT, _FILES, _SEGMENTS, _SUSPECTS, _VERSIONS)
"""The statements that make them, in the order in which they build on each other."""
