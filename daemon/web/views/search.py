"""What was found in transcripts as a page: by recording, each line with the way to its place. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from daemon.folderpage.names import shown, shown_words
from daemon.web.views.telling import Moment, Recording, Teller, clock, recording
from storage.searching import MARKS, Hit
from storage.web_reading import SearchPage as Found

_MARKED: Final = re.compile(f"{MARKS[0]}(.*?){MARKS[1]}", re.DOTALL)
_LONGEST: Final = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands in the form, as it was typed. *before* is where the page before ended."""

    text: str = ""
    folder: str = ""
    days: str = ""
    before: int | None = None

    @property
    def words(self) -> list[str]:
        """The words that are asked for; what stands between double quotes is one."""
        return [part for part in re.findall(r'"[^"]*"|\S+', self.text) if part]

    @property
    def n_days(self) -> int | None:
        """How far to look back."""
        return int(self.days) if self.days in DAYS and self.days else None

    @property
    def query(self) -> dict[str, str]:
        """The fields but the place in the list, for an address."""
        given = {"q": self.text, "folder": self.folder, "days": self.days}
        return {key: value for key, value in given.items() if value}


DAYS: Final = ("", "1", "7", "31", "365")
"""How far one can look back."""


@dataclass(frozen=True, slots=True)
class Line:
    """A hit: *pieces* of its text, each with whether it was asked for."""

    start_s: float
    clock: str
    pieces: tuple[tuple[str, bool], ...]
    doubtful: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A recording and what was found in it."""

    job_id: int
    recording: Recording
    done: Moment
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class SearchPage:
    """The page. *trouble* says why nothing could be searched for, *note* that it took too long."""

    asked: Asked
    places: tuple[Place, ...] = ()
    n_lines: int = 0
    trouble: str = ""
    note: str = ""
    older: Mapping[str, object] = field(default_factory=dict[str, object])
    days: tuple[tuple[str, str], ...] = ()
    folders: tuple[str, ...] = ()


def asked_of(query: Mapping[str, str]) -> Asked:
    """What *query*, the fields of an address, asks for; what makes no sense is left out."""
    before, days = query.get("before", ""), query.get("days", "")
    return Asked(
        text=query.get("q", "")[:_LONGEST].strip(),
        folder=query.get("folder", "")[:500].strip(),
        days=days if days in DAYS else "",
        before=int(before) if before.isascii() and before.isdecimal() and len(before) < 19 else None,
    )


def search_page(
    asked: Asked, found: Found | None, teller: Teller, folders: Sequence[bytes] = (), trouble: str = ""
) -> SearchPage:
    """The page; *found* None: nothing was asked for yet, or it could not be searched for because of *trouble*."""
    say = teller.say
    days = tuple((n_days, say(f"search.days_{n_days or 'all'}")) for n_days in DAYS)
    names = tuple(shown(folder) for folder in folders)
    if found is None:
        return SearchPage(asked, trouble=trouble, days=days, folders=names)
    places = tuple(_place(list(hits), teller) for _, hits in groupby(found.hits, key=lambda hit: hit.job_id))
    older = {**asked.query, "before": found.older} if found.older is not None else {}
    note = say("search.cut") if found.cut else ""
    return SearchPage(asked, places, len(found.hits), "", note, older, days, names)


def _place(hits: list[Hit], teller: Teller) -> Place:
    first = hits[0]
    lines = tuple(Line(hit.start_s, clock(hit.start_s), _pieces(hit.marked), bool(hit.suspect)) for hit in hits)
    return Place(first.job_id, recording(first.path), teller.moment(first.finished_at), lines)


def _pieces(marked: str) -> tuple[tuple[str, bool], ...]:
    parts = _MARKED.split(marked)
    return tuple((_plain(part), bool(index % 2)) for index, part in enumerate(parts) if part)


def _plain(text: str) -> str:
    # The spaces at its ends stand between it and the next piece.
    lead, tail = " " * text[:1].isspace(), " " * (text[-1:].isspace() and bool(text.strip()))
    return f"{lead}{shown_words(text)}{tail}"
