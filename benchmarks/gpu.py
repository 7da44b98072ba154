"""What a GPU does while something runs on it: its use and its memory, sampled through NVML."""

from __future__ import annotations

import importlib
import statistics
import threading
from types import TracebackType
from typing import Any, Final, Self

_EVERY_S: Final = 0.2  # NVML's own window is between 1/6 and 1 s


class Sampler:
    """Samples the first GPU inside its block; without *device* ``cuda``, or without NVML, it has no figures."""

    def __init__(self, device: str) -> None:
        self._nvml: Any = None
        self._handle: Any = None
        self._uses: list[float] = []
        self._peak_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if device != "cpu":
            self._open()

    def _open(self) -> None:
        try:
            nvml: Any = importlib.import_module("pynvml")
            nvml.nvmlInit()
            self._handle = nvml.nvmlDeviceGetHandleByIndex(0)
            self._nvml = nvml
        except Exception:  # noqa: BLE001  # no driver, no GPU, no NVML: its figures are left out
            self._nvml = None

    def memory_mb(self) -> float | None:
        """What the GPU's memory holds now, of whomever."""
        return None if self._nvml is None else float(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used) / 1e6

    @property
    def use_percent(self) -> float | None:
        """The mean share of time in which a kernel ran."""
        return statistics.fmean(self._uses) if self._uses else None

    @property
    def peak_mb(self) -> float | None:
        """The most that its memory held."""
        return self._peak_mb or None

    def __enter__(self) -> Self:
        if self._nvml is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._uses.append(float(self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu))
            self._peak_mb = max(self._peak_mb, self.memory_mb() or 0.0)
