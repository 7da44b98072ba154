"""Precisions of the model: what each costs and what it keeps of the text, beside float32.

    python -m benchmarks.quant [CORPUS] [--repeats 3] [--minutes 5]

Runs our engine, options as they come, in every precision that the device can compute in. "text kept" is how many of
the words of float32's texts are there too, whether they are right or not; errors are against the references.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from benchmarks import corpus, engine_door, match, stage
from benchmarks.corpus import Clip
from benchmarks.figures import pooled_rate
from benchmarks.match import Outcome
from benchmarks.results import NotRun, Row
from benchmarks.roster import Entry, ours
from benchmarks.scoring import errors

ORDER: Final = (
    "float32",
    "float16",
    "bfloat16",
    "int16",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int8",
)
_FULL: Final = "float32"


def entries(supported: Sequence[str]) -> list[Entry]:
    """Our engine in each precision that is supported."""
    return [replace(ours(name, name), precision=name) for name in ORDER if name in supported]


def missing(supported: Sequence[str], device: str) -> list[NotRun]:
    """The precisions that the device has not."""
    reason = f"CTranslate2 does not compute in it on this {device.upper()}"
    return [NotRun(name, name, reason) for name in ORDER if name not in supported]


def kept_percent(full: Sequence[str], texts: Sequence[str], clips: Sequence[Clip]) -> float:
    """How much of the *full* precision's words *texts* has, in percent."""
    counts = [errors(one, other, clip.language) for one, other, clip in zip(full, texts, clips, strict=True)]
    return max(0.0, 100.0 - pooled_rate(counts))


def rows(outcome: Outcome, clips: Sequence[Clip]) -> list[Row]:
    """The rows of the table; what was kept only if float32 ran."""
    full = outcome.of(_FULL)
    made: list[Row] = []
    for played in outcome.played:
        kept = None if full is None else kept_percent(full.texts[0], played.texts[0], clips)
        made.append(replace(match.row(played, clips), kept_percent=kept))
    return made


def main() -> int:
    """Run the match of precisions."""
    arguments = stage.parser(__doc__).parse_args()
    with stage.staged(arguments) as ready:
        clips = corpus.memos(ready.clips, 60.0 * arguments.minutes)
        device = ready.plan.setup.device
        supported = engine_door.compute_types(device)
        outcome = match.play(entries(supported), clips, ready.plan)
        outcome.not_run += missing(supported, device)
        result = ready.result("quant", outcome, clips, rows(outcome, clips))
        stage.finish(replace(result, reference=_FULL), arguments.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
