"""The version of the schema, and who may read which. Imports no SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from storage.errors import NewerSchema, StorageError

VERSION: Final = 2
"""PRAGMA user_version of this schema."""


def check_readable(version: int, path: Path) -> None:
    """The database *path*, of *version*, can be read by this program. Raises NewerSchema, StorageError."""
    if version > VERSION:
        raise NewerSchema(f"{path} has schema {version}, this program knows {VERSION}: run the newer program")
    if version == 0:
        raise StorageError(f"{path} holds no job history; it is made when the service first runs")
    if version < VERSION:
        raise StorageError(
            f"{path} has schema {version}, this program reads {VERSION}: start the service, which migrates it"
        )
