"""The one door to NVML: every GPU with what its driver tells. It may hang, and is run only by `monitor.gpu.reader`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar, cast

from monitor.gpu.readings import GpuReading, GpuSample, Unreadable

# Numbers of nvml.h. They are ours to keep: the stand-ins of the tests, and old versions of pynvml, lack some names.
_TEMPERATURE_GPU: Final = 0
_CLOCK_SM: Final = 1
_UNCORRECTED: Final = 1
_SINCE_DRIVER_START: Final = 0
_MEMORY_V2: Final = 0x02000028

_DRIVER_NOT_LOADED: Final = 9
_IRQ_ISSUE: Final = 11
_GPU_IS_LOST: Final = 15
_RESET_REQUIRED: Final = 16
_VERSION_MISMATCH: Final = 18

_LOST: Final = frozenset((_IRQ_ISSUE, _GPU_IS_LOST, _RESET_REQUIRED))
"""Errors of a GPU that works no more, whichever figure was asked for."""

_UNTOLD: Final = frozenset((3, 4, 6, 13, 21, 22, 25, 26))
"""Not supported, no permission, not found, no such function, no data: this GPU does not tell that, and is well."""

_REMEDIES: Final = {
    4: "is the service in the group that owns /dev/nvidia*?",
    _DRIVER_NOT_LOADED: "`journalctl -k -g nvidia` says why; a new kernel may need the driver built anew",
    _IRQ_ISSUE: "`journalctl -k -g Xid` names the cause; reboot",
    12: "the driver's libnvidia-ml.so.1 is not installed",
    _GPU_IS_LOST: "`journalctl -k -g Xid` names the cause; reboot",
    _RESET_REQUIRED: "`nvidia-smi --gpu-reset` while nothing uses it, or reboot",
    _VERSION_MISMATCH: "the driver was updated while the old one still runs; reboot",
}

_HELD_DOWN: Final = {
    0x8: "heat or power, by the hardware",
    0x20: "heat",
    0x40: "heat, by the hardware",
    0x80: "the power supply, by the hardware",
}
"""Reasons that are trouble, by bit of the driver's mask."""

_LIMITED: Final = {0x2: "a clock that was set", 0x4: "the power limit", 0x10: "sync boost", 0x100: "a display clock"}
"""Reasons that are meant: under load many GPUs run at their power limit all day. Idle (0x1) is no reason at all."""

T = TypeVar("T")


class _Memory(Protocol):
    total: int
    used: int


class _Utilisation(Protocol):
    gpu: int


class _Process(Protocol):
    pid: int
    usedGpuMemory: int | None  # noqa: N815  # pynvml's name


class _Nvml(Protocol):
    """What we use of pynvml (nvidia-ml-py), which has no types."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: object) -> str | bytes: ...  # noqa: N802
    def nvmlDeviceGetUUID(self, handle: object) -> str | bytes: ...  # noqa: N802
    def nvmlDeviceGetUtilizationRates(self, handle: object) -> _Utilisation: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: object, version: int | None = None) -> _Memory: ...  # noqa: N802
    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetTemperatureV(self, handle: object, sensor: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: N802
    def nvmlDeviceGetClockInfo(self, handle: object, kind: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: object) -> int: ...  # noqa: N802
    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object) -> int: ...  # noqa: N802
    def nvmlDeviceGetTotalEccErrors(self, handle: object, kind: int, counter: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> Sequence[_Process]: ...  # noqa: N802
    def nvmlDeviceGetComputeRunningProcesses_v2(self, handle: object) -> Sequence[_Process]: ...  # noqa: N802


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
            raise Unreadable(f"NVML does not start: {_explained(error)}") from error

    def read(self) -> GpuReading:
        """All GPUs. A GPU that has a problem is told with it."""
        try:
            indices = range(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            raise Unreadable(f"NVML does not answer: {_explained(error)}") from error
        return GpuReading(tuple(self._gpu(index) for index in indices), source="nvml")

    def _gpu(self, index: int) -> GpuSample:
        name = uuid = ""
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            name, uuid = _text(self._nvml.nvmlDeviceGetName(handle)), _text(self._nvml.nvmlDeviceGetUUID(handle))
            return self._figures(_Asked(self._nvml, handle), GpuSample(index, name, uuid))
        except self._nvml.NVMLError as error:
            return GpuSample(index, name, uuid, problem=_explained(error))

    def _figures(self, asked: _Asked, gpu: GpuSample) -> GpuSample:
        nvml, handle = self._nvml, asked.handle
        # Not every GPU tells every figure: a MIG slice has no utilisation, a laptop no power.
        utilisation = asked.told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        # The second version counts like nvidia-smi, without what the driver keeps for itself; old drivers lack it.
        memory = asked.first_told(
            lambda: nvml.nvmlDeviceGetMemoryInfo(handle, _MEMORY_V2), lambda: nvml.nvmlDeviceGetMemoryInfo(handle)
        )
        temperature_c = asked.first_told(  # the first is to be removed from NVML, the second is new
            lambda: nvml.nvmlDeviceGetTemperature(handle, _TEMPERATURE_GPU),
            lambda: nvml.nvmlDeviceGetTemperatureV(handle, _TEMPERATURE_GPU),
        )
        power_mw = asked.told(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        clock_mhz = asked.told(lambda: nvml.nvmlDeviceGetClockInfo(handle, _CLOCK_SM))
        reasons = asked.first_told(
            lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
            lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        )
        ecc_errors = asked.told(lambda: nvml.nvmlDeviceGetTotalEccErrors(handle, _UNCORRECTED, _SINCE_DRIVER_START))
        processes = asked.first_told(
            lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle),
            lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle),
        )
        if asked.n_told == 0 and asked.trouble is not None:
            raise asked.trouble
        return GpuSample(
            gpu.index,
            gpu.name,
            gpu.uuid,
            utilisation_ratio=None if utilisation is None else utilisation.gpu / 100,
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            temperature_c=temperature_c,
            power_w=None if power_mw is None else power_mw / 1000,
            clock_hz=None if clock_mhz is None else clock_mhz * 1_000_000,
            throttled=None if reasons is None else any(reasons & bit for bit in _HELD_DOWN),
            clock_words=_clock_words(reasons or 0),
            ecc_errors=ecc_errors,
            memory_by_pid={
                process.pid: process.usedGpuMemory for process in processes or () if process.usedGpuMemory is not None
            },
        )


class _Asked:
    """The questions to one GPU: an answer, or None for a figure that it does not tell. Raises when it is lost."""

    def __init__(self, nvml: _Nvml, handle: object) -> None:
        self._nvml = nvml
        self.handle = handle
        self.n_told = 0
        self.trouble: Exception | None = None

    def told(self, ask: Callable[[], T]) -> T | None:
        """The answer of *ask*."""
        try:
            answer = ask()
        except Exception as error:  # pynvml raises more than its own; one figure must not cost the rest
            if _number(error) in _LOST:
                raise
            if isinstance(error, self._nvml.NVMLError) and _number(error) not in _UNTOLD:
                self.trouble = error
            return None
        self.n_told += 1
        return answer

    def first_told(self, *asks: Callable[[], T]) -> T | None:
        """The answer of the first of *asks* that has one."""
        for ask in asks:
            if (answer := self.told(ask)) is not None:
                return answer
        return None


def _number(error: Exception) -> int:
    return int(getattr(error, "value", 0))


def _explained(error: Exception) -> str:
    number = _number(error)
    # pynvml's own words for this one name the resource manager, which nobody knows.
    words = "driver/library version mismatch" if number == _VERSION_MISMATCH else str(error)
    return f"{words} ({_REMEDIES[number]})" if number in _REMEDIES else words


def _clock_words(reasons: int) -> str:
    held = [words for bit, words in (_HELD_DOWN | _LIMITED).items() if reasons & bit]
    return ", ".join(held)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
