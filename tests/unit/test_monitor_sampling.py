"""Samples of the machine, of processes, of folders and of what the service tells."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.figures import FIGURES, Key, Sample
from monitor.gpu.figures import KnownGpus
from monitor.gpu.readings import GpuReading, GpuSample
from monitor.sampling import machine
from monitor.sampling.sampler import Sampler
from monitor.sampling.sensors import Hottest, Sensors

AT = datetime(2025, 3, 1, tzinfo=UTC)
NOTHING: tuple[Mapping[Key, float], Mapping[Key, str]] = ({}, {})


def ended_pid() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-P", "-c", ""])
    process.wait()
    return process.pid


def test_a_sample_has_the_machine_our_processes_and_folders(tmp_path: Path) -> None:
    """Ratios are ratios; what has ended or is missing is left out; every figure is in the catalogue."""
    sampler = Sampler(lambda: {"daemon": os.getpid(), "engine": ended_pid()}, lambda: NOTHING, tmp_path)
    sampler.sample(AT, 0, None)
    sample = sampler.sample(AT, 10, None)
    figures = sample.figures
    assert sample.at == AT
    assert {key.name for key in figures} <= FIGURES.keys()
    assert {key.subject for key in figures} == {"", "daemon", str(tmp_path)}
    for name in ("host_memory_used_ratio", "host_cpu_used_ratio"):
        assert 0 <= figures.get(Key(name), 0.5) <= 1
    for name in ("folder_free_ratio", "folder_free_inodes_ratio"):
        assert 0 <= figures.get(Key(name, str(tmp_path)), 0.5) <= 1
    assert figures[Key("host_memory_total_bytes")] > 2**20
    assert figures[Key("folder_free_bytes", str(tmp_path))] == figures[Key("state_free_bytes")] > 0
    assert figures[Key("process_rss_bytes", "daemon")] > 2**20
    assert figures[Key("process_threads", "daemon")] >= 1
    assert figures[Key("process_descriptors", "daemon")] >= 3
    assert 0 < figures[Key("process_age_s", "daemon")] < 3600
    assert figures[Key("process_cpu_cores", "daemon")] >= 0


def test_a_state_folder_that_is_missing_has_no_room_to_tell(tmp_path: Path) -> None:
    """Its figures are left out; who uses the folder says that it is gone."""
    names = {key.name for key in Sampler(dict, lambda: NOTHING, tmp_path / "missing").sample(AT, 0, None).figures}
    assert names.isdisjoint({"folder_free_bytes", "state_free_bytes"})


def test_cores_are_counted_between_two_samples_of_one_process() -> None:
    """The first sample of a process has no share of time; one of another process in its role has none again."""
    others = [os.getpid(), os.getpid(), os.getppid()]
    sampler = Sampler(lambda: {"engine": others.pop(0)}, lambda: NOTHING)
    seen = [Key("process_cpu_cores", "engine") in sampler.sample(AT, now, None).figures for now in (0, 10, 20)]
    assert seen == [False, True, False]


def test_cores_are_time_over_time() -> None:
    """A process that worked all the time between two samples used one core."""
    sampler = Sampler(lambda: {"daemon": os.getpid()}, lambda: NOTHING)
    before_s = sum(os.times()[:2])
    sampler.sample(AT, 0, None)
    while sum(os.times()[:2]) < before_s + 0.2:
        pass
    worked_s = sum(os.times()[:2]) - before_s
    cores = sampler.sample(AT, worked_s, None).figures[Key("process_cpu_cores", "daemon")]
    assert 0.5 < cores < 1.5


def test_the_service_adds_figures_and_words() -> None:
    """Figures and words of the service are merged, from a sample as from a pair."""
    key = Key("inbox_offline", "/srv/in")
    pair = ({key: 1.0}, {key: "no answer"})
    for sampler in (Sampler(dict, lambda: pair), Sampler(dict, lambda: Sample(AT, *pair))):
        sample = sampler.sample(AT, 0, None)
        assert (sample.figures[key], sample.words[key]) == (1.0, "no answer")
        assert Key("host_load_per_core") in sample.figures


def test_a_service_that_raises_costs_its_own_figures_only(caplog: pytest.LogCaptureFixture) -> None:
    """The rest is sampled, and the exception is in the log, once."""

    def broken() -> tuple[Mapping[Key, float], Mapping[Key, str]]:
        raise RuntimeError("locked")

    def lost() -> Mapping[str, int]:
        raise KeyError("engine")

    sampler = Sampler(lost, broken)
    for now in (0, 10, 20):
        assert Key("host_load_per_core") in sampler.sample(AT, now, None).figures
    logged = [(record.message, str(record.exc_info and record.exc_info[1])) for record in caplog.records]
    assert logged == [
        ("The monitor goes on without its list of processes", "'engine'"),
        ("The monitor goes on without its figures of the service", "locked"),
    ]
    assert all(record.levelno == logging.ERROR for record in caplog.records)


def test_what_the_kernel_does_not_tell_costs_no_other_figure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A container without /proc/vmstat, a process whose counters are empty: the rest is sampled."""

    def refused() -> float | None:
        raise PermissionError(13, "no /proc/vmstat")

    looked_at = machine.process

    def odd(pid: int) -> machine.ProcessUse | None:
        if pid == os.getppid():
            raise RuntimeError("/proc/PID/io was empty")
        return looked_at(pid)

    monkeypatch.setattr(machine, "swap_used_ratio", refused)
    monkeypatch.setattr(machine, "process", odd)
    key = Key("inbox_offline", "/srv/in")
    sampler = Sampler(lambda: {"engine": os.getppid(), "daemon": os.getpid()}, lambda: ({key: 0.0}, {}))
    for now in (0, 10):
        figures = sampler.sample(AT, now, None).figures
        assert {Key("host_memory_used_ratio"), Key("process_rss_bytes", "daemon"), key} <= figures.keys()
        assert Key("process_rss_bytes", "engine") not in figures
    assert [record.message for record in caplog.records] == [
        "The monitor goes on without its figures of the machine",
        "The monitor goes on without its figures of a process",
    ]


def test_gpu_memory_goes_to_the_process_that_has_it() -> None:
    """What the driver counts for our processes is theirs, over all GPUs; the reader of the GPUs is one of ours."""
    gpus = (GpuSample(0, "T4", "a", memory_by_pid={7: 100, 9: 5}), GpuSample(1, "T4", "b", memory_by_pid={7: 20}))
    sampler = Sampler(lambda: {"engine": 7}, lambda: NOTHING)
    figures = sampler.sample(AT, 0, GpuReading(gpus, "nvml"), reader_pid=os.getpid()).figures
    assert figures[Key("process_gpu_memory_bytes", "engine")] == 120
    assert Key("process_gpu_memory_bytes", "gpu-reader") not in figures
    assert Key("process_rss_bytes", "gpu-reader") in figures


def test_a_folder_of_any_name_is_a_subject() -> None:
    """A name that is no text is shown in letters that can be stored and printed."""
    assert machine.shown(Path(os.fsdecode(b"/srv/caf\xe9"))) == "/srv/caf\\xe9"


# --- GPUs ---

T4 = GpuSample(0, "T4", "a", 0.5, 400, 1000, 60, 30.5, 1_000_000_000, throttled=False, ecc_errors=0)
L4 = GpuSample(1, "L4", "b", 0.1)


def told(gpus: KnownGpus, *found: GpuSample) -> tuple[dict[Key, float], dict[Key, str]]:
    answer = gpus.tell(GpuReading(found, "nvml"), {})
    return answer.figures, answer.words


def test_every_figure_of_a_gpu_is_told() -> None:
    """Those that the driver does not tell are left out."""
    figures, words = told(KnownGpus(), T4, L4)
    assert {key.name: figure for key, figure in figures.items() if key.subject == "0"} == {
        "gpu_lost": 0,
        "gpu_utilisation_ratio": 0.5,
        "gpu_memory_used_bytes": 400,
        "gpu_memory_total_bytes": 1000,
        "gpu_memory_used_ratio": 0.4,
        "gpu_temperature_celsius": 60,
        "gpu_power_w": 30.5,
        "gpu_clock_hz": 1_000_000_000,
        "gpu_throttled": 0,
        "gpu_ecc_errors": 0,
    }
    assert {key.name for key in figures if key.subject == "1"} == {"gpu_lost", "gpu_utilisation_ratio"}
    assert (figures[Key("gpu_readable")], words) == (1, {})
    assert {key.name for key in figures} <= FIGURES.keys()


def test_what_holds_the_clock_down_is_said_in_words() -> None:
    """A limit that is meant is named with the clock, and is no trouble; heat is."""
    at_limit = GpuSample(0, "T4", "a", clock_hz=1, throttled=False, clock_words="the power limit")
    figures, words = told(KnownGpus(), at_limit)
    assert (figures[Key("gpu_throttled", "0")], words) == (
        0,
        {Key("gpu_clock_hz", "0"): "held down by the power limit"},
    )
    hot = GpuSample(0, "T4", "a", throttled=True, clock_words="heat")
    figures, words = told(KnownGpus(), hot)
    assert (figures[Key("gpu_throttled", "0")], words) == (1, {Key("gpu_throttled", "0"): "heat"})


def test_a_gpu_with_a_problem_is_lost_and_comes_back() -> None:
    """It is told with its name, also when the driver does not say any more which it was."""
    gpus = KnownGpus()
    told(gpus, T4, L4)
    figures, words = told(gpus, GpuSample(0, "", "", problem="GPU is lost"), L4)
    assert figures[Key("gpu_lost", "0")] == 1
    assert words == {Key("gpu_lost", "0"): "T4 (a): GPU is lost"}
    assert Key("gpu_utilisation_ratio", "0") not in figures
    assert told(gpus, T4, L4)[0][Key("gpu_lost", "0")] == 0


def test_a_gpu_that_is_gone_is_lost_and_the_others_keep_their_names() -> None:
    """The driver counts the rest anew; a figure of one GPU must not become one of another."""
    gpus = KnownGpus()
    told(gpus, T4, L4)
    figures, words = told(gpus, GpuSample(0, "L4", "b", 0.9))
    assert (figures[Key("gpu_lost", "0")], figures[Key("gpu_lost", "1")]) == (1, 0)
    assert figures[Key("gpu_utilisation_ratio", "1")] == 0.9
    assert words == {Key("gpu_lost", "0"): "T4 (a): the driver names it no more"}
    figures, _ = told(gpus, GpuSample(0, "", "", problem="GPU is lost"), GpuSample(1, "L4", "b", 0.9))
    assert (figures[Key("gpu_lost", "0")], figures[Key("gpu_utilisation_ratio", "1")]) == (1, 0.9)


def test_the_last_gpu_that_is_gone_is_lost() -> None:
    """A machine that had a GPU and has none is not a machine without GPUs."""
    gpus = KnownGpus()
    told(gpus, T4)
    answer = gpus.tell(GpuReading(), {})
    assert answer.figures == {Key("gpu_readable"): 1, Key("gpu_lost", "0"): 1}


@pytest.mark.parametrize("lost", [T4, L4])
def test_a_gpu_that_was_lost_before_a_restart_is_lost_until_it_is_back(lost: GpuSample) -> None:
    """Also where the driver counted the other one anew meanwhile; by its UUID it is known when it comes."""
    other = L4 if lost is T4 else T4
    subject = Key("gpu_lost", str(lost.index))
    before = KnownGpus()
    told(before, T4, L4)
    _, words = told(before, replace(other, index=0))
    gpus = KnownGpus()
    gpus.still_lost(subject.subject, words[subject])
    assert gpus.tell(GpuReading(unavailable="the driver hangs"), {}).words[subject] == words[subject]
    for _ in range(2):
        figures, again = told(gpus, replace(other, index=0))
        assert (figures[Key("gpu_lost", str(other.index))], figures[subject], again) == (0, 1, words)
    assert told(gpus, T4, L4)[0][subject] == 0


def test_a_lost_gpu_without_a_uuid_is_back_when_its_place_is_taken() -> None:
    """Nobody can tell more of it."""
    gpus = KnownGpus()
    gpus.still_lost("0", "GPU is lost")
    assert told(gpus)[1] == {Key("gpu_lost", "0"): "the driver names it no more"}
    assert told(gpus, T4)[0][Key("gpu_lost", "0")] == 0


def test_a_stranger_finds_a_place() -> None:
    """A GPU whose number another one has, counted anew, gets a free one; in the place of one that is gone it is new."""
    gpus = KnownGpus()
    told(gpus, T4, L4)
    assert told(gpus, GpuSample(0, "L4", "b", 0.9), GpuSample(1, "H100", "c", 0.2))[0] == {
        Key("gpu_readable"): 1,
        Key("gpu_lost", "0"): 0,
        Key("gpu_utilisation_ratio", "0"): 0.2,
        Key("gpu_lost", "1"): 0,
        Key("gpu_utilisation_ratio", "1"): 0.9,
    }


def test_gpus_that_cannot_be_read_are_told_where_there_are_some() -> None:
    """A driver without a GPU is no trouble; a GPU without a driver is; and a lost GPU stays lost meanwhile."""
    reading = GpuReading(unavailable="the driver hangs")
    assert KnownGpus(built_in=lambda: False).tell(reading, {}).figures == {}
    assert KnownGpus(built_in=lambda: True).tell(reading, {}).words == {Key("gpu_readable"): "the driver hangs"}
    gpus = KnownGpus(built_in=lambda: False)
    told(gpus, T4, L4)
    told(gpus, T4)
    assert gpus.tell(reading, {}).figures == {Key("gpu_readable"): 0, Key("gpu_lost", "1"): 1}


# --- Temperature ---


def chip(root: Path, number: int, name: str, *celsius: float) -> Path:
    """A chip of sensors in hwmon; the first sensor has a label."""
    folder = root / "hwmon" / f"hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n", encoding="ascii")
    for index, degrees in enumerate(celsius, start=1):
        (folder / f"temp{index}_input").write_text(f"{degrees * 1000:.0f}\n", encoding="ascii")
    (folder / "temp1_label").write_text("Package id 0\n", encoding="ascii")
    return folder


def test_the_hottest_processor_counts(tmp_path: Path) -> None:
    """Disks, inputs with nothing connected and sensors that do not answer do not count."""
    cores = chip(tmp_path, 0, "coretemp", 71, 55)
    chip(tmp_path, 1, "nvme", 99)
    chip(tmp_path, 2, "nct6775", 127)
    chip(tmp_path, 3, "k10temp", 255)
    sensors = Sensors(tmp_path)
    assert sensors.hottest() == Hottest(71, "Package id 0")
    (cores / "temp1_input").write_text("", encoding="ascii")
    assert sensors.hottest() == Hottest(55, "coretemp")
    (cores / "temp2_input").unlink()
    assert sensors.hottest() is None


@pytest.mark.parametrize("kind", ["x86_pkg_temp", "cpu-thermal", "cpu0-thermal", "soc-thermal", "cpu_thermal"])
def test_without_sensors_a_zone_of_the_processor_counts(tmp_path: Path, kind: str) -> None:
    """Small machines tell it only as a thermal zone; zones of something else do not count."""
    for number, name in enumerate([kind, "acpitz", "battery"]):
        zone = tmp_path / "thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{name}\n", encoding="ascii")
        (zone / "temp").write_text(f"{48000 + number}\n", encoding="ascii")
    assert Sensors(tmp_path).hottest() == Hottest(48, kind)


def test_a_machine_without_sensors_has_no_temperature(tmp_path: Path) -> None:
    """A virtual machine has none, and that is no error."""
    assert Sensors(tmp_path).hottest() is None
