"""The job history: SQLite through SQLAlchemy 2. The only place with SQL.

`JobStore` is the one writer, `JobReader` reads beside it; both speak in the plain records of `storage.records` and
raise the errors of `storage.errors`. Knows nothing of the daemon.
"""

from storage.errors import (
    LostJob,
    NewerSchema,
    StorageBusy,
    StorageDamaged,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from storage.jobs import JobStore
from storage.reading import JobReader
from storage.records import (
    LIVE_STATES,
    Event,
    Fingerprint,
    Job,
    JobState,
    KnownFile,
    NewJob,
    Outcome,
    Output,
    Result,
)

__all__ = [
    "LIVE_STATES",
    "Event",
    "Fingerprint",
    "Job",
    "JobReader",
    "JobState",
    "JobStore",
    "KnownFile",
    "LostJob",
    "NewJob",
    "NewerSchema",
    "Outcome",
    "Output",
    "Result",
    "StorageBusy",
    "StorageDamaged",
    "StorageError",
    "StorageFull",
    "StorageUnavailable",
]
