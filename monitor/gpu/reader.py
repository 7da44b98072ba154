"""Reads the GPUs, in a process of its own: a driver in trouble hangs in the kernel, and takes only this one along.

``python -P -m monitor.gpu.reader PARENT_PID``: every line on stdin is answered with one line of JSON on stdout, a
`GpuReading`; the end of stdin is the end. NVML first; GPUtil, which starts nvidia-smi, where only that works.
``python -m monitor.gpu.reader --once`` prints one reading for people, to hold against nvidia-smi.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Final

from monitor.gpu.nvidia_smi import SmiReader
from monitor.gpu.nvml import NvmlReader
from monitor.gpu.readings import GpuReading, Unreadable

_PR_SET_PDEATHSIG: Final = 1


def read(reader: NvmlReader | SmiReader | None) -> tuple[GpuReading, NvmlReader | SmiReader | None]:
    """A reading, and the reader for the next one: *reader* where it worked before, else the first that works."""
    if reader is not None:
        try:
            return reader.read(), reader
        except Unreadable as error:
            return GpuReading(unavailable=str(error)), None
    reasons: list[str] = []
    for kind in (NvmlReader, SmiReader):
        try:
            found = kind()
            return found.read(), found
        except Unreadable as error:
            reasons.append(str(error))
    return GpuReading(unavailable="; ".join(reasons)), None


def _print_once() -> int:
    reading, _ = read(None)
    sys.stdout.write(json.dumps(asdict(reading), indent=2) + "\n")
    return 1 if reading.useless else 0


def _serve(parent_pid: int) -> int:
    """Answer until stdin ends or the parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before prctl took effect
        return 0
    reader: NvmlReader | SmiReader | None = None
    for _ in sys.stdin:
        reading, reader = read(reader)
        sys.stdout.write(json.dumps(asdict(reading)) + "\n")
        sys.stdout.flush()
    return 0


def main() -> int:
    """The exit status."""
    return _print_once() if sys.argv[1:] == ["--once"] else _serve(int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
