"""On a machine with a GPU: our figures are those of nvidia-smi. Skipped elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

QUERY = "index,name,uuid,memory.total,memory.used,temperature.gpu,power.draw,clocks.sm"
ECC = "ecc.errors.uncorrected.volatile.total"
MIB = 2**20


def smi(*arguments: str) -> list[list[str]]:
    """The table that nvidia-smi prints; skips the test where it has none."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("there is no nvidia-smi on this machine")
    command = ["nvidia-smi", *arguments, "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        pytest.skip(f"nvidia-smi does not work on this machine: {done.stdout.strip()}")
    return [line.split(", ") for line in done.stdout.splitlines()]


def number(told: str) -> float | None:
    """The number in a cell; None for ``[N/A]`` and the like."""
    return None if told.startswith("[") or told == "N/A" else float(told)


def reading() -> dict[str, Any]:
    """What `monitor.gpu.reader` reads."""
    command = [sys.executable, "-P", "-m", "monitor.gpu.reader", "--once"]
    content: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    return content


def agree(ours: float | None, theirs: float | None, spread: float) -> bool:
    """Whether two figures read a moment apart are the same, or neither is told."""
    if ours is None or theirs is None:
        return ours is theirs
    return abs(ours - theirs) <= spread


def test_every_figure_agrees_with_nvidia_smi() -> None:
    """What stays is equal; what moves is as near as two readings of nvidia-smi are."""
    before = smi(f"--query-gpu={QUERY},{ECC}")
    found = reading()
    assert (found["source"], found["unavailable"]) == ("nvml", None)
    assert len(found["gpus"]) == len(before)
    for gpu, (index, name, uuid, *cells) in zip(found["gpus"], before, strict=True):
        total_mib, used_mib, temperature_c, power_w, clock_mhz, ecc_errors = map(number, cells)
        assert (gpu["index"], gpu["name"], gpu["uuid"], gpu["problem"]) == (int(index), name, uuid, None)
        assert gpu["ecc_errors"] == ecc_errors
        assert total_mib is None or agree(gpu["memory_total_bytes"], total_mib * MIB, MIB)
        assert used_mib is None or agree(gpu["memory_used_bytes"], used_mib * MIB, 64 * MIB)
        assert agree(gpu["temperature_c"], temperature_c, 5)
        assert agree(gpu["power_w"], power_w, 0.5 * (power_w or 0) + 10)
        assert clock_mhz is None or agree(gpu["clock_hz"], clock_mhz * 1e6, 5e8)
        assert gpu["utilisation_ratio"] is None or 0 <= gpu["utilisation_ratio"] <= 1


def test_memory_of_processes_agrees_with_nvidia_smi() -> None:
    """Each process that nvidia-smi names has the memory that it names."""
    theirs = {
        (uuid, int(pid)): number(used) for uuid, pid, used in smi("--query-compute-apps=gpu_uuid,pid,used_memory")
    }
    ours = {
        (gpu["uuid"], int(pid)): used_bytes
        for gpu in reading()["gpus"]
        for pid, used_bytes in gpu["memory_by_pid"].items()
    }
    for which in ours.keys() & theirs.keys():
        used_mib = theirs[which]
        assert used_mib is None or agree(ours[which], used_mib * MIB, 64 * MIB)
