"""What each idea adds: from faster-whisper's sequential way to our engine as it comes, one step at a time.

    python -m benchmarks.ladder [CORPUS] [--repeats 3] [--minutes 5]

A step needs a switch in the engine to be left out below it. Where the engine has none, the step is listed as not run
and its effect is in all steps above "across recordings".
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks import corpus, engine_door, match, stage
from benchmarks.results import NotRun
from benchmarks.roster import BATCHED, SEQUENTIAL, Entry, ours


@dataclass(frozen=True, slots=True)
class Switch:
    """One idea: the engine setting that has it, and its values without and with."""

    name: str
    title: str
    setting: str
    off: Any
    on: Any


SWITCHES: Final = (
    Switch("sorted", "+ sorted by length", "sort_windows", off=False, on=True),
    Switch("lanes", "+ several calls into the model at once", "lanes", off=1, on=0),
    Switch("short", "+ windows as long as the speech", "short_windows", off=False, on=True),
)
"""Ideas of the engine, in the order of the ladder; the cheap first pass and the process settings come after them."""

_CAREFUL: Final = {"quality": "careful"}

_PLAIN: Final = {
    "CT2_FORCE_CPU_ISA": "AVX2",
    "MALLOC_MMAP_MAX_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "MALLOC_TOP_PAD_": "131072",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
}
"""What glibc and CTranslate2 do if nobody sets anything (mallopt(3)); the engine leaves alone what is set already."""


def steps(has_setting: Callable[[str], bool]) -> tuple[list[Entry], list[NotRun]]:
    """The entries from the bottom up, and the steps that have no switch."""
    there = [switch for switch in SWITCHES if has_setting(switch.setting)]
    missing = [
        NotRun(switch.name, switch.title, f"the engine has no setting {switch.setting!r}")
        for switch in SWITCHES
        if switch not in there
    ]
    now = {switch.setting: switch.off for switch in there}
    climbed = [
        ours("one", "ours, one recording at a time", job=_CAREFUL, engine=dict(now), crowd=1),
        ours("across", "+ across recordings", job=_CAREFUL, engine=dict(now)),
    ]
    for switch in there:
        now[switch.setting] = switch.on
        climbed.append(ours(switch.name, switch.title, job=_CAREFUL, engine=dict(now)))
    climbed.append(ours("first-pass", "+ cheap first pass with guards", engine=dict(now)))
    plain = [replace(entry, environment=_PLAIN) for entry in climbed]
    tuned = ours("process", "+ process settings", engine=dict(now))
    return [SEQUENTIAL, BATCHED, *plain, tuned], missing


def main() -> int:
    """Climb."""
    arguments = stage.parser(__doc__).parse_args()
    with stage.staged(arguments) as ready:
        clips = corpus.memos(ready.clips, 60.0 * arguments.minutes)
        climbed, missing = steps(engine_door.has_engine_setting)
        outcome = match.play(climbed, clips, ready.plan)
        outcome.not_run += missing
        rows = [match.row(played, clips) for played in outcome.played]
        stage.finish(ready.result("ladder", outcome, clips, rows), arguments.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
