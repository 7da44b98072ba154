"""How values are written as text in the database. Imports no SQL: the command line needs it in a hurry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

_SURROGATE = re.compile("[\ud800-\udfff]")


def readable(path: bytes) -> str:
    """*path* as text that is valid everywhere: bytes that are no UTF-8 become a backslash, an x and their value."""
    return path.decode("utf-8", "backslashreplace")


def utc_text(at: datetime) -> str:
    """*at* as ``YYYY-MM-DDTHH:MM:SS.mmmZ``, which sorts by time and which SQLite's date functions read."""
    if at.tzinfo is None:
        raise ValueError(f"a time without a time zone cannot be stored: {at!r}")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def time_of(stored: str) -> datetime:
    """The time that `utc_text` wrote."""
    return datetime.fromisoformat(stored)


def _plain(value: object) -> str:
    return readable(value) if isinstance(value, bytes) else str(value)


def json_text(value: Mapping[str, object]) -> str:
    """*value* as JSON in which every string is valid Unicode; what JSON has no type for becomes text."""
    text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, default=_plain)
    # SQLite would give an escaped lone surrogate back as broken UTF-8, so it becomes a backslash and its number.
    return _SURROGATE.sub(lambda match: f"\\\\u{ord(match[0]):04x}", text)
