"""openai-whisper, where the work on a faster Whisper began: torch, float32 on a CPU, float16 on a GPU.

Options: ``beam_size``; 1 is its greedy default. Everything else, the fallback to higher temperatures too, is the
library's default. It has no way to skip silence.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from benchmarks import wav, weights_export
from benchmarks.contestants.protocol import Contestant, Heard, Setup, Task, one_by_one


class _Peer:
    def __init__(self, model: Any, beam_size: int, fp16: bool) -> None:
        self._model = model
        self._fp16 = fp16
        self._beam_size = beam_size

    def settings(self) -> dict[str, Any]:
        """What it runs with."""
        precision = "float16" if self._fp16 else "float32"
        return {"compute_type": precision, "beam_size": self._beam_size, "vad": False}

    def transcribe_all(self, tasks: Sequence[Task]) -> Sequence[Heard]:
        """One after the other."""
        return one_by_one(tasks, self._transcribe)

    def close(self) -> None:
        """Its model goes with its process."""

    def _transcribe(self, task: Task) -> str:
        beam_size = self._beam_size if self._beam_size > 1 else None
        samples = wav.read_float(task.path)
        found = self._model.transcribe(samples, language=task.language, beam_size=beam_size, fp16=self._fp16)
        return str(found["text"]).strip()


def make(setup: Setup) -> Contestant:
    """The same weights in its own form, loaded."""
    whisper: Any = importlib.import_module("whisper")
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(setup.n_threads)
    file = setup.scratch / "openai.pt"
    weights_export.export(setup.weights, file)
    model = whisper.load_model(str(file), device=setup.device)
    file.unlink()
    return _Peer(model, int(setup.options.get("beam_size", 1)), fp16=setup.device != "cpu")
