"""The list of jobs as a page: what was asked for, its rows, and the way to older ones. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Final

from daemon.folderpage.names import shown
from daemon.web.views.telling import Badge, Moment, Recording, Teller, from_query, recording
from storage.records import LIVE_STATES, Job, JobState
from storage.texts import readable
from storage.web_reading import LOOK, MOST_COUNTED, JobsPage, Wanted

STATES: Final[Mapping[str, frozenset[JobState]]] = MappingProxyType(
    {
        "": frozenset[JobState](),
        "busy": LIVE_STATES,
        "done": frozenset({JobState.DONE}),
        "failed": frozenset({JobState.FAILED, JobState.QUARANTINED}),
        "cancelled": frozenset({JobState.CANCELLED}),
        "vanished": frozenset({JobState.VANISHED}),
    }
)
"""What can be asked for, and the states that it means."""

_LONGEST: Final = 500
_YEARS: Final = (1970, 9000)


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands in the form, as it was typed."""

    state: str = ""
    folder: str = ""
    language: str = ""
    since: str = ""
    until: str = ""
    text: str = ""
    before: int | None = None

    @property
    def query(self) -> dict[str, str]:
        """The fields but the place in the list, for an address."""
        given = {"state": self.state, "folder": self.folder, "lang": self.language}
        given |= {"since": self.since, "until": self.until, "q": self.text}
        return {key: value for key, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Row:
    """A job."""

    id: int
    recording: Recording
    badge: Badge
    reason: str
    length: str
    language: str
    made: Moment
    speed: str = ""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """The page. *older* is the address of the next one, "" at the end; *note* says what was not looked at."""

    asked: Asked
    rows: tuple[Row, ...]
    count: str
    older: Mapping[str, object] = field(default_factory=dict[str, object])
    note: str = ""
    is_first: bool = True
    states: tuple[tuple[str, str], ...] = ()
    languages: tuple[tuple[str, str], ...] = ()
    folders: tuple[str, ...] = ()


def asked_of(query: Mapping[str, str]) -> Asked:
    """What *query*, the fields of an address, asks for; what makes no sense is left out."""
    state, before = query.get("state", ""), query.get("before", "")
    return Asked(
        state=state if state in STATES else "",
        folder=query.get("folder", "")[:_LONGEST].strip(),
        language=query.get("lang", "")[:20].strip(),
        since=query.get("since", "")[:10],
        until=query.get("until", "")[:10],
        text=query.get("q", "")[:_LONGEST].strip(),
        before=int(before) if before.isascii() and before.isdecimal() and len(before) < 19 else None,
    )


def wanted_of(asked: Asked, hidden: tuple[bytes, ...] = (), zone: tzinfo | None = None) -> Wanted:
    """The jobs that are meant. Days are those of *zone* (None: here), the last one included."""
    until = _day(asked.until, zone)
    return Wanted(
        states=STATES[asked.state],
        folder=from_query(asked.folder) if asked.folder else None,
        language=readable(from_query(asked.language)),
        since=_day(asked.since, zone),
        until=until + timedelta(days=1) if until is not None else None,
        text=readable(from_query(asked.text)),  # as names are kept as text
        but_not_in=hidden,
    )


def _day(text: str, zone: tzinfo | None) -> datetime | None:
    with contextlib.suppress(ValueError):
        day = datetime.fromisoformat(text)
        # At the ends of what a date can be, there is no day before or after.
        return day.replace(tzinfo=zone).astimezone(zone) if _YEARS[0] <= day.year <= _YEARS[1] else None
    return None


def history_page(
    asked: Asked,
    page: JobsPage,
    n_jobs: int | None,
    teller: Teller,
    choices: tuple[Sequence[str], Sequence[bytes]] = ((), ()),
) -> HistoryPage:
    """The page; *n_jobs* as `WebReading.count` gives it, *choices* are languages and folders to choose from."""
    say = teller.say
    languages, folders = choices
    count = say("history.count", n=teller.count(n_jobs, MOST_COUNTED)) if n_jobs is not None else ""
    note = ""
    if page.looked:
        note = say("history.looked", n=teller.count(LOOK, LOOK))
    known = dict.fromkeys([*languages, asked.language] if asked.language else languages)
    return HistoryPage(
        asked=asked,
        rows=tuple(row(job, teller) for job in page.jobs),
        count=count,
        older={**asked.query, "before": page.older} if page.older else {},
        note=note,
        is_first=asked.before is None,
        states=tuple((state, say(f"history.state_{state or 'all'}")) for state in STATES),
        languages=tuple(sorted(((code, teller.language(code)) for code in known), key=lambda pair: pair[1])),
        folders=tuple(shown(folder) for folder in folders),
    )


def row(job: Job, teller: Teller) -> Row:
    """*job* as a row."""
    return Row(
        id=job.id,
        recording=recording(job.path),
        badge=teller.badge(job),
        reason=teller.short_reason(job),
        length=teller.duration(job.audio_s),
        language=teller.language(job.language),
        made=teller.moment(job.created_at),
        speed=teller.words.number(job.speed) if job.speed else "",
    )
