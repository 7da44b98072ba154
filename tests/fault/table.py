"""``python -m tests.fault.table``: run every test of a fault, print a table with a line for each fault.

``--short`` takes a part of the calls and sequences that the long tests go through; what follows goes to pytest.

Ends with 1 if a test fails, or if a fault has neither a test nor a reason.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import pytest
from rich.console import Console
from rich.table import Table

from tests.fault.rows import NOT_HERE, ROWS

WIDTH: Final = 150


@dataclass
class Row:
    """What became of the tests of one fault."""

    injected: list[str] = field(default_factory=list[str])
    n_passed: int = 0
    failed: list[str] = field(default_factory=list[str])
    skipped: list[str] = field(default_factory=list[str])

    def result(self, number: int) -> str:
        """In words; a row counts as passed where something passed and nothing failed."""
        if self.failed:
            return "FAILED: " + ", ".join(self.failed)
        if self.n_passed:
            skipped = f", {len(self.skipped)} skipped: {self.skipped[0]}" if self.skipped else ""
            return f"passed ({self.n_passed} test{'s' if self.n_passed > 1 else ''}{skipped})"
        if self.skipped:
            return f"skipped: {self.skipped[0]}"
        return f"no test: {NOT_HERE[number]}" if number in NOT_HERE else "NO TEST AND NO REASON"


class Faults:
    """A pytest plugin: only tests of faults run, and their results are counted by fault."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = defaultdict(Row)
        self._numbers: dict[str, list[int]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item], config: pytest.Config) -> None:
        """Keep the tests with a mark, and remember whose they are."""
        kept: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            marks = list(item.iter_markers("fault"))
            (kept if marks else others).append(item)
            self._numbers[item.nodeid] = [int(mark.args[0]) for mark in marks]
            for mark in marks:
                injected = self.rows[int(mark.args[0])].injected
                if mark.args[1] not in injected:
                    injected.append(mark.args[1])
        items[:] = kept
        config.hook.pytest_deselected(items=others)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count it."""
        for number in self._numbers.get(report.nodeid, []):
            row, name = self.rows[number], report.nodeid.rpartition("::")[2]
            if report.failed:
                row.failed.append(name)
            elif report.skipped:
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
                row.skipped.append(str(reason).removeprefix("Skipped: "))
            elif report.when == "call":
                row.n_passed += 1

    def print(self) -> bool:
        """Show the table; whether all is as it should be."""
        table = Table(title="Faults", title_justify="left", show_lines=False)
        for column in ("", "fault", "brought about by", "result"):
            table.add_column(column, overflow="fold")
        results = {number: self.rows[number].result(number) for number in ROWS}
        for number, name in ROWS.items():
            how = textwrap.shorten("; ".join(self.rows[number].injected), 90, placeholder=" ...")
            table.add_row(str(number), name, how, results[number])
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(table)
        n_passed = sum(result.startswith("passed") for result in results.values())
        console.print(f"{n_passed} of {len(ROWS)} faults passed.")
        return not any(result.startswith(("FAILED", "NO TEST")) for result in results.values())


def main() -> int:
    """Run the tests; the exit status."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--short"]
    if arguments == sys.argv[1:]:
        os.environ["ALL_FAULTS"] = "1"
    faults = Faults()
    status = pytest.main(["--quiet", "--no-header", "-p", "no:cacheprovider", *(arguments or ["tests"])], [faults])
    whole = faults.print()
    return 0 if status == pytest.ExitCode.OK and whole else 1


if __name__ == "__main__":
    sys.exit(main())
