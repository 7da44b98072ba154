"""How the pages say what a job is: its state, its reason, times and lengths, in the visitor's language. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from daemon.clock import iso
from daemon.folderpage.names import shown, shown_words
from daemon.folderpage.view import Writer
from daemon.words import Catalogue
from storage.records import Job, JobState, Outcome, Told

TONES: Final = {
    JobState.DONE: "ok",
    JobState.RUNNING: "run",
    JobState.PUBLISHING: "run",
    JobState.WAITING: "warn",
    JobState.FAILED: "bad",
    JobState.QUARANTINED: "bad",
}
"""How a state is coloured; it is always said in words too."""

_REASON_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: for programs, and as it is read here."""

    iso: str
    text: str


@dataclass(frozen=True, slots=True)
class Badge:
    """A state in a word, and its tone."""

    word: str
    tone: str


@dataclass(frozen=True, slots=True)
class Recording:
    """The name of a recording, and the folder that it is in; *place* is that folder's path, to be asked for again."""

    name: str
    folder: str
    place: str


class Teller:
    """Says things in the language of *words*, at *at*, with times as they are in *zone* (None: here)."""

    def __init__(self, words: Catalogue, at: datetime, zone: tzinfo | None = None) -> None:
        self.words = words
        self.say = words.say
        self.at = at
        self._zone = zone
        self._writer = Writer(words, at, zone)

    def moment(self, at: datetime) -> Moment:
        """*at*, with its day where that is not today."""
        local = at.astimezone(self._zone)
        return Moment(iso(at), self.words.moment(local, self.at.astimezone(self._zone).date()))

    def local(self, at: datetime) -> datetime:
        """*at* as the clock on the wall says it."""
        return at.astimezone(self._zone)

    def day(self, at: datetime) -> str:
        """The day of *at* without its year, which is local."""
        return self.say("web.day", month=f"{at.month}", day=f"{at.day}")

    def duration(self, seconds: float | None) -> str:
        """A length of time; "" for none."""
        return "" if seconds is None else self.words.duration(seconds)

    def language(self, code: str | None) -> str:
        """The name of a language, its code where there is no name; "" for none."""
        if not code:
            return ""
        return self.say(f"lang.{code}") if self.words.has(f"lang.{code}") else code

    def badge(self, job: Job) -> Badge:
        """The state of *job*, or how it ended."""
        if job.state is JobState.DONE and job.outcome not in (None, Outcome.OK):
            return Badge(self.say(f"state.{job.outcome}"), "ok" if job.outcome is Outcome.DUPLICATE else "warn")
        return Badge(self.say(f"state.{job.state}"), TONES.get(job.state, "muted"))

    def reason(self, job: Job) -> tuple[str, ...]:
        """Why *job* is as it is, and what can be done about it; nothing where there is nothing to explain."""
        if job.outcome is Outcome.NO_SPEECH:
            return ()  # its badge says so, in the language of the page
        return self.told(job.told, job.reason)

    def told(self, told: Told | None, words: str) -> tuple[str, ...]:
        """The same for what is stored of it."""
        if told is None:
            return (shown_words(words),) if words else ()
        return tuple(line for line in self._writer.reason(told, words) if line)

    def short_reason(self, job: Job) -> str:
        """The first sentence of `reason`, for a row of a table."""
        lines = self.reason(job)
        return cut(lines[0], _REASON_CHARS) if lines else ""

    def count(self, n: int, most: int) -> str:
        """*n*, or ``10,000+`` where it is more than *most*."""
        sign = self.say("web.thousands")
        return f"{n:,}".replace(",", sign) if n <= most else f"{most:,}+".replace(",", sign)


def recording(path: bytes) -> Recording:
    """How *path* is shown."""
    folder, name = os.path.split(path)
    return Recording(shown(name), shown(folder), as_query(folder))


def as_query(path: bytes) -> str:
    """*path* as it can stand in an address; `from_query` gives it back."""
    return path.decode("utf-8", "surrogateescape")


def from_query(text: str) -> bytes:
    """The path that `as_query` wrote."""
    return text.encode("utf-8", "surrogateescape")


def clock(seconds: float) -> str:
    """``0:02:03``: hours, minutes and seconds, the fraction cut off, so that a player starts before the word."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def cut(text: str, most: int) -> str:
    """*text* in *most* characters."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
