"""What a person changes in a transcript, and the transcript that comes of it. Pure.

Lines keep their times. In a line with other words, those that are still there keep theirs, and new ones share the time
that is left between them. What the model thought of the earlier text is not said of the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Final

from daemon.errors import TranscribedError
from daemon.outputs.document import Document
from daemon.outputs.typesetting import cleaned, units
from daemon.suspects import Suspect
from daemon.transcript import Segment, Transcript, Word

MOST_CHARS: Final = 5000
"""Of one line: a minute of fast speech has 1500."""

MOST_NAME_CHARS: Final = 200
MOST_AUTHOR_CHARS: Final = 100
MOST_LINES: Final = 100_000
"""Changed at once."""

MOST_PAIRS: Final = 10_000
"""Of words of two texts that are compared: 10 ms at the worst."""

SOMEBODY: Final = "unknown"
"""Who corrected, where that is not known."""


class BadCorrection(TranscribedError):
    """Raised where a correction cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of a line; None: it stays as it is. An empty *text* takes it away."""

    text: str | None = None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Edits:
    """*lines* by their place in the transcript, from 0 on; *speakers*: who is called what from now on."""

    lines: Mapping[int, Edit] = field(default_factory=dict[int, Edit])
    speakers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Corrected:
    """A new version, and how many lines of it are not as they were."""

    document: Document
    n_lines: int


def corrected(document: Document, edits: Edits, by: str, at: str) -> Corrected:
    """*document* with *edits*, which *by* made *at* that time (ISO 8601). Raises BadCorrection."""
    segments = document.transcript.segments
    _check(edits, len(segments))
    speakers = {cleaned(before): name for before, name in edits.speakers.items()}
    lines: list[Segment] = []
    stretches: list[tuple[float, float]] = []
    n_changed = 0
    for number, line in enumerate(segments):
        edited = _edited(line, edits.lines.get(number, Edit()), speakers)
        n_changed += edited != line
        if edited is None or edited.text != line.text:
            stretches.append((line.start_s, line.end_s))
        if edited is not None:
            lines.append(edited)
    transcript = replace(document.transcript, segments=tuple(lines))
    transcript = replace(transcript, translation=_translation(document, transcript, speakers))
    suspects = tuple(one for one in document.suspects if not _is_heard(one, stretches))
    made = replace(document, transcript=transcript, suspects=suspects)
    return Corrected(signed(made, by, at), n_changed)


def signed(document: Document, by: str, at: str) -> Document:
    """*document* as a text of *by*."""
    return replace(document, corrected_by=author_of(by), corrected_at=at)


def author_of(by: str) -> str:
    """*by* as it is kept; never empty, for that would be the machine."""
    return cleaned(by)[:MOST_AUTHOR_CHARS] or SOMEBODY


def n_words(transcript: Transcript) -> int:
    """How many words it has, as jobs count them."""
    return len(" ".join(segment.text for segment in transcript.segments).split())


def _check(edits: Edits, n_lines: int) -> None:
    if len(edits.lines) > MOST_LINES or len(edits.speakers) > MOST_LINES:
        raise BadCorrection("these are too many changes for one correction")
    for number, edit in edits.lines.items():
        if not 0 <= number < n_lines:
            raise BadCorrection(f"there is no line {number + 1}: the transcript has {n_lines}")
        if edit.text is not None and len(edit.text) > MOST_CHARS:
            raise BadCorrection(f"line {number + 1} is too long: at most {MOST_CHARS} characters")
    names = [edit.speaker for edit in edits.lines.values() if edit.speaker is not None]
    if any(len(name) > MOST_NAME_CHARS for name in [*names, *edits.speakers.values()]):
        raise BadCorrection(f"the name of a speaker is too long: at most {MOST_NAME_CHARS} characters")


def _edited(line: Segment, edit: Edit, speakers: Mapping[str, str]) -> Segment | None:
    """None where it is taken away."""
    named = replace(line, speaker=_speaker(line, edit, speakers))
    text = cleaned(line.text) if edit.text is None else cleaned(edit.text)
    if text == cleaned(line.text):
        return named if text or edit.text is None else None
    if not text:
        return None
    return replace(
        named,
        text=text,
        words=timed(line, text),
        avg_logprob=0.0,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        temperature=0.0,
        suspect=(),
        corrected=True,
    )


def _speaker(line: Segment, edit: Edit, speakers: Mapping[str, str]) -> str:
    if edit.speaker is not None and cleaned(edit.speaker) != cleaned(line.speaker):
        return cleaned(edit.speaker)
    return _named(line, speakers)


def _named(line: Segment, speakers: Mapping[str, str]) -> str:
    """By what is shown of the name of before: nobody can write what is not."""
    name = cleaned(line.speaker)
    return cleaned(speakers[name]) if name and name in speakers else line.speaker


def _translation(document: Document, corrected_: Transcript, speakers: Mapping[str, str]) -> tuple[Segment, ...]:
    """As it was, but for the names; where the text needs none, it is the text."""
    translation = document.transcript.translation
    if translation and document.translated is None:
        return corrected_.segments
    return tuple(replace(line, speaker=_named(line, speakers)) for line in translation)


def _is_heard(suspect: Suspect, stretches: Sequence[tuple[float, float]]) -> bool:
    """Whether a person wrote anew what is said there."""
    return any(start_s < suspect.end_s and end_s > suspect.start_s for start_s, end_s in stretches)


# Times of words.


@dataclass(frozen=True, slots=True)
class _Unit:
    """A word, or a character of a script without spaces. It is *part* of the *word* of before with that number."""

    text: str
    start_s: float
    end_s: float
    word: int = -1
    part: int = 0
    n_parts: int = 1


def timed(line: Segment, text: str) -> tuple[Word, ...]:
    """The words of *text*, which is `cleaned`, with times inside *line*; none where that has none."""
    before = list(_units_of(line.words))
    new = [text[first:end] for first, end in units(text)]
    if not before or not new:
        return ()
    placed: list[_Unit] = []
    for kind, first, end, new_first, new_end in _changes([_key(unit.text) for unit in before], list(map(_key, new))):
        some, texts = before[first:end], new[new_first:new_end]
        if kind == "equal" or (kind == "replace" and len(some) == len(texts)):
            placed += [_as(unit, word) for unit, word in zip(some, texts, strict=True)]
        elif texts:
            begin_s, end_s = _gap(before, first, end, line)
            placed += _shared(texts, begin_s, max(begin_s, end_s))
    return tuple(_words(placed, line.words))


def _changes(before: Sequence[str], new: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """As `SequenceMatcher.get_opcodes`, but what is too long to be compared is another text as a whole.

    For the time grows with the third power of its length, and who corrects chooses both texts.
    """
    n_before, n_new = len(before), len(new)
    n_first = _n_alike(before, new)
    n_last = _n_alike(list(reversed(before[n_first:])), list(reversed(new[n_first:])))
    middle, new_middle = before[n_first : n_before - n_last], new[n_first : n_new - n_last]
    found: list[tuple[str, int, int, int, int]] = []
    if n_first:
        found.append(("equal", 0, n_first, 0, n_first))
    if len(middle) * len(new_middle) > MOST_PAIRS:
        found.append(("replace", n_first, n_before - n_last, n_first, n_new - n_last))
    else:
        for kind, *places in SequenceMatcher(None, middle, new_middle, autojunk=False).get_opcodes():
            first, end, new_first, new_end = (n_first + place for place in places)
            found.append((kind, first, end, new_first, new_end))
    if n_last:
        found.append(("equal", n_before - n_last, n_before, n_new - n_last, n_new))
    return found


def _n_alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of them are the same from the beginning on."""
    return next(
        (n for n, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), min(len(one), len(other))
    )


def _gap(before: Sequence[_Unit], first: int, end: int, line: Segment) -> tuple[float, float]:
    """The time for what stands in place of some units of before; between its neighbours where that are none."""
    if first < end:
        return before[first].start_s, before[end - 1].end_s
    begin_s = before[first - 1].end_s if first else min(line.start_s, before[0].start_s)
    return begin_s, before[first].start_s if first < len(before) else line.end_s


def _units_of(words: Sequence[Word]) -> Iterator[_Unit]:
    for number, word in enumerate(words):
        text = cleaned(word.text)
        parts = units(text)
        for part, (first, end) in enumerate(parts):
            start_s, end_s = _share(word.start_s, word.end_s, first, end, len(text))
            yield _Unit(text[first:end], start_s, end_s, number, part, len(parts))


def _share(start_s: float, end_s: float, first: int, end: int, length: int) -> tuple[float, float]:
    """The time of some of the characters of what is said from *start_s* to *end_s*."""
    each_s = (end_s - start_s) / length
    return (
        start_s if first == 0 else start_s + each_s * first,
        end_s if end == length else start_s + each_s * end,
    )


def _as(unit: _Unit, text: str) -> _Unit:
    return unit if unit.text == text else _Unit(text, unit.start_s, unit.end_s)


def _shared(texts: Sequence[str], begin_s: float, end_s: float) -> Iterator[_Unit]:
    length, done = sum(map(len, texts)), 0
    for text in texts:
        start_s, stop_s = _share(begin_s, end_s, done, done + len(text), length)
        yield _Unit(text, start_s, stop_s)
        done += len(text)


def _words(placed: Sequence[_Unit], before: Sequence[Word]) -> Iterator[Word]:
    """Words that are whole again, as they were; the others as they are."""
    place = 0
    while place < len(placed):
        unit = placed[place]
        run = placed[place : place + unit.n_parts]
        if unit.word >= 0 and [(one.word, one.part) for one in run] == [(unit.word, n) for n in range(unit.n_parts)]:
            yield replace(before[unit.word], probability=1.0)
            place += unit.n_parts
        else:
            yield Word(round(unit.start_s, 3), round(unit.end_s, 3), unit.text, 1.0)
            place += 1


def _key(text: str) -> str:
    """What two words have in common that sound the same."""
    return "".join(filter(str.isalnum, text.casefold())) or text
