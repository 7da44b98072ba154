"""``transcribed suspects``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from daemon.cli import exits
from daemon.cli.common import glance, loaded, print_json, since
from daemon.cli.search import clock, heading
from daemon.log import escape
from daemon.suspects import in_words
from storage.suspects import Place


def run(file: Path | None, limit: int, folder: Path | None, when: str | None, *, as_json: bool) -> int:
    """Print where to listen, by recording; the exit code. That there is nowhere is no failure."""
    below = os.fsencode(os.path.abspath(folder)) if folder is not None else None
    with glance(loaded(file).config) as history:
        places = history.suspects(limit, below, since(when))
    if as_json:
        print_json([as_dict(place) for place in places])
    else:
        _show(places)
        if not places:
            print("transcribed: no transcript has a place that is doubtful", file=sys.stderr)
    return exits.OK


def as_dict(place: Place) -> dict[str, Any]:
    """A place as JSON types; the keys are a contract with scripts."""
    suspect = place.suspect
    return {
        "job": place.job_id,
        "path": place.path.decode("utf-8", "backslashreplace"),
        "finished_at": place.finished_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "rank": suspect.rank,
        "start_s": suspect.start_s,
        "end_s": suspect.end_s,
        "reasons": list(suspect.reasons),
        "text": suspect.text,
        "speech_s": suspect.speech_s,
        "avg_logprob": suspect.avg_logprob,
        "compression_ratio": suspect.compression_ratio,
        "no_speech_prob": suspect.no_speech_prob,
    }


def _show(places: Sequence[Place]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for job_id, group in groupby(places, key=lambda place: place.job_id):
        of_recording = list(group)
        console.print(heading(of_recording[0].path, job_id, of_recording[0].finished_at))
        for place in of_recording:
            suspect = place.suspect
            times = f"  {clock(suspect.start_s):>8} - {clock(suspect.end_s + 1):<8}  "
            why = Text(escape(in_words(suspect.reasons)), style="yellow")
            console.print(Text.assemble((times, "cyan"), why, f"  {escape(suspect.text)}" if suspect.text else ""))
