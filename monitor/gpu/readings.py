"""What the process that reads the GPUs tells: plain frozen data. Ratios are 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class Unreadable(Exception):
    """Raised when a way to read the GPUs does not work; the message says why, and what to do where we know."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU. A figure is None where the driver does not tell it; *problem* says why none is told.

    *throttled* is whether heat or the power supply holds the clock down; *clock_words* says what holds it down, a
    limit that is meant to included. *memory_by_pid* is of every process that computes on it, ours or not.
    """

    index: int
    name: str
    uuid: str
    utilisation_ratio: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    clock_hz: int | None = None
    throttled: bool | None = None
    clock_words: str = ""
    ecc_errors: int | None = None
    memory_by_pid: Mapping[int, int] = field(default_factory=dict[int, int])
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """All GPUs at one moment. *unavailable* says in words why there is no reading; None where there is no GPU too.

    *source* is ``nvml`` or ``nvidia-smi``, None without a reading.
    """

    gpus: tuple[GpuSample, ...] = ()
    source: str | None = None
    unavailable: str | None = None

    @property
    def useless(self) -> bool:
        """Whether no figure of any GPU could be read, though there should be some."""
        return self.unavailable is not None or (bool(self.gpus) and all(gpu.problem is not None for gpu in self.gpus))
