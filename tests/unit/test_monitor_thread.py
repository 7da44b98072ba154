"""The monitor: one sample and one log line per interval, whatever its probes do."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.gpu_probe import GpuProbe
from monitor.readings import GpuReading, GpuSample, ProcessSample, Sample
from monitor.sampling import Probes, Sampler
from monitor.thread import Monitor, metrics, summary

AT = datetime(2025, 3, 1, tzinfo=UTC)


def ended_pid() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-P", "-c", ""])
    process.wait()
    return process.pid


def no_gpu() -> GpuProbe:
    return GpuProbe(present=lambda: False)


def monitor(queue: Mapping[str, int], gpu: GpuProbe | None = None) -> Monitor:
    return Monitor(
        interval_s=60,
        processes=lambda: {"daemon": os.getpid()},
        queue=lambda: queue,
        gpu=gpu or no_gpu(),
        clock=lambda: AT,
    )


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuProbe]:
    """A GPU whose driver never answers."""
    (tmp_path / "pynvml.py").write_text("import signal\nsignal.pause()\n", encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    probe = GpuProbe(deadline_s=5, present=lambda: True)
    yield probe
    probe.close()


def test_a_sample_has_the_machine_and_the_processes(tmp_path: Path) -> None:
    """Ratios are ratios, our own process is in it, what has ended or is missing is left out."""
    probes = Probes(
        processes=lambda: {"daemon": os.getpid(), "engine": ended_pid()},
        queue=lambda: {"queued": 3},
        folders=(tmp_path, tmp_path / "missing"),
    )
    sample = Sampler(probes).sample(AT, GpuReading())
    assert 0 <= sample.cpu_ratio <= 1
    assert 0 < sample.memory_used_ratio < 1
    assert sample.memory_total_bytes > 2**20
    assert list(sample.processes) == ["daemon"]
    assert sample.processes["daemon"].rss_bytes > 2**20
    assert sample.processes["daemon"].cpu_s > 0
    assert (sample.at, sample.queue, sample.gpus) == (AT, {"queued": 3}, ())
    assert list(sample.disk_free_bytes) == [str(tmp_path)]


def test_one_sample_per_interval(caplog: pytest.LogCaptureFixture) -> None:
    """A step takes the sample that is due and says when to come again."""
    caplog.set_level(logging.INFO, "monitor")
    watched = monitor({"queued": 2, "failed": 0})
    assert watched.step(1000) == 60
    first = watched.latest
    assert first is not None
    assert watched.step(1030) == 30
    assert watched.latest is first
    assert watched.step(1060) == 60
    assert watched.latest is not first
    lines = [record for record in caplog.records if record.__dict__["event"] == "metrics"]
    assert len(lines) == 2
    assert lines[0].__dict__["queue"] == {"queued": 2, "failed": 0}
    assert lines[0].__dict__["processes"]["daemon"]["pid"] == os.getpid()
    assert lines[0].getMessage().endswith(", 2 queued")


def test_a_probe_that_raises_costs_one_sample() -> None:
    """The error reaches the thread that runs us, and the next sample is taken an interval later."""

    def broken() -> Mapping[str, int]:
        raise RuntimeError("locked")

    watched = Monitor(interval_s=60, processes=broken, queue=broken, gpu=no_gpu())
    with pytest.raises(RuntimeError, match="locked"):
        watched.step(0)
    assert watched.step(1) == 59
    assert watched.latest is None


def test_a_gpu_that_hangs_delays_one_sample(hanging: GpuProbe, caplog: pytest.LogCaptureFixture) -> None:
    """Steps go on while the driver hangs; then the sample comes without GPU, and the trouble is told once."""
    caplog.set_level(logging.INFO, "monitor")
    watched = monitor({}, hanging)
    assert watched.step(0) < 1
    assert watched.latest is None
    assert watched.step(5) == 55
    assert watched.latest is not None
    assert watched.latest.gpu.unavailable == "no GPU reading within 5 s: the driver hangs"
    watched.step(60)
    for now in (65, 66):
        watched.step(now)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["No GPU figures: no GPU reading within 5 s: the driver hangs"]
    watched.close()
    watched.close()
    assert hanging.pid is None


def test_the_log_line_is_json_and_words() -> None:
    """Figures of GPUs, processes and disks are there as JSON types; the words name what is not zero."""
    sample = Sample(
        at=AT,
        cpu_ratio=0.254,
        memory_used_ratio=0.5,
        memory_total_bytes=8,
        processes={"engine": ProcessSample(7, 100, 1.234)},
        gpu=GpuReading(
            (GpuSample(0, "T4", "u", 0.9), GpuSample(1, "", "", problem="GPU is lost"), GpuSample(2, "", ""))
        ),
        queue={"queued": 0, "running": 2},
        disk_free_bytes={"/srv": 5},
    )
    figures = json.loads(json.dumps(metrics(sample)))
    assert figures["processes"] == {"engine": {"pid": 7, "rss_bytes": 100, "cpu_s": 1.23}}
    assert figures["disk_free_bytes"] == {"/srv": 5}
    assert [gpu["utilisation_ratio"] for gpu in figures["gpus"]] == [0.9, None, None]
    assert summary(sample) == "CPU 25%, memory 50%, GPU 0 90%, GPU 1 GPU is lost, GPU 2 ?, 2 running"


def test_figures_do_not_clash_with_those_of_a_log_record() -> None:
    """Every figure can be an extra field of a log record."""
    sample = Sampler(Probes(folders=(Path("/"),))).sample(AT, GpuReading((GpuSample(0, "", ""),)))
    reserved = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "event"}
    assert not reserved & set(metrics(sample))
