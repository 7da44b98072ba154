"""Alerts as rows of metrics.db. Each function works inside the transaction of the caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from monitor.alert import SEVERITIES, Alert, Judgement, Matter, Severity
from monitor.figures import Key
from monitor.history.rows import WORDS_CHARS, readable, to_text

_COLUMNS: Final = (
    *("id", "rule", "name", "subject", "severity", "title", "advice", "words", "limit_value", "first", "last", "peak"),
    *("opened_at", "seen_at", "resolved_at"),
)
_SEVERITIES: Final[Mapping[str, Severity]] = {severity: severity for severity in SEVERITIES}
_OPEN: Final = "resolved_at IS NULL"


def _stored(alert: Alert) -> Matter:
    """What *alert* is about, as it can be stored."""
    return Matter(alert.rule, Key(alert.key.name, readable(alert.key.subject)))


def open_matters(connection: sqlite3.Connection) -> dict[Matter, int]:
    """The numbers of the alerts that are open."""
    found = connection.execute(f"SELECT rule, name, subject, id FROM alert WHERE {_OPEN}")  # noqa: S608
    return {Matter(rule, Key(name, subject)): number for rule, name, subject, number in found}


def read_alerts(
    connection: sqlite3.Connection, where: str = _OPEN, values: Sequence[object] = (), limit: int = -1
) -> tuple[Alert, ...]:
    """The alerts of which *where* is true, the open ones first, then the newest; all if *limit* is below 0."""
    found = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM alert WHERE {where} ORDER BY {_OPEN} DESC, id DESC LIMIT ?",  # noqa: S608
        (*values, limit),
    )
    return tuple(_alert(row) for row in found)


def file_alerts(
    connection: sqlite3.Connection, at: datetime, judgement: Judgement, known: Mapping[Matter, int]
) -> tuple[Judgement, dict[Matter, int]]:
    """*judgement* with numbers, and what is open after it. *known* is what is open in the file."""
    before = dict(known)
    resolved = tuple(_file(connection, alert, before.pop(_stored(alert), None)) for alert in judgement.resolved)
    in_force = {_stored(alert): alert for alert in (*judgement.opened, *judgement.open)}
    filed = {of: _file(connection, alert, before.pop(of, None)) for of, alert in in_force.items()}
    # Their end could not be written at the time.
    connection.executemany(
        "UPDATE alert SET resolved_at = ? WHERE id = ?", [(to_text(at), number) for number in before.values()]
    )
    opened = tuple(filed[_stored(alert)] for alert in judgement.opened)
    still_open = tuple(filed[_stored(alert)] for alert in judgement.open)
    numbers = {of: alert.id for of, alert in filed.items() if alert.id is not None}
    return Judgement(opened, resolved, still_open), numbers


def _file(connection: sqlite3.Connection, alert: Alert, number: int | None) -> Alert:
    """*alert* with its number: *number*, or a new one."""
    values = _values(alert)
    if number is None:
        holders = ", ".join(f":{column}" for column in values)
        cursor = connection.execute(f"INSERT INTO alert ({', '.join(values)}) VALUES ({holders})", values)  # noqa: S608
        return replace(alert, id=cursor.lastrowid)
    connection.execute(
        "UPDATE alert SET severity = :severity, title = :title, advice = :advice, words = :words,"
        " limit_value = :limit_value, last = :last, peak = :peak, seen_at = :seen_at, resolved_at = :resolved_at"
        " WHERE id = :id",
        values | {"id": number},
    )
    return replace(alert, id=number)


def _values(alert: Alert) -> dict[str, Any]:
    return {
        "rule": alert.rule,
        "name": alert.key.name,
        "subject": readable(alert.key.subject),
        "severity": alert.severity,
        "title": readable(alert.title[:WORDS_CHARS]),
        "advice": readable(alert.advice[:WORDS_CHARS]),
        "words": readable(alert.words[:WORDS_CHARS]),
        "limit_value": alert.limit,
        "first": alert.first,
        "last": alert.last,
        "peak": alert.peak,
        "opened_at": to_text(alert.opened_at),
        "seen_at": to_text(alert.seen_at),
        "resolved_at": to_text(alert.resolved_at) if alert.resolved_at is not None else None,
    }


def _alert(row: Sequence[Any]) -> Alert:
    number, rule, name, subject, severity, title, advice, words, limit, first, last, peak, *times = row
    opened_at, seen_at, resolved_at = times
    return Alert(
        rule=rule,
        key=Key(name, subject),
        severity=_SEVERITIES.get(severity, "warning"),
        title=title,
        advice=advice,
        words=words,
        limit=limit,
        first=first,
        last=last,
        peak=peak,
        opened_at=datetime.fromisoformat(opened_at),
        seen_at=datetime.fromisoformat(seen_at),
        resolved_at=datetime.fromisoformat(resolved_at) if resolved_at is not None else None,
        id=number,
    )
