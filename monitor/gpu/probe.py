"""The process that reads the GPUs, seen from the service: started when needed, given a deadline, killed when it hangs.

Nothing here waits longer than a moment. Knows nothing of NVML.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from monitor.gpu.readings import GpuReading, GpuSample

DEADLINE_S: Final = 20.0
"""Time for one reading. The first includes the start of Python, and of a driver without persistence mode: seconds."""

_FIRST_PAUSE_S: Final = 30.0
_LONGEST_PAUSE_S: Final = 600.0  # a GPU that came back is noticed within that time
_GRACE_S: Final = 0.2  # a process that hangs in the kernel outlives SIGKILL; nobody waits for it
_MOST_BYTES: Final = 1 << 16


_NVIDIA: Final = "0x10de"  # its number as a maker of PCI devices
_DISPLAY: Final = "0x03"  # the class of PCI devices that GPUs are of, data centre ones too


def gpu_present(nodes: Path = Path("/dev")) -> bool:
    """Whether it is worth a try to read GPUs: a device node, or nvidia-smi on PATH where devices would show."""
    if any(nodes.glob("nvidia*")):
        return True
    # systemd's PrivateDevices= leaves a folder without it: what is hidden from us is no trouble. WSL has dxg.
    shows = (nodes / "kmsg").exists() or (nodes / "dxg").exists()
    return shows and shutil.which("nvidia-smi") is not None


def gpu_built_in(devices: Path = Path("/sys/bus/pci/devices"), nodes: Path = Path("/dev")) -> bool:
    """Whether the machine has an NVIDIA GPU for certain, whatever its driver does."""
    if any(nodes.glob("nvidia*")):
        return True
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):  # gone since
            if (device / "vendor").read_text("ascii").strip() == _NVIDIA and (device / "class").read_text(
                "ascii"
            ).startswith(_DISPLAY):
                return True
    return False


class GpuProbe:
    """Gives GPU readings without blocking: `request` one, then `poll` until it is there. Usable from many threads.

    Without a GPU no process is started. A process that gives no reading before its deadline is killed, and so is one
    that finds every GPU lost: it would hold the driver, and keep people from resetting the GPU. After that the answer
    stays what it was until the next try, after a pause that doubles up to ten minutes.
    """

    def __init__(self, *, deadline_s: float = DEADLINE_S, present: Callable[[], bool] = gpu_present) -> None:
        self._deadline_s = deadline_s
        self._present = present
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._stuck: subprocess.Popen[bytes] | None = None  # killed, and hanging in the kernel
        self._received = b""
        self._last_words = ""
        self._answer: GpuReading | None = None
        self._due_by = 0.0
        self._standing = GpuReading()
        self._pause_s = _FIRST_PAUSE_S
        self._not_before = float("-inf")

    @property
    def pid(self) -> int | None:
        """The process that reads, while there is one."""
        process = self._process
        return None if process is None else process.pid

    def request(self, now: float) -> None:
        """Ask for a reading; where there can be none at present, that is the answer, at once."""
        with self._lock:
            if self._closed:
                return
            self._due_by = now + self._deadline_s
            self._answer = self._hindrance(now)
            if self._answer is None:
                try:
                    self._ask()
                except OSError as error:  # no memory, or no process more may be started
                    self._answer = self._failed(GpuReading(unavailable=f"the GPU process does not start: {error}"), now)

    def poll(self, now: float, wait_s: float = 0.0) -> GpuReading | None:
        """The reading that was requested, waiting *wait_s* for it; None while it may still come, and once closed."""
        with self._lock:
            if self._answer is None and self._process is not None:
                self._answer = self._look(self._process, now, wait_s)
            return self._answer

    def close(self) -> None:
        """End the process, whatever it is doing, and start no other. Returns within a moment; safe to call again."""
        with self._lock:
            self._closed = True
            self._kill()
            self._answer = None

    def _hindrance(self, now: float) -> GpuReading | None:
        if self._process is not None:
            return None
        if not self._present():
            return GpuReading()
        if now < self._not_before or (self._stuck is not None and self._stuck.poll() is None):
            return self._standing
        self._stuck = None
        return None

    def _ask(self) -> None:
        self._process = self._process or self._start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended since: poll finds out how
            self._process.stdin.write(b"\n")

    def _start(self) -> subprocess.Popen[bytes]:
        self._received, self._last_words = b"", ""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "monitor.gpu.reader", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is not for it, and nvidia-smi dies with it
        )

    def _look(self, process: subprocess.Popen[bytes], now: float, wait_s: float) -> GpuReading | None:
        reading = self._receive(process, wait_s)
        if reading is not None and not reading.useless:
            self._pause_s = _FIRST_PAUSE_S
            return reading
        if reading is not None:
            return self._failed(reading, now)
        if process.poll() is not None:
            ending = f"the GPU process ended with status {process.returncode}"
            reason = f"{ending}: {self._last_words}" if self._last_words else ending
            return self._failed(GpuReading(unavailable=reason), now)
        if now >= self._due_by:
            reason = f"no GPU reading within {self._deadline_s:g} s: the driver hangs"
            return self._failed(GpuReading(unavailable=reason), now)
        return None

    def _receive(self, process: subprocess.Popen[bytes], wait_s: float) -> GpuReading | None:
        assert process.stdout is not None
        poller = select.poll()
        poller.register(process.stdout, select.POLLIN)
        until = time.monotonic() + wait_s
        # Bounded also against a library that prints without end.
        while poller.poll(max(until - time.monotonic(), 0.0) * 1000):
            chunk = os.read(process.stdout.fileno(), _MOST_BYTES)
            if not chunk:
                break
            *lines, rest = (self._received + chunk).split(b"\n")
            self._received = rest[-_MOST_BYTES:]
            for line in lines:
                reading = _reading_of(line)
                if reading is not None:
                    return reading
                self._last_words = line.decode("utf-8", "backslashreplace").strip() or self._last_words
            if time.monotonic() >= until:
                break
        return None

    def _failed(self, reading: GpuReading, now: float) -> GpuReading:
        self._kill()
        self._standing = reading
        self._not_before = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return reading

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # not yet waited for, so the number is still its own
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        if process.poll() is None:
            self._stuck = process


def _reading_of(line: bytes) -> GpuReading | None:
    """The reading in a line of the process; None for anything that a library printed."""
    try:
        answer: dict[str, Any] = json.loads(line)
        return GpuReading(tuple(_gpu_of(gpu) for gpu in answer["gpus"]), answer["source"], answer["unavailable"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _gpu_of(gpu: dict[str, Any]) -> GpuSample:
    memory_by_pid = {int(pid): used_bytes for pid, used_bytes in gpu.pop("memory_by_pid", {}).items()}
    return GpuSample(**gpu, memory_by_pid=memory_by_pid)
