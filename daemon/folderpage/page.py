"""The page of an inbox as HTML and as plain text. Pure. The door to Jinja2, which escapes all that is put in."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

import jinja2

from daemon.folderpage.view import Row, View

HTML_MARK: Final = "<!DOCTYPE html><!-- Made by transcribed. This file is overwritten. -->\n"
TEXT_MARK: Final = "[transcribed] "
"""How these files begin, in every language: what begins so may be replaced."""


def html(view: View) -> bytes:
    """The page: no script, nothing from elsewhere, and a policy that would let neither in."""
    return (HTML_MARK + _template().render(view=view)).encode()


@cache
def _template() -> jinja2.Template:
    source = resources.files(__package__ or "").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


def text(view: View) -> bytes:
    """The same for whoever has no browser at hand."""
    lines = [f"{TEXT_MARK}{view.not_ours}", "", view.title, view.as_of, "", *view.alarm, *view.summary]
    for section in view.sections:
        lines += ["", f"== {section.title} =="]
        for row in section.rows:
            lines += _row_lines(row)
        lines += [f"  {section.more}"] if section.more else []
    return ("\n".join(lines) + "\n").encode()


def _row_lines(row: Row) -> list[str]:
    name = f"{row.folder}/{row.name}" if row.folder else row.name
    return [f"- {name}", *(f"    {line}" for line in (row.about, *row.lines) if line)]


def is_html(content: bytes) -> bool:
    """Whether *content* is a page that may be replaced."""
    return content.startswith(HTML_MARK.encode())


def is_text(content: bytes) -> bool:
    """The same of the plain one."""
    return content.startswith(TEXT_MARK.encode())
