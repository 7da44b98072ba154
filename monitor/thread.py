"""The monitor as an actor: one sample and one log line per interval. What judges the samples reads `latest`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from monitor.gpu_probe import GpuProbe
from monitor.readings import GpuReading, Sample
from monitor.sampling import Probes, Sampler

log = logging.getLogger(__name__)

_GPU_PATIENCE_S: Final = 0.1
"""How long a step waits for the GPU process: a healthy driver answers in a few milliseconds."""

_LOOK_AGAIN_S: Final = 0.5


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Monitor:
    """Samples every *interval_s*. A step never waits for a GPU driver that hangs.

    *processes* gives role -> pid and *queue* name -> count when asked; *folders*, on local disks, are watched for
    free space.
    """

    def __init__(
        self,
        *,
        interval_s: float,
        processes: Callable[[], Mapping[str, int]],
        queue: Callable[[], Mapping[str, int]],
        folders: Sequence[Path] = (),
        gpu: GpuProbe | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._interval_s = interval_s
        self._sampler = Sampler(Probes(processes, queue, folders))
        self._gpu = gpu or GpuProbe()
        self._clock = clock
        self._due = float("-inf")
        self._asked = False
        self._gpu_trouble: str | None = None
        self.latest: Sample | None = None

    def step(self, now: float) -> float:
        """Take the sample that is due at *now*; after how many seconds to come again."""
        if not self._asked:
            if now < self._due:
                return self._due - now
            self._due = now + self._interval_s
            self._gpu.request(now)
            self._asked = True
        gpu = self._gpu.poll(now, _GPU_PATIENCE_S)
        if gpu is None:
            return _LOOK_AGAIN_S
        self._asked = False
        self._report_gpu(gpu)
        self.latest = sample = self._sampler.sample(self._clock(), gpu)
        log.info("%s", summary(sample), extra={"event": "metrics", **metrics(sample)})
        return max(self._due - now, 0.0)

    def close(self) -> None:
        """End the GPU process. Returns within a moment, also from another thread than the one that steps."""
        self._gpu.close()

    def _report_gpu(self, gpu: GpuReading) -> None:
        """Once per trouble, not once per sample."""
        if gpu.unavailable == self._gpu_trouble:
            return
        self._gpu_trouble = gpu.unavailable
        if gpu.unavailable is None:
            log.info("GPU figures are back", extra={"event": "gpu_readable"})
        else:
            log.warning("No GPU figures: %s", gpu.unavailable, extra={"event": "gpu_unreadable"})


def metrics(sample: Sample) -> dict[str, object]:
    """The figures of *sample* as JSON types, for the log."""
    figures: dict[str, object] = {
        "cpu_ratio": round(sample.cpu_ratio, 3),
        "memory_used_ratio": round(sample.memory_used_ratio, 3),
        "memory_total_bytes": sample.memory_total_bytes,
        "processes": {
            role: {"pid": process.pid, "rss_bytes": process.rss_bytes, "cpu_s": round(process.cpu_s, 2)}
            for role, process in sample.processes.items()
        },
        "queue": dict(sample.queue),
    }
    if sample.disk_free_bytes:
        figures["disk_free_bytes"] = dict(sample.disk_free_bytes)
    if sample.gpus:
        figures["gpus"] = [
            {
                "index": gpu.index,
                "utilisation_ratio": gpu.utilisation_ratio,
                "memory_used_bytes": gpu.memory_used_bytes,
                "memory_total_bytes": gpu.memory_total_bytes,
                "temperature_c": gpu.temperature_c,
                "power_w": gpu.power_w,
                "problem": gpu.problem,
            }
            for gpu in sample.gpus
        ]
    return figures


def summary(sample: Sample) -> str:
    """*sample* in a line for people."""
    parts = [f"CPU {sample.cpu_ratio:.0%}", f"memory {sample.memory_used_ratio:.0%}"]
    parts += [f"GPU {gpu.index} {_gpu_words(gpu.utilisation_ratio, gpu.problem)}" for gpu in sample.gpus]
    parts += [f"{count} {name}" for name, count in sample.queue.items() if count]
    return ", ".join(parts)


def _gpu_words(utilisation_ratio: float | None, problem: str | None) -> str:
    if problem is not None:
        return problem
    return "?" if utilisation_ratio is None else f"{utilisation_ratio:.0%}"
