"""The systemd unit, as systemd itself reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "transcribed.service"

MAX_EXPOSURE = 5
"""In tenths, as `systemd-analyze security --threshold` takes it: 0.5 is "safe"."""


def systemd_version() -> int:
    """The version of systemd here; 0 for none."""
    if shutil.which("systemd-analyze") is None:
        return 0
    done = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=False)
    return int((re.findall(r"systemd (\d+)", done.stdout) or ["0"])[0])


needs_systemd = pytest.mark.skipif(systemd_version() < 250, reason="no systemd-analyze that works offline")


@needs_systemd
def test_systemd_finds_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    """`verify` exits 0 on unknown keys and bad values; only silence means that all were understood."""
    text = UNIT.read_text(encoding="utf-8").replace("/opt/transcribed/bin/transcribed run", "/bin/true")
    unit = tmp_path / UNIT.name
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@needs_systemd
def test_the_unit_is_hardened() -> None:
    """The exposure that systemd computes stays where it is."""
    options = ["--offline=yes", f"--threshold={MAX_EXPOSURE}", "--no-pager"]
    command = ["systemd-analyze", "security", *options, str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:]


def test_the_unit_waits_as_long_as_the_daemon_may_take_to_stop() -> None:
    """SIGKILL must not come before the grace and the end of the jobs; a wrong setting must not be tried again."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    assert "TimeoutStopSec=2min" in lines  # stop_grace_s 90, then at most 15 s
    assert "RestartPreventExitStatus=78" in lines
    assert "Type=notify" in lines
