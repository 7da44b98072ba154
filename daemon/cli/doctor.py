"""``transcribed doctor``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from daemon.cli import exits
from daemon.cli.common import database, loaded, print_json
from daemon.doctor import Check, Grade, examine
from daemon.log import escape

_STYLES = {Grade.GOOD: "green", Grade.NOTE: "yellow", Grade.BAD: "bold red"}


def run(file: Path | None, *, as_json: bool) -> int:
    """Print every check; the exit code."""
    config = loaded(file).config
    checks: list[Check] = []
    console = Console(highlight=False, soft_wrap=True)
    for check in examine(config, database(config)):
        checks.append(check)
        if not as_json:
            console.print(
                Text.assemble(
                    (f"{check.grade:5}", _STYLES[check.grade]), f"{escape(check.name)}: {escape(check.finding)}"
                )
            )
    if as_json:
        print_json([{"name": check.name, "grade": check.grade.value, "finding": check.finding} for check in checks])
    return exits.FAILED if any(check.grade is Grade.BAD for check in checks) else exits.OK
