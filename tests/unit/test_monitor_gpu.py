"""GPU readings through a process of their own, with a stand-in for the driver inside it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitor.gpu import probe as gpu_probe
from monitor.gpu.probe import GpuProbe
from monitor.gpu.readings import GpuReading, GpuSample

DRIVER = """
    import os, signal, sys

    class NVMLError(Exception):
        # as in pynvml: of a number; the words come from a table
        def __init__(self, value):
            names = {3: "Not Supported", 9: "Driver Not Loaded", 13: "Function Not Found", 15: "GPU is lost",
                     18: "RM has detected an NVML/RM version mismatch.", 999: "Unknown Error"}
            super().__init__(names.get(value, value))
            self.value = value if isinstance(value, int) else 0

    class _Figures:
        def __init__(self, **figures): self.__dict__.update(figures)

    def nvmlInit(): ...
    def nvmlDeviceGetCount(): return 2
    def nvmlDeviceGetHandleByIndex(index):
        if index == 1: raise NVMLError(15)
        return index
    def nvmlDeviceGetName(handle): return b"Tesla T4"
    def nvmlDeviceGetUUID(handle): return "GPU-1"
    def nvmlDeviceGetUtilizationRates(handle): return _Figures(gpu=37, memory=5)
    def nvmlDeviceGetMemoryInfo(handle, version=None): return _Figures(total=1000, used=400 if version else 450)
    def nvmlDeviceGetTemperature(handle, sensor): return 45
    def nvmlDeviceGetPowerUsage(handle): raise NVMLError(3)
    def nvmlDeviceGetClockInfo(handle, kind): return 1590
    def nvmlDeviceGetCurrentClocksEventReasons(handle): return 0x4 | 0x20
    def nvmlDeviceGetTotalEccErrors(handle, kind, counter): return 2
    def nvmlDeviceGetComputeRunningProcesses(handle):
        return [_Figures(pid=77, usedGpuMemory=300), _Figures(pid=78, usedGpuMemory=None)]
"""
LOST = "GPU is lost (`journalctl -k -g Xid` names the cause; reboot)"
GPU = GpuSample(
    index=0,
    name="Tesla T4",
    uuid="GPU-1",
    utilisation_ratio=0.37,
    memory_used_bytes=400,
    memory_total_bytes=1000,
    temperature_c=45,
    clock_hz=1_590_000_000,
    throttled=True,
    clock_words="heat, the power limit",
    ecc_errors=2,
    memory_by_pid={77: 300},
)
READING = GpuReading(
    gpus=(GPU, GpuSample(1, "", "", problem=LOST)),
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


@pytest.mark.fault(47, "a GPU that is lost while it is read")
def test_a_gpu_lost_in_the_middle_is_told_with_its_name(install: Install, probe: GpuProbe) -> None:
    """A handle that was good and answers no more is a GPU with a problem; the others are read on."""
    install(
        """
        def nvmlDeviceGetHandleByIndex(index): return index
        def nvmlDeviceGetTemperature(handle, sensor):
            if handle == 1: raise NVMLError(15)
            return 45
        """
    )
    probe.request(0)
    reading = answer(probe, 0)
    assert reading.gpus == (GPU, GpuSample(1, "Tesla T4", "GPU-1", problem=LOST))
    assert probe.pid is not None


@pytest.mark.fault(47, "a GPU of which nothing is told")
def test_a_gpu_that_tells_nothing_has_a_problem(install: Install, probe: GpuProbe) -> None:
    """Where every question ends in trouble, one that is not told as loss too, the trouble is the answer."""
    install(
        """
        def nvmlDeviceGetCount(): return 1
        def nvmlDeviceGetHandleByIndex(index): return index
        def _unknown(*args): raise NVMLError(999)
        asked_first = ("Count", "HandleByIndex", "Name", "UUID")
        for name in [name for name in globals() if name.startswith("nvmlDeviceGet")]:
            if not name.endswith(asked_first): globals()[name] = _unknown
        """
    )
    probe.request(0)
    assert answer(probe, 0).gpus == (GpuSample(0, "Tesla T4", "GPU-1", problem="Unknown Error"),)


def test_an_old_driver_and_an_old_pynvml_tell_what_they_can(install: Install, probe: GpuProbe) -> None:
    """Where a newer function is missing the older one is asked; what has none is left out."""
    install(
        """
        def nvmlDeviceGetCount(): return 1
        def nvmlDeviceGetMemoryInfo(handle, version=None):
            if version: raise NVMLError(13)
            return _Figures(total=1000, used=450)
        del nvmlDeviceGetCurrentClocksEventReasons, nvmlDeviceGetTotalEccErrors
        def nvmlDeviceGetCurrentClocksThrottleReasons(handle): return 0x1
        def nvmlDeviceGetComputeRunningProcesses(handle): raise RuntimeError("pynvml does not match the library")
        def nvmlDeviceGetComputeRunningProcesses_v2(handle): return [_Figures(pid=78, usedGpuMemory=9)]
        """
    )
    probe.request(0)
    (gpu,) = answer(probe, 0).gpus
    assert gpu.memory_by_pid == {78: 9}
    assert (gpu.memory_used_bytes, gpu.throttled, gpu.clock_words, gpu.ecc_errors) == (450, False, "", None)


@pytest.mark.fault(47, "every GPU lost")
def test_when_every_gpu_is_lost_the_driver_is_let_go(install: Install, probe: GpuProbe) -> None:
    """The process ends, so that people can reset the GPU; until the next try the answer stays; then it may be back."""
    install("def nvmlDeviceGetCount(): return 1\ndef nvmlDeviceGetHandleByIndex(index): raise NVMLError(15)")
    probe.request(0)
    lost = answer(probe, 0)
    assert (lost.gpus, probe.pid) == ((GpuSample(0, "", "", problem=LOST),), None)
    probe.request(10)
    assert (probe.poll(10), probe.pid) == (lost, None)
    install("")
    probe.request(30)
    assert answer(probe, 30) == READING


def test_a_process_that_cannot_start_is_told(probe: GpuProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without room for one more process costs the reading, nothing else."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    probe.request(0)
    assert str(answer(probe, 0).unavailable).startswith("the GPU process does not start: [Errno 2]")


def test_one_reading_is_printed_for_people(install: Install) -> None:
    """`--once` prints a reading as JSON, and succeeds where there is one."""
    install("")
    command = [sys.executable, "-P", "-m", "monitor.gpu.reader", "--once"]
    printed = subprocess.run(command, capture_output=True, check=True)
    assert [gpu["problem"] for gpu in json.loads(printed.stdout)["gpus"]] == [None, LOST]
    install("def nvmlInit(): raise NVMLError(9)")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_a_gpu_is_built_in_if_the_bus_or_the_devices_say_so(tmp_path: Path) -> None:
    """A display controller of NVIDIA, or a device node; a sound device of theirs and other graphics are none."""

    def built_in(vendor: str, kind: str) -> bool:
        device = tmp_path / vendor / kind / "0000:01:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n", encoding="ascii")
        (device / "class").write_text(f"{kind}\n", encoding="ascii")
        (device.parent / "0000:00:00.0").mkdir()
        return gpu_probe.gpu_built_in(device.parent, tmp_path / "dev")

    assert built_in("0x10de", "0x030200")
    assert not built_in("0x10de", "0x040300")
    assert not built_in("0x1002", "0x030000")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    assert gpu_probe.gpu_built_in(tmp_path, tmp_path / "dev")


def test_what_a_library_prints_is_no_reading(install: Install, probe: GpuProbe) -> None:
    """Stray lines of text and of JSON on stdout do no harm."""
    install(
        """
        print("hello"); print("{}"); print("[1]"); print('{"gpus": 1}'); print("unfinished", end="\\n")
        """
    )
    probe.request(0)
    assert answer(probe, 0) == READING


def test_a_library_that_prints_without_end_holds_nobody_up(install: Install, probe: GpuProbe, tmp_path: Path) -> None:
    """Each look at it ends in time, and the process goes at its deadline."""
    begun = tmp_path / "begun"
    install(
        f"""
        import os
        def nvmlInit():
            open({str(begun)!r}, "w").close()
            while True: os.write(1, b"x" * 60_000 + b"\\n")
        """
    )
    probe.request(0)
    give_up = time.monotonic() + 30
    while not begun.exists() and time.monotonic() < give_up:
        assert probe.poll(0, 0.05) is None
    for _ in range(10):
        assert probe.poll(0, 0.05) is None
    unavailable = probe.poll(20, 0.05)
    assert unavailable is not None
    assert unavailable.useless
    assert probe.pid is None


def test_without_a_gpu_no_process_starts() -> None:
    """Neither device nor nvidia-smi: an empty reading, at once, with nothing to complain about."""
    probe = GpuProbe(present=lambda: False)
    probe.request(0)
    assert probe.poll(0) == GpuReading()
    assert probe.pid is None


def test_a_gpu_shows_by_its_device_or_its_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi on PATH is enough to try, but not where the unit or a container hides all devices."""
    monkeypatch.setenv("PATH", str(tmp_path))
    nodes = tmp_path / "dev"
    nodes.mkdir()
    (nodes / "kmsg").touch()
    assert not gpu_probe.gpu_present(nodes)
    (tmp_path / "nvidia-smi").touch(0o755)
    assert gpu_probe.gpu_present(nodes)
    (nodes / "kmsg").unlink()
    assert not gpu_probe.gpu_present(nodes)
    (nodes / "nvidiactl").touch()
    assert gpu_probe.gpu_present(nodes)


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
    install("def nvmlInit(): raise NVMLError(9)")
    tool = tmp_path / "bin" / "nvidia-smi"
    row = "0, GPU-1, [N/A], 16384, 1024, 15360, 550.1, Tesla T4, [N/A], Disabled, Disabled, 45"
    tool.write_text(f"#!/bin/sh\necho '{row}'\n", encoding="ascii")
    tool.chmod(0o755)
    probe.request(0)
    gpu = GpuSample(0, "Tesla T4", "GPU-1", None, 1024 * 2**20, 16384 * 2**20, 45.0)
    assert answer(probe, 0) == GpuReading((gpu,), source="nvidia-smi")


@pytest.mark.fault(47, "a mismatch of driver and library")
@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("", "nvidia-smi names no GPU"),
        ("Failed to initialize NVML: Driver/library version mismatch", "gives no figures: Failed to initialize"),
        ("Unable to determine the device handle for GPU0000:01:00.0: GPU is lost.  Reboot", "GPU is lost.  Reboot"),
    ],
)
def test_why_no_way_works_is_told(install: Install, probe: GpuProbe, tmp_path: Path, printed: str, told: str) -> None:
    """Both reasons are named, with what to do; and the process ends: the next try starts afresh."""
    install("def nvmlInit(): raise NVMLError(18)")
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{f'echo {printed!r}' if printed else 'exit 9'}\n", encoding="ascii")
    tool.chmod(0o755)
    probe.request(0)
    reason = answer(probe, 0).unavailable
    assert reason is not None
    mismatch = "driver/library version mismatch (the driver was updated while the old one still runs; reboot)"
    assert reason.startswith(f"NVML does not start: {mismatch}; nvidia-smi ")
    assert told in reason
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
            if reads > 1: raise NVMLError(999)
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
    assert (probe.poll(100), probe.pid) == (None, None)
    probe.close()


_START_AND_WAIT = """
from monitor.gpu.probe import GpuProbe
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
