"""A transcript to be corrected as a page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from daemon.corrections import Edit
from daemon.outputs.document import Document
from daemon.outputs.typesetting import cleaned, columns
from daemon.suspects import Suspect
from daemon.transcript import Segment
from daemon.web.views.recording import why
from daemon.web.views.telling import Recording, Teller, clock
from daemon.web.views.versions import LINES_IN_PART, keys_of

_COLUMNS: Final = 60  # of a line of text on a page


@dataclass(frozen=True, slots=True)
class EditLine:
    """A line to be corrected. *number* is its place in its version; *theirs* is what somebody else wrote meanwhile."""

    number: int
    start: str
    end: str
    clock: str
    text: str
    speaker: str
    rows: int
    doubts: str = ""
    is_doubtful: bool = False
    is_mine: bool = False
    theirs: str | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class EditPage:
    """Some lines of version *base*. *closed*: another transcript took its place, so nothing can be saved any more.

    *lost* are lines that somebody took away which were being corrected. *media* as on the page of the recording.
    """

    id: int
    recording: Recording
    base: int
    lines: tuple[EditLine, ...]
    speakers: tuple[str, ...]
    with_speakers: bool
    media: str
    language_tag: str
    part: int = 1
    starts: tuple[str, ...] = ()
    lost: tuple[EditLine, ...] = ()
    stale: str = ""
    trouble: str = ""
    closed: bool = False
    start: str = ""


@dataclass(frozen=True, slots=True)
class Posted:
    """What came back of a form: the version that it showed, and its fields by the place of their line."""

    base: int
    part: int
    edits: Mapping[int, Edit]


def edit_page(
    job_id: int,
    recording: Recording,
    document: Document,
    base: int,
    media: str,
    teller: Teller,
    part: int = 1,
    *,
    with_speakers: bool = False,
) -> EditPage:
    """The *part* of *document*, from 1 on, to be corrected."""
    segments = document.transcript.segments
    n_parts = max(1, -(-len(segments) // LINES_IN_PART))
    part = min(max(1, part), n_parts)
    first = (part - 1) * LINES_IN_PART
    names = speakers_of(document)
    return EditPage(
        id=job_id,
        recording=recording,
        base=base,
        lines=tuple(_lines(document, range(first, min(first + LINES_IN_PART, len(segments))), teller)),
        speakers=names,
        with_speakers=with_speakers or bool(names),
        media=media,
        language_tag=document.language,
        part=part,
        starts=tuple(clock(segments[n * LINES_IN_PART].start_s) for n in range(n_parts)) if segments else (),
    )


def conflict_page(page: EditPage, old: Document, new: Document, posted: Posted, teller: Teller) -> EditPage:
    """*page* with what was posted for *old*, where *new* is the newest: both where they differ, and nothing lost."""
    places = _places(old, new)
    lines: dict[int, EditLine] = {}
    lost: list[EditLine] = []
    shown = sorted({places[n] for n in posted.edits if n in places})
    for line in _lines(new, range(shown[0], shown[-1] + 1) if shown else range(0), teller):
        lines[line.number] = line
    for number, edit in sorted(posted.edits.items()):
        before = old.transcript.segments[number]
        text, speaker = _said(edit.text, before.text), _said(edit.speaker, before.speaker)
        if (text, speaker) == (cleaned(before.text), cleaned(before.speaker)):
            continue
        if number not in places:
            lost.append(replace(_line(number, before, text), speaker=speaker, gone=True))
            continue
        line = lines[places[number]]
        now = new.transcript.segments[places[number]]
        differs = (cleaned(now.text), now.speaker) != (cleaned(before.text), before.speaker)
        theirs = f"{now.speaker}: {now.text}" if now.speaker and now.speaker != speaker else now.text
        same = (text, speaker) == (cleaned(now.text), cleaned(now.speaker))
        lines[line.number] = replace(
            line,
            text=text if text != cleaned(before.text) else line.text,
            speaker=speaker if speaker != cleaned(before.speaker) else line.speaker,
            rows=_rows(text),
            is_mine=True,
            theirs=cleaned(theirs) if differs and not same else None,
        )
    with_speakers = page.with_speakers or any(edit.speaker is not None for edit in posted.edits.values())
    return replace(page, lines=tuple(lines.values()), lost=tuple(lost), with_speakers=with_speakers)


def speakers_of(document: Document) -> tuple[str, ...]:
    """Who speaks, in the order in which they begin."""
    return tuple(dict.fromkeys(cleaned(line.speaker) for line in document.transcript.segments if line.speaker))


def changed_only(posted: Posted, document: Document) -> dict[int, Edit]:
    """What of a form is another text or another speaker than in *document*, which it showed."""
    segments = document.transcript.segments
    return {
        number: edit
        for number, edit in posted.edits.items()
        if number >= len(segments)
        or (edit.text is not None and cleaned(edit.text) != cleaned(segments[number].text))
        or (edit.speaker is not None and cleaned(edit.speaker) != cleaned(segments[number].speaker))
    }


def _said(written: str | None, before: str) -> str:
    return cleaned(before if written is None else written)


def _lines(document: Document, numbers: range, teller: Teller) -> Iterator[EditLine]:
    segments = document.transcript.segments
    for number in numbers:
        line = segments[number]
        doubts = [one for one in document.suspects if _overlap(one, line)]
        yield replace(
            _line(number, line, cleaned(line.text)),
            doubts="; ".join(dict.fromkeys(why(one.reasons, teller) for one in doubts)),
            is_doubtful=bool(doubts or line.suspect),
        )


def _overlap(suspect: Suspect, line: Segment) -> bool:
    return suspect.start_s < line.end_s and suspect.end_s > line.start_s


def _line(number: int, line: Segment, text: str) -> EditLine:
    return EditLine(
        number=number,
        start=f"{max(0.0, line.start_s):.2f}",
        end=f"{max(0.0, line.end_s):.2f}",
        clock=clock(line.start_s),
        text=text,
        speaker=cleaned(line.speaker),
        rows=_rows(text),
    )


def _rows(text: str) -> int:
    return max(1, -(-columns(text) // _COLUMNS))


def _places(old: Document, new: Document) -> dict[int, int]:
    """Where each line of *old* is in *new*."""
    places = {key: number for number, key in enumerate(keys_of(new.transcript.segments))}
    keys = keys_of(old.transcript.segments)
    return {number: places[key] for number, key in enumerate(keys) if key in places}
