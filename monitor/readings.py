"""What the monitor measures: plain frozen data. Ratios are 0 to 1, memory is bytes, CPU time is seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU. A figure is None where the driver does not tell it; *problem* says why none is told."""

    index: int
    name: str
    uuid: str
    utilisation_ratio: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """All GPUs at one moment. *unavailable* says in words why there is no reading; None where there is no GPU too.

    *source* is ``nvml`` or ``nvidia-smi``, None without a reading.
    """

    gpus: tuple[GpuSample, ...] = ()
    source: str | None = None
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """One process of ours; *cpu_s* is user and system time since its start."""

    pid: int
    rss_bytes: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """The machine at one moment. *cpu_ratio* is over all cores and the time since the sample before.

    *processes* is by role, without those that have ended; *queue* is whatever the service counts;
    *disk_free_bytes* is by folder, without those that cannot be asked.
    """

    at: datetime
    cpu_ratio: float
    memory_used_ratio: float
    memory_total_bytes: int
    processes: Mapping[str, ProcessSample]
    gpu: GpuReading
    queue: Mapping[str, int]
    disk_free_bytes: Mapping[str, int]

    @property
    def gpus(self) -> tuple[GpuSample, ...]:
        """The GPUs that were read."""
        return self.gpu.gpus
