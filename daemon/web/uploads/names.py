"""The name that an uploaded recording gets. Pure: what a browser sends is not to be trusted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from daemon.intake.rules import judge_file, judge_folder

LONGEST_BYTES: Final = 200
"""Of a name; room is left for ``(2)`` and for what the names of transcripts carry."""

_NOT_HERE: Final = frozenset('<>:"|?*')
"""What Windows, where a share may be read, has in no name."""


class BadName(ValueError):
    """Raised for a name that no recording may have; the message is fit for a person."""


def cleaned(name: str) -> str:
    """*name* as a file may have it: no path, no control or bidirectional character, nothing hidden, not too long.

    Raises BadName where nothing is left, or where it is not that of a recording.
    """
    last = re.split(r"[/\\]", name[:4096])[-1]
    shown = unicodedata.normalize("NFC", last.encode("utf-8", "replace").decode())
    plain = "".join(_character(character) for character in shown)
    plain = re.sub(r"\s+", " ", plain).strip(" ").lstrip(".").rstrip(". ")
    short = _shortened(plain)
    if not short.strip("_. "):
        raise BadName("the name of the file is empty, or holds nothing that a file may be called")
    verdict = judge_file(short)
    if not verdict.recording:
        raise BadName(f"{short}: {verdict.rule}")
    return short


def _character(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") or character in _NOT_HERE:
        return "_" if character in _NOT_HERE else ""
    return character


def _shortened(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    if not dot:
        return name
    room = LONGEST_BYTES - len(f".{extension}".encode())
    if room < 1:
        raise BadName("the name of the file has an extension that is too long")
    return f"{stem.encode()[:room].decode(errors='ignore').rstrip()}.{extension}"


def numbered(name: str, number: int) -> str:
    """*name* as it is for the first, ``stem (2).ext`` for the second that wants it."""
    stem, dot, extension = name.rpartition(".")
    return name if number == 1 else f"{stem} ({number}){dot}{extension}"


def folders_of(place: str) -> Sequence[str]:
    """The folders of *place*, a path below an inbox; empty for the inbox itself. Raises BadName.

    None of them is hidden, and none goes up.
    """
    parts = [part for part in place.split("/") if part]
    for part in parts:
        if part in (".", "..") or "\0" in part:
            raise BadName(f"{place!r} is no folder in an inbox")
        verdict = judge_folder(part)
        if not verdict.recording:
            raise BadName(f"{part}: {verdict.rule}")
    return parts
