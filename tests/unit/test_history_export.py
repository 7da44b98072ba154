"""What `transcribed export` prints: nothing in it can run in a spreadsheet or forge a line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.export import cell, write_csv, write_json_lines
from storage.exporting import TIMES
from storage.jobs import JobStore
from storage.records import Correction
from storage.views import VIEWS
from tests.unit.history import AT, claim, days, transcribe

HOSTILE = b"/srv/inbox/=cmd()\n2026 ERROR forged \xe2\x80\xae\x1b[2Jexe.\xff.wav"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore.open(tmp_path / "history.db", "daemon-1")
    yield store
    store.close()


@pytest.mark.fault(53, "cells that begin with = + - @")
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\x09=1"),
        ("\r=1", "'\\x0d=1"),
        ("＝1", "'＝1"),  # noqa: RUF001
        ("a=1", "a=1"),
        ("line\nline \x1b[2J \u202e", "line\\x0aline \\x1b[2J \\u202e"),
        (-1.5, -1.5),
        (-3, -3),
        (None, None),
        (b"\xff=", "ff3d"),
    ],
)
def test_a_cell_is_no_formula_and_no_line_break(value: object, shown: object) -> None:
    """Text that a spreadsheet would run has an apostrophe before it; numbers stay numbers."""
    assert cell(value) == shown


def exported(store: JobStore, view: str, write: Any) -> str:
    out = io.StringIO()
    with closing(store.view(view)) as rows:
        write(rows, out)
    return out.getvalue()


@pytest.mark.fault(53, "hostile names in an export")
@pytest.mark.parametrize("view", sorted(TIMES))
def test_a_hostile_name_and_text_are_one_line_each(store: JobStore, view: str) -> None:
    """As CSV and as JSON, of every view; a JSON line gives back exactly what the view says."""
    transcribe(store, HOSTILE, "=1+1\nsecond\u2028line")
    corrected = transcribe(store, HOSTILE + b"2", "=1+1")
    store.correct(Correction(corrected, 1, AT, "@Anna\u202e", b"packed", (), (), 0, 0))
    store.fail(claim(store, HOSTILE, AT), "@cannot read\tthis", AT)
    with closing(store.view(view)) as rows:
        names, *found = rows
    assert found
    text = exported(store, view, write_csv)
    assert text.count("\n") == len(found) + 1
    assert not set(text) & set("\x1b\r\u202e\u2028")
    parsed = list(csv.reader(io.StringIO(text)))
    assert [tuple(parsed[0]), len(parsed)] == [names, len(found) + 1]
    assert not [field for row in parsed[1:] for field in row if field.startswith(("=", "+", "@", "\t"))]
    lines = exported(store, view, write_json_lines).splitlines()
    expected = [tuple(value.hex() if isinstance(value, bytes) else value for value in row) for row in found]
    assert [tuple(json.loads(line).values()) for line in lines] == expected
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_every_view_can_be_exported_from_a_time_on(store: JobStore) -> None:
    """Each has a column that says how old a row is."""
    transcribe(store, b"/srv/inbox/a.wav", "old")
    transcribe(store, b"/srv/inbox/b.wav", "new", at=days(5))
    assert {view.split()[2] for view in VIEWS} == set(TIMES)
    for view in set(TIMES) - {"v_failures", "v_events", "v_versions"}:
        with closing(store.view(view, days(2))) as rows:
            assert len(list(rows)) == 2, view


def test_paths_are_there_as_text_and_as_bytes(store: JobStore) -> None:
    """The text shows bytes that are no UTF-8; the bytes are the name."""
    transcribe(store, HOSTILE, "text")
    (line,) = exported(store, "v_history", write_json_lines).splitlines()
    assert json.loads(line)["path"].endswith("exe.\\xff.wav")
    assert bytes.fromhex(json.loads(line)["path_bytes"]) == HOSTILE
