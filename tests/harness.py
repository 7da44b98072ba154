"""A real daemon for end-to-end and fault tests: the installed command on folders of its own, with the real model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import jiwer
import pytest

from daemon.folderpage.names import is_own_sign

DATA = Path(__file__).parent / "data"
COMMAND = Path(sys.executable).with_name("transcribed")


class MakeDaemon(Protocol):
    """The `make_daemon` fixture."""

    def __call__(self, name: str = "one", **settings: str) -> Daemon:
        """A daemon in a folder of this name, with TRANSCRIBED_* *settings*, not started."""
        ...


ENDED = {"done", "failed", "quarantined", "cancelled", "vanished"}
POLL_S = 0.1


class Daemon:
    """`transcribed run` as a child process, and the commands that ask it."""

    def __init__(self, root: Path, models_dir: Path, settings: Mapping[str, str]) -> None:
        self.inbox = root / "inbox"
        self.state_dir = root / "state"
        self.log = root / "log.jsonl"
        self.inbox.mkdir(exist_ok=True)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("TRANSCRIBED_")},
            "TRANSCRIBED_INBOX": str(self.inbox),
            "TRANSCRIBED_STATE_DIR": str(self.state_dir),
            "TRANSCRIBED_ENGINE_MODELS_DIR": str(models_dir),
            "TRANSCRIBED_LOG_FORMAT": "json",
            "TRANSCRIBED_HISTORY_REUSE": "false",  # the same samples are many recordings here
            "TRANSCRIBED_CANARY_INTERVAL_S": "0",  # it would be one more recording, at a time of its own
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The daemon that was started last."""
        assert self._process is not None
        return self._process

    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, ready: bool = True, output: Path | None = None) -> Daemon:
        """Start it; with *ready*, wait until it takes files. *output* is where its log goes, if not to `log`."""
        with (output or self.log).open("ab") as log:
            self._process = subprocess.Popen(
                [COMMAND, "run"], env=self.environment, stdout=log, stderr=subprocess.STDOUT, cwd=self.state_dir.parent
            )
        if ready:
            self.until(lambda: self.has_logged("ready") or not self.running(), "the daemon to be ready")
            assert self.running(), self.log.read_text()
        return self

    def has_logged(self, event: str) -> bool:
        """Whether the daemon that runs now has logged *event*."""
        since_start = self.log.read_text().rpartition('"event": "starting"')[2]
        return f'"event": "{event}"' in since_start

    def records(self) -> list[dict[str, Any]]:
        """Every log line; each must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def until(self, condition: Callable[[], object], what: str, limit_s: float = 120.0) -> None:
        """Wait until *condition* holds; fail with the log if it never does."""
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {limit_s:.0f} s for {what}\n{self.log.read_text()[-4000:]}")
            time.sleep(POLL_S)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command line beside the daemon."""
        done = subprocess.run([COMMAND, *arguments], env=self.environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr + done.stdout
        return done

    def jobs(self) -> list[dict[str, Any]]:
        """The whole history, oldest first."""
        if not (self.state_dir / "transcribed.db").exists():
            return []
        jobs: list[dict[str, Any]] = json.loads(self.run("jobs", "--json", "-n", "100000").stdout)
        return jobs[::-1]

    def jobs_of(self, path: Path) -> list[dict[str, Any]]:
        """The jobs of one recording."""
        return [job for job in self.jobs() if job["path"] == str(path)]

    def wait_ended(self, n_jobs: int, limit_s: float = 180.0) -> list[dict[str, Any]]:
        """The history, once it has *n_jobs* jobs and all have ended."""
        found: list[dict[str, Any]] = []

        def ended() -> bool:
            found[:] = self.jobs()
            return len(found) >= n_jobs and all(job["state"] in ENDED for job in found)

        self.until(ended, f"{n_jobs} jobs to end", limit_s)
        return found

    def wait_stage(self, stage: str, limit_s: float = 60.0) -> dict[str, Any]:
        """The status, once a job is in *stage*."""
        found: dict[str, Any] = {}

        def there() -> bool:
            found.update(json.loads(self.run("status", "--json", check=False).stdout))
            return any(job["stage"] == stage for job in found.get("in_hand", []))

        self.until(there, f"a job in stage {stage}", limit_s)
        return found

    def children(self, module: str) -> list[int]:
        """The process ids of its children that run *module*."""
        pids: list[int] = []
        for entry in Path("/proc").iterdir():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except (OSError, NotADirectoryError):
                continue
            if int(status[1]) == self.process.pid and module.encode() in command:
                pids.append(int(entry.name))
        return pids

    def kill(self) -> None:
        """SIGKILL: no part of it gets to say goodbye."""
        self.process.kill()
        self.process.wait()

    def stop(self, limit_s: float = 60.0) -> int:
        """SIGTERM, and its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(limit_s)

    def names(self) -> list[str]:
        """What is in the inbox but what tells people how it stands."""
        return [name for name in os.listdir(self.inbox) if not is_own_sign(name)]

    def transcripts(self) -> list[Path]:
        """The .txt files among them."""
        return [self.inbox / name for name in self.names() if name.endswith(".txt")]

    def leftovers(self) -> list[str]:
        """Temporary files that must not be there when all is done."""
        inbox = [str(path) for path in self.inbox.rglob(".tr-*")]
        return inbox + [str(path) for path in (self.state_dir / "spool").iterdir()]


def copy_sample(name: str, target: Path) -> Path:
    """Copy a sample recording under a temporary name and rename it into place, as a careful program does."""
    if target.is_dir():
        target = target / name
    hidden = target.with_name(f".{target.name}.copying")
    shutil.copyfile(DATA / name, hidden)
    hidden.rename(target)
    return target


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Words wrong per word of the reference; case and punctuation do not count."""
    return float(jiwer.wer(" ".join(words_of(reference)), " ".join(words_of(hypothesis)) or "-"))


def words_of(text: str) -> list[str]:
    """The words of *text*, lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())
