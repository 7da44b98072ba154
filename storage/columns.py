"""How Python values lie in STRICT tables, which know INTEGER, REAL, TEXT and BLOB only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

from storage.texts import json_text, utc_text

E = TypeVar("E", bound=StrEnum)


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
