"""Batch sizes: throughput and use of the device, from one window at a time on.

    python -m benchmarks.batch [CORPUS] [--sizes 1,2,4,8,16,32] [--minutes 5]

Runs our engine with each as its largest batch. An engine without that setting is told by how many recordings are
inside it at once instead, and the rows say so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from benchmarks import corpus, engine_door, match, stage
from benchmarks.roster import Entry, ours

_SETTING: Final = "max_batch"
_SIZES: Final = {"cpu": "1,2,4,8,16,32", "cuda": "1,2,4,8,16,32,64,128"}


def entries(sizes: Sequence[int], *, has_setting: bool) -> list[Entry]:
    """An entry for each size."""
    if has_setting:
        return [ours(f"batch-{size}", f"batch {size}", engine={_SETTING: size}, crowd=max(64, size)) for size in sizes]
    note = "no batch size to set: recordings at once"
    return [ours(f"crowd-{size}", f"{size} at once", note, crowd=size) for size in sizes]


def main() -> int:
    """Run the sweep."""
    parser = stage.parser(__doc__)
    parser.add_argument("--sizes", help="largest batches, separated by commas")
    arguments = parser.parse_args()
    with stage.staged(arguments) as ready:
        clips = corpus.memos(ready.clips, 60.0 * arguments.minutes)
        text = arguments.sizes or _SIZES[ready.plan.setup.device]
        field = entries([int(size) for size in text.split(",")], has_setting=engine_door.has_engine_setting(_SETTING))
        outcome = match.play(field, clips, ready.plan)
        rows = [match.row(played, clips) for played in outcome.played]
        result = ready.result("batch", outcome, clips, rows)
        stage.finish(replace(result, reference=field[0].name), arguments.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
