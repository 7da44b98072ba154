"""``transcribed search``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from daemon.cli import exits
from daemon.cli.common import glance, loaded, print_json, readable, since
from daemon.errors import TranscribedError
from daemon.log import escape
from storage.searching import MARKS, Hit, NothingToFind

_MARKED: Final = re.compile(f"{MARKS[0]}(.*?){MARKS[1]}", re.DOTALL)


def run(
    file: Path | None, words: Sequence[str], limit: int, folder: Path | None, when: str | None, *, as_json: bool
) -> int:
    """Print the lines with all *words*, by recording; the exit code."""
    below = os.fsencode(os.path.abspath(folder)) if folder is not None else None
    with glance(loaded(file).config) as history:
        try:
            hits = history.search(words, limit, below, since(when))
        except NothingToFind as error:
            raise TranscribedError(f"search: {error}") from error
    if as_json:
        print_json([as_dict(hit) for hit in hits])
    else:
        _show(hits)
        if not hits:
            print("transcribed: no transcript has these words in one line", file=sys.stderr)
    return exits.OK if hits else exits.FAILED


def as_dict(hit: Hit) -> dict[str, Any]:
    """A hit as JSON types; the keys are a contract with scripts. *found* are the pieces of the text that matched."""
    return {
        "job": hit.job_id,
        "path": hit.path.decode("utf-8", "backslashreplace"),
        "finished_at": hit.finished_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "number": hit.number,
        "start_s": hit.start_s,
        "end_s": hit.end_s,
        "text": hit.text,
        "found": _MARKED.findall(hit.marked),
        "suspect": hit.suspect.split(),
        "speaker": hit.speaker,
    }


def clock(seconds: float) -> str:
    """``0:02:03``: hours, minutes and seconds, the fraction cut off, so that a player starts before the word."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def heading(path: bytes, job_id: int, finished_at: datetime) -> Text:
    """The line above what was found in a recording."""
    return Text.assemble(Text(readable(path), style="bold"), f"  (job {job_id}, {finished_at.astimezone():%Y-%m-%d})")


def _show(hits: Sequence[Hit]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for job_id, lines in groupby(hits, key=lambda hit: hit.job_id):
        of_recording = list(lines)
        console.print(heading(of_recording[0].path, job_id, of_recording[0].finished_at))
        for hit in of_recording:
            who = f"{escape(hit.speaker)}: " if hit.speaker else ""
            console.print(Text.assemble((f"  {clock(hit.start_s):>8}  ", "cyan"), (who, "dim"), _line(hit.marked)))


def _line(marked: str) -> Text:
    """The line with what was found between ``[`` and ``]`` where colours are lost, and in bold where not."""
    line = Text()
    for index, piece in enumerate(_MARKED.split(marked)):
        if index % 2:
            line.append(f"[{escape(piece)}]", style="bold yellow")
        else:
            line.append(escape(piece))
    return line
