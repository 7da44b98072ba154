"""``transcribed explain``."""

from __future__ import annotations

import os
from pathlib import Path

from daemon.cli.common import database, loaded, print_json
from daemon.control import NoDaemon, ask
from daemon.intake.explain import explain
from daemon.log import escape
from storage.reading import JobReader


def run(file: Path | None, path: Path, *, as_json: bool) -> None:
    """Print what is thought of *path* and why."""
    config = loaded(file).config
    notes: list[str] = []

    def unfinished(name: bytes) -> str | None:
        try:
            answer: str | None = ask(config.state_dir, "unfinished", path=os.fsdecode(name))
        except NoDaemon:
            notes.append("no daemon is running: nothing is looked at")
            return None
        return answer

    jobs = JobReader.open(database(config)) if database(config).exists() else None
    try:
        explanation = explain(path, config.inbox, jobs, unfinished)
    finally:
        if jobs is not None:
            jobs.close()
    lines = [*explanation.lines, *notes]
    if as_json:
        print_json({"path": str(path), "rule": explanation.rule, "lines": lines, "job": explanation.job_id})
        return
    print(f"{escape(str(path))}: {escape(explanation.rule)}")
    for line in lines:
        print(f"  {escape(line)}")
