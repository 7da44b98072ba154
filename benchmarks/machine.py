"""The machine that figures were measured on, without its name or anything of its owner."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.contestants.worker import versions
from daemon.version import VERSION


def describe(device: str) -> dict[str, Any]:
    """Processor, cores that may be used, memory, system, versions; the GPU if *device* is one."""
    found: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "versions": {"transcribed": VERSION, **versions()},
    }
    if device != "cpu":
        found["gpu"] = _gpu()
    return found


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    fields = dict(_pair(line) for line in info)
    model = fields.get("model name", platform.machine())
    extensions = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flag in fields.get("flags", "")]
    return f"{model} ({', '.join(extensions)})" if extensions else model


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def _gpu() -> str:
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.splitlines()[0].strip()
