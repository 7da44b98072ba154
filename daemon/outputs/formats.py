"""A transcript as the content of each kind of file. Pure; text is UTF-8 without BOM, with LF line ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from daemon.options import Format
from daemon.outputs.document import Document
from daemon.outputs.docx_file import docx
from daemon.outputs.json_file import JSON_VERSION, json_text
from daemon.outputs.paragraphs import markdown, txt
from daemon.outputs.subtitle_files import lrc, shape_of, srt, until_ms, vtt
from daemon.outputs.subtitles import Cue, cues_of
from daemon.outputs.typesetting import cleaned

__all__ = ["JSON_VERSION", "Document", "contents_of", "render", "suffix_of"]

_SUBTITLES: Final[frozenset[Format]] = frozenset({"srt", "vtt", "lrc"})


def contents_of(document: Document, formats: Collection[Format] | None = None) -> dict[Format, bytes]:
    """*document* as the content of each file that its options ask for, or of those of *formats*."""
    wanted = document.options.formats if formats is None else formats
    has_cues = not _SUBTITLES.isdisjoint(wanted)
    cues = _cues(document) if has_cues else ()
    writers: dict[Format, Callable[[], str | bytes]] = {
        "txt": partial(txt, document),
        "srt": partial(srt, document, cues),
        "vtt": partial(vtt, document, cues),
        "json": partial(json_text, document, cues if has_cues else None),
        "tsv": partial(_tsv, document),
        "md": partial(markdown, document),
        "docx": partial(docx, document),
        "lrc": partial(lrc, document, cues),
    }
    return {format: _bytes(writers[format]()) for format in wanted}


def render(document: Document, format: Format) -> bytes:
    """*document* as the content of a file of this format."""
    return contents_of(document, (format,))[format]


def suffix_of(document: Document) -> str:
    """What the names of its files carry before their extension: ``.en``, if that is configured and known."""
    return f".{document.language}" if document.options.language_suffix and document.language else ""


def _bytes(content: str | bytes) -> bytes:
    # A lone surrogate is only in JSON by now, where it is written so.
    return content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")


def _cues(document: Document) -> Sequence[Cue]:
    return cues_of(document.transcript.segments, document.language, shape_of(document), until_ms(document))


def _tsv(document: Document) -> str:
    rows = (
        f"{_milliseconds(segment.start_s)}\t{_milliseconds(segment.end_s)}\t{_cell(segment.text)}\n"
        for segment in document.transcript.segments
    )
    return "start\tend\ttext\n" + "".join(rows)


def _cell(text: str) -> str:
    """As a spreadsheet may open it: no formula, no quotes that join lines."""
    shown = cleaned(text)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@", '"') else shown


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
