"""Who can be asked to run, and how each differs from the others. Plain data; imports no contestant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

REFERENCE: Final = "fw-sequential"
"""What ratios are taken to, and accuracy is held against: faster-whisper, one file after the other, beam 5."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One contestant. *own* ones run with our interpreter, the others with that of ``.venv-bench``.

    *environment* is added to the clean one. *slow* ones run once where the others are repeated; those *on_request* run
    only if they are named. *precision*, where it is named, is the entry's own.
    """

    name: str
    title: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    own: bool = True
    slow: bool = False
    on_request: bool = False
    unequal: str = ""
    precision: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


def _fw(name: str, title: str, unequal: str = "", **options: Any) -> Entry:
    return Entry(name, title, "benchmarks.contestants.faster_whisper_peer", options, unequal=unequal)


def _peer(name: str, title: str, module: str, *, beam_size: int, slow: bool, unequal: str) -> Entry:
    path = f"benchmarks.contestants.{module}"
    return Entry(name, title, path, {"beam_size": beam_size}, own=False, slow=slow, unequal=unequal)


def ours(name: str, title: str, unequal: str = "", **options: Any) -> Entry:
    """An entry of our engine; *options* as in `benchmarks.contestants.ours`."""
    return Entry(name, title, "benchmarks.contestants.ours", options, unequal=unequal)


OURS: Final = ours("ours", "transcribed, as it comes")
OURS_BEAM_5: Final = ours("ours-beam5", "transcribed, beam 5 everywhere", job={"quality": "careful", "beam_size": 5})
OURS_FAITHFUL: Final = ours("ours-faithful", "transcribed, faithful", job={"quality": "faithful"})

SEQUENTIAL: Final = _fw(REFERENCE, "faster-whisper, sequential", way="sequential", beam_size=5)
BATCHED: Final = _fw("fw-batched", "faster-whisper, BatchedInferencePipeline", way="batched", beam_size=5, batch_size=8)

_NO_VAD: Final = "does not skip silence"

ALL: Final[tuple[Entry, ...]] = (
    OURS,
    OURS_BEAM_5,
    OURS_FAITHFUL,
    SEQUENTIAL,
    _fw("fw-sequential-beam1", "faster-whisper, sequential, beam 1", "beam 1", way="sequential", beam_size=1),
    BATCHED,
    _fw("fw-threads", "faster-whisper, a thread per core on one model", way="threads", beam_size=5),
    _peer(
        "whisper-s2t",
        "WhisperS2T, as it comes",
        "whisper_s2t_peer",
        beam_size=1,
        slow=False,
        unequal="beam 1, other speech detector",
    ),
    _peer(
        "whisper-s2t-beam5",
        "WhisperS2T, beam 5",
        "whisper_s2t_peer",
        beam_size=5,
        slow=True,
        unequal="patience 2, other speech detector",
    ),
    _peer(
        "openai-greedy",
        "openai-whisper, greedy",
        "openai_whisper_peer",
        beam_size=1,
        slow=True,
        unequal=f"float32 on CPU, beam 1, {_NO_VAD}",
    ),
    _peer(
        "openai-beam5",
        "openai-whisper, beam 5",
        "openai_whisper_peer",
        beam_size=5,
        slow=True,
        unequal=f"float32 on CPU, {_NO_VAD}",
    ),
    _peer(
        "whisper-cpp-greedy",
        "whisper.cpp, greedy",
        "whisper_cpp_peer",
        beam_size=1,
        slow=True,
        unequal=f"float16, beam 1, {_NO_VAD}",
    ),
    replace(
        _peer(
            "whisper-cpp-beam5",
            "whisper.cpp, beam 5",
            "whisper_cpp_peer",
            beam_size=5,
            slow=True,
            unequal=f"float16, {_NO_VAD}",
        ),
        on_request=True,
    ),
)
"""Everybody, in the order of the tables."""


def chosen(names: Sequence[str]) -> list[Entry]:
    """The entries of these names, in the order of `ALL`; with no names, all but those on request.

    Raises ValueError for a name that nobody has.
    """
    unknown = set(names) - {entry.name for entry in ALL}
    if unknown:
        known = ", ".join(entry.name for entry in ALL)
        raise ValueError(f"nobody here is called {', '.join(sorted(unknown))}; there are {known}")
    return [entry for entry in ALL if entry.name in names or not (names or entry.on_request)]
