"""GPU readings through a process of their own, with a stand-in for the driver inside it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitor import gpu_probe
from monitor.gpu_probe import GpuProbe
from monitor.readings import GpuReading, GpuSample

DRIVER = """
    import os, signal, sys

    class NVMLError(Exception): ...

    class _Figures:
        def __init__(self, **figures): self.__dict__.update(figures)

    def nvmlInit(): ...
    def nvmlDeviceGetCount(): return 2
    def nvmlDeviceGetHandleByIndex(index):
        if index == 1: raise NVMLError("GPU is lost")
        return index
    def nvmlDeviceGetName(handle): return b"Tesla T4"
    def nvmlDeviceGetUUID(handle): return "GPU-1"
    def nvmlDeviceGetUtilizationRates(handle): return _Figures(gpu=37, memory=5)
    def nvmlDeviceGetMemoryInfo(handle): return _Figures(total=1000, used=400, free=600)
    def nvmlDeviceGetTemperature(handle, sensor): return 45
    def nvmlDeviceGetPowerUsage(handle): raise NVMLError("Not Supported")
"""
READING = GpuReading(
    gpus=(
        GpuSample(0, "Tesla T4", "GPU-1", 0.37, 400, 1000, 45, None, None),
        GpuSample(1, "", "", problem="GPU is lost"),
    ),
    source="nvml",
)

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Gives the children a pynvml of DRIVER and the lines added to it, and a PATH of our own."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for folder in ("modules", "bin"):
        (tmp_path / folder).mkdir()

    def write(added: str) -> None:
        driver = textwrap.dedent(DRIVER) + textwrap.dedent(added)
        (tmp_path / "modules" / "pynvml.py").write_text(driver, encoding="utf-8")

    return write


@pytest.fixture
def probe() -> Iterator[GpuProbe]:
    probe = GpuProbe(deadline_s=20, present=lambda: True)
    yield probe
    probe.close()


def answer(probe: GpuProbe, now: float) -> GpuReading:
    """What comes in the end."""
    while (reading := probe.poll(now, wait_s=0.1)) is None:
        pass
    return reading


def wait_for_end(pid: int) -> None:
    """Return when process *pid* has ended; fail if it lives on."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ready, _, _ = select.select([descriptor], [], [], 20)
    os.close(descriptor)
    assert ready, "the process lives on"


def test_nvml_is_read_in_one_process(install: Install, probe: GpuProbe) -> None:
    """Every figure that the driver tells comes through, a lost GPU is told as lost, and the process is kept."""
    install("")
    probe.request(0)
    assert answer(probe, 0) == READING
    first = probe.pid
    probe.request(60)
    assert answer(probe, 60) == READING
    assert probe.pid == first


def test_what_a_library_prints_is_no_reading(install: Install, probe: GpuProbe) -> None:
    """Stray lines of text and of JSON on stdout do no harm."""
    install(
        """
        print("hello"); print("{}"); print("[1]"); print('{"gpus": 1}'); print("unfinished", end="\\n")
        """
    )
    probe.request(0)
    assert answer(probe, 0) == READING


def test_without_a_gpu_no_process_starts() -> None:
    """Neither device nor nvidia-smi: an empty reading, at once, with nothing to complain about."""
    probe = GpuProbe(present=lambda: False)
    probe.request(0)
    assert probe.poll(0) == GpuReading()
    assert probe.pid is None


def test_a_gpu_shows_by_its_device_or_its_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi on PATH is enough to try."""
    monkeypatch.setenv("PATH", str(tmp_path))
    without = gpu_probe.gpu_present()
    (tmp_path / "nvidia-smi").touch(0o755)
    assert gpu_probe.gpu_present()
    assert without == any(name.startswith("nvidia") for name in os.listdir("/dev"))


@pytest.mark.fault(47, "NVML that hangs")
def test_a_driver_that_hangs_costs_its_process_only(install: Install, probe: GpuProbe) -> None:
    """After the deadline the process is killed and the reading is unavailable, with the reason."""
    install("def nvmlInit(): signal.pause()")
    probe.request(100)
    pid = probe.pid
    assert pid is not None
    assert probe.poll(119.9) is None
    assert answer(probe, 120) == GpuReading(unavailable="no GPU reading within 20 s: the driver hangs")
    assert probe.pid is None
    wait_for_end(pid)


def test_after_a_failure_the_next_try_waits_longer_each_time(install: Install, probe: GpuProbe) -> None:
    """30 s, then 60 s, and 30 s again after a good reading; in between the reason stays the same."""
    install("def nvmlInit(): signal.pause()")
    reason = "no GPU reading within 20 s: the driver hangs"
    now = 0.0
    for pause_s in (30, 60):
        probe.request(now)
        now += 20
        assert answer(probe, now).unavailable == reason
        probe.request(now + pause_s - 1)
        assert (probe.poll(now), probe.pid) == (GpuReading(unavailable=reason), None)
        now += pause_s
    install("")
    now += 60
    probe.request(now)
    assert answer(probe, now) == READING
    assert probe.pid is not None
    os.kill(probe.pid, signal.SIGKILL)
    probe.request(now)
    assert "status -9" in str(answer(probe, now).unavailable)
    install("")
    probe.request(now + 30)
    assert answer(probe, now + 30) == READING


def test_without_nvml_nvidia_smi_is_read(install: Install, probe: GpuProbe, tmp_path: Path) -> None:
    """Where only nvidia-smi works, its figures come through GPUtil; what it does not know is None."""
    install("def nvmlInit(): raise NVMLError('Driver Not Loaded')")
    tool = tmp_path / "bin" / "nvidia-smi"
    row = "0, GPU-1, [N/A], 16384, 1024, 15360, 550.1, Tesla T4, [N/A], Disabled, Disabled, 45"
    tool.write_text(f"#!/bin/sh\necho '{row}'\n", encoding="ascii")
    tool.chmod(0o755)
    probe.request(0)
    gpu = GpuSample(0, "Tesla T4", "GPU-1", None, 1024 * 2**20, 16384 * 2**20, 45.0)
    assert answer(probe, 0) == GpuReading((gpu,), source="nvidia-smi")


@pytest.mark.parametrize("printed", ["", "NVIDIA-SMI has failed because it could not communicate with the driver"])
def test_why_no_way_works_is_told(install: Install, probe: GpuProbe, tmp_path: Path, printed: str) -> None:
    """Both reasons are named, and the process ends: the next try starts afresh."""
    install("def nvmlInit(): raise NVMLError('Driver/library version mismatch')")
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{f'echo {printed!r}' if printed else 'exit 9'}\n", encoding="ascii")
    tool.chmod(0o755)
    probe.request(0)
    reason = answer(probe, 0).unavailable
    assert reason is not None
    assert reason.startswith("NVML does not start: Driver/library version mismatch; nvidia-smi ")
    assert probe.pid is None


def test_no_tool_and_no_library_is_told(install: Install, probe: GpuProbe) -> None:
    """A machine with a device node and nothing else gives a reading with the reason."""
    install("raise ImportError('not for this machine')")
    probe.request(0)
    expected = "pynvml cannot be imported: not for this machine; nvidia-smi is not on PATH"
    assert answer(probe, 0) == GpuReading(unavailable=expected)


@pytest.mark.fault(47, "NVML that fails later")
def test_a_driver_that_fails_later_is_started_again(install: Install, probe: GpuProbe) -> None:
    """An error in the middle ends the process, since NVML has to be started anew."""
    install(
        """
        reads = 0
        def nvmlDeviceGetCount():
            global reads
            reads += 1
            if reads > 1: raise NVMLError("Unknown Error")
            return 0
        """
    )
    probe.request(0)
    assert answer(probe, 0) == GpuReading(source="nvml")
    probe.request(60)
    assert answer(probe, 60).unavailable == "NVML does not answer: Unknown Error"
    assert probe.pid is None


def test_a_crash_is_told_with_its_last_words(install: Install, probe: GpuProbe) -> None:
    """What the process wrote before it died is part of the reason."""
    install("def nvmlInit(): print('libnvidia-ml: assertion failed', file=sys.stderr, flush=True); os._exit(3)")
    probe.request(0)
    expected = "the GPU process ended with status 3: libnvidia-ml: assertion failed"
    assert answer(probe, 0).unavailable == expected


@pytest.mark.fault(47, "an end while NVML hangs")
def test_closing_does_not_wait_for_the_driver(install: Install, probe: GpuProbe) -> None:
    """A probe in the middle of a hang is closed from another thread, and starts nothing any more."""
    install("def nvmlInit(): signal.pause()")
    probe.request(0)
    pid = probe.pid
    assert pid is not None
    closing = threading.Thread(target=probe.close)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    wait_for_end(pid)
    probe.request(100)
    assert (probe.poll(100), probe.pid) == (GpuReading(), None)
    probe.close()


_START_AND_WAIT = """
from monitor.gpu_probe import GpuProbe
import signal
probe = GpuProbe(present=lambda: True)
probe.request(0)
print(probe.pid, flush=True)
signal.pause()
"""


def test_it_does_not_outlive_the_service(install: Install) -> None:
    """When the service is killed, the process that hangs in the driver is killed too."""
    install("def nvmlInit(): signal.pause()")
    service = subprocess.Popen([sys.executable, "-P", "-c", _START_AND_WAIT], stdout=subprocess.PIPE)
    with service:
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        service.kill()
    wait_for_end(pid)
