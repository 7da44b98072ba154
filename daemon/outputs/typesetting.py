# ruff: noqa: RUF001  # marks of other scripts are what it is made of
"""What all writers must know of scripts: what may be shown, how wide it is, where it may be broken. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_DIRECTIONS: Final = "\u202a-\u202e\u2066-\u2069"
# Embeddings, overrides and isolates: with them a text can be made to look like another one. Right-to-left letters need
# none, and the marks that Arabic and Hebrew do use (LRM, RLM, ALM, the joiners) stay.

_NOT_SHOWN: Final = re.compile(f"[\\x00-\\x1f\\x7f-\\x9f{_DIRECTIONS}\u206a-\u206f\ufeff\ufff9-\ufffb]")
_NOT_TEXT: Final = re.compile("[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")  # no XML, and no UTF-8, can hold them

_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3000-\u30ff\u31f0-\u31ff"  # Japanese syllables, and the marks of Chinese and Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff]"  # Han, and full-width forms
)
_MARKS: Final = frozenset("、。〈〉《》「」『』【】〔〕！（），：；？｡｢｣､…")  # no space beside them

_NOT_FIRST: Final = frozenset(
    "、。，．：；？！）］｝〉》」』】〕｡､｣・ーゝゞ々…‥〜～"
    "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ"
    "ๆฯะาำ!?.,:;)]}%\"'”’»"
)
_NOT_LAST: Final = frozenset("（［｛〈《「『【〔｢([{“‘«¿¡$€£#เแโใไ")
# What a line may not begin and not end with (JIS X 4051), and the vowels that Thai writes around their consonant.

_OPENING: Final = frozenset("«“‘„([{¿¡")

_NAME_COLUMNS: Final = 40  # people have shorter ones; it stands before each paragraph


def cleaned(text: str) -> str:
    """*text* in one line, without what is not shown and what makes it look like another text."""
    return _NOT_TEXT.sub("\ufffd", " ".join(_NOT_SHOWN.sub("", " ".join(text.split())).split()))


def shortened(text: str, most_columns: int) -> str:
    """*text* in at most so many columns; where it had to be cut, it ends with an ellipsis."""
    most_characters = 2 * most_columns  # marks have no width, however many of them there are
    if columns(text) <= most_columns and len(text) <= most_characters:
        return text
    width = 1
    for n, character in enumerate(text[: most_characters - 1]):
        width += _columns_of(character)
        if width > most_columns:
            return text[:n].rstrip() + "…" if n else ""
    return text[: most_characters - 1].rstrip() + "…"


def name_of(speaker: str) -> str:
    """A speaker's name as it is shown before what they say; empty where nothing can be shown of it."""
    name = shortened(cleaned(speaker), _NAME_COLUMNS).strip(" :")
    return name if columns(name) else ""


@lru_cache(maxsize=4096)
def _columns_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def columns(text: str) -> int:
    """How wide *text* is: a wide character counts two, a combining one nothing."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def wide_columns(text: str) -> int:
    """How many of its columns are those of wide characters."""
    return 0 if text.isascii() else sum(width for width in map(_columns_of, text) if width == 2)


def is_unspaced(character: str) -> bool:
    """Whether its script has no spaces between words."""
    return _UNSPACED.match(character) is not None


def needs_space(left: str, right: str) -> bool:
    """Whether a space belongs between two texts that follow each other."""
    if not left or not right or left[-1] in _MARKS or right[0] in _MARKS:
        return False
    return not (is_unspaced(left[-1]) and is_unspaced(right[0]))


def joined(texts: Iterable[str]) -> str:
    """*texts* as one: with spaces between them where their scripts have any."""
    whole: list[str] = []
    for text in texts:
        if whole and needs_space(whole[-1], text):
            whole.append(" ")
        if text:
            whole.append(text)
    return "".join(whole)


def units(text: str) -> list[tuple[int, int]]:
    """The parts of *text*, which is `cleaned`, that must not be broken: where each begins and ends, all but spaces.

    Words; in scripts without spaces characters, with the marks that may not stand alone.
    """
    found: list[tuple[int, int]] = []
    waits: int | None = None  # where a mark begins that belongs to what comes
    for chunk in re.finditer(r"[^ ]+", text):
        first, end = chunk.span()
        if not any(map(str.isalnum, chunk.group())):
            if waits is not None or (found and chunk.group()[0] not in _OPENING):
                if waits is None:
                    found[-1] = (found[-1][0], end)
            else:
                waits = first
            continue
        parts = _parts(text, first, end)
        if waits is not None:
            parts[0] = (waits, parts[0][1])
            waits = None
        found += parts
    if waits is not None:
        end = len(text)
        found = [*found[:-1], (found[-1][0], end)] if found else [(waits, end)]
    return found


def _parts(text: str, first: int, end: int) -> list[tuple[int, int]]:
    """A stretch without spaces, cut where its scripts allow it."""
    if _UNSPACED.search(text, first, end) is None:
        return [(first, end)]
    cuts = [at for at in range(first + 1, end) if _may_cut(text[at - 1], text[at])]
    return list(zip([first, *cuts], [*cuts, end], strict=True))


def _may_cut(left: str, right: str) -> bool:
    if right in _NOT_FIRST or left in _NOT_LAST or left in "\u200d\u2060" or right in "\u200d\u2060":
        return False
    if unicodedata.category(right).startswith("M") or right in "\uff9e\uff9f":  # the half-width sound marks
        return False
    return is_unspaced(left) or is_unspaced(right)
