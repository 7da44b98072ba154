"""The versions of a transcript, and what is different between two of them, as a page. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from daemon.outputs.document import Document
from daemon.outputs.typesetting import cleaned, name_of, units
from daemon.transcript import Segment
from daemon.web.views.telling import Moment, Recording, Teller, clock
from storage.records import Rewrite, Version

LINES_IN_PART: Final = 200
"""Of a text that is corrected."""

MOST_SHOWN: Final = 1000
"""Lines of a page that shows what is different."""

_MOST_PAIRS: Final = 10_000  # of words of two lines that are compared: 10 ms at the worst
_MOST_PAIRS_IN_ALL: Final = 400_000  # of a page


@dataclass(frozen=True, slots=True)
class Piece:
    """Words of a line: ``same``, ``gone`` or ``new``."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A line that is not the same in two versions; *speaker* is set where that changed too."""

    clock: str
    pieces: tuple[Piece, ...]
    speaker: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class ShownVersion:
    """A version in the list. *author*: "" for the machine."""

    number: int
    at: Moment
    author: str
    is_newest: bool


@dataclass(frozen=True, slots=True)
class SaidLine:
    """A line of a version as it is read."""

    clock: str
    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class VersionsPage:
    """All versions of a transcript; what is different from *old* to *new*, or the text of *new* where *old* is 0."""

    id: int
    recording: Recording
    versions: tuple[ShownVersion, ...]
    newest: int
    old: int
    new: int
    differences: tuple[Difference, ...]
    lines: tuple[SaidLine, ...]
    n_more: int
    files: FilesNote
    language_tag: str


@dataclass(frozen=True, slots=True)
class FilesNote:
    """What is to be said of the files of a corrected transcript; empty where nothing is."""

    waits: str = ""
    left_alone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CorrectedNote:
    """What the page of a recording says of its corrections: who made the last, and how it stands with the files."""

    who: str
    files: FilesNote


def corrected_note(known: Sequence[Version], rewrite: Rewrite | None, teller: Teller) -> CorrectedNote | None:
    """None where nobody corrected it."""
    if not known or not known[-1].author:
        return None
    at = teller.moment(known[-1].at).text
    return CorrectedNote(teller.say("correct.by", who=name_of(known[-1].author), at=at), files_note(rewrite, teller))


def shown_versions(known: Sequence[Version], teller: Teller) -> tuple[ShownVersion, ...]:
    """The newest first."""
    return tuple(
        ShownVersion(one.number, teller.moment(one.at), name_of(one.author), one is known[-1])
        for one in reversed(known)
    )


def files_note(rewrite: Rewrite | None, teller: Teller) -> FilesNote:
    """How it stands with the files."""
    if rewrite is None:
        return FilesNote()
    waits = ""
    if rewrite.due is not None:
        reason = cleaned(rewrite.reason)
        waits = teller.say("correct.files_wait", reason=reason) if reason else teller.say("correct.files_soon")
    names = tuple(path.rpartition(b"/")[2].decode("utf-8", "backslashreplace") for path in rewrite.left_alone)
    return FilesNote(waits, tuple(map(cleaned, names)))


def said(document: Document) -> tuple[SaidLine, ...]:
    """Its lines."""
    return tuple(
        SaidLine(clock(line.start_s), name_of(line.speaker), cleaned(line.text))
        for line in document.transcript.segments
    )


def differences(old: Document, new: Document) -> tuple[Difference, ...]:
    """What is not the same, in order of time; words are compared as far as a page shows them."""
    before = dict(zip(keys_of(old.transcript.segments), old.transcript.segments, strict=True))
    after = dict(zip(keys_of(new.transcript.segments), new.transcript.segments, strict=True))
    found: list[Difference] = []
    left = _MOST_PAIRS_IN_ALL
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        texts = [cleaned(line.text) if line is not None else "" for line in (one, other)]
        names = [cleaned(line.speaker) if line is not None else "" for line in (one, other)]
        if one is None or other is None or texts[0] != texts[1] or names[0] != names[1]:
            is_renamed = one is not None and other is not None and names[0] != names[1]
            speaker = tuple(_whole(*names)) if is_renamed else ()
            shown = texts if len(found) < MOST_SHOWN else ["", ""]
            cuts = [[end for _first, end in units(text)] for text in shown]
            n_pairs = len(cuts[0]) * len(cuts[1])
            is_short = 0 < n_pairs <= min(_MOST_PAIRS, left)
            left -= n_pairs if is_short else 0
            pieces = tuple(_by_words(texts, cuts) if is_short else _whole(*texts))
            found.append(Difference(clock(key[0]), pieces, speaker))
    return tuple(found)


def _whole(old: str, new: str) -> Iterator[Piece]:
    if old:
        yield Piece("gone", old)
    if new:
        yield Piece("new", new)


def _by_words(texts: Sequence[str], cuts: Sequence[Sequence[int]]) -> Iterator[Piece]:
    """The first of *texts* and the second, word by word; in scripts without spaces by characters."""
    words, new_words = (_cut(text, ends) for text, ends in zip(texts, cuts, strict=True))
    matcher = SequenceMatcher(
        None, [word.strip() for word in words], [word.strip() for word in new_words], autojunk=False
    )
    for kind, first, end, new_first, new_end in matcher.get_opcodes():
        if kind == "equal":
            yield Piece("same", "".join(new_words[new_first:new_end]))
            continue
        yield from _whole("".join(words[first:end]), "".join(new_words[new_first:new_end]))


def _cut(text: str, ends: Sequence[int]) -> list[str]:
    """*text* in words, each with the space before it."""
    return [text[first:end] for first, end in zip([0, *ends[:-1]], [*ends[:-1], len(text)], strict=True)]


def keys_of(segments: Iterable[Segment]) -> list[tuple[float, float, int]]:
    """What a line keeps from version to version: its times, and which it is of those that have the same."""
    seen: Counter[tuple[float, float]] = Counter()
    keys: list[tuple[float, float, int]] = []
    for line in segments:
        times = (line.start_s, line.end_s)
        keys.append((*times, seen[times]))
        seen[times] += 1
    return keys
