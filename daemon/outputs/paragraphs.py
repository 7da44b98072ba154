"""A transcript as paragraphs: txt and Markdown, and what a Word document shares with them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from daemon.outputs.clauses import ends_sentence
from daemon.outputs.document import Document
from daemon.outputs.typesetting import cleaned, columns, joined, name_of
from daemon.suspects import in_words
from daemon.transcript import Segment

NO_TRANSLATION: Final = "none, this is English"
"""Where one was asked for beside the text."""

LISTEN_HERE: Final = "Listen here"
"""Above the places where the text may be wrong."""

_LONG_COLUMNS: Final = 800  # from here on a paragraph ends with its sentence, pause or not

_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>&~$|#{}])")
_LIST: Final = re.compile(r"(\d+(?=[.)](?: |$))|(?=[-+=:] ?))")  # at the start of a line


@dataclass(frozen=True, slots=True)
class Paragraph:
    """What one person said without a long pause, and when it begins. *speaker* is empty where it is not known."""

    start_s: float
    text: str
    speaker: str = ""


def paragraphs_of(document: Document) -> list[Paragraph]:
    """The paragraphs of *document*; a line each where its options say that no pause makes one."""
    found: list[Paragraph] = []
    for group in _groups(document.transcript.segments, document.options.paragraph_pause_s):
        text = joined(cleaned(segment.text) for segment in group)
        if text:
            found.append(Paragraph(group[0].start_s, text, name_of(group[0].speaker)))
    return found


def _groups(segments: Sequence[Segment], pause_s: float) -> list[list[Segment]]:
    """The lines of each paragraph, by when it begins."""
    groups: list[list[Segment]] = []
    latest: dict[str, int] = {}  # the paragraph that each speaker said last
    for segment in segments:
        n = latest.get(segment.speaker)
        if n is not None and _goes_on(groups[n], groups[n + 1 :], segment, pause_s):
            groups[n].append(segment)
        else:
            latest[segment.speaker] = len(groups)
            groups.append([segment])
    return groups


def _goes_on(group: Sequence[Segment], since: Sequence[Sequence[Segment]], segment: Segment, pause_s: float) -> bool:
    """Whether a line belongs to what the same speaker said last, with *since* said by others."""
    last = group[-1]
    if segment.start_s - last.end_s >= pause_s:
        return False
    is_end = ends_sentence(cleaned(last.text))
    if not since:
        return not is_end or sum(columns(line.text) for line in group) <= _LONG_COLUMNS
    # Whoever says "mhm" while somebody speaks does not tear the sentence.
    return not is_end and all(other[0].start_s < last.end_s for other in since)


def header_of(document: Document) -> list[tuple[str, str]]:
    """What a reader wants to know of the recording, by name."""
    transcript, language = document.transcript, document.transcript.language or "unknown"
    if document.options.task == "translate":
        language += ", translated to en"
    header = [
        ("Transcribed", document.made_at.replace("T", " ").removesuffix("Z")[:16] + " UTC"),
        ("Length", clock(document.audio_s)),
        ("Language", language),
        ("Model", cleaned(transcript.model)),
    ]
    if speakers := dict.fromkeys(filter(None, (name_of(segment.speaker) for segment in transcript.segments))):
        header.append(("Speakers", ", ".join(speakers)))
    if document.corrected_by:
        header.append(("Corrected", f"{name_of(document.corrected_by)}, {document.corrected_at[:10]}"))
    if document.needs_no_translation:
        header.append(("Translation", NO_TRANSLATION))
    return header


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
    for paragraph in paragraphs_of(document):
        time = f"[{clock(paragraph.start_s)}] " if with_times else ""
        name = f"{paragraph.speaker}: " if paragraph.speaker else ""
        parts.append(time + name + paragraph.text)
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
        name = f"**{_escaped(paragraph.speaker)}:** " if paragraph.speaker else ""
        parts.append(time + name + _escaped(paragraph.text))
    if suspects := suspects_in(document):
        parts += [f"## {LISTEN_HERE}", "\n".join(f"- **{times}** {why}" for times, why in suspects)]
    return "".join(f"{part}\n\n" for part in parts)[:-1]


def _escaped(text: str) -> str:
    marked = _MARKDOWN.sub(r"\\\1", text)
    return _LIST.sub(lambda mark: f"{mark[0]}\\", marked, count=1) if _LIST.match(marked) else marked
