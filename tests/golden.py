"""Transcripts in ``data/golden`` and the files that each must give, byte for byte.

``NAME.document.json`` is what the engine gave, as the history keeps it; beside it are the files in each format. Of a
Word document there is its text with the names of the styles: its bytes are python-docx's. Whoever changes a format on
purpose writes them again, ``python -m tests.golden``, and reads the difference.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import docx

from daemon.options import FORMATS, Format
from daemon.outputs.document import Document
from daemon.outputs.formats import contents_of
from daemon.outputs.kept import kept_from
from tests.harness import DATA

GOLDEN: Final = DATA / "golden"
NAMES: Final = ("lecture", "chinese", "hostile", "nobody", "cut-off")


def document(name: str) -> Document:
    """The transcript of that name."""
    content = json.loads((GOLDEN / f"{name}.document.json").read_text(encoding="utf-8"))
    found = kept_from(content).document
    return replace(found, options=replace(found.options, formats=FORMATS))


def files(name: str) -> Iterator[tuple[Path, bytes]]:
    """The files that the transcript gives: where each is kept, and its content now."""
    for format, content in contents_of(document(name)).items():
        yield _place(name, format), paragraphs(content).encode() if format == "docx" else content


def paragraphs(content: bytes) -> str:
    """The paragraphs of a Word document, each with its style."""
    found = docx.Document(io.BytesIO(content)).paragraphs
    return "".join(f"{paragraph.style.name if paragraph.style else ''}: {paragraph.text!r}\n" for paragraph in found)


def _place(name: str, format: Format) -> Path:
    return GOLDEN / (f"{name}.docx.txt" if format == "docx" else f"{name}.{format}")


def main() -> None:
    """Write all of them again."""
    for name in NAMES:
        for path, content in files(name):
            path.write_bytes(content)


if __name__ == "__main__":
    main()
