"""What a long recording costs in memory: the peaks of a decode worker and of the engine, from a minute to hours.

    python -m benchmarks.memory [--minutes 1,180]

Each length runs in a decode worker and an engine of its own; peaks are VmHWM (proc(5)). The recording is the longest
sample clip over and over, FLAC, in the language that it is in. Exit status 1 if a longer recording needs 300 MB more
than the first in either process.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # ships no py.typed

from daemon.decode.pool import DecodeLimits, DecodePool
from daemon.engine.client import Checkpoint, Engine, EngineSettings, Request
from daemon.options import JobOptions

CLIP: Final = Path(__file__).parent.parent / "tests" / "data" / "lecture.ogg"

MAX_MORE_MB: Final = 300.0

_soundfile: Any = soundfile


@dataclass(frozen=True, slots=True)
class Cost:
    """The peaks and times for one length."""

    audio_s: float
    decode_mb: float
    engine_mb: float
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


def peak_mb(pid: int) -> float:
    """The most that a process has had in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def measure(recording: Path, models_dir: Path, spool: Path) -> Cost:
    """Decode and transcribe *recording* with processes of its own."""
    pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=_print)
    engine = Engine(EngineSettings(models_dir=models_dir, slots=1), _print)
    try:
        engine.start("base")
        began = time.monotonic()
        with recording.open("rb") as source, spool.open("w+b") as target:
            decoded = pool.decode(source.fileno(), target.fileno(), extension="flac", cancelled=threading.Event())
        decode_s = time.monotonic() - began
        decode_mb = max(peak_mb(pid) for pid in pool.pids())
        began = time.monotonic()
        transcript = engine.transcribe(
            Request(1, spool, decoded.n_samples, decoded.spans, JobOptions(language="en", beam_size=1)),
            Checkpoint(),
            progress=lambda _done_s, _total_s: None,
            cancelled=threading.Event(),
        )
        pid = engine.status().pid
        assert pid is not None
        engine_s = time.monotonic() - began
        return Cost(decoded.decoded_s, decode_mb, peak_mb(pid), decode_s, engine_s, len(transcript.segments))
    finally:
        engine.close(5.0)
        pool.close(5.0)


def costs(minutes: list[float]) -> Iterator[Cost]:
    """The cost of each length, in order."""
    with tempfile.TemporaryDirectory(prefix="transcribed-memory-") as name:
        folder = Path(name)
        for length in minutes:
            recording = folder / f"{length:g}.flac"
            write_recording(recording, length)
            yield measure(recording, folder / "models", folder / "spool.s16")
            recording.unlink()


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="What a long recording costs in memory.")
    parser.add_argument("--minutes", default="1,180", help="lengths, separated by commas")
    minutes = [float(part) for part in parser.parse_args().minutes.split(",")]
    print(f"{'minutes':>8}{'decode MB':>11}{'engine MB':>11}{'decode s':>10}{'engine s':>10}{'segments':>10}")
    measured: list[Cost] = []
    for cost in costs(minutes):
        measured.append(cost)
        numbers = f"{cost.decode_mb:11.0f}{cost.engine_mb:11.0f}{cost.decode_s:10.1f}{cost.engine_s:10.1f}"
        print(f"{cost.audio_s / 60:8.0f}{numbers}{cost.n_segments:10d}", flush=True)
    first = measured[0]
    more_mb = max(max(cost.decode_mb - first.decode_mb, cost.engine_mb - first.engine_mb) for cost in measured)
    print(f"at most {more_mb:.0f} MB more than the first")
    raise SystemExit(more_mb > MAX_MORE_MB)


def _print(name: str, line: str) -> None:
    print(f"{name}: {line}")


if __name__ == "__main__":
    main()
