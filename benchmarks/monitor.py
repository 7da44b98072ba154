"""What the monitor costs: processor time for each sample, with all that belongs to it.

    python -m benchmarks.monitor [--samples 6000] [--jobs 100000] [--folder FOLDER]

Samples of six processes and some 130 figures are taken, derived from, judged by the rules as they come, kept in a
metrics file and written as lines of JSON; the service's own figures come from a real job history. Time is played:
samples are 10 s apart, as by default. Exit status 1 if the limit is missed. The process that reads the GPUs is not
counted; `process_cpu_cores` of a running service has it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from benchmarks import long_history, machine
from daemon.actor import Pulse
from daemon.engine.seat import SeatStatus
from daemon.engine.settings import EngineStatus
from daemon.figures import ServiceFigures, Sources
from daemon.health import HistoryHealth
from daemon.outputs.kept import KeptDocuments
from monitor.alert import Judgement
from monitor.figures import Key, Sample
from monitor.gpu.probe import GpuProbe
from monitor.history.jsonlog import JsonLog, Recording
from monitor.history.store import MetricsHistory
from monitor.rules import loading as rules
from monitor.rules.detecting import Detectors
from monitor.rules.judging import Judge
from monitor.sampling.sampler import Sampler, ServiceTold
from monitor.thread import Monitor
from storage.jobs import JobStore

INTERVAL_S: Final = 10.0
"""The default of ``monitor.interval_s``."""

LIMIT_RATIO: Final = 0.005
"""Of one core, at that interval."""

_MAX_BYTES: Final = 64 * 1024 * 1024
_N_CHILDREN: Final = 5
_N_INBOXES: Final = 3
_WARM_UP: Final = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of *n_samples*, each of *n_figures*. *stages_s* is what went to each stage, over all samples."""

    n_samples: int
    n_figures: int
    cpu_s: float
    stages_s: Mapping[str, float]

    @property
    def core_ratio(self) -> float:
        """The share of one core that goes to it at the default interval."""
        return self.cpu_s / self.n_samples / INTERVAL_S


class _Clocked:
    """The stages as the service has them, and the processor time that went to each."""

    def __init__(self, detectors: Detectors, judge: Judge, recording: Recording) -> None:
        self._detectors, self._judge, self._recording = detectors, judge, recording
        self.spent_s: dict[str, float] = {}
        self.n_figures = 0

    def derive(self, sample: Sample) -> Sample:
        """As `Detectors.derive`."""
        return self.clocked("detectors", partial(self._detectors.derive, sample))

    def judge(self, sample: Sample) -> Judgement:
        """As `Judge.judge`."""
        return self.clocked("rules", partial(self._judge.judge, sample))

    def add(self, sample: Sample, judgement: Judgement) -> Judgement:
        """As `Recording.add`."""
        self.n_figures = len(sample.figures)
        return self.clocked("metrics.db and JSON", partial(self._recording.add, sample, judgement))

    def clocked(self, stage: str, work: Callable[[], T]) -> T:
        """What *work* returns."""
        before_s = time.thread_time()
        result = work()
        self.spent_s[stage] = self.spent_s.get(stage, 0.0) + time.thread_time() - before_s
        return result


def measure(n_samples: int, n_jobs: int, folder: Path) -> Cost:
    """The cost of *n_samples*, beside a history of *n_jobs*. Files are made in *folder*."""
    long_history.write(folder / "jobs.sqlite3", n_jobs, 0, 0)
    recording = Recording(
        MetricsHistory.open(folder / "metrics.db", _MAX_BYTES), JsonLog(folder / "metrics.jsonl", 10 * 1024**2, 5)
    )
    with closing(JobStore.open(folder / "jobs.sqlite3", "nobody")) as store, closing(recording), _children() as pids:
        stages = _Clocked(Detectors(), Judge(rules.load(), interval_s=INTERVAL_S), recording)
        figures = _service_figures(store, folder)
        at = datetime.now(UTC)
        instants = (at + timedelta(seconds=INTERVAL_S * number) for number in range(n_samples + _WARM_UP))
        watched = Monitor(
            interval_s=INTERVAL_S,
            sampler=Sampler(lambda: pids, lambda: stages.clocked("service's figures", figures.read), folder),
            detectors=stages,
            judge=stages,
            record=stages,
            gpu=GpuProbe(present=lambda: False),
            clock=lambda: next(instants),
        )
        for number in range(_WARM_UP):
            watched.step(INTERVAL_S * number)
        stages.spent_s.clear()
        before_s = time.thread_time()
        for number in range(_WARM_UP, n_samples + _WARM_UP):
            watched.step(INTERVAL_S * number)
        return Cost(n_samples, stages.n_figures, time.thread_time() - before_s, dict(stages.spent_s))


def _service_figures(store: JobStore, folder: Path) -> ServiceFigures:
    chance = random.Random(1)  # noqa: S311  # figures that differ from sample to sample, as real ones do
    seat = SeatStatus("ready", "cuda:0", os.getpid(), "base", "cuda:0", "float16", 4, 0, None)
    engine = EngineStatus("ready", os.getpid(), "base", "cuda:0", "float16", 4, 0, 0, None, (seat,))
    sources = Sources(
        store,
        KeptDocuments(folder / "kept"),
        HistoryHealth(),
        Pulse(),
        engine_status=lambda: engine,
        activities=lambda: (),
        inboxes=lambda: (),
        beside=lambda: _beside(chance),
    )
    return ServiceFigures(sources)


def _beside(chance: random.Random) -> ServiceTold:
    """Figures of inboxes, of jobs in hand, of two GPUs and of the canary, as on a good day."""
    return {key: usual * chance.uniform(0.9, 1.1) for key, usual in _GOOD_DAY.items()}, {}


_GOOD_DAY: Final[Mapping[Key, float]] = {
    Key(name, subject): usual
    for subjects, figures in (
        (
            [f"/srv/inbox-{number}" for number in range(_N_INBOXES)],
            {"outputs_blocked": 0, "inbox_offline": 0, "inbox_watch_degraded": 0, "inbox_scan_s": 0.1}
            | {"folder_free_bytes": 5e11, "folder_free_ratio": 0.5, "folder_free_inodes_ratio": 0.9},
        ),
        ([str(number) for number in range(1, 5)], {"job_overtime_ratio": 1}),
        (
            ["0", "1"],
            {
                "gpu_lost": 0,
                "gpu_utilisation_ratio": 0.8,
                "gpu_memory_used_bytes": 5e9,
                "gpu_memory_total_bytes": 1.6e10,
            }
            | {"gpu_memory_used_ratio": 0.3, "gpu_temperature_celsius": 60, "gpu_power_w": 60, "gpu_clock_hz": 1.5e9}
            | {"gpu_throttled": 0, "gpu_ecc_errors": 0},
        ),
        (
            [""],
            {"gpu_readable": 1.2, "canary_wrong_words_ratio": 0.02, "canary_latency_s": 20, "canary_speed_ratio": 9},
        ),
    )
    for subject in subjects
    for name, usual in figures.items()
}


@contextmanager
def _children() -> Generator[dict[str, int]]:
    """Our own process and five idle ones, by the roles that processes of the service have."""
    command = [sys.executable, "-P", "-c", "import signal; signal.pause()"]
    children = [subprocess.Popen(command) for _ in range(_N_CHILDREN)]
    roles = ["engine", *(f"decoder-{number}" for number in range(1, _N_CHILDREN))]
    try:
        yield {"daemon": os.getpid(), **{role: child.pid for role, child in zip(roles, children, strict=True)}}
    finally:
        for child in children:
            child.send_signal(signal.SIGKILL)
            child.wait()


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description="What the monitor costs.")
    parser.add_argument("--samples", type=int, default=6000, help="6000 are 17 hours")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the files are made; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        cost = measure(options.samples, options.jobs, Path(folder))
    rest_s = cost.cpu_s - sum(cost.stages_s.values())
    print(
        f"{machine.describe('cpu')['cpu']}; {options.jobs:,} jobs; {cost.n_samples} samples of {cost.n_figures} figures"
    )
    for stage, spent_s in [("machine and processes", rest_s), *cost.stages_s.items()]:
        print(f"  {stage:22} {spent_s / cost.n_samples * 1000:6.2f} ms")
    print(f"  {'together':22} {cost.cpu_s / cost.n_samples * 1000:6.2f} ms of processor time for a sample")
    is_met = cost.core_ratio < LIMIT_RATIO
    words = "is within" if is_met else "misses"
    print(f"{cost.core_ratio:.3%} of one core at {INTERVAL_S:g} s: {words} the limit of {LIMIT_RATIO:.1%}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
