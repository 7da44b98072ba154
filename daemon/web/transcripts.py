"""Transcripts as the history keeps them, and every file that can be made of one. No recording is touched for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from daemon.options import FORMATS
from daemon.outputs.document import Document
from daemon.outputs.formats import ENGLISH, render, suffix_of
from daemon.outputs.kept import unpacked
from daemon.outputs.naming import ending_of

MEDIA_TYPES: Final = MappingProxyType(
    {
        "txt": "text/plain; charset=utf-8",
        "srt": "application/x-subrip; charset=utf-8",
        "vtt": "text/vtt; charset=utf-8",
        "json": "application/json",
        "tsv": "text/tab-separated-values; charset=utf-8",
        "md": "text/markdown; charset=utf-8",
        "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "lrc": "text/plain; charset=utf-8",
    }
)

_MOST_KEPT_BYTES: Final = 200_000
"""Longer texts than that of some three hours are read anew each time: they would take 10 MB each."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file of a transcript, as it would stand beside the recording."""

    content: bytes
    name: str
    media_type: str


def document_of(content: bytes | None) -> Document | None:
    """The document that was stored as *content*; None where there is none that this version reads."""
    if content is None:
        return None
    return _read(content) if len(content) <= _MOST_KEPT_BYTES else _read.__wrapped__(content)


@lru_cache(maxsize=2)  # who reads a text asks for its parts and its files one after the other
def _read(content: bytes) -> Document | None:
    kept = unpacked(content)
    return kept.document if kept is not None else None


def kinds_of(document: Document) -> tuple[str, ...]:
    """Every kind of file that can be made of *document*: ``txt``, and ``txt.en`` where there is a translation."""
    if document.translated is None:
        return FORMATS
    return (*FORMATS, *(f"{format}{ENGLISH}" for format in FORMATS if format != "json"))


def download(document: Document, kind: str) -> Download:
    """*document* as a file of *kind*. Raises KeyError where there is none."""
    if kind not in kinds_of(document):
        raise KeyError(kind)
    stem, dot, _extension = document.recording.rpartition(".")
    name = f"{stem if dot and stem else document.recording}{ending_of(kind, suffix_of(document))}"
    return Download(render(document, kind), name, MEDIA_TYPES[kind.partition(".")[0]])
