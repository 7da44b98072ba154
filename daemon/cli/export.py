"""``transcribed export``: a view as CSV that a spreadsheet may open, or as JSON lines."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, TextIO

from daemon.cli.common import loaded, reader, since
from daemon.errors import TranscribedError
from daemon.log import escape
from storage.exporting import TIMES

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001  # the wide ones too
"""Text that begins like this is a formula to a spreadsheet (OWASP, CSV Injection)."""

Row = tuple[object, ...]


def run(file: Path | None, format: Literal["csv", "jsonl"], view: str, when: str | None) -> None:
    """Print every row of *view*. Raises TranscribedError for a view that there is not."""
    if view not in TIMES:
        raise TranscribedError(f"--view {view!r}: there is no such view; there are {', '.join(sorted(TIMES))}")
    out = sys.stdout
    _make_utf8(out)
    write = write_csv if format == "csv" else write_json_lines
    with (
        reader(loaded(file).config) as history,
        contextlib.closing(history.view(view, since(when))) as rows,
        _until_closed(out),
    ):
        write(rows, out)
        out.flush()


def _make_utf8(out: TextIO) -> None:
    if isinstance(out, io.TextIOWrapper):  # not so in a test
        out.reconfigure(encoding="utf-8", newline="\n")  # whatever the locale: it is for other programs


def write_csv(rows: Iterable[Row], out: TextIO) -> None:
    """*rows*, the first of them the names. One line each: control characters become their numbers, as in the log."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([cell(value) for value in row] for row in rows)


def cell(value: object) -> object:
    """*value* so that no spreadsheet takes it for a formula and nothing in it moves a cursor; bytes in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(_FORMULA) else "") + escape(value)


def write_json_lines(rows: Iterable[Row], out: TextIO) -> None:
    """*rows*, the first of them the names, as one object a line; text exactly as it is, bytes in hexadecimal."""
    lines: Iterator[Row] = iter(rows)
    names = [str(name) for name in next(lines)]
    for row in lines:
        values = [value.hex() if isinstance(value, bytes) else value for value in row]
        out.write(json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=True) + "\n")


@contextlib.contextmanager
def _until_closed(out: TextIO) -> Generator[None]:
    """A reader that has seen enough (``| head``) is no error."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # what is still buffered has somewhere to go
