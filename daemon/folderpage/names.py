"""Names of files as they may be shown and linked, whoever made them up. Pure.

A name is any bytes but / and NUL. What moves the writing (bidirectional controls, line ends) or is no text is shown by
its number; joiners stay, which several scripts and emoji need.
"""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Final
from urllib.parse import quote_from_bytes

_NOT_SHOWN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs"})
_JOINERS: Final = frozenset("\u200c\u200d")
_MOST_MARKS: Final = 4  # on one letter; more would be drawn over the lines around

_MOST_WORDS: Final = 1000

NOTE_SUFFIX: Final = ".error.txt"
PAGE_NAMES: Final = ("_transcribed.html", "_transcribed.txt")


def is_own_sign(name: str) -> bool:
    """Whether a file of this name is one that we put into folders for people to read, or on its way to be one.

    That it came or went is no news for the intake. It goes by the name alone.
    """
    return name in PAGE_NAMES or name.endswith(NOTE_SUFFIX) or name.startswith(".tr-")


def shown(name: bytes) -> str:
    """*name* on one line, for people."""
    return shown_text(name.decode("utf-8", "surrogateescape"))


def shown_text(text: str) -> str:
    """*text* on one line, with nothing in it that is not seen as what it is."""
    signs: list[str] = []
    n_marks = 0
    for sign in text:
        n_marks = n_marks + 1 if unicodedata.category(sign) in ("Mn", "Me") else 0
        signs.append(sign if n_marks <= _MOST_MARKS and _is_plain(sign) else _numbered(sign))
    return "".join(signs)


def shown_words(words: str) -> str:
    """A sentence of ours, which may have such names in it, on one line and not too long."""
    line = shown_text(" ".join(words.split()))
    return line if len(line) <= _MOST_WORDS else f"{line[:_MOST_WORDS]} …"


def _is_plain(sign: str) -> bool:
    return sign in _JOINERS or unicodedata.category(sign) not in _NOT_SHOWN


def _numbered(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def link(place: bytes) -> str:
    """The address of *place* from a page in the inbox. It can neither leave that nor be taken for another scheme."""
    return "./" + quote_from_bytes(place, safe="/")


def note_name(name: bytes, max_bytes: int) -> bytes:
    """The name of the note beside recording *name*, of *max_bytes* at the most."""
    room = max_bytes - len(NOTE_SUFFIX)
    if len(name) > room:
        mark = b"~" + hashlib.sha256(name).hexdigest()[:8].encode()
        # "ignore" drops the pieces of a character that the cut went through.
        name = name[: room - len(mark)].decode("utf-8", "ignore").encode() + mark
    return name + NOTE_SUFFIX.encode()
