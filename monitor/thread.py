"""The monitor as an actor: sample, derive, judge, record, tell. Each stage may fail, and the others go on.

Knows of each stage what its protocol here says, and nothing of rules, files or messages.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Protocol

from monitor.alert import Alert, Judgement
from monitor.figures import FIGURES, Key, Sample
from monitor.gpu.probe import GpuProbe
from monitor.gpu.readings import GpuReading
from monitor.guard import Guard
from monitor.sampling.sampler import Sampler

log = logging.getLogger(__name__)

_GPU_WAIT_S: Final = 0.1
"""How long a step waits for the GPU process: a healthy driver answers in a few milliseconds."""

_GPU_PATIENCE_S: Final = 2.0
"""How long a sample is put off for GPU figures: nvidia-smi takes a second or so. Then it is taken without."""

_LOOK_AGAIN_S: Final = 0.25

_LINE_EVERY_S: Final = 60.0
"""How often the figures are a line of the log: often enough to read a night from it, seldom enough to find the rest."""

_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


class Detectors(Protocol):
    """Finds in the course of the samples what one alone does not show."""

    def derive(self, sample: Sample) -> Sample:
        """*sample* with the figures that follow from it and from those before."""
        ...


class Judge(Protocol):
    """Knows the rules, and which alerts are open."""

    def judge(self, sample: Sample) -> Judgement:
        """What *sample* changes."""
        ...


class Record(Protocol):
    """Keeps samples and alerts."""

    def add(self, sample: Sample, judgement: Judgement) -> Judgement:
        """Keep both; the answer is *judgement* with the number of each alert."""
        ...


class Absent:
    """A stage that is not there: it adds nothing, finds nothing wrong, keeps nothing."""

    def derive(self, sample: Sample) -> Sample:
        """*sample* as it is."""
        return sample

    def judge(self, sample: Sample) -> Judgement:  # noqa: ARG002
        """Nothing is wrong."""
        return Judgement()

    def add(self, sample: Sample, judgement: Judgement) -> Judgement:  # noqa: ARG002
        """*judgement* as it is."""
        return judgement


_ABSENT: Final = Absent()


class Monitor:
    """Takes a sample every *interval_s* and sees it through: *detectors*, *judge*, *record*, *tell*.

    No step waits for a GPU driver that hangs: the sample is taken without GPU figures. What a stage raises is logged
    once an hour for each kind of exception, and the sample goes on without that stage. A figure that is not in the
    catalogue, or no finite number, is a bug: it is logged once and left out. *latest* and *open_alerts* may be read
    from any thread.
    """

    def __init__(
        self,
        *,
        interval_s: float,
        sampler: Sampler,
        detectors: Detectors = _ABSENT,
        judge: Judge = _ABSENT,
        record: Record = _ABSENT,
        tell: Callable[[Judgement, datetime], object] = lambda _judgement, _at: None,
        gpu: GpuProbe | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._interval_s = interval_s
        self._sampler = sampler
        self._detectors = detectors
        self._judge = judge
        self._record = record
        self._tell = tell
        self._gpu = gpu or GpuProbe()
        self._clock = clock
        self._guard = Guard()
        self._due = self._line_due = float("-inf")
        self._give_up: float | None = None  # waiting for GPU figures until then
        self._asked = False
        self._gpu_trouble: str | None = None
        self._refused: set[str] = set()
        self.latest: Sample | None = None
        self.open_alerts: tuple[Alert, ...] = ()

    def step(self, now: float) -> float:
        """Take the sample that is due at *now*; after how many seconds to come again."""
        if self._give_up is None:
            if now < self._due:
                return self._due - now
            self._due = now + self._interval_s
            self._give_up = now + min(_GPU_PATIENCE_S, self._interval_s / 2)
        gpu = self._guard.run("GPU reader", now, lambda: self._read_gpu(now), None)
        if gpu is None and now < self._give_up:
            return _LOOK_AGAIN_S
        self._give_up = None
        self._take(now, gpu)
        return max(self._due - now, 0.0)

    def close(self) -> None:
        """End the GPU process. Returns within a moment, also from another thread than the one that steps."""
        self._gpu.close()

    def _read_gpu(self, now: float) -> GpuReading | None:
        """The reading asked for, maybe at the sample before; None while it may still come."""
        if not self._asked:
            self._gpu.request(now)
            self._asked = True
        reading = self._gpu.poll(now, _GPU_WAIT_S)
        if reading is not None:
            self._asked = False
            self._report_gpu(reading)
        return reading

    def _take(self, now: float, gpu: GpuReading | None) -> None:
        at = self._clock()
        run = self._guard.run
        sample = run("sampler", now, lambda: self._checked(self._sampler.sample(at, now, gpu, self._gpu.pid)), None)
        if sample is None:
            return
        derived = run("detectors", now, lambda: self._checked(self._detectors.derive(sample)), sample)
        judged = run("judge", now, lambda: self._judge.judge(derived), Judgement(open=self.open_alerts))
        _log_alerts(judged)  # at once: what comes now may wait for a disk
        whole = replace(derived, figures={**derived.figures, Key("alerts_open"): float(len(judged.open))})
        self.latest, self.open_alerts = whole, judged.open
        kept = run("record", now, lambda: self._record.add(whole, judged), judged)
        self.open_alerts = kept.open
        run("telling", now, lambda: self._tell(kept, at), None)
        if now >= self._line_due:
            self._line_due = now + _LINE_EVERY_S
            log.info("%s", summary(whole), extra={"event": "metrics", "figures": flat(whole)})

    def _checked(self, sample: Sample) -> Sample:
        wrong = [key for key, figure in sample.figures.items() if key.name not in FIGURES or not math.isfinite(figure)]
        if not wrong:
            return sample
        for name in {key.name for key in wrong} - self._refused:
            self._refused.add(name)
            log.error("Not a figure that can be kept: %s", name, extra={"event": "bug", "figure": name})
        figures = {key: figure for key, figure in sample.figures.items() if key not in wrong}
        return replace(sample, figures=figures)

    def _report_gpu(self, gpu: GpuReading) -> None:
        """Once per trouble, not once per sample. A line for who reads the log; the alert is a rule's."""
        if gpu.unavailable == self._gpu_trouble:
            return
        self._gpu_trouble = gpu.unavailable
        if gpu.unavailable is None:
            log.info("GPU figures are back", extra={"event": "gpu_readable"})
        else:
            log.info("No GPU figures: %s", gpu.unavailable, extra={"event": "gpu_unreadable"})


def _log_alerts(judgement: Judgement) -> None:
    for alert in judgement.opened:
        advice = f". {alert.advice}" if alert.advice else ""
        log.log(_LEVELS[alert.severity], "Alert: %s%s", alert.title, advice, extra=_fields("alert_opened", alert))
    for alert in judgement.resolved:
        log.info("Resolved: %s", alert.title, extra=_fields("alert_resolved", alert))


def _fields(event: str, alert: Alert) -> dict[str, object]:
    return {
        "event": event,
        "rule": alert.rule,
        "figure": alert.key.name,
        "subject": alert.key.subject,
        "severity": alert.severity,
        "value": alert.last,
        "peak": alert.peak,
        "limit": alert.limit,
        "words": alert.words,
    }


def flat(sample: Sample) -> dict[str, float]:
    """The figures of *sample* by name, and by name and subject where there is one: ``process_threads engine``."""
    return {f"{name} {subject}".rstrip(): round(figure, 4) for (name, subject), figure in sample.figures.items()}


def summary(sample: Sample) -> str:
    """*sample* in a line for people."""
    parts: list[str] = []
    for words, name in (("CPU", "host_cpu_used_ratio"), ("memory", "host_memory_used_ratio")):
        if (ratio := sample.figures.get(Key(name))) is not None:
            parts.append(f"{words} {ratio:.0%}")
    for key, figure in sample.figures.items():
        if key.name == "gpu_utilisation_ratio":
            parts.append(f"GPU {key.subject} {figure:.0%}")
        elif key.name in ("gpu_lost", "gpu_readable") and key in sample.words:
            parts.append(sample.words[key])
        elif key.name == "jobs" and figure:
            parts.append(f"{figure:g} {key.subject}")
    return ", ".join(parts)
