"""From a driver in trouble to the alert in words: real rules, the real GPU process, and stand-ins for what is in it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.figures import Key
from monitor.gpu.figures import KnownGpus
from monitor.gpu.probe import GpuProbe
from monitor.rules import loading as rules
from monitor.rules.judging import Judge
from monitor.sampling.sampler import Sampler
from monitor.thread import Monitor

AT = datetime(2025, 3, 1, tzinfo=UTC)
INTERVAL_S = 30.0

NVML = """
    import os, signal
    from pathlib import Path

    class NVMLError(Exception):
        def __init__(self, value):
            super().__init__({15: "GPU is lost", 18: "RM has detected an NVML/RM version mismatch."}.get(value, value))
            self.value = value

    class _Figures:
        def __init__(self, **figures): self.__dict__.update(figures)

    def _trouble(): return Path(__file__).with_name("trouble").exists()

    def nvmlInit(): ...
    def nvmlDeviceGetCount(): return 1
    def nvmlDeviceGetHandleByIndex(index): return index
    def nvmlDeviceGetName(handle): return "Tesla T4"
    def nvmlDeviceGetUUID(handle): return "GPU-1"
    def nvmlDeviceGetUtilizationRates(handle): return _Figures(gpu=37)
    def nvmlDeviceGetMemoryInfo(handle, version=None): return _Figures(total=1000, used=400)
    def nvmlDeviceGetTemperature(handle, sensor): return 45
"""
SMI = """
    #!/bin/sh
    if [ -e "${0%/*}/trouble" ]; then
        echo "Unable to determine the device handle for GPU0000:01:00.0: GPU is lost.  Reboot the system"
    else
        echo "0, GPU-1, 30, 16384, 1024, 15360, 550.1, Tesla T4, [N/A], Disabled, Disabled, 45"
    fi
"""


class Machine:
    """A machine with a GPU whose driver can be brought in trouble."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._now = 0.0
        self.n_samples = 0
        self.probe = GpuProbe(deadline_s=20, present=lambda: True)
        self.monitor = Monitor(
            interval_s=INTERVAL_S,
            sampler=Sampler(dict, lambda: ({}, {}), gpus=KnownGpus(built_in=lambda: True)),
            judge=Judge(rules.load(), interval_s=INTERVAL_S),
            gpu=self.probe,
            clock=self._at,
        )

    def install(self, nvml: str = "", smi: str | None = None) -> None:
        """What is found in place of pynvml, *nvml* added to it, and of nvidia-smi."""
        (self._folder / "pynvml.py").write_text(textwrap.dedent(NVML) + textwrap.dedent(nvml), encoding="ascii")
        if smi is not None:
            tool = self._folder / "nvidia-smi"
            tool.write_text(textwrap.dedent(smi).lstrip(), encoding="ascii")
            tool.chmod(0o755)

    def get_in_trouble(self, *, really: bool = True) -> None:
        """The driver is in trouble from now on, or no more."""
        mark = self._folder / "trouble"
        if really:
            mark.touch()
        else:
            mark.unlink()

    def run(self, minutes: int, *, hurry: bool = False) -> None:
        """Take the samples of so many minutes; with *hurry*, do not wait for a driver that will not answer."""
        for _ in range(int(minutes * 60 / INTERVAL_S)):
            waited_s = 0.0
            while self.monitor.step(self._now + waited_s) < 1:
                waited_s += 1.0 if hurry else 0.02
            self._now += INTERVAL_S

    def titles(self) -> list[str]:
        """What is wrong."""
        return [alert.title for alert in self.monitor.open_alerts if alert.key.name.startswith("gpu_")]

    def _at(self) -> datetime:
        self.n_samples += 1
        return AT + timedelta(seconds=self._now)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine of which everything that it finds of a GPU is in a folder."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = Machine(tmp_path)
    yield machine
    machine.monitor.close()


@pytest.mark.fault(47, "an alert: NVML hangs")
def test_a_driver_that_hangs_is_an_alert(machine: Machine) -> None:
    """In words; every sample is taken, with what is known of the rest of the machine."""
    machine.install("def nvmlInit(): signal.pause()")
    machine.run(5, hurry=True)
    assert machine.titles() == ["The GPUs cannot be read: no GPU reading within 20 s: the driver hangs"]
    assert machine.n_samples == 10
    assert machine.monitor.latest is not None
    assert Key("host_memory_used_ratio") in machine.monitor.latest.figures


@pytest.mark.fault(47, "an alert: a lost GPU, and its end")
def test_a_lost_gpu_is_an_alert_and_its_return_the_end_of_it(machine: Machine) -> None:
    """The alert names the GPU and what to do; it ends when the GPU is there again."""
    machine.install(
        """
        def nvmlDeviceGetTemperature(handle, sensor):
            if _trouble(): raise NVMLError(15)
            return 45
        """
    )
    machine.run(3)
    assert machine.titles() == []
    machine.get_in_trouble()
    machine.run(3)
    assert machine.titles() == [
        "GPU 0 is lost: Tesla T4 (GPU-1): GPU is lost (`journalctl -k -g Xid` names the cause; reboot)"
    ]
    machine.get_in_trouble(really=False)
    machine.run(15)
    assert machine.titles() == []


@pytest.mark.fault(47, "an alert: a mismatch of driver and library")
def test_a_mismatch_is_an_alert(machine: Machine) -> None:
    """It says what happened, which the driver's own words do not."""
    machine.install("def nvmlInit(): raise NVMLError(18)")
    machine.run(5)
    mismatch = "driver/library version mismatch (the driver was updated while the old one still runs; reboot)"
    title = f"The GPUs cannot be read: NVML does not start: {mismatch}; nvidia-smi is not on PATH"
    assert machine.titles() == [title]


@pytest.mark.fault(47, "an alert: a lost GPU, told by nvidia-smi")
def test_a_gpu_lost_under_nvidia_smi_is_an_alert(machine: Machine) -> None:
    """Where NVML cannot be loaded, nvidia-smi gives the figures, and its complaint is the alert's."""
    machine.install("raise ImportError('not for this machine')", SMI)
    machine.run(3)
    assert machine.monitor.latest is not None
    assert machine.monitor.latest.figures[Key("gpu_temperature_celsius", "0")] == 45
    machine.get_in_trouble()
    machine.run(5)
    (title,) = machine.titles()
    assert title.startswith("The GPUs cannot be read: ")
    assert "GPU is lost.  Reboot the system" in title


@pytest.mark.fault(47, "an alert: heat, told by nvidia-smi")
def test_heat_told_by_nvidia_smi_is_an_alert(machine: Machine) -> None:
    """Figures are judged the same wherever they come from."""
    machine.install("raise ImportError('not for this machine')", SMI.replace("Disabled, 45", "Disabled, 91"))
    machine.run(5)
    assert machine.titles() == ["GPU 0 is at 91 °C, limit 85 °C"]
