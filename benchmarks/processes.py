"""Processor time and memory of a process and all its children, read from /proc (proc(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS_HZ: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """*cpu_s*: user and system time of the processes that live, and of those that they have waited for.

    *peak_mb*: the peak resident memory of each that lives, added up: what they could need together at the most.
    """

    cpu_s: float
    peak_mb: float
    n_processes: int


def tree(root: int, proc: Path = _PROC) -> list[int]:
    """*root* and all that descend from it, as far as they live."""
    parents = {int(entry.name): parent for entry in proc.iterdir() if (parent := _parent(entry)) is not None}
    found = [root] if root in parents else []
    for pid in found:  # grows while it is walked
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def usage(root: int, proc: Path = _PROC) -> Usage:
    """What *root* and all that descend from it have used so far."""
    cpu_s, peak_mb, n_processes = 0.0, 0.0, 0
    for pid in tree(root, proc):
        try:
            cpu_s += _cpu_s(proc / str(pid))
            peak_mb += peak_rss_mb(pid, proc)
        except (OSError, ValueError):
            continue  # it ended meanwhile
        n_processes += 1
    return Usage(cpu_s, peak_mb, n_processes)


def peak_rss_mb(pid: int, proc: Path = _PROC) -> float:
    """The most that a process has had in memory (VmHWM). Raises OSError or ValueError if it is gone."""
    lines = (proc / str(pid) / "status").read_text(encoding="ascii", errors="replace").splitlines()
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {pid} has no memory")


def _fields(entry: Path) -> list[str]:
    """The fields of ``stat`` after the name, which may hold blanks: the first is the state, field 3 of proc(5)."""
    return (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()


def _parent(entry: Path) -> int | None:
    if not entry.name.isdecimal():
        return None
    try:
        return int(_fields(entry)[1])
    except (OSError, ValueError, IndexError):
        return None


def _cpu_s(entry: Path) -> float:
    return sum(int(field) for field in _fields(entry)[11:15]) / _TICKS_HZ
