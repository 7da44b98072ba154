"""Our engine: every recording is handed to it at once, as the daemon does, and it makes its batches of them.

Options: ``job`` and ``engine``, settings by their names in JobOptions and EngineSettings; ``crowd``, how many
recordings may be inside at once; ``model``, the name that the engine knows the weights by.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import engine_door
from benchmarks.contestants.protocol import Contestant, Heard, Setup, Task


class _Ours:
    def __init__(self, wanted: engine_door.Wanted) -> None:
        self._wanted = wanted
        self._n_at_once = wanted.crowd or engine_door.CROWD
        self._ours = engine_door.Ours(wanted)

    def settings(self) -> dict[str, Any]:
        """What it runs with; options that are not named here have their defaults."""
        made_with = self._ours.made_with()
        shown: dict[str, Any] = {"compute_type": made_with["compute_type"]}
        shown |= {**engine_door.shown_options(self._wanted), "vad": True, "recordings at once": self._n_at_once}
        return shown

    def transcribe_all(self, tasks: Sequence[Task]) -> Sequence[Heard]:
        """As many at once as the crowd is."""
        began = time.perf_counter()

        def transcribe(task: Task) -> Heard:
            transcript = self._ours.transcribe(task.path, task.language)
            text = " ".join(segment.text.strip() for segment in transcript.segments)
            return Heard(text, time.perf_counter() - began)

        with ThreadPoolExecutor(self._n_at_once) as pool:
            return list(pool.map(transcribe, tasks))

    def close(self) -> None:
        """No process is left."""
        self._ours.close()


def make(setup: Setup) -> Contestant:
    """The engine with its model, loaded."""
    return _Ours(
        engine_door.Wanted(
            model=str(setup.options.get("model", "base")),
            models_dir=setup.weights.parent,
            device=setup.device,
            compute_type=setup.compute_type,
            n_threads=int(setup.options.get("n_threads", 0)),
            crowd=int(setup.options.get("crowd", 0)),
            n_decoders=min(2, setup.n_threads),
            engine=setup.options.get("engine"),
            job=setup.options.get("job"),
        )
    )
