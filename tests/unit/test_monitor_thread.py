"""The monitor: one sample per interval seen through every stage, whatever any of them does."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.alert import Alert, Judgement, Severity
from monitor.figures import Key, Sample
from monitor.gpu.figures import KnownGpus
from monitor.gpu.probe import GpuProbe
from monitor.sampling.sampler import Sampler
from monitor.thread import Monitor, flat, summary

AT = datetime(2025, 3, 1, tzinfo=UTC)
QUEUED = Key("jobs", "queued")


def alert(severity: Severity = "warning") -> Alert:
    return Alert(
        rule="oldest_wait",
        key=Key("queue_oldest_wait_s"),
        severity=severity,
        title="The oldest job has waited for 5 h",
        advice="Run `transcribed status`.",
        words="a.wav",
        limit=4.0,
        first=4.5,
        last=5.0,
        peak=5.0,
        opened_at=AT,
        seen_at=AT,
    )


@dataclass(slots=True)
class Stages:
    """Every stage after the sampler. Remembers what each was given, and raises in those named in *broken*."""

    broken: set[str] = field(default_factory=set[str])
    judgement: Judgement = field(default_factory=Judgement)
    calls: list[tuple[str, object]] = field(default_factory=list[tuple[str, object]])

    def derive(self, sample: Sample) -> Sample:
        """A figure more."""
        self._called("derive", sample)
        return replace(sample, figures={**sample.figures, Key("host_clock_step_s"): 0.0})

    def judge(self, sample: Sample) -> Judgement:
        """What the test says."""
        self._called("judge", sample)
        return self.judgement

    def add(self, sample: Sample, judgement: Judgement) -> Judgement:
        """With a number for each open alert."""
        self._called("add", sample)
        return replace(judgement, open=tuple(replace(alert, id=7) for alert in judgement.open))

    def tell(self, judgement: Judgement, at: datetime) -> None:
        """Nobody hears it."""
        self._called("tell", (judgement, at))

    def samples(self, stage: str) -> list[Sample]:
        """What *stage* was given."""
        return [what for name, what in self.calls if name == stage and isinstance(what, Sample)]

    def _called(self, stage: str, what: object) -> None:
        self.calls.append((stage, what))
        if stage in self.broken:
            raise OSError(f"{stage} is broken")


Figures = dict[Key, float]


def monitor(
    stages: Stages, figures: Callable[[], Figures] = dict, gpu: GpuProbe | None = None, interval_s: float = 10
) -> Monitor:
    return Monitor(
        interval_s=interval_s,
        sampler=Sampler(
            lambda: {"daemon": os.getpid()}, lambda: (figures(), {}), gpus=KnownGpus(built_in=lambda: True)
        ),
        detectors=stages,
        judge=stages,
        record=stages,
        tell=stages.tell,
        gpu=gpu or GpuProbe(present=lambda: False),
        clock=lambda: AT,
    )


def messages(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.__dict__["event"] == event]


def test_a_sample_goes_through_every_stage() -> None:
    """Each stage gets what the one before made of it; what was recorded is what is told, and shown to others."""
    stages = Stages(judgement=Judgement(opened=(alert(),), open=(alert(),)))
    watched = monitor(stages, lambda: {QUEUED: 3.0})
    assert watched.step(1000) == 10
    assert [name for name, _ in stages.calls] == ["derive", "judge", "add", "tell"]
    (recorded,) = stages.samples("add")
    assert recorded.figures[QUEUED] == 3
    assert recorded.figures[Key("host_clock_step_s")] == 0
    assert recorded.figures[Key("alerts_open")] == 1
    assert watched.latest is recorded
    assert watched.open_alerts == (replace(alert(), id=7),)
    assert stages.calls[-1][1] == (Judgement(opened=(alert(),), open=watched.open_alerts), AT)


def test_one_sample_per_interval() -> None:
    """A step takes the sample that is due and says when to come again."""
    stages = Stages()
    watched = monitor(stages)
    assert [watched.step(now) for now in (1000, 1003, 1010, 1013, 1014)] == [10, 7, 10, 7, 6]
    assert len(stages.samples("add")) == 2


@pytest.mark.parametrize("stage", ["derive", "judge", "add", "tell"])
def test_a_stage_that_raises_takes_no_other_along(stage: str, caplog: pytest.LogCaptureFixture) -> None:
    """The sample goes on; the exception is in the log with its traceback, not at each sample but once an hour."""
    stages = Stages(broken={stage}, judgement=Judgement(open=(alert(),)))
    watched = monitor(stages)
    for now in range(0, 3590, 10):
        watched.step(now)
    assert [name for name, _ in stages.calls[-4:]] == ["derive", "judge", "add", "tell"]
    assert len(stages.samples("judge")) == 359
    assert watched.latest is not None
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failure.exc_info is not None
    assert str(failure.exc_info[1]) == f"{stage} is broken"
    watched.step(3600)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_open_alerts_stay_while_nobody_judges() -> None:
    """A judge that fails says nothing about alerts: those that were open are."""
    stages = Stages(judgement=Judgement(open=(alert(),)))
    watched = monitor(stages)
    watched.step(0)
    stages.broken = {"judge"}
    watched.step(10)
    assert watched.open_alerts == (replace(alert(), id=7),)
    assert watched.latest is not None
    assert watched.latest.figures[Key("alerts_open")] == 1


def test_what_is_no_figure_is_refused_once(caplog: pytest.LogCaptureFixture) -> None:
    """A name that the catalogue lacks, and what is no finite number, are bugs: logged, and kept by nobody."""
    wrong = {Key("moon_phase"): 1.0, Key("folder_full_in_s", "/srv"): float("inf"), QUEUED: 3.0}
    stages = Stages()
    watched = monitor(stages, lambda: wrong)
    watched.step(0)
    watched.step(10)
    for sample in stages.samples("add"):
        assert not sample.figures.keys() & {Key("moon_phase"), Key("folder_full_in_s", "/srv")}
        assert sample.figures[QUEUED] == 3
    assert sorted(messages(caplog, "bug")) == [
        "Not a figure that can be kept: folder_full_in_s",
        "Not a figure that can be kept: moon_phase",
    ]


def test_the_log_has_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With all figures as fields, and what people want to see in words."""
    caplog.set_level(logging.INFO, "monitor")
    watched = monitor(Stages(), lambda: {QUEUED: 2.0, Key("jobs", "failed"): 0.0})
    for now in range(0, 100, 10):
        watched.step(now)
    lines = [record for record in caplog.records if record.__dict__["event"] == "metrics"]
    assert len(lines) == 2
    assert lines[0].__dict__["figures"]["jobs queued"] == 2
    assert lines[0].__dict__["figures"]["process_rss_bytes daemon"] > 2**20
    assert lines[0].getMessage().endswith(", 2 queued")


@pytest.mark.parametrize(
    ("severity", "level"), [("info", logging.INFO), ("warning", logging.WARNING), ("critical", logging.ERROR)]
)
def test_alerts_are_always_logged(severity: Severity, level: int, caplog: pytest.LogCaptureFixture) -> None:
    """By their severity, with what to do; also when they cannot be recorded. Their end is an info."""
    caplog.set_level(logging.INFO, "monitor")
    stages = Stages(broken={"add", "tell"}, judgement=Judgement(opened=(alert(severity),), open=(alert(severity),)))
    watched = monitor(stages)
    watched.step(0)
    stages.judgement = Judgement(resolved=(replace(alert(severity), resolved_at=AT),))
    watched.step(10)
    told = [record for record in caplog.records if record.__dict__["event"].startswith("alert_")]
    assert [(record.levelno, record.getMessage()) for record in told] == [
        (level, "Alert: The oldest job has waited for 5 h. Run `transcribed status`."),
        (logging.INFO, "Resolved: The oldest job has waited for 5 h"),
    ]
    assert (told[0].__dict__["rule"], told[0].__dict__["limit"]) == ("oldest_wait", 4)


def test_a_line_names_figures_and_subjects() -> None:
    """The fields are JSON types by name and subject; the words name the GPUs, and what is not zero of the queue."""
    sample = Sample(
        AT,
        {
            Key("host_cpu_used_ratio"): 0.25444,
            Key("host_memory_used_ratio"): 0.5,
            Key("gpu_utilisation_ratio", "0"): 0.9,
            Key("gpu_lost", "0"): 0.0,
            Key("gpu_lost", "1"): 1.0,
            Key("jobs", "queued"): 0.0,
            Key("jobs", "running"): 2.0,
        },
        {Key("gpu_lost", "1"): "T4: GPU is lost"},
    )
    figures = json.loads(json.dumps(flat(sample)))
    assert figures["host_cpu_used_ratio"] == 0.2544
    assert figures["gpu_lost 1"] == 1
    assert summary(sample) == "CPU 25%, memory 50%, GPU 0 90%, T4: GPU is lost, 2 running"


# --- The GPU process ---


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], GpuProbe]]:
    """Makes a probe whose process finds the lines given as its pynvml."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    probe = GpuProbe(deadline_s=25, present=lambda: True)

    def write(lines: str) -> GpuProbe:
        (tmp_path / "pynvml.py").write_text(lines, encoding="ascii")
        return probe

    yield write
    probe.close()


NO_GPUS = """
class NVMLError(Exception): ...
def nvmlInit(): ...
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): raise NVMLError("lost")
"""


@pytest.mark.fault(47, "samples while NVML hangs")
def test_a_gpu_that_hangs_puts_no_sample_off(
    driver: Callable[[str], GpuProbe], caplog: pytest.LogCaptureFixture
) -> None:
    """Samples are taken without it, on time but for a moment; then the trouble is told, in each and once in the log."""
    caplog.set_level(logging.INFO, "monitor")
    probe = driver("import signal\nsignal.pause()\n")
    stages = Stages()
    watched = monitor(stages, gpu=probe)
    assert watched.step(0) < 1
    assert watched.step(1) < 1
    assert watched.step(2) == 8
    assert watched.step(10) < 1
    assert watched.step(12) == 8
    assert len(stages.samples("add")) == 2
    assert Key("gpu_readable") not in stages.samples("add")[1].figures
    for now in (25, 27, 35, 45):
        watched.step(now)
    told = [sample.words.get(Key("gpu_readable")) for sample in stages.samples("add")]
    trouble = "no GPU reading within 25 s: the driver hangs"
    assert told == [None, None, trouble, trouble, trouble]
    assert messages(caplog, "gpu_unreadable") == [f"No GPU figures: {trouble}"]
    watched.close()
    watched.close()
    assert probe.pid is None


@pytest.mark.fault(47, "samples with a GPU that is lost")
def test_a_lost_gpu_is_in_each_sample(driver: Callable[[str], GpuProbe]) -> None:
    """The reading comes in the end, and stays: the alert needs it more than once."""
    stages = Stages()
    watched = monitor(stages, gpu=driver(NO_GPUS), interval_s=10)
    watched.step(0)
    now = 0.0
    while not stages.samples("add"):
        now += 0.001  # the process takes its time; the monitor's patience is in these seconds, so it cannot end first
        watched.step(now)
    watched.step(10 + now)
    assert [sample.figures.get(Key("gpu_lost", "0")) for sample in stages.samples("add")] == [1, 1]
    assert stages.samples("add")[0].words[Key("gpu_lost", "0")] == "lost"


def test_after_the_end_no_gpu_is_said_to_be_lost(driver: Callable[[str], GpuProbe]) -> None:
    """A sample that is taken while the daemon stops has no figures of GPUs: nobody was asked."""
    stages = Stages()
    watched = monitor(stages, gpu=driver(NO_GPUS))
    watched.close()
    watched.step(0)
    watched.step(2)
    (sample,) = stages.samples("add")
    assert not [key for key in sample.figures if key.name.startswith("gpu_")]
