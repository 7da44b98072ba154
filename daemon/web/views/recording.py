"""A recording as a page: its words with their times, what is doubtful, how it was made, what became of it. Pure."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast, get_args

from daemon.folderpage.names import shown, shown_words
from daemon.intake.folder_settings import CONFIGURATION
from daemon.options import Priority, Quality, Task
from daemon.outputs.clauses import ends_sentence
from daemon.outputs.document import Document
from daemon.outputs.typesetting import cleaned, columns, name_of
from daemon.suspects import Suspect
from daemon.transcript import Segment
from daemon.web.transcripts import kinds_of
from daemon.web.views.telling import Badge, Moment, Recording, Teller, clock, recording
from daemon.web.views.versions import LINES_IN_PART, CorrectedNote, corrected_note
from monitor.wording import size
from storage.records import LIVE_STATES, Event, Job, JobState, Rewrite
from storage.records import Version as TextVersion
from storage.standing import MOST, Standing

WORDS_IN_PART: Final = 5000
"""About 40 minutes of speech: a page of more is slow to make and to draw."""

_LONG_CHARS: Final = 700  # from here on a paragraph ends with its sentence, pause or not
_VALUE_CHARS: Final = 300

QUEUED: Final = frozenset({JobState.WAITING, JobState.QUEUED})

_RETRYABLE: Final = frozenset(
    {JobState.FAILED, JobState.QUARANTINED, JobState.CANCELLED, JobState.VANISHED, JobState.WAITING}
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or a line whose words have no times; *space* is what stands before it."""

    start: str
    text: str
    space: str = " "


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the transcript, *space* before it. *doubts* is set on the first one of a stretch to listen to: why."""

    words: tuple[Word, ...]
    space: str = " "
    doubtful: bool = False
    doubts: str = ""
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Lines that one person said without a long pause."""

    start: str
    clock: str
    speaker: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A stretch to listen to."""

    rank: int
    start: str
    end: str
    clock: str
    why: str
    text: str
    part: int


@dataclass(frozen=True, slots=True)
class Text:
    """One part of a transcript, from 1 on, and how many there are; *starts* are the times at which they begin."""

    paragraphs: tuple[Paragraph, ...]
    part: int = 1
    starts: tuple[str, ...] = ("0:00:00",)


@dataclass(frozen=True, slots=True)
class Setting:
    """An option: what it is set to, where that comes from, what it means."""

    key: str
    value: str
    origin: str
    help: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class Happened:
    """An event."""

    at: Moment
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Version:
    """A job of the same recording."""

    id: int
    badge: Badge
    made: Moment
    about: str
    is_this: bool


@dataclass(frozen=True, slots=True)
class RecordingPage:
    """The page of a job. *media* is ``audio``, ``video``, or "" where no browser plays it; *progress* is in percent."""

    id: int
    recording: Recording
    badge: Badge
    reasons: tuple[str, ...]
    media: str
    facts: tuple[tuple[str, str], ...]
    text: Text | None
    translation: Text | None
    doubts: tuple[Doubt, ...]
    kinds: tuple[tuple[str, str], ...]
    files: tuple[str, ...]
    settings: tuple[Setting, ...]
    versions: tuple[Version, ...]
    events: tuple[Happened, ...]
    same_as: int | None
    is_live: bool
    may_retry: bool
    may_cancel: bool
    may_redo: bool
    priority: str = ""
    start: str = ""
    language_tag: str = ""
    notes: tuple[str, ...] = ()
    corrected: CorrectedNote | None = None
    may_correct: bool = False
    correct_part: int = 1
    choices: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict[str, "tuple[tuple[str, str], ...]"])


@dataclass(frozen=True, slots=True)
class Known:
    """All that a page of a job is made of. *part* and *start_s* say what of the text is wanted; 0 and None: the first.

    *standing* is its place in the queue, if it is there. *corrections* are the versions of its text, *rewrite* is how
    it stands with their files.
    """

    job: Job
    document: Document | None
    versions: Sequence[Job]
    events: Sequence[Event]
    part: int = 0
    start_s: float | None = None
    standing: Standing | None = None
    corrections: Sequence[TextVersion] = ()
    rewrite: Rewrite | None = None
    may_correct: bool = False


def recording_page(known: Known, media_type: str, teller: Teller) -> RecordingPage:
    """The page."""
    job, document = known.job, known.document
    parts = _parts(document.transcript.segments) if document is not None else []
    part = _wanted_part(parts, known)
    text: Text | None = None
    doubts: tuple[Doubt, ...] = ()
    if document is not None:
        text = _text(parts, part, document.suspects, teller)
        doubts = _doubts(document.suspects, parts, teller)
    is_newest = not known.versions or known.versions[0].id == job.id
    return RecordingPage(
        id=job.id,
        recording=recording(job.path),
        badge=teller.badge(job),
        reasons=teller.reason(job),
        media=media_type.partition("/")[0],
        facts=tuple(_facts(job, known.standing, teller)),
        text=text,
        translation=_translation(document, parts, part, teller),
        doubts=doubts,
        kinds=tuple((kind, _kind(kind, teller)) for kind in kinds_of(document)) if document is not None else (),
        files=tuple(shown(output.path) for output in job.outputs),
        settings=settings(job.options, job.origins, teller),
        versions=tuple(_version(one, one.id == job.id, teller) for one in known.versions),
        events=tuple(_happened(event, teller) for event in reversed(known.events)),
        same_as=job.same_as,
        is_live=job.state in LIVE_STATES,
        may_retry=is_newest and job.state in _RETRYABLE,
        may_cancel=job.state in (JobState.WAITING, JobState.QUEUED, JobState.RUNNING),
        may_redo=is_newest and job.state not in LIVE_STATES,
        priority=_priority(job),
        start=f"{known.start_s:.2f}" if known.start_s is not None else "",
        language_tag=document.language if document is not None else "",
        notes=_notes(document, teller),
        corrected=corrected_note(known.corrections, known.rewrite, teller),
        may_correct=known.may_correct and document is not None and bool(document.transcript.segments),
        correct_part=_correct_part(document, parts, part),
        choices=_choices(teller),
    )


def _kind(kind: str, teller: Teller) -> str:
    format, _, language = kind.partition(".")
    return f"{format.upper()} ({teller.language(language)})" if language else format.upper()


def _notes(document: Document | None, teller: Teller) -> tuple[str, ...]:
    if document is None:
        return ()
    notes = [shown_words(document.notice)] if document.notice and document.transcript.segments else []
    if document.options.task == "translate" and document.transcript.language != "en":
        notes.append(teller.say("job.translated", language=teller.language(document.transcript.language)))
    return tuple(notes)


def _choices(teller: Teller) -> dict[str, tuple[tuple[str, str], ...]]:
    say = teller.say
    names = teller.words.sentences.items()
    spoken = [(key.removeprefix("lang."), name) for key, name in names if key.startswith("lang.")]
    return {
        "language": (
            ("", say("job.as_before")),
            ("auto", say("job.detect")),
            *sorted(spoken, key=lambda pair: pair[1]),
        ),
        "task": (("", say("job.as_before")), *((one, say(f"task.{one}")) for one in get_args(Task))),
        "quality": (("", say("job.as_before")), *((one, say(f"quality.{one}")) for one in get_args(Quality))),
        "priority": tuple((one, say(f"priority.{one}")) for one in get_args(Priority)),
    }


def _priority(job: Job) -> str:
    if job.state not in QUEUED:
        return ""
    return {1: "high", 0: "normal", -1: "low"}.get(job.priority, "normal")


# The text.


@dataclass(frozen=True, slots=True)
class _Part:
    """Paragraphs of lines that are shown together."""

    start_s: float
    paragraphs: tuple[tuple[Segment, ...], ...]


def _parts(segments: Sequence[Segment]) -> list[_Part]:
    parts: list[_Part] = []
    together: list[tuple[Segment, ...]] = []
    n_words = 0
    for paragraph in _paragraphs(segments):
        together.append(paragraph)
        n_words += sum(len(line.words) or 1 for line in paragraph)
        if n_words >= WORDS_IN_PART:
            parts.append(_Part(together[0][0].start_s, tuple(together)))
            together, n_words = [], 0
    if together:
        parts.append(_Part(together[0][0].start_s, tuple(together)))
    return parts


def _paragraphs(segments: Iterable[Segment], pause_s: float = 2.0) -> Iterator[tuple[Segment, ...]]:
    group: list[Segment] = []
    n_chars = 0
    for segment in segments:
        if group and (
            segment.start_s - group[-1].end_s >= pause_s
            or segment.speaker != group[-1].speaker
            or (n_chars > _LONG_CHARS and ends_sentence(group[-1].text))
        ):
            yield tuple(group)
            group, n_chars = [], 0
        group.append(segment)
        n_chars += len(segment.text)
    if group:
        yield tuple(group)


def _wanted_part(parts: Sequence[_Part], known: Known) -> int:
    if known.part:
        return min(known.part, max(1, len(parts)))
    if known.start_s is None or not parts:
        return 1
    return max(1, bisect_right([part.start_s for part in parts], known.start_s))


def _correct_part(document: Document | None, parts: Sequence[_Part], part: int) -> int:
    """The part of the page for corrections with the first line of this one."""
    if document is None or not parts:
        return 1
    first = bisect_left(document.transcript.segments, parts[part - 1].start_s, key=lambda line: line.start_s)
    return first // LINES_IN_PART + 1


def _text(parts: Sequence[_Part], part: int, suspects: Sequence[Suspect], teller: Teller) -> Text:
    if not parts:
        return Text(())
    marks = _Marks(suspects, teller)
    paragraphs = tuple(_paragraph(lines, marks) for lines in parts[part - 1].paragraphs)
    return Text(paragraphs, part, tuple(clock(one.start_s) for one in parts))


def _translation(document: Document | None, parts: Sequence[_Part], part: int, teller: Teller) -> Text | None:
    """The lines of the translation that are said during *part*."""
    english = document.translated if document is not None else None
    if english is None:
        return None
    begin = parts[part - 1].start_s if parts and part > 1 else 0.0
    end = parts[part].start_s if part < len(parts) else float("inf")
    lines = [line for line in english.transcript.segments if begin <= line.start_s < end]
    return Text(tuple(_paragraph(group, _Marks((), teller)) for group in _paragraphs(lines)))


class _Marks:
    """Which lines are in a stretch to listen to; asked in the order of time."""

    def __init__(self, suspects: Sequence[Suspect], teller: Teller) -> None:
        self._left = sorted(suspects, key=lambda suspect: suspect.start_s, reverse=True)
        self._now: Suspect | None = None
        self._teller = teller

    def of(self, line: Segment) -> tuple[bool, str, int]:
        """Whether *line* is in one; the reasons and the rank of one that begins here."""
        begins: list[Suspect] = []
        while self._left and self._left[-1].start_s < line.end_s:
            suspect = self._left.pop()
            if suspect.end_s > line.start_s:
                begins.append(suspect)
                self._now = suspect
        inside = self._now is not None and self._now.end_s > line.start_s
        return inside, "; ".join(why(one.reasons, self._teller) for one in begins), begins[0].rank if begins else 0


def _paragraph(lines: Sequence[Segment], marks: _Marks) -> Paragraph:
    first = lines[0]
    return Paragraph(_seconds(first.start_s), clock(first.start_s), name_of(first.speaker), tuple(_lines(lines, marks)))


def _lines(lines: Sequence[Segment], marks: _Marks) -> Iterator[Line]:
    for line in lines:
        inside, doubts, rank = marks.of(line)
        # In scripts without spaces there is none between lines either: they are as wide as two Latin letters.
        space = "" if columns(line.text.strip()[:1]) > 1 else " "
        yield Line(tuple(_words(line)), space, inside or bool(line.suspect), doubts, rank)


def _words(line: Segment) -> Iterator[Word]:
    """The words as they are written: only where the text of the line has a space there is one."""
    if not line.words:
        yield Word(_seconds(line.start_s), _plain(line.text), "")
        return
    place, is_first = 0, True
    for word in line.words:
        text = _plain(word.text)
        if not text:
            continue
        found = line.text.find(word.text.strip(), place)
        is_apart = not is_first and (found < 0 or line.text[place:found].isspace())
        place = max(place, found + len(word.text.strip())) if found >= 0 else place
        is_first = False
        yield Word(_seconds(word.start_s), text, " " if is_apart else "")


def _plain(text: str) -> str:
    # Nearly all are: what turns or hides text is not printable to Python either.
    return text.strip() if text.isprintable() else cleaned(text)


def _seconds(seconds: float) -> str:
    return f"{max(0.0, seconds):.2f}"


def _doubts(suspects: Sequence[Suspect], parts: Sequence[_Part], teller: Teller) -> tuple[Doubt, ...]:
    starts = [part.start_s for part in parts]
    return tuple(
        Doubt(
            rank=suspect.rank,
            start=_seconds(suspect.start_s),
            end=_seconds(suspect.end_s),
            clock=clock(suspect.start_s),
            why=why(suspect.reasons, teller),
            text=cleaned(suspect.text),
            part=max(1, bisect_right(starts, suspect.start_s)),
        )
        for suspect in sorted(suspects, key=lambda suspect: suspect.rank)
    )


def why(reasons: Iterable[str], teller: Teller) -> str:
    """*reasons* to listen to a stretch, in words; one of a later version as it is."""
    return "; ".join(
        teller.say(f"doubt.{reason}") if teller.words.has(f"doubt.{reason}") else shown_words(reason.replace("_", " "))
        for reason in reasons
    )


# What is around it.


def _facts(job: Job, standing: Standing | None, teller: Teller) -> Iterator[tuple[str, str]]:
    say, words = teller.say, teller.words
    made_with = " · ".join(part for part in (job.model, job.device, job.compute_type) if part)
    language = teller.language(job.language)
    if language and job.language_probability is not None and job.language_probability < 1:
        language += f" ({words.number(round(100 * job.language_probability))} %)"
    took = teller.duration(job.wall_s)
    if took and job.speed:
        took = say("job.took", time=took, speed=words.number(job.speed))
    of = {
        "turn": _turn(job, standing, teller),
        "length": teller.duration(job.audio_s),
        "declared": teller.duration(job.declared_s) if _is_short(job) else "",
        "speech": teller.duration(job.speech_s),
        "language": language,
        "model": shown_words(made_with),
        "took": took,
        "words": words.number(job.n_words) if job.n_words else "",
        "size": size(job.fingerprint.size_bytes),
        "attempt": say("job.attempt_of", n=job.attempt, most=job.max_attempts) if job.attempt > 1 else "",
        "created": teller.moment(job.created_at).text,
        "finished": teller.moment(job.finished_at).text if job.finished_at is not None else "",
        "sha256": job.source_sha256[:16] + "…" if job.source_sha256 else "",
        "job": str(job.id),
    }
    for key, value in of.items():
        if value:
            yield say(f"job.fact_{key}"), value


def _turn(job: Job, standing: Standing | None, teller: Teller) -> str:
    """Its place in the queue, and whether it was put before or after the others."""
    if standing is None:
        return ""
    place = teller.say("job.turn_next")
    if standing.n_before:
        place = teller.say("job.turn_behind", n=teller.count(standing.n_before, MOST - 1))
    return place if job.priority == 0 else f"{place} ({teller.say(f'priority.{_priority(job)}')})"


def _is_short(job: Job) -> bool:
    return job.declared_s is not None and job.audio_s is not None and job.declared_s - job.audio_s > 1


def settings(options: Mapping[str, object], origins: Mapping[str, object], teller: Teller) -> tuple[Setting, ...]:
    """*options* as they are shown, those that are no defaults first."""
    named = [key for key in options if key in origins] + [key for key in options if key not in origins]
    return tuple(
        Setting(
            key=shown_words(key),
            value=value_of(options[key], teller),
            origin=_origin(str(origins[key]), teller) if key in origins else "",
            help=teller.say(f"option.{key}") if teller.words.has(f"option.{key}") else "",
            is_default=key not in origins,
        )
        for key in named
    )


def _origin(origin: str, teller: Teller) -> str:
    """Where a value comes from: a file, or what the service says of it."""
    return teller.say("job.configuration") if origin == CONFIGURATION else shown_words(origin)


def value_of(value: object, teller: Teller) -> str:
    """*value* as TOML has it; long ones are cut."""
    if value is None:
        return teller.say("job.not_set")
    text = shown_words(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _VALUE_CHARS else f"{text[:_VALUE_CHARS]}…"


def _version(job: Job, is_this: bool, teller: Teller) -> Version:
    made_with = " · ".join(part for part in (job.model, str(job.options.get("quality") or "")) if part)
    return Version(job.id, teller.badge(job), teller.moment(job.created_at), shown_words(made_with), is_this)


def _happened(event: Event, teller: Teller) -> Happened:
    key = f"event.{event.kind}"
    what = teller.say(key) if teller.words.has(key) else shown_words(event.kind.replace("_", " "))
    return Happened(teller.moment(event.at), what, _detail(event.detail))


def _detail(detail: Mapping[str, object]) -> str:
    parts = [
        f"{_NAMES.get(key) or key.removeprefix('n_').removesuffix('_s').replace('_', ' ')}: {_figure(key, value)}"
        for key, value in detail.items()
        if value not in (None, "") and key not in _NOT_TOLD
    ]
    return shown_words(", ".join(parts))


_NAMES: Final = {"wall_s": "took", "audio_s": "length", "declared_s": "length it claims"}
_NOT_TOLD: Final = frozenset({"owner", "outcome"})


def _figure(key: str, value: object) -> str:
    if isinstance(value, list):
        return ", ".join(
            str(one).rpartition("/")[2] if key == "files" else str(one) for one in cast("list[object]", value)
        )
    text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
    return f"{text} s" if key.endswith("_s") and isinstance(value, int | float) else text
