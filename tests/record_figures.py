"""Records what a healthy daemon samples: ``python -m tests.record_figures MINUTES``, into tests/data/figures.json.

A real daemon with the real model, one core of it, gets the sample recordings a few at a time, as people drop them. Its
folders are in memory (/dev/shm), so that no other program of the machine fills their disk meanwhile.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.harness import DATA, Daemon

TARGET: Final = DATA / "figures.json"
CLIPS: Final = ("memo.wav", "phone-call.wav", "interview.mp3", "voice-note.m4a", "greeting.opus", "lecture.ogg")
DERIVED: Final = frozenset(
    "host_clock_step_s folder_full_in_s process_rss_slope_bytes_per_h speed_of_usual_ratio alerts_open".split()
)
"""Figures that the monitor makes of the others: who reads the file makes them again."""

SETTINGS: Final = {"ENGINE_LANES": "1", "ENGINE_THREADS": "1", "MONITOR_JSON_LOG_MAX_BYTES": "100000000"}


Column = list[float | None] | float | None
"""The values of a figure in a row, None where it was missing; or the one that never changed."""


def record(root: Path, minutes: float) -> Path:
    """Run a daemon in *root* for *minutes* and drop recordings; its log of samples."""
    log = root / "samples.jsonl"
    own = {f"TRANSCRIBED_{key}": value for key, value in {**SETTINGS, "MONITOR_JSON_LOG": str(log)}.items()}
    rng, end = random.Random(5), time.monotonic() + 60 * minutes
    (root / "state").mkdir()
    daemon = Daemon(root, root / "models", own).start()
    try:
        n_dropped = 0
        while time.monotonic() < end:
            for clip in rng.choices(CLIPS, k=rng.choice((1, 1, 1, 2, 4))):
                n_dropped += 1
                shutil.copy(DATA / clip, daemon.inbox / f"{n_dropped:04}-{clip}")
            time.sleep(rng.uniform(15, 120))
    finally:
        daemon.process.terminate()
        daemon.process.wait()
    return log


def columns(samples: Sequence[Mapping[str, Any]], root: str) -> dict[str, Column]:
    """The figures by name and subject; names of folders are as if *root* was /srv."""
    rows = [dict(_row(sample["figures"], root)) for sample in samples]
    found: dict[str, Column] = {}
    for name in sorted({name for row in rows for name in row}):
        values = [_short(row[name]) if name in row else None for row in rows]
        found[name] = values if len(set(values)) > 1 else values[0]
    return found


def _row(figures: Mapping[str, float | Mapping[str, float]], root: str) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if name in DERIVED:
            continue
        if isinstance(value, Mapping):
            for subject, figure in value.items():
                yield f"{name} {subject.replace(root, '/srv')}", figure
        else:
            yield name, value


def _short(value: float) -> float:
    number = float(f"{value:.5g}")
    return int(number) if number == int(number) else number


def main() -> None:
    """Record, and write the file."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # see above
        lines = record(Path(folder), float(sys.argv[1])).read_text(encoding="ascii").splitlines()
        figures = columns([json.loads(line) for line in lines], folder)
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(values)}" for name, values in figures.items())
    TARGET.write_text(f'{{"n_samples": {len(lines)}, "figures": {{\n{rows}\n}}}}\n', encoding="ascii")


if __name__ == "__main__":
    main()
