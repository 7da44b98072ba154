"""Many short recordings at once: are all done, does the daemon stay small, does it rest when nothing comes.

    python -m benchmarks.crowd [--files 500] [--seconds 1]

Starts a real daemon on folders of its own, drops the files, and reads its resident memory and processor time from
/proc. Exit status 1 if a file is not done, if the daemon is over 100 MB, if it grew by more than 5 MB between the
100th and the last file, its engine by more than 1 MB for each file, or if it uses more than 1 % of a core when idle.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Final

from benchmarks import processes

CLIP: Final = Path(__file__).parent.parent / "tests" / "data" / "memo.wav"

MAX_DAEMON_MB: Final = 100.0
MAX_GROWTH_MB: Final = 5.0
MAX_ENGINE_MB_PER_FILE: Final = 1.0
MAX_IDLE_RATIO: Final = 0.01
IDLE_S: Final = 60.0
WARM: Final = 100


def make_files(folder: Path, n_files: int, seconds: float) -> None:
    """*n_files* pieces of the sample clip, each beginning elsewhere in it, so that no two are alike."""
    with wave.open(str(CLIP)) as clip:
        parameters, rate_hz = clip.getparams(), clip.getframerate()
        samples = clip.readframes(clip.getnframes())
    n_bytes = int(seconds * rate_hz) * 2
    for number in range(n_files):
        start = number * 2 * 97 % max(2, len(samples) - n_bytes)
        with wave.open(str(folder / f"{number:05d}.wav"), "wb") as file:
            file.setparams(parameters)
            file.writeframes(samples[start : start + n_bytes])


def resident_mb(pid: int) -> float:
    """The resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def engine_mb(daemon: int) -> float:
    """The resident memory of the largest process below the daemon, which is the engine."""
    return max((resident_mb(pid) for pid in processes.tree(daemon) if pid != daemon), default=0.0)


def cpu_s(pid: int) -> float:
    """The processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def count(database: Path, where: str) -> int:
    """Jobs for which *where* holds."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        (n_jobs,) = connection.execute(f"SELECT count(*) FROM v_jobs WHERE {where}").fetchone()  # noqa: S608  # ours
    finally:
        connection.close()
    return int(n_jobs)


def run(n_files: int, seconds: float, limit_s: float) -> int:
    """The whole measurement; the exit status."""
    with tempfile.TemporaryDirectory(prefix="transcribed-crowd-") as name:
        root = Path(name)
        inbox, database = root / "inbox", root / "state" / "transcribed.db"
        inbox.mkdir()
        settings = {
            "INBOX": str(inbox),
            "STATE_DIR": str(root / "state"),
            "OPTIONS_LANGUAGE": "en",
            "LOG_LEVEL": "error",
        }
        environment = os.environ | {f"TRANSCRIBED_{key}": value for key, value in settings.items()}
        command = [str(Path(sys.executable).with_name("transcribed")), "run"]
        with subprocess.Popen(command, env=environment) as daemon:
            try:
                return measure(daemon.pid, inbox, database, (n_files, seconds, limit_s))
            finally:
                daemon.terminate()


def measure(pid: int, inbox: Path, database: Path, plan: tuple[int, float, float]) -> int:
    """Drop the files, watch, print; the exit status."""
    n_files, seconds, limit_s = plan
    make_files(inbox, n_files, seconds)
    began = time.monotonic()
    at_warm_mb, most_mb, engine_at_warm_mb = 0.0, 0.0, 0.0
    while (n_done := count(database, "state = 'done'") if database.exists() else 0) < n_files:
        mb = resident_mb(pid)
        most_mb = max(most_mb, mb)
        if n_done >= WARM and not at_warm_mb:
            at_warm_mb, engine_at_warm_mb = mb, engine_mb(pid)
        if time.monotonic() - began > limit_s:
            break
        time.sleep(1.0)
    wall_s, at_end_mb, engine_at_end_mb = time.monotonic() - began, resident_mb(pid), engine_mb(pid)
    time.sleep(5.0)
    before_s = cpu_s(pid)
    time.sleep(IDLE_S)
    idle_ratio = (cpu_s(pid) - before_s) / IDLE_S
    growth_mb = at_end_mb - (at_warm_mb or at_end_mb)
    engine_mb_per_file = (engine_at_end_mb - (engine_at_warm_mb or engine_at_end_mb)) / max(1, n_files - WARM)
    n_failed = count(database, "state <> 'done'")
    print(f"{'recordings of ' + format(seconds, 'g') + ' s':34}{n_files}")
    print(f"{'done':34}{n_done} ({n_failed} not) in {wall_s:.0f} s, {n_done / wall_s:.2f} a second")
    print(f"{'daemon, most':34}{max(most_mb, at_end_mb):.1f} MB")
    print(f"{f'daemon, growth from the {WARM}th':34}{growth_mb:+.1f} MB")
    print(f"{'engine, at the end':34}{engine_at_end_mb:.1f} MB")
    print(f"{f'engine, growth from the {WARM}th':34}{engine_mb_per_file:+.3f} MB a file")
    print(f"{'daemon, idle':34}{100 * idle_ratio:.2f} % of a core")
    small = most_mb < MAX_DAEMON_MB and growth_mb < MAX_GROWTH_MB and engine_mb_per_file < MAX_ENGINE_MB_PER_FILE
    return 0 if n_done == n_files and small and idle_ratio < MAX_IDLE_RATIO else 1


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description="Many short recordings at once.")
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--limit-s", type=float, default=3600.0)
    arguments = parser.parse_args()
    raise SystemExit(run(arguments.files, arguments.seconds, arguments.limit_s))


if __name__ == "__main__":
    main()
