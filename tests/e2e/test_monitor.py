"""The monitor in a real daemon."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness import MakeDaemon, copy_sample

HANGING = "import signal\nsignal.pause()\n"


@pytest.mark.fault(47, "a real daemon whose NVML hangs")
@pytest.mark.skipif(
    not any(map(os.path.exists, ("/dev/kmsg", "/dev/dxg"))), reason="devices are hidden, so no GPU is looked for"
)
def test_a_daemon_works_and_ends_beside_a_driver_that_hangs(
    make_daemon: MakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings are transcribed, samples are taken, and SIGTERM is obeyed: nobody waits for the GPU."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "pynvml.py").write_text(HANGING, encoding="ascii")
    (modules / "nvidia-smi").touch(0o755)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    # Told to use the CPU alone, the service would not read GPUs.
    daemon = make_daemon(
        PATH=f"{modules}:{os.environ['PATH']}", TRANSCRIBED_ENGINE_DEVICE="auto", TRANSCRIBED_MONITOR_INTERVAL_S="1"
    ).start()
    copy_sample("memo.wav", daemon.inbox)
    assert [job["state"] for job in daemon.wait_ended(1)] == ["done"]
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 15
    with closing(sqlite3.connect(daemon.state_dir / "metrics.db")) as metrics:
        figures = set(metrics.execute("SELECT DISTINCT name, subject FROM v_metrics"))
    assert {name for name, _ in figures} >= {"host_memory_used_ratio", "jobs", "folder_free_bytes"}
    assert {role for name, role in figures if name == "process_rss_bytes"} >= {"daemon", "engine", "gpu-reader"}
