"""Uses the service as a person would: starts it, drops recordings in the inbox, reads what appears beside them.

Run by `make demo`. Knows the service only through the `transcribed` command and the files; needs nothing but Python.
Exit status: 0 when the words came back and the broken recording failed with a reason, else 1.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, cast

ROOT: Final = Path(__file__).resolve().parent.parent
SAMPLES: Final = Path(__file__).resolve().parent / "data"
BROKEN: Final = "broken.mp3"
SLOW: Final = "lecture.ogg"  # copied over several seconds
RENAMED: Final = "interview.mp3"  # written under another name first
FOLDER: Final = "from-the-phone"  # moved in as a whole
IN_FOLDER: Final = ("voice-note.m4a", "greeting.opus")
PLAIN: Final = {  # the others, and what a person would say of them
    "memo.wav": "copied",
    "meeting.flac": "copied",
    "phone-call.wav": "copied (from a telephone)",
    "studio.flac": "copied (stereo)",
    "presentation.mp4": "copied (a film)",
    "silence.flac": "copied (nobody speaks)",
    BROKEN: "copied (no recording at all, only the name of one)",
}
ENDED: Final = ("done", "failed", "quarantined", "cancelled")
DEADLINE_S: Final = 600.0  # for a slow machine; two cores need under a minute

say = partial(print, flush=True)


class DemoFailed(Exception):
    """What a person would report as wrong, in a sentence."""


@dataclass(frozen=True, slots=True)
class Job:
    """One line of the job history."""

    key: str  # tells it from every other job, whatever happens to it later
    path: Path
    state: str
    outcome: str | None
    reason: str | None
    language: str | None
    audio_s: float | None
    wall_s: float | None
    outputs: tuple[Path, ...]

    @classmethod
    def parse(cls, job: dict[str, Any]) -> Self:
        """From one object of `transcribed jobs --json`."""
        return cls(
            key=str(job["id"]) if "id" in job else json.dumps(job, sort_keys=True),
            path=Path(job["path"]),
            **{name: job[name] for name in ("state", "outcome", "reason", "language", "audio_s", "wall_s")},
            outputs=tuple(Path(output) for output in cast("list[str]", job["outputs"] or [])),
        )

    @property
    def transcript(self) -> Path | None:
        """The plain text beside the recording."""
        return next((output for output in self.outputs if output.suffix == ".txt"), None)

    def __str__(self) -> str:
        """The job in a line."""
        if self.path.name == BROKEN and self.state == "failed":
            return f"{BROKEN:18} refused, as it should be"
        took = f", {self.audio_s:.0f} s of sound in {self.wall_s:.1f} s" if self.audio_s and self.wall_s else ""
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.path.name:18} {self.state} ({self.outcome}){took}{reason}"


def main() -> int:
    """Run the whole demo; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inbox", type=Path, default=ROOT / "inbox")
    parser.add_argument("--state-dir", type=Path, default=ROOT / ".state")
    arguments = parser.parse_args()
    try:
        Demo(arguments.inbox.absolute(), arguments.state_dir.absolute()).run()
    except DemoFailed as problem:
        say(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("\nStopped.", file=sys.stderr)
        return 130
    return 0


@dataclass(slots=True)
class Demo:
    """One run. Everything it puts in *inbox* is written down in *state_dir*, so that the next run can take it away."""

    inbox: Path
    state_dir: Path
    started: float = field(default_factory=time.monotonic)
    old_jobs: set[str] = field(default_factory=set[str])

    def run(self) -> None:
        """Raises DemoFailed where a person would be disappointed."""
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        if self.is_ready():
            raise DemoFailed(
                "The service is running here already (make run?). Please stop it, then start the demo again."
            )
        self.sweep()
        say(f"Inbox   {self.inbox}\nState   {self.state_dir}  (model, job history, demo.log)\n")
        with self.service() as daemon:
            self.drop_all()
            jobs = self.wait_for_all(daemon)
            self.show(jobs)
            say("The job history (transcribed jobs):\n")
            say(self.ask("jobs"))
            self.judge(jobs)
        say(f"\nAll well, in {time.monotonic() - self.started:.0f} s. To keep the service running: make run")

    # The inbox before and after.

    @property
    def record(self) -> Path:
        """The file that says what an earlier demo left in the inbox: path -> SHA-256."""
        return self.state_dir / "demo.json"

    def sweep(self) -> None:
        """What an earlier demo left is gone. Raises DemoFailed where a person's own file is in the way."""
        left = self.recorded()
        ours = {path for path, sha256 in left.items() if path.is_file() and _sha256(path) == sha256}
        new = {self.inbox / name for name in (*PLAIN, SLOW, RENAMED)} | {
            self.inbox / FOLDER / name for name in IN_FOLDER
        }
        folder = self.inbox / FOLDER
        if folder.is_dir() and not ours.issuperset(folder.iterdir()):
            new.add(folder)  # it must be gone: a whole new one is moved in
        if in_the_way := sorted(path for path in left.keys() | new if path.exists() and path not in ours):
            raise DemoFailed(
                "These files are where the demo puts its own, but they are not its own, or were changed since:\n  "
                + "\n  ".join(map(str, in_the_way))
                + "\nPlease move them away, then start the demo again. Nothing was touched."
            )
        for path in ours:
            path.unlink()
        if folder.is_dir():
            folder.rmdir()
        self.record.unlink(missing_ok=True)

    def recorded(self) -> dict[Path, str]:
        """The files of an earlier demo, each with the SHA-256 that it had."""
        left: dict[str, str] = json.loads(self.record.read_text()) if self.record.exists() else {}
        return {self.inbox / name: sha256 for name, sha256 in left.items()}

    def remember(self, sha256s: dict[Path, str]) -> None:
        """The next demo may remove these files, if their bytes are still these."""
        left = self.recorded() | sha256s
        self.record.write_text(
            json.dumps({str(path.relative_to(self.inbox)): sha256 for path, sha256 in left.items()}, indent=1)
        )

    def remember_outputs(self, jobs: list[Job]) -> None:
        """The next demo may remove what appeared for *jobs*."""
        outputs = (output for job in jobs for output in job.outputs)
        self.remember({output: _sha256(output) for output in outputs if output.is_file()})

    # The service.

    @property
    def environment(self) -> dict[str, str]:
        """The environment for `transcribed`: no setting but these two, and no configuration file of the person's."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRANSCRIBED_")}
        empty = self.state_dir / "demo.toml"
        empty.touch()
        ours = {"INBOX": self.inbox, "STATE_DIR": self.state_dir, "CONFIG": empty}
        return inherited | {f"TRANSCRIBED_{name}": str(path) for name, path in ours.items()}

    @contextmanager
    def service(self) -> Generator[subprocess.Popen[bytes]]:
        """The running daemon, ready; stopped as systemd would afterwards, whatever happened."""
        log = self.state_dir / "demo.log"
        say("Starting the service (transcribed run) ...")
        with log.open("wb") as output:
            daemon = subprocess.Popen([_command(), "run"], env=self.environment, stdout=output, stderr=output)
        try:
            self.wait_until(self.is_ready, daemon, "the service is not ready")
            say(f"  ready after {time.monotonic() - self.started:.1f} s\n")
            self.old_jobs = {job.key for job in self.jobs()}
            yield daemon
        except BaseException:
            _stop(daemon)
            with suppress(DemoFailed):  # the first trouble is the one to tell
                self.remember_outputs(self.jobs())
            raise
        if (status := _stop(daemon)) != 0:
            raise DemoFailed(f"The service ended with exit status {status}, not 0. Its log:\n{_tail(log)}")
        say("The service stopped cleanly (SIGTERM, exit status 0).")

    def is_ready(self) -> bool:
        """Whether the daemon says that it takes work."""
        asked = subprocess.run(
            [_command(), "status", "--json"], env=self.environment, capture_output=True, text=True, check=False
        )
        try:
            status: dict[str, Any] = json.loads(asked.stdout)
        except ValueError:
            return False
        return status.get("state") == "ready"

    def ask(self, *words: str) -> str:
        """What `transcribed WORDS` prints."""
        asked = subprocess.run([_command(), *words], env=self.environment, capture_output=True, text=True, check=False)
        if asked.returncode != 0:
            raise DemoFailed(f"transcribed {' '.join(words)} failed: {asked.stderr.strip()}")
        return asked.stdout

    def jobs(self) -> list[Job]:
        """The jobs of this run."""
        jobs = [Job.parse(job) for job in json.loads(self.ask("jobs", "--json"))]
        return [job for job in jobs if job.key not in self.old_jobs]

    def wait_until(self, condition: Callable[[], bool], daemon: subprocess.Popen[bytes], complaint: str) -> None:
        """*condition* holds. Raises DemoFailed with *complaint* when the daemon died or the time is over."""
        while not condition():
            log = _tail(self.state_dir / "demo.log")
            if daemon.poll() is not None:
                raise DemoFailed(f"The service stopped by itself (exit status {daemon.returncode}). Its log:\n{log}")
            if time.monotonic() - self.started > DEADLINE_S:
                raise DemoFailed(f"After {DEADLINE_S:.0f} s {complaint}. The end of its log:\n{log}")
            time.sleep(0.5)

    # What a person does.

    def drop_all(self) -> None:
        """Every sample is in the inbox, in each of the ways in which files get there."""
        say("Dropping recordings in the inbox:")
        targets = {name: self.inbox / name for name in (*PLAIN, SLOW, RENAMED)}
        targets |= {name: self.inbox / FOLDER / name for name in IN_FOLDER}
        self.remember({target: _sha256(SAMPLES / name) for name, target in targets.items()})
        for name in PLAIN:
            self.copy(name, targets[name], PLAIN[name])
        self.drop_folder()
        part = self.inbox / f".{RENAMED}.part"
        self.copy(RENAMED, part, f"written as {part.name}, then renamed")
        part.rename(targets[RENAMED])
        self.copy_slowly(SLOW, targets[SLOW])
        say()

    def copy(self, name: str, target: Path, how: str) -> None:
        """The sample is at *target*."""
        shutil.copyfile(SAMPLES / name, target)
        say(f"  {name:18} {how}")

    def drop_folder(self) -> None:
        """A whole folder arrives at once."""
        outside = self.state_dir / FOLDER
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        for name in IN_FOLDER:
            self.copy(name, outside / name, f"in the folder {FOLDER}, moved in as a whole")
        outside.rename(self.inbox / FOLDER)

    def copy_slowly(self, name: str, target: Path, n_chunks: int = 12, pause_s: float = 0.5) -> None:
        """The sample is there after several seconds, as over a slow network; not at all when interrupted."""
        data = (SAMPLES / name).read_bytes()
        chunk_bytes = -(-len(data) // n_chunks)
        try:
            with target.open("wb", buffering=0) as copy:
                for offset in range(0, len(data), chunk_bytes):
                    copy.write(data[offset : offset + chunk_bytes])
                    time.sleep(pause_s)
        except BaseException:
            target.unlink()
            raise
        say(f"  {name:18} copied slowly, over {n_chunks * pause_s:.0f} s")

    # What a person sees.

    def wait_for_all(self, daemon: subprocess.Popen[bytes]) -> dict[str, Job]:
        """The last job of each dropped file, all ended: name -> job."""
        names = {*PLAIN, SLOW, RENAMED, *IN_FOLDER}
        ended: dict[str, Job] = {}

        def look() -> bool:
            for job in self.jobs():
                name = job.path.name
                if job.state in ENDED and name in names and name not in ended:
                    ended[name] = job
                    say(f"  [{len(ended):2}/{len(names)}] {job}")
                    self.remember_outputs([job])
            return ended.keys() >= names

        say("Waiting for the transcripts:")
        self.wait_until(look, daemon, "not every recording has ended")
        say()
        return ended

    def show(self, jobs: dict[str, Job]) -> None:
        """Each transcript that appeared is on the screen."""
        say("What appeared beside them:\n")
        for job in jobs.values():
            if (text := job.transcript) is None:
                continue
            others = " ".join(sorted(output.suffix for output in job.outputs if output != text))
            say(f"  {text.relative_to(self.inbox)}   (and {others}; language {job.language or 'unknown'})")
            say(textwrap.indent(textwrap.fill(text.read_text(encoding="utf-8"), 100), "      ") + "\n")

    def judge(self, jobs: dict[str, Job]) -> None:
        """Raises DemoFailed unless nine words in ten are right and the broken file failed with a reason."""
        texts: dict[str, dict[str, str]] = json.loads((SAMPLES / "texts.json").read_text(encoding="utf-8"))
        n_words = n_right = 0
        for name, job in jobs.items():
            if name == BROKEN:
                continue
            if job.transcript is None:
                raise DemoFailed(f"{name} has no transcript: {job}")
            spoken, written = _words(texts[name]["text"]), _words(job.transcript.read_text(encoding="utf-8"))
            if (job.outcome == "no_speech") != (not spoken):
                raise DemoFailed(f"{name}: {len(spoken)} words are spoken, but: {job}")
            n_words += len(spoken)
            n_right += _n_equal(spoken, written)
        say(f"Words: {n_right} of {n_words} right ({n_right / n_words:.1%}).")
        if n_right < 0.9 * n_words:
            raise DemoFailed("Fewer than nine words in ten are right.")
        broken = jobs[BROKEN]
        if broken.state != "failed" or not broken.reason:
            raise DemoFailed(f"{BROKEN} should have failed with a reason, but: {broken}")
        say(f"{BROKEN} is no recording, and the service says so, as it should: {broken.reason}")


def _command() -> str:
    """The `transcribed` that belongs to this Python."""
    return str(Path(sys.executable).parent / "transcribed")


def _stop(daemon: subprocess.Popen[bytes]) -> int:
    daemon.send_signal(signal.SIGTERM)
    try:
        return daemon.wait(timeout=60)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
        raise DemoFailed("The service did not stop within 60 s of SIGTERM; it was killed.") from None


def _tail(log: Path, n_lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-n_lines:])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower().replace("'", ""))


def _n_equal(spoken: list[str], written: list[str]) -> int:
    """How many of the spoken words were written, in order."""
    matcher = difflib.SequenceMatcher(None, spoken, written, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks())


if __name__ == "__main__":
    sys.exit(main())
