"""A state in words: what stands where on the page, in one language, for HTML and for plain text. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from daemon.folderpage.names import link, shown, shown_words
from daemon.folderpage.state import Awaiting, Failure, Finished, Running, State
from daemon.words import Catalogue
from storage.records import Told

BUSY_REFRESH_S: Final = 10
IDLE_REFRESH_S: Final = 60


@dataclass(frozen=True, slots=True)
class Row:
    """A recording. *folder* is empty for one directly in the inbox; *links* are labels and addresses."""

    name: str
    folder: str
    link: str
    about: str = ""
    lines: tuple[str, ...] = ()
    percent: int | None = None
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Rows of a *kind*: ``failed``, ``running``, ``waiting``, ``done``. *more* tells how many others there are."""

    kind: str
    title: str
    rows: tuple[Row, ...]
    more: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A page. *alarm* is what people should see first, empty where there is nothing of that kind."""

    tag: str
    title: str
    as_of: str
    fresh: str
    not_ours: str
    summary: tuple[str, ...]
    alarm: tuple[str, ...]
    sections: tuple[Section, ...]
    refresh_s: int


class Writer:
    """Writes in the language of *catalogue*, at *at*, with times as they are in *zone* (None: here)."""

    def __init__(self, catalogue: Catalogue, at: datetime, zone: tzinfo | None = None) -> None:
        self._words = catalogue
        self._zone = zone
        self._at = at.astimezone(zone)

    def view(self, state: State) -> View:
        """The page of *state*."""
        say = self._words.say
        sections = (
            self._section("failed", [self._failed(one) for one in state.failed], state.n_failed),
            self._section("running", [self._running(one) for one in state.running], state.n_running),
            self._section("waiting", [self._waiting(one) for one in state.waiting], state.n_waiting),
            self._section("done", [self._done(one) for one in state.done], len(state.done)),
        )
        busy = bool(state.n_running or state.n_waiting) and state.stopped_at is None
        return View(
            tag=self._words.tag,
            title=say("page.title", folder=shown(state.folder)),
            as_of=say("page.as_of", at=self.moment(self._at)),
            fresh=say("page.fresh"),
            not_ours=say("page.not_ours"),
            summary=self._summary(state),
            alarm=self._alarm(state),
            sections=tuple(section for section in sections if section.rows or section.more),
            refresh_s=BUSY_REFRESH_S if busy else IDLE_REFRESH_S,
        )

    def reason(self, told: Told | None, words: str) -> tuple[str, str]:
        """What happened and what to do; in English where nobody has told it otherwise."""
        plain = shown_words(words)
        if told is not None and self._words.has(f"reason.{told.key}.what"):
            try:
                return self._both(told.key, {**told.figures, "words": plain})
            except (KeyError, TypeError, ValueError):
                pass  # of another version, which told other figures
        return self._both("other", {"words": plain})

    def _both(self, key: str, figures: dict[str, str | float]) -> tuple[str, str]:
        say = self._words.say
        return say(f"reason.{key}.what", **figures), say(f"reason.{key}.do", **figures)

    def _summary(self, state: State) -> tuple[str, ...]:
        say = self._words.say
        if state.n_running or state.n_waiting:
            lines = [say("page.summary_busy", running=state.n_running, waiting=state.n_waiting)]
            if state.left_s is not None:
                lines.append(say("page.summary_eta", time=self._words.duration(state.left_s)))
            return tuple(lines)
        if state.n_failed:
            return (say("page.idle_failed", n=state.n_failed),)
        return (say("page.idle") if state.done else say("page.empty"),)

    def _alarm(self, state: State) -> tuple[str, ...]:
        say = self._words.say
        if state.stopped_at is not None:
            return (say("page.stopped", at=self.moment(state.stopped_at)),)
        if state.trouble:
            return say("page.trouble"), say("page.technical", words=shown_words(state.trouble))
        return ()

    def _section(self, kind: str, rows: list[Row], n_all: int) -> Section:
        n_more = n_all - len(rows)
        more = self._words.say("page.more", n=n_more) if n_more > 0 else ""
        return Section(kind, self._words.say(f"page.{kind}"), tuple(rows), more)

    def _failed(self, one: Failure) -> Row:
        lines = tuple(line for line in self.reason(one.told, one.words) if line)
        return self._row(one.place, about=self._moment(one.at), lines=lines)

    def _running(self, one: Running) -> Row:
        say = self._words.say
        if one.stage == "decode":
            return self._row(one.place, about=say("page.reading"))
        if one.stage != "engine" or one.percent is None:
            return self._row(one.place, about=say("page.publishing"))
        left = (say("page.eta", time=self._words.duration(one.left_s)),) if one.left_s is not None else ()
        about = ", ".join((say("page.transcribing", percent=one.percent), *left))
        return self._row(one.place, about=about, percent=one.percent)

    def _waiting(self, one: Awaiting) -> Row:
        lines = [line for line in self.reason(one.told, one.words) if line] if one.told or one.words else []
        if one.next_at is not None and one.next_at > self._at:
            lines.append(self._words.say("page.next_try", at=self._moment(one.next_at)))
        say = self._words.say
        about = [say("page.first")] if one.first else [say("page.last")] if one.last else []
        if one.left_s is not None and not lines:
            about.append(say("page.eta", time=self._words.duration(one.left_s)))
        return self._row(one.place, about=", ".join(about), lines=tuple(lines))

    def _done(self, one: Finished) -> Row:
        words = self._words
        about = [self._moment(one.at)]
        if one.audio_s is not None:
            about.append(words.say("page.length", time=words.duration(one.audio_s)))
        links = tuple((format, link(place)) for format, place in one.outputs)
        return self._row(one.place, about=", ".join(about), lines=self._outcome(one), links=links)

    def _outcome(self, one: Finished) -> tuple[str, ...]:
        words, lines = self._words, [""]
        if one.outcome == "partial" and one.audio_s is not None and one.declared_s is not None:
            decoded, declared = words.duration(one.audio_s), words.duration(one.declared_s)
            lines = [words.say("outcome.partial", decoded=decoded, declared=declared)]
        elif one.outcome == "partial":
            lines = [words.say("outcome.partial_unknown")]
        elif one.outcome == "no_speech":
            lines = [words.say("outcome.no_speech")]
        if one.again:
            lines.append(words.say("outcome.same"))
        return tuple(line for line in lines if line)

    def _row(
        self,
        place: bytes,
        *,
        about: str = "",
        lines: tuple[str, ...] = (),
        percent: int | None = None,
        links: tuple[tuple[str, str], ...] = (),
    ) -> Row:
        folder, _, name = place.rpartition(b"/")
        return Row(shown(name), shown(folder), link(place), about, lines, percent, links)

    def moment(self, at: datetime) -> str:
        """*at* with its day."""
        return self._words.moment(at.astimezone(self._zone))

    def _moment(self, at: datetime) -> str:
        return self._words.moment(at.astimezone(self._zone), self._at.date())
