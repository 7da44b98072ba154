"""WhisperS2T (whisper-s2t-reborn): the one peer that batches windows across recordings.

Options: ``beam_size``, ``batch_size``. With beam 5 its own "best" settings are taken, patience 2 among them.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.contestants.protocol import Contestant, Heard, Setup, Task


class _Peer:
    def __init__(self, model: Any, shown: dict[str, Any]) -> None:
        self._model = model
        self._shown = shown

    def settings(self) -> dict[str, Any]:
        """What it runs with."""
        return self._shown

    def transcribe_all(self, tasks: Sequence[Task]) -> Sequence[Heard]:
        """All in one call; no text is there before all are."""
        began = time.perf_counter()
        found = self._model.transcribe_with_vad(
            [str(task.path) for task in tasks],
            lang_codes=[task.language for task in tasks],
            tasks=["transcribe"] * len(tasks),
            initial_prompts=[None] * len(tasks),
            batch_size=self._shown["batch_size"],
        )
        done_s = time.perf_counter() - began
        return [Heard(" ".join(str(part["text"]).strip() for part in parts), done_s) for parts in found]

    def close(self) -> None:
        """Its model goes with its process."""


def make(setup: Setup) -> Contestant:
    """The same weights, loaded."""
    library: Any = importlib.import_module("whisper_s2t")
    model_module: Any = importlib.import_module("whisper_s2t.backends.ctranslate2.model")
    beam_size = int(setup.options.get("beam_size", 1))
    best = beam_size > 1
    options = {**(model_module.BEST_ASR_CONFIG if best else model_module.FAST_ASR_OPTIONS), "beam_size": beam_size}
    model = library.load_model(
        str(setup.weights),
        device=setup.device,
        compute_type=setup.compute_type,
        cpu_threads=setup.n_threads,
        asr_options=options,
    )
    shown: dict[str, Any] = {"compute_type": setup.compute_type, "beam_size": beam_size, "vad": True}
    shown |= {"batch_size": int(setup.options.get("batch_size", 8)), "patience": options["patience"]}
    return _Peer(model, shown)
