"""The kernel kills a process at its n-th call of a kind: what `test_kill_everywhere` does, with real calls only.

Needs strace, and the right to use it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world import World

ALL = "ALL_FAULTS" in os.environ
ROOT = Path(__file__).parent.parent.parent
AT_MOST = 2000


def strace_works() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    done = subprocess.run([strace, "-f", "-qq", "-o", os.devnull, "true"], check=False, capture_output=True)
    return done.returncode == 0


def run_killed(folder: Path, call: str, nth: int) -> int:
    """The exit status of a daemon that is killed at its *nth* *call*; 0 where it makes fewer."""
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:signal=SIGKILL:when={nth}"]
    command += [sys.executable, "-m", "tests.fault.small_daemon", str(folder)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True).returncode


@pytest.mark.fault(19, "strace: SIGKILL at the n-th fsync, link, unlink and write, until it is through")
@pytest.mark.skipif(not strace_works(), reason="needs strace and the right to use it (root, or ptrace_scope 0)")
@pytest.mark.parametrize(
    ("call", "step"), [("fsync", 1), ("fdatasync", 5), ("link", 1), ("unlink", 1), ("rename", 1), ("pwrite64", 20)]
)
def test_killed_by_the_kernel_at_any_call(tmp_path: Path, call: str, step: int) -> None:
    """After the next start all promises hold; the last try runs through, so every call had its turn."""
    if not ALL and call not in ("fsync", "link"):
        pytest.skip("`make faults` tries these calls")
    for nth in range(1 if ALL else 2, AT_MOST, step if ALL else 40):
        folder = tmp_path / f"{call}-{nth}"
        (folder / "inbox").mkdir(parents=True)
        (folder / "inbox" / "a.wav").write_bytes(b"GOOD words")
        status = run_killed(folder, call, nth)
        assert status in (0, -signal.SIGKILL, 128 + signal.SIGKILL), f"{call} {nth}: {status}"
        world = World(folder)
        try:
            world.settle()
            assert world.broken() == [], f"{call} {nth}"
        finally:
            world.close()
        if status == 0:
            return
    assert not ALL, "it made more calls than expected"
