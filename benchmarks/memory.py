"""What a long recording costs in memory: the peaks of a decode worker and of the engine, from a minute to hours.

    python -m benchmarks.memory [--minutes 1,60,600]

Each length runs in a decode worker and an engine of its own; peaks are VmHWM (proc(5)). The recording is the longest
sample clip over and over, FLAC, in the language that it is in. Exit status 1 if a longer recording needs 300 MB more
than the first in either process.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # ships no py.typed

from benchmarks import engine_door, machine, results, tables
from benchmarks.engine_door import Wanted

CLIP: Final = Path(__file__).parent.parent / "tests" / "data" / "lecture.ogg"

MAX_MORE_MB: Final = 300.0

_soundfile: Any = soundfile


@dataclass(frozen=True, slots=True)
class Cost:
    """The peaks and times for one length. *loaded_mb*: the engine's peak before it had a recording."""

    audio_s: float
    decode_mb: float
    engine_mb: float
    loaded_mb: float
    decode_s: float
    engine_s: float
    n_segments: int


def write_recording(path: Path, minutes: float) -> None:
    """The clip over and over until it is *minutes* long."""
    samples, rate_hz = _soundfile.read(CLIP, dtype="int16")
    left = int(minutes * 60 * rate_hz)
    with _soundfile.SoundFile(path, "w", rate_hz, 1, format="FLAC") as file:
        while left > 0:
            file.write(samples[:left])
            left -= len(samples)


def measure(recording: Path, models_dir: Path) -> Cost:
    """Decode and transcribe *recording* with processes of its own."""
    with contextlib.closing(engine_door.Ours(Wanted("base", models_dir, crowd=1, n_decoders=1))) as ours:
        loaded_mb = ours.engine_peak_mb()
        began = time.monotonic()
        with ours.decoded(recording) as heard:
            decode_s = time.monotonic() - began
            decode_mb = ours.decode_peak_mb()
            began = time.monotonic()
            transcript = ours.transcribe_decoded(heard, "en")
            engine_s = time.monotonic() - began
        engine_mb, n_segments = ours.engine_peak_mb(), len(transcript.segments)
    return Cost(heard.audio_s, decode_mb, engine_mb, loaded_mb, decode_s, engine_s, n_segments)


def costs(minutes: list[float]) -> Iterator[Cost]:
    """The cost of each length, in order."""
    with tempfile.TemporaryDirectory(prefix="transcribed-memory-") as name:
        folder = Path(name)
        for length in minutes:
            recording = folder / f"{length:g}.flac"
            write_recording(recording, length)
            yield measure(recording, folder / "models")
            recording.unlink()


def main() -> None:
    """Read the arguments, measure, write and print."""
    parser = argparse.ArgumentParser(description="What a long recording costs in memory.")
    parser.add_argument("--minutes", default="1,60,600", help="lengths, separated by commas")
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="where the JSON goes")
    arguments = parser.parse_args()
    device = "cuda" if engine_door.n_gpus() else "cpu"
    measured = list(costs([float(part) for part in arguments.minutes.split(",")]))
    first = measured[0]
    more_mb = max(max(cost.decode_mb - first.decode_mb, cost.engine_mb - first.engine_mb) for cost in measured)
    lengths = [asdict(cost) for cost in measured]
    data: dict[str, Any] = {"benchmark": "memory", "at": results.now(), "device": device, "model": "base"}
    data |= {"machine": machine.describe(device), "more_mb": more_mb, "lengths": lengths}
    results.save(data, arguments.results / results.file_name("memory", device, "base"))
    print(tables.lengths(data))
    print(f"\nat most {more_mb:.0f} MB more than the first")
    raise SystemExit(more_mb > MAX_MORE_MB)


if __name__ == "__main__":
    main()
