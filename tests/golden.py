"""Transcripts in ``data/golden`` and the files that each must give, byte for byte.

``NAME.document.json`` is what the engine gave, as the history keeps it; beside it are the files in each format. Of a
Word document there is its text with the names of the styles: its bytes are python-docx's. Of the options only those are
in the JSON that the document came with: else each new one would change all of them. Whoever changes a format on purpose
writes them again, ``python -m tests.golden``, and reads the difference.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import docx

from daemon.options import FORMATS
from daemon.outputs.document import Document
from daemon.outputs.formats import contents_of
from daemon.outputs.kept import kept_from
from tests.harness import DATA

GOLDEN: Final = DATA / "golden"
NAMES: Final = ("lecture", "chinese", "hostile", "nobody", "cut-off", "call", "call-hostile", "german", "english")


def document(name: str) -> Document:
    """The transcript of that name."""
    found = kept_from(_content(name)).document
    return replace(found, options=replace(found.options, formats=FORMATS))


def files(name: str) -> Iterator[tuple[Path, bytes]]:
    """The files that the transcript gives: where each is kept, and its content now."""
    for kind, content in contents_of(document(name)).items():
        format, _, language = kind.partition(".")
        path = GOLDEN / f"{name}{f'.{language}' if language else ''}.{format}"
        if format == "docx":
            yield path.with_name(f"{path.name}.txt"), paragraphs(content).encode()
        else:
            yield path, _with_options_of(name, content) if format == "json" else content


def _content(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / f"{name}.document.json").read_text(encoding="utf-8"))
    return content


def _with_options_of(name: str, content: bytes) -> bytes:
    kept = _content(name)["document"]["options"]
    shown = json.loads(content)
    shown["options"] = {key: value for key, value in shown["options"].items() if key in kept}
    return (json.dumps(shown, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode("utf-8", "backslashreplace")


def paragraphs(content: bytes) -> str:
    """The paragraphs of a Word document, each with its style."""
    found = docx.Document(io.BytesIO(content)).paragraphs
    return "".join(f"{paragraph.style.name if paragraph.style else ''}: {paragraph.text!r}\n" for paragraph in found)


def main() -> None:
    """Write all of them again."""
    for name in NAMES:
        for path, content in files(name):
            path.write_bytes(content)


if __name__ == "__main__":
    main()
