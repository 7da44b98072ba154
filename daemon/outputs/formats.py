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
from daemon.outputs.typesetting import cleaned, name_of

__all__ = ["ENGLISH", "JSON_VERSION", "Document", "contents_of", "kinds_of", "render", "suffix_of"]

ENGLISH: Final = ".en"
"""What the kinds of a translation end with, and what its files carry before their extension."""

_SUBTITLES: Final[frozenset[Format]] = frozenset({"srt", "vtt", "lrc"})


def kinds_of(document: Document) -> tuple[str, ...]:
    """The files that *document* gives: its formats, and ``txt.en`` for each where a translation goes beside the text.

    JSON has both in one file.
    """
    formats = document.options.formats
    if document.translated is None:
        return formats
    return (*formats, *(f"{format}{ENGLISH}" for format in formats if format != "json"))


def contents_of(document: Document, kinds: Collection[str] | None = None) -> dict[str, bytes]:
    """*document* as the content of each file that it gives, or of those of *kinds*.

    Raises KeyError for a kind that there is none of: no such format, or no translation.
    """
    wanted = kinds_of(document) if kinds is None else kinds
    formats = [kind for kind in wanted if not kind.endswith(ENGLISH)]
    contents = _written(document, formats)
    english = [kind.removesuffix(ENGLISH) for kind in wanted if kind.endswith(ENGLISH)]
    if english:
        if document.translated is None:
            raise KeyError(f"{english[0]}{ENGLISH}")
        translated = _written(document.translated, english)
        contents |= {f"{format}{ENGLISH}": content for format, content in translated.items()}
    return contents


def render(document: Document, kind: str) -> bytes:
    """*document* as the content of a file of this kind. Raises KeyError where there is none."""
    return contents_of(document, (kind,))[kind]


def suffix_of(document: Document) -> str:
    """What the names of its files carry before their extension: ``.en``, if that is configured and known.

    Nothing where a translation beside the text has it: who speaks English most of the time has a text in two languages.
    """
    if not (document.options.language_suffix and document.language):
        return ""
    suffix = f".{document.language}"
    return "" if suffix == ENGLISH and document.translated is not None else suffix


def _written(document: Document, formats: Collection[str]) -> dict[str, bytes]:
    has_cues = not _SUBTITLES.isdisjoint(formats)
    cues = _cues(document) if has_cues else ()
    writers: dict[str, Callable[[], str | bytes]] = {
        "txt": partial(txt, document),
        "srt": partial(srt, document, cues),
        "vtt": partial(vtt, document, cues),
        "json": partial(json_text, document, cues if has_cues else None),
        "tsv": partial(_tsv, document),
        "md": partial(markdown, document),
        "docx": partial(docx, document),
        "lrc": partial(lrc, document, cues),
    }
    return {format: _bytes(writers[format]()) for format in formats}


def _bytes(content: str | bytes) -> bytes:
    # A lone surrogate is only in JSON by now, where it is written so.
    return content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")


def _cues(document: Document) -> Sequence[Cue]:
    return cues_of(document.transcript.segments, document.language, shape_of(document), until_ms(document))


def _tsv(document: Document) -> str:
    segments = document.transcript.segments
    with_speakers = any(segment.speaker for segment in segments)
    rows = [["start", "end", "text", "speaker"]]
    rows += [
        [_milliseconds(one.start_s), _milliseconds(one.end_s), _cell(one.text), _cell(name_of(one.speaker))]
        for one in segments
    ]
    return "".join("\t".join(row if with_speakers else row[:3]) + "\n" for row in rows)


def _cell(text: str) -> str:
    """As a spreadsheet may open it: no formula, no quotes that join lines."""
    shown = cleaned(text)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@", '"') else shown


def _milliseconds(seconds: float) -> str:
    return str(max(0, round(seconds * 1000)))
