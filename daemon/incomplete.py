"""Recordings that end too early: what shows it, and whether the rest may still come. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from daemon.decode.pool import Decoded
from daemon.decode.settings import is_short
from storage.records import Fingerprint


def missing(decoded: Decoded) -> str:
    """What is missing of a recording, in words; empty where it is whole, as far as its format can say so."""
    declared_s = decoded.declared_s
    if declared_s is None:
        return f"{decoded.cut_off}; {decoded.decoded_s:.0f} s could be decoded" if decoded.cut_off else ""
    if is_short(decoded.decoded_s, declared_s):
        return f"only {decoded.decoded_s:.0f} s of {declared_s:.0f} s could be decoded"
    return ""


def wait_left_s(fingerprint: Fingerprint, made_at: datetime, at: datetime, patience_s: float) -> float:
    """How much longer the rest of a file may come, if it may as long as it changed within *patience_s*; else 0.

    *made_at* is when its job was made. It counts where the file's own time cannot: a server's clock may be ahead.
    Where both are far ahead, our own clock was set back, and nobody waits until it has caught up.
    """
    changed_at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=fingerprint.ctime_ns // 1000)
    since = changed_at if changed_at <= at else made_at
    waited_s = (at - since).total_seconds()
    return 0.0 if waited_s < -patience_s else max(0.0, patience_s - max(0.0, waited_s))
