"""One rule: when its alert opens, when it is over, what it says. Knows no samples, and not where rules come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from monitor.alert import Severity
from monitor.figures import Key
from monitor.wording import one_line, say

GONE_S: Final = 600.0
"""A figure that stays away for so long is not coming back: drivers and shares take minutes to."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When an alert opens and when it is over.

    It opens once *figure* has been past *limit* (over it if *is_above*, else under it) for *for_s*, and is over once it
    has been at *clear* or better for *clear_for_s*, or without a value for *gone_s*. While an alert of one of the rules
    *causes* is open, this one does not open: what would be told is known. Where both have subjects of one kind it must
    be the same one, but for a cause that *explains_all*. *subject* is a pattern as in a shell.
    """

    name: str
    figure: str
    limit: float
    is_above: bool
    clear: float
    for_s: float
    clear_for_s: float
    severity: Severity
    title: str
    advice: str
    why: str = ""
    subject: str = "*"
    gone_s: float = GONE_S
    causes: tuple[str, ...] = ()
    explains_all: bool = False

    def watches(self, key: Key) -> bool:
        """Whether the rule is about *key*."""
        return key.name == self.figure and (self.subject == "*" or fnmatchcase(key.subject, self.subject))

    def is_broken_by(self, value: float) -> bool:
        """Whether *value* is past the limit."""
        return value > self.limit if self.is_above else value < self.limit

    def is_cleared_by(self, value: float) -> bool:
        """Whether *value* is good again, not only a little better than the limit."""
        return value <= self.clear if self.is_above else value >= self.clear

    def worse(self, one: float, other: float) -> float:
        """The worse one of two values."""
        return max(one, other) if self.is_above else min(one, other)

    def title_for(self, key: Key, value: float, words: str) -> str:
        """The matter in one line."""
        return _filled(self.title, self._places(key, value, words))

    def advice_for(self, key: Key, value: float, words: str) -> str:
        """What to do next."""
        return _filled(self.advice, self._places(key, value, words))

    def _places(self, key: Key, value: float, words: str) -> dict[str, str]:
        return {
            "value": say(self.figure, value),
            "limit": say(self.figure, self.limit),
            "subject": one_line(key.subject),
            "words": one_line(words),
        }


def _filled(template: str, places: Mapping[str, str]) -> str:
    # A colon before words that are not there would promise something.
    return template.format(**places).rstrip(" :,;")
