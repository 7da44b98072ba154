"""Reads the GPUs, in a process of its own: a driver in trouble hangs in the kernel, and takes only this one along.

``python -P -m monitor.gpu PARENT_PID``: every line on stdin is answered with one line of JSON on stdout, a
`GpuReading`; the end of stdin is the end. NVML first; GPUtil, which starts nvidia-smi, where only that works.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final, Protocol, TypeVar, cast

from monitor.readings import GpuReading, GpuSample

_PR_SET_PDEATHSIG: Final = 1
_MIB: Final = 1024 * 1024
_TEMPERATURE_GPU: Final = 0  # NVML_TEMPERATURE_GPU

T = TypeVar("T")


class _NvmlMemory(Protocol):
    total: int
    used: int


class _NvmlUtilisation(Protocol):
    gpu: int


class _Nvml(Protocol):
    """What we use of pynvml (nvidia-ml-py), which has no types."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: object) -> str | bytes: ...  # noqa: N802
    def nvmlDeviceGetUUID(self, handle: object) -> str | bytes: ...  # noqa: N802
    def nvmlDeviceGetUtilizationRates(self, handle: object) -> _NvmlUtilisation: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> _NvmlMemory: ...  # noqa: N802
    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: N802


class _SmiGpu(Protocol):
    id: int
    name: str
    uuid: str
    load: float
    memoryUsed: float  # noqa: N815
    memoryTotal: float  # noqa: N815
    temperature: float


class _Gputil(Protocol):
    def getGPUs(self) -> Sequence[_SmiGpu]: ...  # noqa: N802


class Unreadable(Exception):
    """Raised when a way to read the GPUs does not work; the message says why."""


class NvmlReader:
    """The GPUs through NVML. Raises Unreadable where there is no library, no driver or no access."""

    def __init__(self) -> None:
        try:
            self._nvml = cast(_Nvml, importlib.import_module("pynvml"))
        except ImportError as error:
            raise Unreadable(f"pynvml cannot be imported: {error}") from error
        try:
            self._nvml.nvmlInit()
        except (self._nvml.NVMLError, OSError) as error:
            raise Unreadable(f"NVML does not start: {error}") from error

    def read(self) -> GpuReading:
        """All GPUs. A GPU that has a problem is told with it."""
        try:
            indices = range(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            raise Unreadable(f"NVML does not answer: {error}") from error
        return GpuReading(tuple(self._gpu(index) for index in indices), source="nvml")

    def _gpu(self, index: int) -> GpuSample:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            name, uuid = _text(nvml.nvmlDeviceGetName(handle)), _text(nvml.nvmlDeviceGetUUID(handle))
        except nvml.NVMLError as error:
            return GpuSample(index, "", "", problem=str(error))
        # Not every GPU tells every figure: a MIG slice has no utilisation, a laptop no power.
        utilisation = self._told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = self._told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        power_mw = self._told(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return GpuSample(
            index,
            name,
            uuid,
            utilisation_ratio=None if utilisation is None else utilisation.gpu / 100,
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            temperature_c=self._told(lambda: nvml.nvmlDeviceGetTemperature(handle, _TEMPERATURE_GPU)),
            power_w=None if power_mw is None else power_mw / 1000,
        )

    def _told(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except self._nvml.NVMLError:
            return None


class SmiReader:
    """The GPUs through GPUtil, which starts nvidia-smi for each reading and hides most of what goes wrong."""

    def __init__(self) -> None:
        if shutil.which("nvidia-smi") is None:
            raise Unreadable("nvidia-smi is not on PATH")
        try:
            self._gputil = cast(_Gputil, importlib.import_module("GPUtil"))
        except ImportError as error:  # it imports distutils, which Python 3.12 left to setuptools
            raise Unreadable(f"GPUtil cannot be imported: {error}") from error

    def read(self) -> GpuReading:
        """All GPUs."""
        try:
            found = self._gputil.getGPUs()
        except (ValueError, IndexError, OSError) as error:  # it takes any output for a table
            raise Unreadable(f"nvidia-smi gives no figures: {error}") from error
        if not found:
            raise Unreadable("nvidia-smi names no GPU")
        return GpuReading(tuple(_smi_sample(gpu) for gpu in found), source="nvidia-smi")


def _smi_sample(gpu: _SmiGpu) -> GpuSample:
    used_mib, total_mib = _number(gpu.memoryUsed), _number(gpu.memoryTotal)
    return GpuSample(
        gpu.id,
        gpu.name,
        gpu.uuid,
        utilisation_ratio=_number(gpu.load),
        memory_used_bytes=None if used_mib is None else int(used_mib * _MIB),
        memory_total_bytes=None if total_mib is None else int(total_mib * _MIB),
        temperature_c=_number(gpu.temperature),
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


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


def main() -> None:
    """Answer until stdin ends or the parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):  # it died before prctl took effect
        return
    reader: NvmlReader | SmiReader | None = None
    for _ in sys.stdin:
        reading, reader = read(reader)
        sys.stdout.write(json.dumps(asdict(reading)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
