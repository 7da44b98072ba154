"""What can be wrong with the settings of a folder, in the words of any language. Pure.

Whatever stands in the file was written by whoever can write to the share, so what is told of it is short and harmless.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import ErrorDetails

from daemon.config import rule_of
from daemon.config.folders import MOST_PATTERNS
from daemon.log import escape
from daemon.words import Catalogue

FILE_NAME: Final = "transcribed.toml"
NOTE_NAME: Final = f"{FILE_NAME}.error.txt"

LONGEST_TOLD: Final = 60
"""Characters of a value, or of a key."""

_LONGEST_MISTAKE: Final = 300

_RULES: Final = {
    "bool_type": "yes_or_no",
    "string_type": "text",
    "tuple_type": "list",
    "int_type": "number",
    "int_from_float": "number",
    "float_type": "number",
    "finite_number": "number",
    "greater_than": "more_than",
    "greater_than_equal": "at_least",
    "less_than_equal": "at_most",
    "string_too_long": "long_text",
    "string_too_short": "empty_text",
    "too_long": "long_list",
    "literal_error": "one_of",
}
"""The sentences for what pydantic finds; `_FIGURES` are theirs of its figures."""

_FIGURES: Final = {"gt": "limit", "ge": "limit", "le": "limit", "max_length": "limit", "expected": "possible"}
_OWN_RULES: Final = {
    "language": "language",
    "formats": "no_format",
    "ignore": "patterns",
    "speaker_names": "speaker_names",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A sentence of the catalogue, under ``settings``, with its figures; the key and the value, and their line."""

    sentence: str
    figures: Mapping[str, str | int] = field(default_factory=dict[str, "str | int"])
    place: str = ""
    line: int = 0

    def told(self, words: Catalogue) -> str:
        """It in one line."""
        said = words.say(f"settings.{self.sentence}", **self.figures)
        line = words.say("settings.line", line=self.line) + " " if self.line else ""
        return escape(cut(f"{line}{self.place}: {said}" if self.place else said, _LONGEST_MISTAKE))


class Mistaken(Exception):
    """Raised where a file of settings cannot be taken."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes: Final = tuple(mistakes)
        super().__init__(", ".join(mistake.sentence for mistake in mistakes))


def rule_broken(detail: ErrorDetails) -> tuple[str, Mapping[str, str | int]]:
    """The sentence for what pydantic found, and its figures."""
    key, kind = str(detail["loc"][0]), detail["type"]
    if kind == "value_error" and key in _OWN_RULES:
        return _OWN_RULES[key], {"most": MOST_PATTERNS} if key == "ignore" else {}
    if kind not in _RULES:
        return "other", {"words": rule_of(detail)}
    figures = {_FIGURES[name]: _plain(value) for name, value in detail.get("ctx", {}).items() if name in _FIGURES}
    return _RULES[kind], figures


def _plain(value: Any) -> str:
    return str(value).replace(" or ", ", ").replace("'", '"').removesuffix(".0")


def shown(value: Any) -> str:
    """*value*, TOML, as it may be told."""
    if isinstance(value, dict):
        return "{…}"
    if isinstance(value, list):
        texts = [item for item in value if isinstance(item, str)]  # pyright: ignore[reportUnknownVariableType]  # TOML
        return cut(json.dumps(value, ensure_ascii=False)) if len(texts) == len(value) else "[…]"  # pyright: ignore[reportUnknownArgumentType]  # TOML
    return cut(json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value))


def cut(text: str, longest: int = LONGEST_TOLD) -> str:
    """*text*, not longer than that."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def note_of(mistakes: Sequence[Mistake], keys: Sequence[str], words: Catalogue, *, before: bool) -> str:
    """What is told beside a file with *mistakes*, of one in which *keys* may be set.

    *before*: what it said without a mistake still counts.
    """
    return "\n".join(
        [
            words.say("settings.headline", file=FILE_NAME),
            "",
            *(f"  {mistake.told(words)}" for mistake in mistakes),
            "",
            words.say("settings.until_before" if before else "settings.until_around"),
            "",
            words.say("settings.possible", keys=", ".join(keys)),
            words.say("settings.example", example='language = "de"'),
            "",
        ]
    )
