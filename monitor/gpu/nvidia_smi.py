"""The one door to GPUtil, which starts nvidia-smi for each reading: for machines where NVML cannot be loaded.

Runs in the process of `monitor.gpu.reader` only: nvidia-smi hangs when the driver does.
"""

from __future__ import annotations

import importlib
import math
import re
import shutil
from collections.abc import Sequence
from typing import Final, Protocol, cast

from monitor.gpu.readings import GpuReading, GpuSample, Unreadable

_MIB: Final = 1024 * 1024
_NO_NUMBER: Final = re.compile(r"invalid literal for int\(\) with base 10: (['\"])(.*)\1", re.DOTALL)


class _Gpu(Protocol):
    id: int
    name: str
    uuid: str
    load: float
    memoryUsed: float  # noqa: N815
    memoryTotal: float  # noqa: N815
    temperature: float


class _Gputil(Protocol):
    def getGPUs(self) -> Sequence[_Gpu]: ...  # noqa: N802


class SmiReader:
    """The GPUs through GPUtil, which hides most of what goes wrong."""

    def __init__(self) -> None:
        if shutil.which("nvidia-smi") is None:
            raise Unreadable("nvidia-smi is not on PATH")
        try:
            self._gputil = cast(_Gputil, importlib.import_module("GPUtil"))
        except ImportError as error:  # it imports distutils, which Python 3.12 left to setuptools
            raise Unreadable(f"GPUtil cannot be imported: {error}") from error

    def read(self) -> GpuReading:
        """All GPUs. A GPU of which nvidia-smi has no figure at all has a problem."""
        try:
            found = self._gputil.getGPUs()
        except (ValueError, IndexError, OSError) as error:  # it takes any output for a table
            raise Unreadable(f"nvidia-smi gives no figures: {_complaint(error)}") from error
        if not found:
            raise Unreadable("nvidia-smi names no GPU")
        return GpuReading(tuple(_sample(gpu) for gpu in found), source="nvidia-smi")


def _complaint(error: Exception) -> str:
    """What nvidia-smi printed where GPUtil expected the number of a GPU."""
    found = _NO_NUMBER.search(str(error))
    return (found[2].strip() if found else str(error)) or "it printed nothing"


def _sample(gpu: _Gpu) -> GpuSample:
    used_mib, total_mib = _number(gpu.memoryUsed), _number(gpu.memoryTotal)
    load, temperature_c = _number(gpu.load), _number(gpu.temperature)
    if used_mib is None and load is None and temperature_c is None:
        return GpuSample(gpu.id, gpu.name, gpu.uuid, problem="nvidia-smi has no figure of it")
    return GpuSample(
        gpu.id,
        gpu.name,
        gpu.uuid,
        utilisation_ratio=load,
        memory_used_bytes=None if used_mib is None else int(used_mib * _MIB),
        memory_total_bytes=None if total_mib is None else int(total_mib * _MIB),
        temperature_c=temperature_c,
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
