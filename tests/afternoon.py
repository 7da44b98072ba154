"""An afternoon in an office: three folders used side by side by people who see only the folders; a record of it.

Run by `make afternoon`. The real daemon with the real model; people do in a few minutes what they would do in some
hours. At five moments it writes down what they see: the files, the pages, the notes, and pictures of the pages where
Chromium is installed. Exit status 0 where every promise of that afternoon was kept, else 1 with what was not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile  # type: ignore[import-untyped]  # no types of its own

from tests.harness import Daemon
from tests.recordings import Clip, load_clips

SAMPLES: Final = Path(__file__).resolve().parent / "data"
SAMPLE_RATE_HZ: Final = 16_000
LIMIT_S: Final = 2400.0
BROWSER: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
INBOXES: Final = ("memos", "calls", "archive")
SIGN_OF_END: Final = {"memos": "== Done lately ==", "calls": "==", "archive": "== Done lately =="}
WIDTHS: Final = {"desk": (1280, 1000), "phone": (390, 844)}

CONFIGURATION: Final = """
[[inbox]]
path = "{root}/memos"
fair_by = "folder"

[[inbox]]
path = "{root}/calls"
speakers = "auto"
speaker_names = ["Anna", "The customer"]
after_success = "move_both"
messages = "de"

[[inbox]]
path = "{root}/archive"
priority = "low"
formats = ["txt"]
"""

MISTAKEN: Final = 'langauge = "en"\nformats = ["txt", "md"]\n'
MENDED: Final = 'language = "en"\nformats = ["txt", "md"]\n'

say = partial(print, flush=True)


class NotAsPromised(Exception):
    """What somebody in that office would complain about, in a sentence."""


@dataclass(slots=True)
class Afternoon:
    """One run in *root*; the record goes to *out*."""

    root: Path
    out: Path
    archive_min: float
    rng: random.Random
    clips: Sequence[Clip]
    daemon: Daemon
    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list[str])

    def run(self) -> None:
        """Raises NotAsPromised."""
        self.daemon.start()
        self.folder("memos/anna")
        self.folder("memos/ben")
        self.until(lambda: self.page("archive").exists(), "the pages")
        self.morning_of_the_archive()
        self.settings_mended()
        self.a_call_and_a_film()
        self.broken_and_mended()
        self.evening()
        if self.daemon.stop() != 0:
            raise NotAsPromised("the service did not stop as it should")

    # Five moments.

    def morning_of_the_archive(self) -> None:
        """Two hours of old recordings come, Anna's settings have a mistake, and memos come behind all that."""
        n_recordings = max(1, round(self.archive_min / 10))
        self.folder("archive/1998")
        for index in range(n_recordings):
            self.talk(f"archive/1998/tape {index + 1:02}.flac", self.archive_min * 60 / n_recordings)
        (self.root / "memos/anna/transcribed.toml").write_text(MISTAKEN, encoding="utf-8")
        self.until(lambda: self.n_done("archive") + len(self.in_hand()) > 0, "the archive to begin")
        self.talk("memos/anna/first memo.flac", 12)
        self.talk("memos/ben/idea.flac", 9)
        note = self.root / "memos/anna/transcribed.toml.error.txt"
        self.until(note.exists, "an answer to the mistake")
        self.until(lambda: self.n_done("memos") == 2, "two memos behind the archive")
        if self.n_done("archive") >= n_recordings:
            raise NotAsPromised("the archive was done before the memos")
        self.until_told("memos", "ben/idea.flac", "anna/first memo.flac")
        self.until(lambda: self.busy("archive"), "the page of the archive")
        self.moment(
            f"{self.archive_min:.0f} minutes of tapes, and two memos behind them",
            "The memos are done before the tapes. Anna's settings have a mistake, and beside them is an answer.",
            "memos/anna/transcribed.toml",
            "memos/anna/transcribed.toml.error.txt",
            "memos/_transcribed.txt",
            "archive/_transcribed.txt",
        )

    def settings_mended(self) -> None:
        """Anna corrects the file: the answer is gone, the next memo is as she wants it; Ben renames one of his."""
        note = self.root / "memos/anna/transcribed.toml.error.txt"
        (self.root / "memos/anna/transcribed.toml").write_text(MENDED, encoding="utf-8")
        self.until(lambda: not note.exists(), "the answer to go")
        self.talk("memos/anna/second memo.flac", 11)
        os.rename(self.root / "memos/ben/idea.flac", self.root / "memos/ben/idea for the fair.flac")
        self.until(lambda: (self.root / "memos/anna/second memo.md").exists(), "a memo in Markdown")
        self.until(lambda: (self.root / "memos/ben/idea for the fair.txt").exists(), "the text of the renamed memo")
        self.until_told("memos", "anna/second memo.flac", "ben/idea for the fair.flac")
        renamed = self.job("memos/ben/idea for the fair.flac")
        if "same" not in renamed["reason"]:
            raise NotAsPromised(f"a renamed memo was transcribed again: {renamed}")
        self.moment(
            "The mistake is mended, a memo renamed",
            "From the next memo on Anna has Markdown. Ben's renamed memo has its text again, without another run: "
            + renamed["reason"],
            "memos/anna/second memo.md",
            "memos/_transcribed.txt",
        )

    def a_call_and_a_film(self) -> None:
        """A call with one person on each channel, and a film."""
        self.call("calls/2026-11-23 customer.wav")
        shutil.copyfile(SAMPLES / "presentation.mp4", self.root / "memos/ben/presentation.mp4")
        moved = self.root / "calls/done/2026-11-23 customer.txt"
        self.until(moved.exists, "the call, moved with its transcript")
        self.until(lambda: (self.root / "memos/ben/presentation.srt").exists(), "the film's subtitles")
        self.until_told("calls", "done/2026-11-23 customer.wav")
        text = moved.read_text(encoding="utf-8")
        if "Anna" not in text or "The customer" not in text:
            raise NotAsPromised(f"nobody can tell who spoke:\n{text}")
        self.moment(
            "A call on two channels, and a film",
            "The call says who speaks; it and its transcripts were moved together. The film has subtitles.",
            "calls/done/2026-11-23 customer.txt",
            "memos/ben/presentation.srt",
            "calls/_transcribed.txt",
        )

    def broken_and_mended(self) -> None:
        """Something that is no recording comes, and later what was meant."""
        target, note = self.root / "calls/voicemail.mp3", self.root / "calls/voicemail.mp3.error.txt"
        shutil.copyfile(SAMPLES / "broken.mp3", target)
        self.until(note.exists, "a note beside what is broken")
        self.until_told("calls", "voicemail.mp3")
        self.moment(
            "A broken file",
            "It has a note beside it, in the language of that folder.",
            "calls/voicemail.mp3.error.txt",
            "calls/_transcribed.txt",
        )
        shutil.copyfile(SAMPLES / "interview.mp3", target)
        self.until(lambda: (self.root / "calls/done/voicemail.txt").exists(), "the text of the mended one")
        self.until(lambda: not note.exists(), "the note to go")

    def evening(self) -> None:
        """All is done."""
        self.until(lambda: not self.unfinished(), "everything to end")
        failed = [job for job in self.jobs() if job["state"] not in ("done", "vanished", "failed")]
        if failed:
            raise NotAsPromised(f"these did not end well: {failed}")
        # The page is written some seconds after the last recording ended.
        self.until(
            lambda: "1998" in self.read("archive/_transcribed.txt") and not self.busy("archive"), "the last page"
        )
        self.moment(
            "The evening",
            "All is done.",
            "memos/_transcribed.txt",
            "calls/_transcribed.txt",
            "archive/_transcribed.txt",
        )
        self.waiting_times()

    # What people do.

    def folder(self, name: str) -> None:
        """A folder of this name is there."""
        (self.root / name).mkdir(parents=True, exist_ok=True)

    def talk(self, name: str, length_s: float) -> None:
        """A recording of about *length_s*, unlike every other: clips in any order with pauses of any length."""
        parts: list[np.ndarray[Any, np.dtype[np.int16]]] = []
        n_samples = 0
        while n_samples < length_s * SAMPLE_RATE_HZ:
            clip = self.rng.choice(self.clips)
            parts += [clip.sound, np.zeros(int(self.rng.uniform(0.4, 2.5) * SAMPLE_RATE_HZ), np.int16)]
            n_samples += len(parts[-2]) + len(parts[-1])
        self.save(name, np.concatenate(parts))

    def call(self, name: str) -> None:
        """Two people, one on each channel, one after the other."""
        left, right = self.clips[0].sound, self.clips[1].sound
        pause = np.zeros(SAMPLE_RATE_HZ // 2, np.int16)
        one = np.concatenate([left, pause, np.zeros_like(right), pause, left])
        other = np.concatenate([np.zeros_like(left), pause, right, pause, np.zeros_like(left)])
        self.save(name, np.stack([one, other], axis=1))

    def save(self, name: str, sound: np.ndarray[Any, np.dtype[np.int16]]) -> None:
        """*sound* is the recording *name*, written under another name first, as programs do."""
        target = self.root / name
        part = target.with_name(f".{target.name}.part")
        soundfile.write(part, sound, SAMPLE_RATE_HZ, format=target.suffix[1:].upper(), subtype="PCM_16")
        part.rename(target)

    # What they see.

    def page(self, inbox: str) -> Path:
        """The page of *inbox*."""
        return self.root / inbox / "_transcribed.html"

    def read(self, name: str) -> str:
        """A file as a person reads it; empty where it is not there."""
        path = self.root / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def busy(self, inbox: str) -> bool:
        """Whether the page of *inbox* says that something is in progress or waits."""
        text = self.read(f"{inbox}/_transcribed.txt")
        return any(f"== {heading} ==" in text for heading in ("In progress", "Waiting", "In Arbeit", "Wartet"))

    def until_told(self, inbox: str, *names: str) -> None:
        """The page of *inbox* lists these under what ended: it is written some seconds after that."""

        def told() -> bool:
            ended = self.read(f"{inbox}/_transcribed.txt").partition(SIGN_OF_END[inbox])[2]
            return all(f"- {name}\n" in ended for name in names)

        self.until(told, f"{names} on the page of {inbox}")

    def jobs(self) -> list[dict[str, Any]]:
        """The whole history."""
        return self.daemon.jobs()

    def job(self, name: str) -> dict[str, Any]:
        """The newest job of *name*."""
        return self.daemon.jobs_of(self.root / name)[-1]

    def in_hand(self) -> list[dict[str, Any]]:
        """What is worked on now."""
        status: dict[str, Any] = json.loads(self.daemon.run("status", "--json", check=False).stdout)
        return list(status.get("in_hand", []))

    def n_done(self, inbox: str) -> int:
        """How many recordings of *inbox* are done."""
        return sum(job["state"] == "done" and f"/{inbox}/" in job["path"] for job in self.jobs())

    def unfinished(self) -> list[dict[str, Any]]:
        """What still waits or runs."""
        return [job for job in self.jobs() if job["state"] in ("waiting", "queued", "running", "publishing")]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Raises NotAsPromised where *condition* does not come true."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            if not self.daemon.running():
                raise NotAsPromised(f"the service ended while somebody waited for {what}; see {self.daemon.log}")
            if time.monotonic() > deadline:
                raise NotAsPromised(f"after {LIMIT_S:.0f} s still waiting for {what}; see {self.daemon.log}")
            time.sleep(0.5)

    # The record.

    def moment(self, title: str, words: str, *names: str) -> None:
        """Write down what is there now."""
        number = sum(line.startswith("## ") for line in self.lines) + 1
        after_s = time.monotonic() - self.began
        say(f"[{after_s:5.0f} s] {number}. {title}")
        self.lines += [
            f"## {number}. {title}",
            "",
            f"After {after_s:.0f} s. {words}",
            "",
            "```text",
            *self.tree(),
            "```",
            "",
        ]
        for name in names:
            self.lines += [f"`{name}`:", "", "```text", *self.excerpt(name), "```", ""]
        for inbox in INBOXES:
            self.lines += [f"![{inbox}, {width}]({picture})" for width, picture in self.pictures(inbox, number)]
        self.lines += [""]
        (self.out / "record.md").write_text("# An afternoon\n\n" + "\n".join(self.lines), encoding="utf-8")

    def excerpt(self, name: str) -> list[str]:
        """The first lines of a file, none too long."""
        lines = self.read(name).splitlines()
        more = [f"... {len(lines) - 25} lines more"] if len(lines) > 25 else []
        return [textwrap.shorten(line, 160, placeholder=" ...") for line in lines[:25]] + more

    def tree(self) -> list[str]:
        """Every file that people see."""
        found = sorted(path for path in self.root.rglob("*") if path.is_file())
        return [str(path.relative_to(self.root)) for path in found if not path.name.startswith(".")]

    def pictures(self, inbox: str, number: int) -> list[tuple[str, str]]:
        """Pictures of the page of *inbox* as it is now: the width in words, and the file."""
        made: list[tuple[str, str]] = []
        for width, (wide_px, high_px) in WIDTHS.items() if BROWSER else ():
            name = f"{number}-{inbox}-{width}.png"
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
            options += [f"--window-size={wide_px},{high_px}", f"--screenshot={self.out / name}"]
            subprocess.run(
                [str(BROWSER), *options, self.page(inbox).as_uri()], check=True, capture_output=True, timeout=120
            )
            made.append((width, name))
        return made

    def waiting_times(self) -> None:
        """From the drop to the transcript, for every recording."""
        rows = [
            f"{(_moment(job['finished_at']) - _moment(job['created_at'])).total_seconds():7.1f} s  {job['path']}"
            for job in self.jobs()
            if job["state"] == "done"
        ]
        self.lines += ["From the drop to the transcript:", "", "```text", *rows, "```", ""]
        (self.out / "record.md").write_text("# An afternoon\n\n" + "\n".join(self.lines), encoding="utf-8")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("afternoon"), help="a new folder for the three inboxes")
    parser.add_argument("--out", type=Path, default=None, help="where the record goes (ROOT/record)")
    parser.add_argument("--archive-minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    root: Path = asked.root.absolute()
    if root.exists() and any(root.iterdir()):
        say(f"{root} is not empty; name a new folder with --root", file=sys.stderr)
        return 2
    out: Path = (asked.out or root / "record").absolute()
    office = root / "office"
    for folder in (out, *(office / name for name in INBOXES)):
        folder.mkdir(parents=True, exist_ok=True)
    configuration = root / "transcribed.toml"
    configuration.write_text(CONFIGURATION.format(root=office), encoding="utf-8")
    daemon = Daemon(root, root / "models", {"TRANSCRIBED_CONFIG": str(configuration)})
    for name in ("TRANSCRIBED_INBOX", "TRANSCRIBED_HISTORY_REUSE"):
        del daemon.environment[name]
    clips = [clip for clip in load_clips().values() if clip.language == "en" and len(clip.spans) > 0]
    try:
        Afternoon(office, out, asked.archive_minutes, random.Random(asked.seed), clips, daemon).run()
    except NotAsPromised as problem:
        say(f"\n{problem}", file=sys.stderr)
        return 1
    finally:
        if daemon.running():
            daemon.stop()
    say(f"\nAs promised. The record: {out / 'record.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
