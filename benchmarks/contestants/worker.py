"""The process of one contestant: reads commands, answers them; one JSON object a line each way.

    python -m benchmarks.contestants.worker MODULE SETUP

Commands: ``{"tasks": [[path, language, audio_s], ...]}``; the end of the input ends it. The first answer tells that
the model is loaded. What libraries print goes to stderr, so that it cannot be taken for an answer.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TextIO

from benchmarks.contestants.protocol import Contestant, Setup, Task

_SHOWN: Final = (
    "faster-whisper",
    "ctranslate2",
    "openai-whisper",
    "torch",
    "pywhispercpp",
    "whisper-s2t-reborn",
    "onnxruntime",
    "numpy",
)


def setup_to_json(setup: Setup) -> str:
    """The setup as the argument of the process."""
    return json.dumps(
        {
            "weights": str(setup.weights),
            "scratch": str(setup.scratch),
            "device": setup.device,
            "compute_type": setup.compute_type,
            "n_threads": setup.n_threads,
            "options": dict(setup.options),
        }
    )


def setup_from_json(text: str) -> Setup:
    """The setup that `setup_to_json` wrote."""
    data: Mapping[str, Any] = json.loads(text)
    return Setup(
        weights=Path(data["weights"]),
        scratch=Path(data["scratch"]),
        device=str(data["device"]),
        compute_type=str(data["compute_type"]),
        n_threads=int(data["n_threads"]),
        options=dict(data["options"]),
    )


def versions() -> dict[str, str]:
    """The versions of what is installed here and may matter."""
    found = {"python": sys.version.split()[0]}
    for name in _SHOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def serve(make: Callable[[Setup], Contestant], setup: Setup, commands: TextIO, answers: TextIO) -> None:
    """Load, then answer each command until the input ends."""
    began = time.perf_counter()
    contestant = make(setup)
    _answer(answers, settings=contestant.settings(), load_s=time.perf_counter() - began, versions=versions())
    try:
        for line in commands:
            tasks = [Task(Path(path), language, audio_s) for path, language, audio_s in json.loads(line)["tasks"]]
            began = time.perf_counter()
            heard = contestant.transcribe_all(tasks)
            wall_s = time.perf_counter() - began
            _answer(answers, wall_s=wall_s, heard=[[one.text, one.done_s] for one in heard])
    finally:
        contestant.close()


def _answer(answers: TextIO, **message: Any) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def main() -> None:
    """Run the contestant that the arguments name."""
    module, text = sys.argv[1:]
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        try:
            serve(importlib.import_module(module).make, setup_from_json(text), sys.stdin, answers)
        except ImportError as error:
            _answer(answers, failed=f"not installed: {error}")
            raise SystemExit(3) from error
        except Exception as error:
            _answer(answers, failed=f"{type(error).__name__}: {error}")
            raise


if __name__ == "__main__":
    main()
