"""whisper.cpp through pywhispercpp: ggml weights in float16.

Options: ``beam_size``; 1 is greedy. Everything else, its fallback to higher temperatures too, is its default. It
skips no silence: its detector is a model of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from benchmarks import wav, weights_export
from benchmarks.contestants.protocol import Contestant, Heard, Setup, Task, one_by_one


class _Peer:
    def __init__(self, model: Any, shown: dict[str, Any]) -> None:
        self._model = model
        self._shown = shown

    def settings(self) -> dict[str, Any]:
        """What it runs with."""
        return self._shown

    def transcribe_all(self, tasks: Sequence[Task]) -> Sequence[Heard]:
        """One after the other."""
        return one_by_one(tasks, self._transcribe)

    def close(self) -> None:
        """Its model goes with its process."""

    def _transcribe(self, task: Task) -> str:
        segments = self._model.transcribe(wav.read_float(task.path), language=task.language)
        return " ".join(str(segment.text).strip() for segment in segments)


def make(setup: Setup) -> Contestant:
    """The same weights in its own form, loaded."""
    library: Any = importlib.import_module("pywhispercpp.model")
    file = setup.scratch / "whisper-cpp.ggml"
    weights_export.export(setup.weights, file)
    beam_size = int(setup.options.get("beam_size", 1))
    search: dict[str, Any] = {"greedy": {"best_of": 1}}
    if beam_size > 1:
        search = {"beam_search": {"beam_size": beam_size, "patience": -1.0}}
    model = library.Model(
        str(file),
        params_sampling_strategy=int(beam_size > 1),
        n_threads=setup.n_threads,
        print_progress=False,
        print_realtime=False,
        **search,
    )
    file.unlink()
    shown = {"compute_type": "float16", "beam_size": beam_size, "vad": False, "built for": _built_for(library)}
    return _Peer(model, shown)


def _built_for(library: Any) -> str:
    """The instruction sets that the wheel uses on this machine, as whisper.cpp tells them."""
    told = str(library.Model.system_info())
    parts = [part.strip() for part in told.replace(":", "|").split("|")]
    return ", ".join(part.split("=")[0].strip() for part in parts if part.endswith("= 1"))
