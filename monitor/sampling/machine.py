"""The one door to psutil, which has no types: this machine and its processes in the few figures that we use."""

from __future__ import annotations

import importlib
import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

from monitor.figures import Key


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
    used: int
    rss: int


class _Io(Protocol):
    read_bytes: int
    write_bytes: int


class _Process(Protocol):
    def oneshot(self) -> AbstractContextManager[None]: ...
    def memory_info(self) -> _Memory: ...
    def cpu_times(self) -> _CpuTimes: ...
    def num_threads(self) -> int: ...
    def io_counters(self) -> _Io: ...


class _Psutil(Protocol):
    Error: type[Exception]

    def cpu_times(self) -> _CpuTimes: ...
    def virtual_memory(self) -> _Memory: ...
    def swap_memory(self) -> _Memory: ...
    def Process(self, pid: int) -> _Process: ...  # noqa: N802  # psutil's name


_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

_psutil = cast(_Psutil, importlib.import_module("psutil"))


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What a process uses. *cpu_s* is user and system time since its start; None is what we may not see."""

    age_s: float
    cpu_s: float
    rss_bytes: int
    threads: int
    descriptors: int | None
    read_bytes: int | None
    written_bytes: int | None


def cpu_busy_and_total_s() -> tuple[float, float]:
    """Seconds since boot that the cores were busy, and all there were. Guests are part of user time (proc(5))."""
    times = _psutil.cpu_times()
    busy_s = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    return busy_s, busy_s + times.idle + times.iowait


def memory_used_ratio_and_total_bytes() -> tuple[float, int]:
    """How much of the memory could not be had without swapping, and how much there is."""
    memory = _psutil.virtual_memory()
    return 1 - memory.available / memory.total, memory.total


def swap_used_ratio() -> float | None:
    """How much of the swap space is in use; None where there is none."""
    swap = _psutil.swap_memory()
    return swap.used / swap.total if swap.total else None


def load_per_core() -> float:
    """The load average of one minute, for each core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def process(pid: int) -> ProcessUse | None:
    """The process *pid*; None when it has ended or is not ours to see."""
    try:
        found = _psutil.Process(pid)
        with found.oneshot():
            memory, times, threads = found.memory_info(), found.cpu_times(), found.num_threads()
            io = _io(found)
    except _psutil.Error:
        return None
    age_s = _age_s(pid)
    if age_s is None:
        return None
    read_bytes, written_bytes = (None, None) if io is None else (io.read_bytes, io.write_bytes)
    cpu_s = times.user + times.system
    return ProcessUse(age_s, cpu_s, memory.rss, threads, _n_descriptors(pid), read_bytes, written_bytes)


def _age_s(pid: int) -> float | None:
    """By the clock since boot: psutil's would have it start anew, or before the machine, when the wall clock jumps."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            after_name = file.read().rpartition(b")")[2].split()  # a name may have spaces and brackets in it
    except OSError:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(after_name[19]) / _TICKS_PER_S


def _io(found: _Process) -> _Io | None:
    try:
        return found.io_counters()
    except _psutil.Error:  # a sandboxed process shows its counters to nobody
        return None


def _n_descriptors(pid: int) -> int | None:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # a tenth of the price of psutil's own, which asks what each one is
    except OSError:
        return None


def folder(path: Path) -> dict[Key, float]:
    """The room on the disk of *path*, as figures; none where it cannot be asked: who uses the folder reports that.

    A dead network share answers as late as any other question to it: ask only where waiting does no harm.
    """
    try:
        disk = os.statvfs(path)
    except OSError:
        return {}
    subject = shown(path)
    usable_blocks = disk.f_blocks - disk.f_bfree + disk.f_bavail  # without what is kept for root, as df(1) counts
    figures = {Key("folder_free_bytes", subject): float(disk.f_bavail * disk.f_frsize)}
    if usable_blocks > 0:
        figures[Key("folder_free_ratio", subject)] = disk.f_bavail / usable_blocks
    if disk.f_files > 0:  # 0 where inodes are made when needed: btrfs, most shares
        figures[Key("folder_free_inodes_ratio", subject)] = min(disk.f_favail / disk.f_files, 1.0)
    return figures


def state_folder(path: Path) -> dict[Key, float]:
    """As `folder`, and its room once more under a name of its own: without it the service does nothing."""
    figures = folder(path)
    free_bytes = figures.get(Key("folder_free_bytes", shown(path)))
    return figures if free_bytes is None else {**figures, Key("state_free_bytes"): free_bytes}


def shown(path: Path | bytes) -> str:
    """*path* as the subject of a figure: text that can be stored and printed, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
