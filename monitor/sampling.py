"""Takes samples of the machine and of our processes. What the service knows comes in as callables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from monitor import machine
from monitor.readings import GpuReading, Sample


def _nothing() -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Probes:
    """What to look at: *processes* gives role -> pid, *queue* gives name -> count.

    *folders* are asked for their free space. They are to be on local disks: a dead network share would hold up the
    sampling for as long as it is dead.
    """

    processes: Callable[[], Mapping[str, int]] = field(default=_nothing)
    queue: Callable[[], Mapping[str, int]] = field(default=_nothing)
    folders: Sequence[Path] = ()


class Sampler:
    """Takes one sample at a time; remembers the CPU time of the last one."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._cpu_s = machine.cpu_busy_and_total_s()

    def sample(self, at: datetime, gpu: GpuReading) -> Sample:
        """Everything as it is now. *cpu_ratio* of the first sample is since the sampler was made."""
        used_ratio, total_bytes = machine.memory_used_ratio_and_total_bytes()
        pids = self._probes.processes()
        found = {role: machine.process(pid) for role, pid in pids.items()}
        return Sample(
            at=at,
            cpu_ratio=self._cpu_ratio(),
            memory_used_ratio=used_ratio,
            memory_total_bytes=total_bytes,
            processes={role: process for role, process in found.items() if process is not None},
            gpu=gpu,
            queue=dict(self._probes.queue()),
            disk_free_bytes=self._disk_free_bytes(),
        )

    def _cpu_ratio(self) -> float:
        (busy_s, total_s), (busy_before_s, total_before_s) = machine.cpu_busy_and_total_s(), self._cpu_s
        self._cpu_s = (busy_s, total_s)
        elapsed_s = total_s - total_before_s
        if elapsed_s <= 0:
            return 0.0
        return min(max((busy_s - busy_before_s) / elapsed_s, 0.0), 1.0)  # iowait may run backwards (proc(5))

    def _disk_free_bytes(self) -> dict[str, int]:
        free: dict[str, int] = {}
        for folder in self._probes.folders:
            try:
                figures = os.statvfs(folder)
            except OSError:  # unmounted or removed: whoever uses the folder reports that
                continue
            free[str(folder)] = figures.f_bavail * figures.f_frsize
        return free
