"""What ``transcribed.toml`` in a folder of an inbox may say. Whoever can write to the share writes it: see the limits.

The keys are those of ``[options]``, with the same rules, and a few that only a folder has. Knows nothing of files.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field

from daemon.config.schema import FOLDER_ONLY, OptionsConfig, check_language, to_tuple

LONGEST_TEXT: Final = 2000
"""Characters of hotwords or of a prompt; a model takes 223 tokens of it."""

MOST_NAMES: Final = 200
LONGEST_NAME: Final = 100
MOST_PATTERNS: Final = 20
LONGEST_PATTERN: Final = 100

_HOSTILE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, surrogates, line and paragraph separators
_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _detected(value: object) -> object:
    return None if value == "auto" else value  # TOML has no null, and a folder must be able to take a language back


def _filled(text: str | None) -> str | None:
    return text or None


def _ignored(value: object) -> object:
    patterns = cast("list[object]", list(value)) if isinstance(value, list | tuple) else []  # pyright: ignore[reportUnknownArgumentType]  # checked next
    right = isinstance(value, bool) or (
        isinstance(value, list | tuple)
        and len(patterns) <= MOST_PATTERNS
        and all(isinstance(one, str) and 0 < len(one) <= LONGEST_PATTERN and "/" not in one for one in patterns)
    )
    if not right:
        raise ValueError(
            f'must be true, false, or a list of at most {MOST_PATTERNS} patterns for names, such as ["*.mp4", "old *"]'
        )
    return value if isinstance(value, bool) else tuple(patterns)


_Text = Annotated[str | None, Field(max_length=LONGEST_TEXT), AfterValidator(_filled)]
_Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


class FolderConfig(OptionsConfig):
    """The settings of one folder and, as far as those below say nothing else, of all that is in it.

    *language* ``auto``: detected, whatever is said above; an empty *hotwords* or *initial_prompt*: none. *names* of
    people and things join the hotwords. *notify*: of which ends `InboxConfig.notify_to` is told, None: as the inbox
    has it. *ignore* true: nothing in here is transcribed; else patterns of names, of files and folders, as a shell has.
    """

    language: Annotated[str | None, BeforeValidator(_detected), AfterValidator(check_language)] = None
    hotwords: _Text = None
    initial_prompt: _Text = None
    names: Annotated[tuple[_Name, ...], BeforeValidator(to_tuple), Field(max_length=MOST_NAMES)] = ()
    notify: Annotated[tuple[Literal["done", "failed"], ...] | None, BeforeValidator(to_tuple)] = None
    ignore: Annotated[bool | tuple[str, ...], BeforeValidator(_ignored)] = False


OWN_RULES: Final = frozenset(FolderConfig.__annotations__)
"""The keys for which a folder has another rule than the main configuration, or that only a folder has."""

assert set(FolderConfig.model_fields) == {*OptionsConfig.model_fields, *FOLDER_ONLY}


def is_plain(value: Any) -> bool:
    """Whether no text in *value*, a text or a list, forges a line, turns the direction of text, or steers a model."""
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    text = " ".join(item for item in items if isinstance(item, str))
    if "<|" in text:  # as Whisper's own tokens begin: <|endoftext|> among the hotwords spoils the words
        return False
    return not any(character in _TURNING or unicodedata.category(character) in _HOSTILE for character in text)
