"""What a contestant is: loaded once, then given recordings. Imports no contestant and nothing of ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Setup:
    """What a contestant is started with. *weights* is a CTranslate2 model folder; *scratch* is for files of its own.

    *device* is ``cpu`` or ``cuda``, *compute_type* CTranslate2's name of a precision; *options* are those of its row.
    """

    weights: Path
    scratch: Path
    device: str
    compute_type: str
    n_threads: int
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Task:
    """One recording: a 16 kHz mono WAV file, its language and its length."""

    path: Path
    language: str
    audio_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """The text of one recording, and when it was there: seconds after all were handed over."""

    text: str
    done_s: float


class Contestant(Protocol):
    """A transcriber whose model is loaded. Made by ``make(setup)`` of its module, which may raise ImportError."""

    def settings(self) -> dict[str, Any]:
        """What it runs with, as it will stand in the table; no paths."""
        ...

    def transcribe_all(self, tasks: Sequence[Task]) -> Sequence[Heard]:
        """The text of each recording, in order. All are there at once: how it goes about them is its own affair."""
        ...

    def close(self) -> None:
        """No process of it is left."""
        ...


def one_by_one(tasks: Sequence[Task], transcribe: Callable[[Task], str]) -> list[Heard]:
    """For those that take one recording at a time."""
    began = time.perf_counter()
    return [Heard(transcribe(task), time.perf_counter() - began) for task in tasks]
