"""The one door to psutil, which has no types: this machine and its processes in the few figures that we use."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from monitor.readings import ProcessSample


class _CpuTimes(Protocol):
    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    irq: float
    softirq: float
    steal: float


class _Memory(Protocol):
    total: int
    available: int
    rss: int


class _Process(Protocol):
    def memory_info(self) -> _Memory: ...
    def cpu_times(self) -> _CpuTimes: ...


class _Psutil(Protocol):
    Error: type[Exception]

    def cpu_times(self) -> _CpuTimes: ...
    def virtual_memory(self) -> _Memory: ...
    def Process(self, pid: int) -> _Process: ...  # noqa: N802  # psutil's name


_psutil = cast(_Psutil, importlib.import_module("psutil"))


def cpu_busy_and_total_s() -> tuple[float, float]:
    """Seconds since boot that the cores were busy, and all there were. Guests are part of user time (proc(5))."""
    times = _psutil.cpu_times()
    busy_s = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    return busy_s, busy_s + times.idle + times.iowait


def memory_used_ratio_and_total_bytes() -> tuple[float, int]:
    """How much of the memory could not be had without swapping, and how much there is."""
    memory = _psutil.virtual_memory()
    return 1 - memory.available / memory.total, memory.total


def process(pid: int) -> ProcessSample | None:
    """The process *pid*; None when it has ended or is not ours to see."""
    try:
        found = _psutil.Process(pid)
        memory, times = found.memory_info(), found.cpu_times()
    except _psutil.Error:
        return None
    return ProcessSample(pid, memory.rss, times.user + times.system)
