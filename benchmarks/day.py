"""An office day in minutes: recordings arrive in bursts at a real daemon, and each waits for its transcript.

    python -m benchmarks.day [CORPUS] [--replay-minutes 8] [--load 8] [--seconds-limit 900]

*load* is how many seconds of audio arrive each second. Two fifths of the audio are memos, which come in bursts; a
quarter are calls of about three minutes; the rest is one long meeting, early, so that the memos come behind it. The
arrival times are the same at every run. Times are from the rename into the inbox to the moment at which the text file
got its name, as the filesystem has it; the wait for the file to be still is in them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import corpus, machine, results, stage, tables
from benchmarks.corpus import Clip
from benchmarks.figures import percentile
from benchmarks.match import clean_environment
from benchmarks.processes import usage

MEMO: Final = "memo"
CALL: Final = "call"
MEETING: Final = "meeting"

_SHARES: Final = {MEMO: 0.40, CALL: 0.25, MEETING: 0.35}
_CALL_S: Final = 180.0
_MEETING_S: Final = 10_800.0  # no meeting lasts longer than three hours
_BURST: Final = 5  # memos that come together, on average
_SEED: Final = 3
_POLL_S: Final = 0.25
_N_IDLE: Final = 3
_HEAD_START_S: Final = 12.0  # the meeting is still, decoded and in the engine by then


@dataclass(frozen=True, slots=True)
class Drop:
    """One recording and when it arrives, in seconds from the start."""

    at_s: float
    kind: str
    clip: Clip


@dataclass(frozen=True, slots=True)
class Waits:
    """How long one kind of recording waited for its text, in seconds."""

    n: int
    audio_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    most_s: float


def waits(found: Sequence[tuple[Drop, float]]) -> dict[str, Waits]:
    """The waits of each kind that is in *found*, pairs of a drop and its wait."""
    made: dict[str, Waits] = {}
    for kind in _SHARES:
        of_kind = [(drop.clip.audio_s, wait_s) for drop, wait_s in found if drop.kind == kind]
        if of_kind:
            seconds = [wait_s for _audio_s, wait_s in of_kind]
            points = [percentile(seconds, percent) for percent in (50.0, 95.0, 99.0, 100.0)]
            made[kind] = Waits(len(of_kind), sum(audio_s for audio_s, _wait_s in of_kind), *points)
    return made


def memo_drops(memos: Sequence[Clip], audio_s: float, length_s: float) -> list[Drop]:
    """Memos of *audio_s* in all, in bursts over *length_s*; they are taken in turn, again from the first if need be."""
    chance = random.Random(_SEED)  # noqa: S311  # not for secrets
    drops: list[Drop] = []
    total_s, burst_at_s, left = 0.0, 0.0, 0
    while total_s < audio_s:
        if left == 0:
            burst_at_s, left = chance.uniform(0.0, length_s), 1 + int(chance.expovariate(1.0 / (_BURST - 1)))
        clip = memos[len(drops) % len(memos)]
        drops.append(Drop(burst_at_s, MEMO, clip))
        total_s, left = total_s + clip.audio_s, left - 1
    return drops


def trace(clips: Sequence[Clip], folder: Path, *, length_s: float, load: float) -> list[Drop]:
    """The arrivals of a day of *length_s*, in order. Calls and the meeting are joined in *folder*."""
    audio_s = length_s * load
    chance = random.Random(_SEED)  # noqa: S311  # not for secrets
    drops = memo_drops(corpus.memos(clips), _SHARES[MEMO] * audio_s, length_s)
    meeting = _joined(clips, folder / "meeting.wav", min(_MEETING_S, _SHARES[MEETING] * audio_s), 0)
    drops.append(Drop(0.05 * length_s, MEETING, meeting))
    for n in range(round(_SHARES[CALL] * audio_s / _CALL_S)):
        call = _joined(clips, folder / f"call-{n}.wav", _CALL_S, n + 1)
        drops.append(Drop(chance.uniform(0.0, length_s), CALL, call))
    return sorted(drops, key=lambda drop: drop.at_s)


def _joined(clips: Sequence[Clip], path: Path, length_s: float, n: int) -> Clip:
    """A recording of about *length_s* in the language with the most clips; *n* tells where among them it begins."""
    counts = {language: sum(clip.language == language for clip in clips) for language in {c.language for c in clips}}
    language = max(sorted(counts), key=lambda key: counts[key])
    of_language = [clip for clip in clips if clip.language == language]
    start = n * 7 % len(of_language)
    chosen: list[Clip] = []
    while sum(clip.audio_s for clip in chosen) < length_s:
        chosen.append(of_language[(start + len(chosen)) % len(of_language)])
    return corpus.joined(chosen, path, min_s=0.0)


class Day:
    """A daemon of its own on an inbox of its own."""

    def __init__(self, root: Path, settings: Mapping[str, str], program: Sequence[str] = ()) -> None:
        """*settings* are ``TRANSCRIBED_*``; *program* is what is run, the command as it is installed by default."""
        self.inbox = root / "inbox"
        self.inbox.mkdir()
        self._staging = root / "staging"  # on the same filesystem: a rename is an arrival
        self._staging.mkdir()
        own = {
            "TRANSCRIBED_INBOX": str(self.inbox),
            "TRANSCRIBED_STATE_DIR": str(root / "state"),
            "TRANSCRIBED_LOG_FORMAT": "json",
        }
        self._log = root / "log.jsonl"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*(program or [str(Path(sys.executable).with_name("transcribed"))]), "run"],
                env=clean_environment(os.environ) | own | dict(settings),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=root,
            )

    @property
    def pid(self) -> int:
        """The daemon's process."""
        return self._process.pid

    def wait_ready(self, limit_s: float) -> None:
        """Return once it takes files. Raises RuntimeError if it ends before, or takes longer."""
        deadline = time.monotonic() + limit_s
        while '"event": "ready"' not in self._log.read_text("utf-8"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon did not get ready: {self._log.read_text('utf-8')[-500:]}")
            time.sleep(_POLL_S)

    def drop(self, name: str, clip: Clip) -> int:
        """Put a recording into the inbox at once; the time in nanoseconds."""
        hidden = self._staging / name
        shutil.copyfile(clip.path, hidden)
        at_ns = time.time_ns()
        hidden.rename(self.inbox / name)
        return at_ns

    def text_at_ns(self, name: str) -> int | None:
        """When the text of a recording got its name, None if it is not there."""
        try:
            return (self.inbox / name).with_suffix(".txt").stat().st_ctime_ns
        except FileNotFoundError:
            return None

    def wait_text(self, name: str, dropped_ns: int, limit_s: float) -> float | None:
        """The seconds until the text of a recording was there; None if it was not within the limit."""
        deadline = time.monotonic() + limit_s
        while (at_ns := self.text_at_ns(name)) is None:
            if time.monotonic() > deadline:
                return None
            time.sleep(_POLL_S)
        return (at_ns - dropped_ns) / 1e9

    def close(self) -> None:
        """The daemon has ended."""
        self._process.terminate()
        try:
            self._process.wait(120.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def idle_waits(day: Day, clip: Clip) -> Iterator[float]:
    """What a memo waits when nothing else is there; the first, which loads the model, is not counted."""
    for n in range(_N_IDLE + 1):
        name = f"idle-{n}.wav"
        wait_s = day.wait_text(name, day.drop(name, clip), 300.0)
        if n and wait_s is not None:
            yield wait_s


def behind_wait(day: Day, meeting: Clip, memo: Clip) -> float:
    """What a memo waits that comes while a meeting is being transcribed. Raises RuntimeError if no text comes."""
    meeting_ns = day.drop("before.wav", meeting)
    time.sleep(_HEAD_START_S)
    wait_s = day.wait_text("behind.wav", day.drop("behind.wav", memo), 600.0)
    if wait_s is None or day.wait_text("before.wav", meeting_ns, 3600.0) is None:
        raise RuntimeError("a meeting, or the memo behind it, got no text")
    return wait_s


def replay(day: Day, drops: Sequence[Drop], limit_s: float) -> tuple[list[tuple[Drop, float]], float]:
    """Drop everything at its time; each drop whose text came, with its wait, and the seconds until the last text."""
    began = time.monotonic()
    dropped: list[tuple[str, Drop, int]] = []
    for n, drop in enumerate(drops):
        time.sleep(max(0.0, began + drop.at_s - time.monotonic()))
        name = f"{n:04d}-{drop.kind}.wav"
        dropped.append((name, drop, day.drop(name, drop.clip)))
    found: list[tuple[Drop, float]] = []
    for name, drop, at_ns in dropped:
        left_s = max(0.0, began + limit_s - time.monotonic())
        wait_s = day.wait_text(name, at_ns, left_s)
        if wait_s is not None:
            found.append((drop, wait_s))
    return found, max((drop.at_s + wait_s for drop, wait_s in found), default=0.0)


def main() -> int:
    """Replay the day; 1 if a recording got no text in time."""
    parser = stage.parser(__doc__)
    parser.add_argument("--replay-minutes", type=float, default=8.0, help="how long the day is (default: 8)")
    parser.add_argument("--load", type=float, default=8.0, help="seconds of audio that arrive each second (default: 8)")
    parser.add_argument("--seconds-limit", type=float, default=1800.0, help="when to give up (default: 1800)")
    arguments = parser.parse_args()
    with stage.staged(arguments) as ready:
        if not corpus.memos(ready.clips):
            print("no recording in this corpus is a memo with a reference", file=sys.stderr)
            return 2
        drops = trace(ready.clips, ready.folder, length_s=60.0 * arguments.replay_minutes, load=arguments.load)
        root = ready.folder / "day"
        root.mkdir()
        setup = ready.plan.setup
        settings = {
            "TRANSCRIBED_ENGINE_MODELS_DIR": str(setup.weights.parent),
            "TRANSCRIBED_ENGINE_DEVICE": setup.device,
            "TRANSCRIBED_ENGINE_COMPUTE_TYPE": setup.compute_type,
            "TRANSCRIBED_OPTIONS_MODEL": ready.plan.model,
        }
        with contextlib.closing(Day(root, settings)) as day:
            data = _measured(day, drops, ready.clips, arguments)
        data |= {"device": setup.device, "model": Path(ready.plan.model).name, "corpus": ready.corpus_name}
        data["machine"] = machine.describe(setup.device)
        path = arguments.results / results.file_name("day", setup.device, ready.plan.model)
    results.save(data, path)
    print(tables.waits(data))
    alone_s, behind_s = data["idle_memo_s"], data["behind_memo_s"]
    print(f"\na memo alone: {alone_s:.1f} s, behind a meeting: {behind_s:.1f} s; written: {path.name}")
    return 1 if data["n_missing"] else 0


def _measured(day: Day, drops: Sequence[Drop], clips: Sequence[Clip], arguments: argparse.Namespace) -> dict[str, Any]:
    day.wait_ready(300.0)
    memos = sorted(corpus.memos(clips), key=lambda clip: clip.audio_s)
    memo = memos[len(memos) // 2]
    idle = sorted(idle_waits(day, memo))
    meeting = next(drop.clip for drop in drops if drop.kind == MEETING)
    behind_s = behind_wait(day, meeting, memo)
    before = usage(day.pid)
    found, last_s = replay(day, drops, arguments.seconds_limit)
    after = usage(day.pid)
    return {
        "benchmark": "day",
        "at": results.now(),
        "load": arguments.load,
        "length_s": 60.0 * arguments.replay_minutes,
        "last_text_s": last_s,
        "audio_s": sum(drop.clip.audio_s for drop in drops),
        "n_missing": len(drops) - len(found),
        "idle_memo_s": idle[len(idle) // 2] if idle else 0.0,
        "behind_memo_s": behind_s,
        "behind_audio_s": meeting.audio_s,
        "waits": {kind: asdict(one) for kind, one in waits(found).items()},
        "cpu_s": after.cpu_s - before.cpu_s,
        "peak_mb": after.peak_mb,
    }


if __name__ == "__main__":
    sys.exit(main())
