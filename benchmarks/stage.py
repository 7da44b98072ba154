"""What every benchmark of contestants needs before it starts: arguments, weights, recordings in one form, a plan."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import corpus, engine_door, machine, results, tables
from benchmarks.contestants.protocol import Setup
from benchmarks.corpus import Clip
from benchmarks.match import Outcome, Plan
from benchmarks.results import Result, Row, Workload
from benchmarks.roster import REFERENCE
from daemon.errors import RecordingError

_PRECISION: Final = {"cpu": "int8", "cuda": "float16"}


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything is ready. *clips* are prepared; *folder* is for files that go with the benchmark."""

    clips: list[Clip]
    long_clips: list[Clip]
    folder: Path
    plan: Plan
    corpus_name: str

    def result(self, benchmark: str, outcome: Outcome, clips: Sequence[Clip], rows: Sequence[Row]) -> Result:
        """The result of a benchmark on *clips*."""
        return Result(
            benchmark=benchmark,
            at=results.now(),
            device=self.plan.setup.device,
            model=Path(self.plan.model).name,
            machine=machine.describe(self.plan.setup.device),
            workload=Workload(
                corpus=self.corpus_name,
                n_recordings=len(clips),
                audio_s=sum(clip.audio_s for clip in clips),
                longest_s=max(clip.audio_s for clip in clips),
                languages=tuple(sorted({clip.language for clip in clips})),
            ),
            reference=REFERENCE,
            rows=tuple(rows),
            not_run=tuple(outcome.not_run),
        )


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that all benchmarks share."""
    made = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    made.add_argument("corpus", type=Path, nargs="?", help="folder with a manifest.jsonl (default: the test clips)")
    made.add_argument("--languages", default="", help="only these, as in en,de")
    made.add_argument("--minutes", type=float, default=0.0, help="no more audio than this (default: all)")
    made.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    made.add_argument("--only", default="", help="only these contestants, separated by commas")
    made.add_argument("--model", default="base", help="a name, or the folder of a CTranslate2 model")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    made.add_argument("--compute-type", help="precision of all that can choose (default: int8 on CPU, float16 on GPU)")
    made.add_argument("--peers-python", type=Path, default=Plan.__dataclass_fields__["peers_python"].default)
    made.add_argument("--results", type=Path, default=results.FOLDER, help="where the JSON goes")
    return made


@contextlib.contextmanager
def staged(arguments: argparse.Namespace) -> Generator[Stage, None, None]:
    """Recordings decoded and weights found, in a temporary folder that goes when the block ends."""
    languages = [language for language in arguments.languages.split(",") if language]
    with tempfile.TemporaryDirectory(prefix="bench-audio-") as name:
        folder = Path(name)
        clips = _prepared(corpus.read(arguments.corpus, languages), folder / "clips")
        long_clips = _prepared(corpus.long_form(arguments.corpus, languages), folder / "long")
        yield Stage(
            clips=clips,
            long_clips=long_clips,
            folder=folder,
            plan=_plan(arguments, folder),
            corpus_name=arguments.corpus.name if arguments.corpus else "the project's own clips",
        )


def finish(result: Result, folder: Path) -> None:
    """Write the JSON, print the table."""
    path = results.save_result(result, folder)
    print(tables.comparison(result))
    ours = [row.name for row in result.rows if row.name.startswith("ours")]
    if ours:
        print(f"\n{tables.quicker(result, ours)}")
    missing = tables.not_run(result)
    if missing:
        print(f"\n{missing}")
    print(f"\n{tables.settings(result)}\n\nwritten: {path.name}")


def _plan(arguments: argparse.Namespace, folder: Path) -> Plan:
    device = arguments.device
    if device == "auto":
        device = "cuda" if engine_door.n_gpus() else "cpu"
    setup = Setup(
        weights=engine_door.model_folder(arguments.model, folder / "models"),
        scratch=folder,
        device=device,
        compute_type=arguments.compute_type or _PRECISION[device],
        n_threads=len(os.sched_getaffinity(0)),
    )
    return Plan(setup, arguments.model, repeats=arguments.repeats, peers_python=arguments.peers_python)


def _prepared(clips: Sequence[Clip], folder: Path) -> list[Clip]:
    """The clips that can be read; the others are named on stderr."""
    folder.mkdir()
    readable: list[Clip] = []
    with contextlib.closing(engine_door.Decoder()) as decoder:
        for n, clip in enumerate(clips):
            try:
                readable.append(corpus.prepared(clip, folder / f"{n:04d}.wav", decoder.decode))
            except (RecordingError, OSError) as error:
                print(f"left out: {clip.path.name}: {error}", file=sys.stderr)
    return readable
