"""Word error rate of our engine beside faster-whisper's own `transcribe`: same weights, same audio, same beam.

    python -m benchmarks.accuracy [CORPUS] [--languages en,de] [--beam 5]

CORPUS is a folder with a ``manifest.jsonl``: one object per line with ``file``, ``language``, ``text`` (the reference)
and, where it is there, ``primary`` (false: not counted). Without it the project's own clips are taken.

Both are told the language and skip silence (peer: ``vad_filter=True``). Texts are compared in lower case, compatibility
forms folded (NFKC), without punctuation, symbols and apostrophes; nothing else is normalised, so "15" for "fifteen" is
an error for both. For Chinese, Japanese and Korean characters are compared, not words. Errors are pooled: a language's
rate is all its errors over all its reference words.

Exit status 1 if ours is worse by more than 0.3 points in total, or by more than 1.0 in a language with 5 minutes or
more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import faster_whisper  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # ships no py.typed
import jiwer

from daemon.decode.pool import DecodeLimits, DecodePool
from daemon.engine import runtime, weights
from daemon.engine.client import Checkpoint, Engine, EngineSettings, Request
from daemon.options import JobOptions

_OWN_CLIPS: Final = Path(__file__).parent.parent / "tests" / "data"
_BY_CHARACTER: Final = frozenset({"zh", "ja", "ko"})
_TOTAL: Final = "total"
_MAX_WORSE_TOTAL: Final = 0.3  # points; about the difference that rounding in int8 makes
_MAX_WORSE_LANGUAGE: Final = 1.0
_MIN_LANGUAGE_S: Final = 300.0  # less speech than this says nothing about a language

_fw: Any = faster_whisper


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and what is said in it."""

    path: Path
    language: str
    text: str


@dataclass(slots=True)
class Tally:
    """Errors over many clips."""

    n_errors: int = 0
    n_words: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0

    @property
    def rate(self) -> float:
        """Errors in percent of the reference words."""
        return 100.0 * self.n_errors / max(1, self.n_words)

    @property
    def speed(self) -> float:
        """Seconds of audio for each second of work."""
        return self.audio_s / max(1e-9, self.wall_s)


@dataclass(slots=True)
class Scores:
    """What one contestant made of the corpus, by language and in total."""

    tallies: dict[str, Tally] = field(default_factory=dict[str, Tally])

    def add(self, clip: Clip, heard: str, audio_s: float, wall_s: float) -> None:
        """Count one clip."""
        n_errors, n_words = errors(clip.text, heard, clip.language)
        for key in (clip.language, _TOTAL):
            tally = self.tallies.setdefault(key, Tally())
            tally.n_errors += n_errors
            tally.n_words += n_words
            tally.audio_s += audio_s
            tally.wall_s += wall_s


def normalised(text: str, language: str) -> str:
    """*text* as it is compared: words or, where there are no blanks between words, characters, with blanks between."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("'", "").replace("\u2019", "")
    kept = "".join(" " if unicodedata.category(character)[0] in "PSZC" else character for character in folded)
    words = kept.split()
    return " ".join("".join(words)) if language in _BY_CHARACTER else " ".join(words)


def errors(reference: str, heard: str, language: str) -> tuple[int, int]:
    """Words wrong, missing or too many, and the words of the reference."""
    truth = normalised(reference, language)
    if not truth:
        return len(normalised(heard, language).split()), 0
    found = jiwer.process_words(truth, normalised(heard, language))
    n_errors = found.substitutions + found.deletions + found.insertions
    return n_errors, found.hits + found.substitutions + found.deletions


def clips(corpus: Path | None) -> Iterator[Clip]:
    """The clips of *corpus* that count, or the project's own."""
    if corpus is None:
        texts = cast("dict[str, dict[str, Any]]", json.loads((_OWN_CLIPS / "texts.json").read_text("utf-8")))
        entries: Iterable[dict[str, Any]] = ({"file": name, **entry} for name, entry in texts.items())
        folder = _OWN_CLIPS
    else:
        lines = (corpus / "manifest.jsonl").read_text("utf-8").splitlines()
        entries, folder = (json.loads(line) for line in lines), corpus
    for entry in entries:
        if entry.get("primary", True) and entry["language"] and entry["text"]:
            yield Clip(folder / entry["file"], entry["language"], entry["text"])


class Ours:
    """Our decode processes and our engine, one recording at a time."""

    def __init__(self, models_dir: Path, beam_size: int) -> None:
        self._beam_size = beam_size
        self._pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=_print_output)
        self._engine = Engine(EngineSettings(models_dir=models_dir), _print_output)
        self._engine.start("base")

    def transcribe(self, clip: Clip) -> tuple[str, float]:
        """What is heard, and the seconds of audio."""
        with tempfile.NamedTemporaryFile() as spool, clip.path.open("rb") as file:
            decoded = self._pool.decode(
                file.fileno(), spool.fileno(), extension=clip.path.suffix, cancelled=threading.Event()
            )
            options = JobOptions(language=clip.language, beam_size=self._beam_size)
            transcript = self._engine.transcribe(
                Request(0, Path(spool.name), decoded.n_samples, decoded.spans, options),
                Checkpoint(),
                progress=lambda _done_s, _total_s: None,
                cancelled=threading.Event(),
            )
        return " ".join(segment.text for segment in transcript.segments), decoded.decoded_s

    def close(self) -> None:
        """No process is left."""
        self._engine.close(5.0)
        self._pool.close(5.0)


class Peer:
    """faster-whisper's own sequential pipeline on the same weights, with as many threads as cores."""

    def __init__(self, models_dir: Path, beam_size: int) -> None:
        self._beam_size = beam_size
        path = weights.find("base", models_dir, allow_download=False, fetch=runtime.fetch)
        n_cores = len(os.sched_getaffinity(0))
        self._model: Any = _fw.WhisperModel(str(path), device="cpu", compute_type="int8", cpu_threads=n_cores)

    def transcribe(self, clip: Clip) -> tuple[str, float]:
        """What is heard, and the seconds of audio."""
        segments, about = self._model.transcribe(
            str(clip.path), language=clip.language, beam_size=self._beam_size, vad_filter=True
        )
        return " ".join(segment.text.strip() for segment in segments), float(about.duration)


def score(
    name: str, transcribe: Callable[[Clip], tuple[str, float]], corpus: Sequence[Clip], heard: dict[str, dict[str, str]]
) -> Scores:
    """What *transcribe* makes of *corpus*; its texts are put into *heard* by file."""
    scores = Scores()
    for n, clip in enumerate(corpus, 1):
        started = time.perf_counter()
        text, audio_s = transcribe(clip)
        scores.add(clip, text, audio_s, time.perf_counter() - started)
        heard.setdefault(str(clip.path), {"reference": clip.text})[name] = text
        if sys.stderr.isatty():
            print(f"\r{name}: {n} of {len(corpus)}", end="", file=sys.stderr, flush=True)
    return scores


def report(ours: Scores, peer: Scores) -> list[str]:
    """Print the table; what is worse than it may be, in words."""
    print(f"{'language':10}{'minutes':>9}{'ours %':>9}{'peer %':>9}{'ours x':>9}{'peer x':>9}")
    complaints: list[str] = []
    for key in [*sorted(ours.tallies.keys() - {_TOTAL}), _TOTAL]:
        mine, theirs = ours.tallies[key], peer.tallies[key]
        print(f"{key:10}{mine.audio_s / 60:9.1f}{mine.rate:9.2f}{theirs.rate:9.2f}{mine.speed:9.1f}{theirs.speed:9.1f}")
        limit = _MAX_WORSE_TOTAL if key == _TOTAL else _MAX_WORSE_LANGUAGE
        counts = key == _TOTAL or mine.audio_s >= _MIN_LANGUAGE_S
        if counts and mine.rate > theirs.rate + limit:
            complaints.append(
                f"{key}: {mine.rate:.2f} % is more than {limit} points over the peer's {theirs.rate:.2f} %"
            )
    return complaints


def main() -> int:
    """Run both, print the table; 1 if ours is worse than it may be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("corpus", type=Path, nargs="?", help="folder with a manifest.jsonl (default: the test clips)")
    parser.add_argument("--languages", help="only these, as in en,de")
    parser.add_argument("--beam", type=int, default=5, help="beam size of both (default: 5)")
    parser.add_argument("--texts", type=Path, help="write what both heard to this file, as JSON")
    arguments = parser.parse_args()
    wanted: set[str] | None = set(arguments.languages.split(",")) if arguments.languages else None
    corpus = [clip for clip in clips(arguments.corpus) if wanted is None or clip.language in wanted]
    heard: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as models_dir:
        ours = Ours(Path(models_dir), arguments.beam)
        our_scores = score("ours", ours.transcribe, corpus, heard)
        ours.close()
        peer = Peer(Path(models_dir), arguments.beam)
        peer_scores = score("peer", peer.transcribe, corpus, heard)
    if arguments.texts:
        arguments.texts.write_text(json.dumps(heard, ensure_ascii=False, indent=1), "utf-8")
    complaints = report(our_scores, peer_scores)
    for complaint in complaints:
        print(f"worse than it may be: {complaint}")
    return 1 if complaints else 0


def _print_output(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
