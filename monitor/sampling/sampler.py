"""Takes samples: all figures of the machine, of our processes, of the GPUs and of the state folder, in one flat sample.

What the service knows of itself comes in as a callable; nothing here knows what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from monitor.figures import Key, Sample
from monitor.gpu.figures import KnownGpus
from monitor.gpu.readings import GpuReading
from monitor.guard import Guard
from monitor.sampling import machine
from monitor.sampling.machine import ProcessUse
from monitor.sampling.sensors import Sensors
from monitor.sampling.told import Told

READER: Final = "gpu-reader"
"""The role of the process that reads the GPUs."""

ServiceTold = tuple[Mapping[Key, float], Mapping[Key, str]]


class Sampler:
    """Takes one sample at a time, and remembers what the last one saw of times.

    *processes* gives role -> process number. *service* gives the figures of the service and words about them, and
    never blocks; when one of the two raises, or the kernel does not tell what it should, that is logged and those
    figures are left out. *state_dir*, where the service keeps what is its own, is asked for its room: it is on a local
    disk; a dead network share would hold up the sampling for as long as it is dead.
    """

    def __init__(
        self,
        processes: Callable[[], Mapping[str, int]],
        service: Callable[[], Sample | ServiceTold],
        state_dir: Path | None = None,
        gpus: KnownGpus | None = None,
    ) -> None:
        self._processes = processes
        self._service = service
        self._state_dir = state_dir
        self._gpus = gpus or KnownGpus()
        self._sensors = Sensors()
        self._cpu_s = machine.cpu_busy_and_total_s()
        self._process_cpu: dict[tuple[str, int], tuple[float, float]] = {}  # role, pid -> when, CPU seconds
        self._guard = Guard()

    def sample(self, at: datetime, now: float, gpu: GpuReading | None, reader_pid: int | None = None) -> Sample:
        """Everything as it is at *now*. Shares of time are since the sample before, of the first since the start.

        Without *gpu* nothing is said of GPUs. *reader_pid* is the process that reads them.
        """
        told = Told()
        self._guard.run("figures of the machine", now, lambda: self._tell_host(told), None)
        nobody: dict[str, int] = {}
        pids = self._guard.run("list of processes", now, lambda: dict(self._processes()), nobody) | (
            {} if reader_pid is None else {READER: reader_pid}
        )
        self._tell_processes(told, pids, now)
        if self._state_dir is not None:
            told.figures |= machine.state_folder(self._state_dir)
        if gpu is not None:
            of_gpus = self._gpus.tell(gpu, {pid: role for role, pid in pids.items()})
            told.figures |= of_gpus.figures
            told.words |= of_gpus.words
        of_service = self._guard.run("figures of the service", now, lambda: _told(self._service()), Told())
        return Sample(at, told.figures | of_service.figures, told.words | of_service.words)

    def _tell_host(self, told: Told) -> None:
        used_ratio, total_bytes = machine.memory_used_ratio_and_total_bytes()
        told.add(Key("host_cpu_used_ratio"), self._cpu_used_ratio())
        told.add(Key("host_memory_used_ratio"), used_ratio)
        told.add(Key("host_memory_total_bytes"), total_bytes)
        told.add(Key("host_swap_used_ratio"), machine.swap_used_ratio())
        told.add(Key("host_load_per_core"), machine.load_per_core())
        if (hottest := self._sensors.hottest()) is not None:
            told.add(Key("host_temperature_celsius"), hottest.celsius, hottest.where)

    def _cpu_used_ratio(self) -> float | None:
        (busy_s, total_s), (busy_before_s, total_before_s) = machine.cpu_busy_and_total_s(), self._cpu_s
        self._cpu_s = (busy_s, total_s)
        elapsed_s = total_s - total_before_s
        if elapsed_s <= 0:
            return None
        return min(max((busy_s - busy_before_s) / elapsed_s, 0.0), 1.0)  # iowait may run backwards (proc(5))

    def _tell_processes(self, told: Told, pids: Mapping[str, int], now: float) -> None:
        uses = {(role, pid): use for role, pid in pids.items() if (use := self._use(pid, now)) is not None}
        for (role, pid), use in uses.items():
            told.add(Key("process_cpu_cores", role), self._cores(role, pid, use, now))
            told.add(Key("process_rss_bytes", role), use.rss_bytes)
            told.add(Key("process_age_s", role), use.age_s)
            told.add(Key("process_threads", role), use.threads)
            told.add(Key("process_descriptors", role), use.descriptors)
            told.add(Key("process_read_bytes", role), use.read_bytes)
            told.add(Key("process_written_bytes", role), use.written_bytes)
        self._process_cpu = {which: (now, use.cpu_s) for which, use in uses.items()}

    def _use(self, pid: int, now: float) -> ProcessUse | None:
        return self._guard.run("figures of a process", now, lambda: machine.process(pid), None)

    def _cores(self, role: str, pid: int, use: ProcessUse, now: float) -> float | None:
        """None for a process that was not in the last sample, and where its number went to another since."""
        before_now, before_s = self._process_cpu.get((role, pid), (now, 0.0))
        if now <= before_now or use.cpu_s < before_s:
            return None
        return (use.cpu_s - before_s) / (now - before_now)


def _told(answer: Sample | ServiceTold) -> Told:
    figures, words = (answer.figures, answer.words) if isinstance(answer, Sample) else answer
    return Told(dict(figures), dict(words))
