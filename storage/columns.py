"""How Python values lie in STRICT tables, which know INTEGER, REAL, TEXT and BLOB only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

_SURROGATE = re.compile("[\ud800-\udfff]")

E = TypeVar("E", bound=StrEnum)


def readable(path: bytes) -> str:
    """*path* as text that is valid everywhere: bytes that are no UTF-8 become a backslash, an x and their value."""
    return path.decode("utf-8", "backslashreplace")


def utc_text(at: datetime) -> str:
    """*at* as ``YYYY-MM-DDTHH:MM:SS.mmmZ``, which sorts by time and which SQLite's date functions read."""
    if at.tzinfo is None:
        raise ValueError(f"a time without a time zone cannot be stored: {at!r}")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _plain(value: object) -> str:
    return readable(value) if isinstance(value, bytes) else str(value)


def json_text(value: Mapping[str, object]) -> str:
    """*value* as JSON in which every string is valid Unicode; what JSON has no type for becomes text."""
    text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, default=_plain)
    # SQLite would give an escaped lone surrogate back as broken UTF-8, so it becomes a backslash and its number.
    return _SURROGATE.sub(lambda match: f"\\\\u{ord(match[0]):04x}", text)


class AnyText(TypeDecorator[str]):
    """TEXT of any Python string: names of files carry lone surrogates, which SQLite refuses."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Escape what UTF-8 cannot hold."""
        return None if value is None else value.encode("utf-8", "backslashreplace").decode()


class UtcText(TypeDecorator[datetime]):
    """TEXT of an aware datetime, in UTC, to the millisecond."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """See `utc_text`."""
        return None if value is None else utc_text(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The aware datetime."""
        return None if value is None else datetime.fromisoformat(value)


class JsonText(TypeDecorator[Mapping[str, object]]):
    """TEXT of a JSON object."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, object] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """See `json_text`."""
        return None if value is None else json_text(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Mapping[str, object] | None:  # noqa: ARG002
        """The object as a dict."""
        if value is None:
            return None
        loaded: dict[str, object] = json.loads(value)
        return loaded


class EnumText(TypeDecorator[E], Generic[E]):
    """TEXT of a StrEnum's value."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[E]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """The value."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> E | None:  # noqa: ARG002
        """The member."""
        return None if value is None else self.kind(value)
