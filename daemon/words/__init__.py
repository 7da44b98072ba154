"""What people are told who see only the folder, in their language. One file of sentences for each language.

Sentences are found by key and have room for figures, as `str.format` writes it. What is put in is never read again.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, cast, get_args

Language = Literal["en", "de", "zh"]

LANGUAGES: Final = cast("tuple[Language, ...]", get_args(Language))

Figure = str | float | int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The sentences of one language. *tag* is its name in HTML (BCP 47)."""

    tag: str
    sentences: Mapping[str, str]

    def has(self, key: str) -> bool:
        """Whether there is a sentence under *key*."""
        return key in self.sentences

    def say(self, key: str, /, **figures: Figure) -> str:
        """The sentence *key* with its figures. Raises KeyError where there is none, or where a figure is missing."""
        written = {name: value if isinstance(value, str) else self.number(value) for name, value in figures.items()}
        return self.sentences[key].format(**written)

    def number(self, value: float) -> str:
        """*value* as it is written in this language: 12, 2.5."""
        return f"{value:.1f}".removesuffix(".0").replace(".", self.sentences["number.point"])

    def duration(self, seconds: float) -> str:
        """*seconds*, as exactly as a person who waits wants it."""
        whole = max(0, round(seconds))
        if whole < 60:
            return self.say("time.s", s=whole)
        minutes = round(whole / 60)
        if minutes < 60:
            return self.say("time.min", min=minutes)
        hours, minutes = divmod(minutes, 60)
        return self.say("time.h_min", h=hours, min=minutes) if minutes else self.say("time.h", h=hours)

    def moment(self, at: datetime, today: date | None = None) -> str:
        """*at*, which is local: its time of day, and its day too where that is not *today*."""
        clock = f"{at:%H:%M}"
        return clock if at.date() == today else self.say("time.day", day=self._day(at.date()), clock=clock)

    def _day(self, day: date) -> str:
        return self.say("time.date", year=f"{day.year:04}", month=f"{day.month:02}", day=f"{day.day:02}")


@cache
def catalogue(language: Language) -> Catalogue:
    """The sentences of *language*."""
    file = resources.files(__name__).joinpath(f"{language}.toml")
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    return Catalogue(str(table.pop("tag")), dict(flat(table)))


def flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The sentences of a file of words, each under its whole key: tables and key with dots between."""
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += flat(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            found.append((prefix + key, str(value)))
    return found
