"""What each idea adds: from faster-whisper's sequential way to our engine as it comes, one step at a time.

    python -m benchmarks.ladder [CORPUS] [--repeats 3] [--minutes 5]

What a step adds is left out below it: by a setting where the engine has one, else by `benchmarks.ablated_server`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Final

from benchmarks import corpus, match, stage
from benchmarks.ablated_server import VARIABLE
from benchmarks.roster import BATCHED, SEQUENTIAL, Entry, ours

_CAREFUL: Final = {"quality": "careful"}

_PLAIN: Final = {
    "CT2_FORCE_CPU_ISA": "AVX2",
    "MALLOC_ARENA_MAX": "0",
    "MALLOC_MMAP_MAX_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "MALLOC_TOP_PAD_": "131072",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
}
"""What glibc and CTranslate2 do if nobody sets anything (mallopt(3)); the engine leaves alone what is set already."""


def steps() -> list[Entry]:
    """The entries from the bottom up."""
    one_lane = {"lanes": 1}
    rungs = [
        (ours("one", "ours, one recording at a time", job=_CAREFUL, engine=one_lane, crowd=1), "sorted,short"),
        (ours("across", "+ across recordings", job=_CAREFUL, engine=one_lane), "sorted,short"),
        (ours("sorted", "+ sorted by length", job=_CAREFUL, engine=one_lane), "short"),
        (ours("lanes", "+ several calls at once, the next batch prepared", job=_CAREFUL), "short"),
        (ours("short", "+ windows as long as the speech", job=_CAREFUL), ""),
        (ours("first-pass", "+ cheap first pass with guards"), ""),
    ]
    plain = [replace(entry, environment={**_PLAIN, VARIABLE: left_out}) for entry, left_out in rungs]
    return [SEQUENTIAL, BATCHED, *plain, ours("process", "+ process settings")]


def main() -> int:
    """Climb."""
    arguments = stage.parser(__doc__).parse_args()
    with stage.staged(arguments) as ready:
        clips = corpus.memos(ready.clips, 60.0 * arguments.minutes)
        outcome = match.play(steps(), clips, ready.plan)
        rows = [match.row(played, clips) for played in outcome.played]
        stage.finish(ready.result("ladder", outcome, clips, rows), arguments.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
