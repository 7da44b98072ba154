"""Contestants side by side: each in a process of its own, loaded once, warmed up, then in turns.

One round lets every contestant transcribe everything, one after the other, so that what disturbs the machine disturbs
all of them. While one runs, the others are loaded but idle.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.contestants.protocol import Setup
from benchmarks.contestants.worker import setup_to_json
from benchmarks.corpus import Clip
from benchmarks.figures import percentile, rate_interval
from benchmarks.gpu import Sampler
from benchmarks.processes import usage
from benchmarks.results import TOTAL, NotRun, Row, Run
from benchmarks.roster import Entry
from benchmarks.scoring import score

ROOT: Final = Path(__file__).parent.parent
_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_N_WARM: Final = 4


class ContestantFailedError(Exception):
    """Raised when a contestant cannot be started or does not answer; the message is the reason, in words."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a match is held. *peers_python* is the interpreter of those that are not our own dependencies.

    *limit_s* is how long one pass may take before it is given up.
    """

    setup: Setup
    model: str
    repeats: int = 3
    slow_repeats: int = 1
    limit_s: float = 3600.0
    peers_python: Path = ROOT / ".venv-bench" / "bin" / "python"
    quiet: bool = False


@dataclass(slots=True)
class Played:
    """What one contestant did. *texts* has one list per run, in the order of the clips."""

    entry: Entry
    settings: dict[str, Any]
    versions: dict[str, str]
    load_s: float
    runs: list[Run] = field(default_factory=list[Run])
    texts: list[list[str]] = field(default_factory=list[list[str]])
    peak_mb: float = 0.0
    gpu_mb: float | None = None


@dataclass(slots=True)
class Outcome:
    """Everybody who ran, and who did not."""

    played: list[Played] = field(default_factory=list[Played])
    not_run: list[NotRun] = field(default_factory=list[NotRun])

    def of(self, name: str) -> Played | None:
        """The contestant of this name, if it ran to the end at least once."""
        return next((one for one in self.played if one.entry.name == name and one.runs), None)


class Seat:
    """The process of one contestant."""

    def __init__(self, entry: Entry, plan: Plan, scratch: Path) -> None:
        """Its model is loaded when this returns. Raises ContestantFailedError."""
        python = Path(sys.executable) if entry.own else plan.peers_python
        if not python.exists():
            raise ContestantFailedError(f"{python.parent.parent.name} is not there: make bench-setup")
        self.entry = entry
        self._limit_s = plan.limit_s
        self._log = scratch / f"{entry.name}.log"
        options = {**entry.options, "model": plan.model} if entry.module.endswith(".ours") else entry.options
        precision = entry.precision or plan.setup.compute_type
        setup = replace(plan.setup, scratch=scratch, options=options, compute_type=precision)
        command = [str(python), "-m", "benchmarks.contestants.worker", entry.module, setup_to_json(setup)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=clean_environment(os.environ) | dict(entry.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self.loaded = self._answer()
        except ContestantFailedError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process that its children, if any, descend from."""
        return self._process.pid

    def transcribe(self, clips: Sequence[Clip]) -> dict[str, Any]:
        """Its answer: ``wall_s`` and ``heard``, pairs of a text and when it was there. Raises ContestantFailedError."""
        tasks = [[str(clip.path), clip.language, clip.audio_s] for clip in clips]
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"tasks": tasks}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ContestantFailedError(f"it ended: {self._last_words()}") from error
        return self._answer()

    def close(self) -> None:
        """The process is gone."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        too_late = threading.Timer(self._limit_s, self._process.kill)
        too_late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            in_time = too_late.is_alive()
            too_late.cancel()
        if not line:
            reason = self._last_words() if in_time else f"gave no answer within {self._limit_s:.0f} s"
            raise ContestantFailedError(reason)
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise ContestantFailedError(_without_paths(str(answer["failed"])))
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        self._process.wait()
        return _without_paths(f"exit status {self._process.returncode}: {lines[-1] if lines else 'without a word'}")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What every contestant is started with: nothing that tunes a library, and no network."""
    kept = {name: environment[name] for name in _KEPT if name in environment}
    return kept | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def play(entries: Sequence[Entry], clips: Sequence[Clip], plan: Plan, warm_up: Sequence[Clip] = ()) -> Outcome:
    """Every entry on all *clips*, in turns, once each has transcribed the shortest of *warm_up* (or of *clips*)."""
    outcome = Outcome()
    shortest = sorted(warm_up or clips, key=lambda clip: clip.audio_s)[:_N_WARM]
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as open_seats:
        seats = list(_seated(entries, shortest, plan, (Path(name), outcome, open_seats)))
        for n_round in range(max(plan.repeats, plan.slow_repeats)):
            for seat, played in list(seats):
                if n_round >= (plan.slow_repeats if seat.entry.slow else plan.repeats):
                    continue
                _say(plan, f"round {n_round + 1}: {seat.entry.name}")
                try:
                    _run(seat, played, clips, plan)
                except ContestantFailedError as error:
                    outcome.not_run.append(NotRun(seat.entry.name, seat.entry.title, str(error)))
                    seats.remove((seat, played))
                    if played.runs:
                        outcome.played.append(played)
        outcome.played.extend(played for _seat, played in seats)
    outcome.played.sort(key=lambda one: [entry.name for entry in entries].index(one.entry.name))
    return outcome


def row(played: Played, clips: Sequence[Clip]) -> Row:
    """The figures of one contestant; accuracy is that of its first run."""
    tallies = score([clip.told for clip in clips], played.texts[0])
    low, high = rate_interval(tallies[TOTAL].counts)
    by_clip = list(zip(*played.texts, strict=True))
    return Row(
        name=played.entry.name,
        title=played.entry.title,
        settings=played.settings,
        runs=tuple(played.runs),
        load_s=played.load_s,
        peak_mb=played.peak_mb,
        counts={key: (tally.n_errors, tally.n_words) for key, tally in tallies.items()},
        wer_low=low,
        wer_high=high,
        n_changed=sum(len(set(texts)) > 1 for texts in by_clip),
        unequal=played.entry.unequal,
        gpu_mb=played.gpu_mb,
        versions=played.versions,
    )


def _seated(
    entries: Sequence[Entry],
    warm_up: Sequence[Clip],
    plan: Plan,
    room: tuple[Path, Outcome, contextlib.ExitStack],
) -> Iterator[tuple[Seat, Played]]:
    """Those that could be loaded and warmed up; the others are in the outcome as not run."""
    scratch, outcome, open_seats = room
    for entry in entries:
        _say(plan, f"loading: {entry.name}")
        before_mb = Sampler(plan.setup.device).memory_mb()
        try:
            seat = Seat(entry, plan, scratch)
            open_seats.callback(seat.close)
            seat.transcribe(warm_up)
        except ContestantFailedError as error:
            outcome.not_run.append(NotRun(entry.name, entry.title, str(error)))
            _say(plan, f"not run: {entry.name}: {error}")
            continue
        after_mb = Sampler(plan.setup.device).memory_mb()
        gpu_mb = None if before_mb is None or after_mb is None else after_mb - before_mb
        loaded = seat.loaded
        yield seat, Played(entry, loaded["settings"], loaded["versions"], float(loaded["load_s"]), gpu_mb=gpu_mb)


def _run(seat: Seat, played: Played, clips: Sequence[Clip], plan: Plan) -> None:
    before = usage(seat.pid)
    with Sampler(plan.setup.device) as gpu:
        held_mb = gpu.memory_mb()
        answer = seat.transcribe(clips)
    after = usage(seat.pid)
    texts = [str(text) for text, _done_s in answer["heard"]]
    done_s = [float(at_s) for _text, at_s in answer["heard"]]
    played.texts.append(texts)
    played.runs.append(
        Run(
            wall_s=float(answer["wall_s"]),
            cpu_s=after.cpu_s - before.cpu_s,
            p50_s=percentile(done_s, 50.0),
            p95_s=percentile(done_s, 95.0),
            gpu_percent=gpu.use_percent,
        )
    )
    played.peak_mb = max(played.peak_mb, after.peak_mb)
    if gpu.peak_mb is not None and held_mb is not None and played.gpu_mb is not None and len(played.runs) == 1:
        played.gpu_mb += max(0.0, gpu.peak_mb - held_mb)


def _without_paths(reason: str) -> str:
    """One line of at most 200 characters, without this project's folder or the home folder in it."""
    first = reason.strip().splitlines()[-1] if reason.strip() else "no reason given"
    return first.replace(str(ROOT), ".").replace(str(Path.home()), "~")[:200]


def _say(plan: Plan, text: str) -> None:
    if not plan.quiet:
        print(text, file=sys.stderr, flush=True)
