"""A transcript as a Word document. The one door to python-docx, which is loaded when the first is written."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from datetime import datetime
from typing import TYPE_CHECKING, Final

from daemon.outputs.document import Document
from daemon.outputs.paragraphs import LISTEN_HERE, clock, header_of, paragraphs_of, suspects_in
from daemon.outputs.typesetting import cleaned

if TYPE_CHECKING:
    from docx.document import Document as WordDocument
    from docx.text.paragraph import Paragraph

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first that ZIP knows


def docx(document: Document) -> bytes:
    """A heading, the header, the paragraphs. The same document gives the same bytes."""
    import docx as python_docx  # it takes 20 MB that most daemons never need

    word = python_docx.Document()
    title = cleaned(document.recording)
    _describe(word, title, document)
    _directed(word.add_heading(title, level=1), title)
    header = word.add_paragraph()
    for n, (name, value) in enumerate(header_of(document)):
        header.add_run(f"{name}: ").bold = True
        run = header.add_run(value)
        if n + 1 < len(header_of(document)):
            run.add_break()
    if document.notice:
        word.add_paragraph().add_run(f"[{cleaned(document.notice)}]").italic = True
    for paragraph in paragraphs_of(document):
        added = word.add_paragraph()
        if document.options.paragraph_times:
            added.add_run(f"{clock(paragraph.start_s)}  ").bold = True
        if paragraph.speaker:
            added.add_run(f"{paragraph.speaker}: ").bold = True
        added.add_run(paragraph.text)
        _directed(added, paragraph.text)
    if suspects := suspects_in(document):
        word.add_heading(LISTEN_HERE, level=2)
        for times, why in suspects:
            place = word.add_paragraph(style="List Bullet")
            place.add_run(f"{times}  ").bold = True
            place.add_run(why)
    content = io.BytesIO()
    word.save(content)
    return _dateless(content)


def _describe(word: WordDocument, title: str, document: Document) -> None:
    """The properties are those of *document*, none those of python-docx's template."""
    if (package := word.part.package) is not None:
        for name in [name for name, related in package.rels.items() if related.reltype.endswith("/thumbnail")]:
            del package.rels[name]
    properties = word.core_properties
    properties.title, properties.author, properties.comments = title[:255], "", ""
    properties.language, properties.last_modified_by = document.language, ""
    properties.created = properties.modified = datetime.fromisoformat(document.made_at)


def _directed(paragraph: Paragraph, text: str) -> None:
    """From right to left where *text* begins so."""
    strong = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    if strong == "L":
        return
    from docx.oxml import OxmlElement  # pyright: ignore[reportUnknownVariableType]  # lxml has no types

    # There is no other way to say so; before it in the properties is only the style, as their order demands.
    properties = paragraph._p.get_or_add_pPr()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    properties.append(OxmlElement("w:bidi"))  # pyright: ignore[reportUnknownMemberType]  # lxml again
    for run in paragraph.runs:
        run.font.rtl = True


def _dateless(content: io.BytesIO) -> bytes:
    """The archive without the time of day in it."""
    written = io.BytesIO()
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            kept = zipfile.ZipInfo(entry.filename, _EPOCH)
            kept.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(kept, source.read(entry))
    return written.getvalue()
