"""Every error that the job history raises on purpose.

    StorageError
    ├── StorageBusy          another program holds the database; the same call may succeed later
    ├── StorageFull          no space left where the database lies
    ├── StorageUnavailable   the file cannot be opened, read or written at present
    ├── StorageDamaged       the file is no sound SQLite database
    ├── NewerSchema          a later version of the program wrote it
    └── LostJob              the job is no longer in the hands of the caller

After any of them nothing of the call is in the database.
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of every error of the job history; the message is fit for a person to read."""


class StorageBusy(StorageError):
    """Raised when the database stayed locked for the whole wait."""


class StorageFull(StorageError):
    """Raised when the disk of the database is full."""


class StorageUnavailable(StorageError):
    """Raised when the database file is missing, not writable, or its disk reports an error."""


class StorageDamaged(StorageError):
    """Raised when SQLite finds the file malformed."""


class NewerSchema(StorageError):
    """Raised when the schema is of a later version than this program knows."""


class LostJob(StorageError):
    """Raised when a job was claimed again, settled or recovered since the caller got it."""
