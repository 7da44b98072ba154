"""faster-whisper, in the three ways in which people use it: one file after the other, its batches, a pool of threads.

Options: ``way`` (sequential, batched, threads), ``beam_size``, ``batch_size``. Silence is skipped in all of them
(``vad_filter=True``, the library's own thresholds); everything else is the library's default.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants.protocol import Contestant, Heard, Setup, Task, one_by_one


@dataclass(frozen=True, slots=True)
class _Peer:
    transcribe: Callable[[Task], str]
    shown: dict[str, Any]
    n_at_once: int = 1

    def settings(self) -> dict[str, Any]:
        """What it runs with."""
        return self.shown

    def transcribe_all(self, tasks: Sequence[Task]) -> Sequence[Heard]:
        """One after the other, or as many at once as there are threads."""
        if self.n_at_once == 1:
            return one_by_one(tasks, self.transcribe)
        began = time.perf_counter()

        def hear(task: Task) -> Heard:
            return Heard(self.transcribe(task), time.perf_counter() - began)

        with ThreadPoolExecutor(self.n_at_once) as pool:
            return list(pool.map(hear, tasks))

    def close(self) -> None:
        """Its model goes with its process."""


def make(setup: Setup) -> Contestant:
    """The model, loaded."""
    library: Any = importlib.import_module("faster_whisper")
    way = str(setup.options.get("way", "sequential"))
    beam_size = int(setup.options.get("beam_size", 5))
    n_at_once = setup.n_threads if way == "threads" else 1
    model = library.WhisperModel(
        str(setup.weights),
        device=setup.device,
        compute_type=setup.compute_type,
        cpu_threads=setup.n_threads // n_at_once,
        num_workers=n_at_once,
    )
    shown: dict[str, Any] = {"compute_type": setup.compute_type, "beam_size": beam_size, "vad": True}
    arguments: dict[str, Any] = {"beam_size": beam_size, "vad_filter": True}
    if way == "batched":
        model = library.BatchedInferencePipeline(model=model)
        arguments["batch_size"] = shown["batch_size"] = int(setup.options.get("batch_size", 8))
    if n_at_once > 1:
        shown["threads"] = n_at_once

    def transcribe(task: Task) -> str:
        segments, _about = model.transcribe(str(task.path), language=task.language, **arguments)
        return _joined(segments)

    return _Peer(transcribe, shown, n_at_once)


def _joined(segments: Iterable[Any]) -> str:
    return " ".join(segment.text.strip() for segment in segments)
