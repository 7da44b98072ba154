"""Whole views, row by row, for other programs. Knows no format."""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage.texts import utc_text

TIMES: Final = MappingProxyType(
    {
        "v_history": "finished_at",
        "v_jobs": "created_at",
        "v_failures": "finished_at",
        "v_files": "created_at",
        "v_events": "at",
        "v_outputs": "finished_at",
        "v_segments": "finished_at",
        "v_suspects": "finished_at",
        "v_versions": "at",
        "v_throughput_daily": "day",
    }
)
"""The views that can be exported, and the column by which a row is old or new."""

_N_AT_ONCE: Final = 1000


def rows(session: Session, view: str, since: datetime | None) -> Generator[tuple[object, ...]]:
    """The names of the columns, then the rows of *view*, one of TIMES, that are not older than *since*."""
    where = f" WHERE {TIMES[view]} >= :since" if since is not None else ""
    parameters = {"since": _since(view, since)} if since is not None else {}
    statement = text(f"SELECT * FROM {view}{where}")  # noqa: S608  # names of our own
    found = session.connection().execution_options(yield_per=_N_AT_ONCE).execute(statement, parameters)
    yield tuple(found.keys())
    for row in found:
        yield tuple(row)


def _since(view: str, since: datetime) -> str:
    return utc_text(since)[:10] if TIMES[view] == "day" else utc_text(since)
