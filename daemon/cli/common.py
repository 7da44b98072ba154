"""What several commands need: the configuration, the history to read, text that is safe on a terminal.

Imports as little as the quickest command needs: a person waits for it.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.clock import iso, utc_now
from daemon.config import Config, Loaded, load
from daemon.config.schema import DATABASE_NAME, METRICS_NAME
from daemon.errors import TranscribedError
from daemon.log import escape
from storage.glance import Glance

if TYPE_CHECKING:
    from storage.jobs import JobStore
    from storage.reading import JobReader


def loaded(file: Path | None) -> Loaded:
    """The configuration as the daemon would see it here. Raises ConfigError."""
    return load(file, os.environ)


def database(config: Config) -> Path:
    """Where the job history is."""
    return config.state_dir / DATABASE_NAME


def figures(config: Config) -> Path:
    """Where the figures and the alerts of the monitor are."""
    return config.state_dir / METRICS_NAME


def reader(config: Config) -> AbstractContextManager[JobReader]:
    """The history, read-only. Raises TranscribedError where there is none, StorageError where it cannot be read."""
    from storage.reading import JobReader

    return closing(JobReader.open(_existing(config)))


def glance(config: Config) -> AbstractContextManager[Glance]:
    """As `reader`, for the questions that a person asks most: it is there in a tenth of the time."""
    return closing(Glance.open(_existing(config)))


def _existing(config: Config) -> Path:
    path = database(config)
    if not path.exists():
        raise TranscribedError(f"{path}: no job history yet; it is made by `transcribed run`")
    return path


@contextmanager
def writer(config: Config) -> Generator[JobStore]:
    """The history, to write while no daemon runs. Raises TranscribedError where one does, or there is no history."""
    from daemon.locks import STATE_LOCK, Lock, Owner
    from storage.jobs import JobStore

    path = _existing(config)
    # The history has one writer: while we hold the lock, that is us.
    owner = Owner.this_process(uuid.uuid4().hex, config.state_dir, iso(utc_now()))
    lock = Lock.take(config.state_dir / STATE_LOCK, owner, f"the state folder {config.state_dir}")
    try:
        with closing(JobStore.open(path, owner.uuid)) as store:
            yield store
    finally:
        lock.release()


def since(text: str | None) -> datetime | None:
    """``7d``, ``12h``, or a date with or without a time (of this machine) as a time. Raises TranscribedError."""
    if text is None:
        return None
    try:
        if ago := re.fullmatch(r"(\d{1,6})([dh])", text.strip()):
            return utc_now() - timedelta(**{"days" if ago[2] == "d" else "hours": int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise TranscribedError(f"--since {text!r}: give a date like 2026-03-01, or 7d, or 12h") from None


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
