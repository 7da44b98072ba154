"""The two clocks: monotonic seconds for every decision, aware UTC for every record."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def monotonic_s() -> float:
    """Seconds that never jump."""
    return time.monotonic()


def utc_now() -> datetime:
    """The wall clock, for records only: it may jump."""
    return datetime.now(UTC)


def iso(at: datetime) -> str:
    """*at* as ``2026-11-22T14:40:00Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
