"""A transcript as paragraphs: txt and Markdown, and what a Word document shares with them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from daemon.outputs.clauses import ends_sentence
from daemon.outputs.document import Document
from daemon.outputs.typesetting import cleaned, columns, joined
from daemon.suspects import in_words
from daemon.transcript import Segment

LISTEN_HERE: Final = "Listen here"
"""Above the places where the text may be wrong."""

_LONG_COLUMNS: Final = 800  # from here on a paragraph ends with its sentence, pause or not

_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>&~$|#{}])")
_LIST: Final = re.compile(r"(\d+(?=[.)](?: |$))|(?=[-+=:] ?))")  # at the start of a line


@dataclass(frozen=True, slots=True)
class Paragraph:
    """What was said without a long pause, and when it begins."""

    start_s: float
    text: str


def paragraphs_of(document: Document) -> list[Paragraph]:
    """The paragraphs of *document*; a line each where its options say that no pause makes one."""
    found: list[Paragraph] = []
    for group in _groups(document.transcript.segments, document.options.paragraph_pause_s):
        text = joined(cleaned(segment.text) for segment in group)
        if text:
            found.append(Paragraph(group[0].start_s, text))
    return found


def _groups(segments: Sequence[Segment], pause_s: float) -> Iterator[list[Segment]]:
    group: list[Segment] = []
    n_columns = 0
    for segment in segments:
        if group and (
            segment.start_s - group[-1].end_s >= pause_s
            or (n_columns > _LONG_COLUMNS and ends_sentence(cleaned(group[-1].text)))
        ):
            yield group
            group, n_columns = [], 0
        group.append(segment)
        n_columns += columns(segment.text)
    if group:
        yield group


def header_of(document: Document) -> list[tuple[str, str]]:
    """What a reader wants to know of the recording, by name."""
    transcript, language = document.transcript, document.transcript.language or "unknown"
    if document.options.task == "translate":
        language += ", translated to en"
    return [
        ("Transcribed", document.made_at.replace("T", " ").removesuffix("Z")[:16] + " UTC"),
        ("Length", clock(document.audio_s)),
        ("Language", language),
        ("Model", cleaned(transcript.model)),
    ]


def suspects_in(document: Document) -> list[tuple[str, str]]:
    """When to listen, and why, if the options of *document* ask for it. As the header in English."""
    if not document.options.list_suspects:
        return []
    return [
        (f"{clock(suspect.start_s)} - {clock(math.ceil(suspect.end_s))}", in_words(suspect.reasons))
        for suspect in document.suspects
    ]


def clock(seconds: float) -> str:
    """Hours, minutes and whole seconds."""
    minutes, whole_s = divmod(max(0, int(seconds)), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{whole_s:02d}"


def txt(document: Document) -> str:
    """The words and nothing else that was not asked for: a line for each paragraph, an empty one between them."""
    with_times = document.options.paragraph_times
    parts = [f"[{cleaned(document.notice)}]"] if document.notice else []
    parts += [
        f"[{clock(paragraph.start_s)}] {paragraph.text}" if with_times else paragraph.text
        for paragraph in paragraphs_of(document)
    ]
    if suspects := suspects_in(document):
        parts.append("\n".join([f"{LISTEN_HERE}:", *(f"[{times}] {why}" for times, why in suspects)]))
    between = "\n\n" if document.options.paragraph_pause_s > 0 else "\n"
    return between.join(parts) + "\n" if parts else ""


def markdown(document: Document) -> str:
    """A heading, the header as a list, the paragraphs; nothing that was said is a mark of the language."""
    parts = [f"# {_escaped(cleaned(document.recording))}"]
    parts += ["\n".join(f"- **{name}:** {_escaped(value)}" for name, value in header_of(document))]
    if document.notice:
        parts.append(f"> {_escaped(cleaned(document.notice))}")
    for paragraph in paragraphs_of(document):
        time = f"**{clock(paragraph.start_s)}** " if document.options.paragraph_times else ""
        parts.append(time + _escaped(paragraph.text))
    if suspects := suspects_in(document):
        parts += [f"## {LISTEN_HERE}", "\n".join(f"- **{times}** {why}" for times, why in suspects)]
    return "".join(f"{part}\n\n" for part in parts)[:-1]


def _escaped(text: str) -> str:
    marked = _MARKDOWN.sub(r"\\\1", text)
    return _LIST.sub(lambda mark: f"{mark[0]}\\", marked, count=1) if _LIST.match(marked) else marked
