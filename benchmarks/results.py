"""What a benchmark leaves behind: one small JSON file, and how it is read back.

Owns the form of the files in ``benchmarks/results``; knows nothing of how they are measured or shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

TOTAL: Final = "total"
"""The key of all languages together, where counts are by language."""

FOLDER: Final = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Run:
    """One pass over all recordings. *p50_s* and *p95_s*: when half, and 95 %, of the texts were there."""

    wall_s: float
    cpu_s: float
    p50_s: float
    p95_s: float
    gpu_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant. *counts* has (errors, words) per language and in total; *wer_low*, *wer_high* the 95 % interval.

    *peak_mb* is of all its processes, over all runs; *gpu_mb* what the GPU's memory held more than before it began.
    *n_changed* counts recordings whose text was not the same in each run. *kept_percent* is how much of another row's
    text it kept, where a benchmark compares texts. *unequal* says in words what makes it no like-for-like row.
    """

    name: str
    title: str
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]
    load_s: float
    peak_mb: float
    counts: Mapping[str, tuple[int, int]]
    wer_low: float
    wer_high: float
    n_changed: int
    unequal: str = ""
    gpu_mb: float | None = None
    kept_percent: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class NotRun:
    """A contestant that is missing from the table, and why."""

    name: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Workload:
    """What was transcribed."""

    corpus: str
    n_recordings: int
    audio_s: float
    longest_s: float
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark of contestants on one machine. *reference* names the row that ratios are taken to."""

    benchmark: str
    at: str
    device: str
    model: str
    machine: Mapping[str, Any]
    workload: Workload
    reference: str
    rows: tuple[Row, ...]
    not_run: tuple[NotRun, ...] = ()


def now() -> str:
    """The day of a measurement; the hour is nobody's business."""
    return datetime.now(tz=UTC).date().isoformat()


def file_name(benchmark: str, device: str, model: str) -> str:
    """The file of a benchmark: one per device, and per model where it is not the usual one."""
    suffix = "" if model == "base" else f"-{Path(model).name}"
    return f"{benchmark}-{device}{suffix}.json"


def save(data: Mapping[str, Any], path: Path) -> None:
    """Write *data* for people to read in a diff: sorted by nothing, floats with four digits after the point."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rounded(data), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def save_result(result: Result, folder: Path = FOLDER) -> Path:
    """Write *result* to its file in *folder*; the path."""
    path = folder / file_name(result.benchmark, result.device, result.model)
    save(asdict(result), path)
    return path


def load_result(path: Path) -> Result:
    """The result in a file that `save_result` wrote."""
    return from_dict(json.loads(path.read_text("utf-8")))


def from_dict(data: Mapping[str, Any]) -> Result:
    """The result that was written as *data*. Raises TypeError or KeyError for anything else."""
    values: dict[str, Any] = dict(data)
    values["rows"] = tuple(_row(row) for row in data["rows"])
    values["workload"] = _workload(data["workload"])
    values["not_run"] = tuple(NotRun(**one) for one in data["not_run"])
    return Result(**values)


def _row(data: Mapping[str, Any]) -> Row:
    values: dict[str, Any] = dict(data)
    values["runs"] = tuple(Run(**run) for run in data["runs"])
    values["counts"] = _pairs(data["counts"])
    return Row(**values)


def _workload(data: Mapping[str, Any]) -> Workload:
    values: dict[str, Any] = dict(data)
    values["languages"] = tuple(data["languages"])
    return Workload(**values)


def _pairs(counts: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]]:
    return {key: (n_errors, n_words) for key, (n_errors, n_words) in counts.items()}


def rounded(data: Any) -> Any:
    """*data* with every float cut to four digits after the point, however deep it lies."""
    if isinstance(data, float):
        return round(data, 4)
    if isinstance(data, Mapping):
        return {str(key): rounded(value) for key, value in data.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(data, list | tuple):
        return [rounded(value) for value in data]  # pyright: ignore[reportUnknownVariableType]
    return data
