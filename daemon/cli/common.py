"""What several commands need: the configuration, the history to read, text that is safe on a terminal."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from daemon.config import Config, Loaded, load
from daemon.errors import TranscribedError
from daemon.log import escape
from daemon.service import DATABASE_NAME
from storage.reading import JobReader


def loaded(file: Path | None) -> Loaded:
    """The configuration as the daemon would see it here. Raises ConfigError."""
    return load(file, os.environ)


def database(config: Config) -> Path:
    """Where the job history is."""
    return config.state_dir / DATABASE_NAME


def reader(config: Config) -> AbstractContextManager[JobReader]:
    """The history, read-only. Raises TranscribedError where there is none, StorageError where it cannot be read."""
    path = database(config)
    if not path.exists():
        raise TranscribedError(f"{path}: no job history yet; it is made by `transcribed run`")
    return closing(JobReader.open(path))


def print_json(content: Any) -> None:
    """Print *content* as JSON; file names that are no text keep their bytes as escapes."""
    print(json.dumps(content, indent=1, ensure_ascii=True))


def readable(path: bytes) -> str:
    """A path for a person's terminal: nothing in it can move the cursor or forge a line."""
    return escape(os.fsdecode(path))


def duration(seconds: float | None) -> str:
    """``1:02:03``, ``2:03``, or nothing."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
