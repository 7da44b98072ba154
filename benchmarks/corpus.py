"""What is transcribed: recordings with their references, chosen and brought into one form.

A corpus is any folder with a ``manifest.jsonl``: one object per line with ``file``, ``language``, ``text`` (what is
said in it) and, where they are there, ``primary`` (false: not counted) and ``role``. Without one the project's own
clips are taken. Every contestant gets the same 16 kHz mono WAV files, made here, so that none gains or loses by its
reader of other formats.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from benchmarks import wav
from benchmarks.scoring import Told

OWN_CLIPS: Final = Path(__file__).parent.parent / "tests" / "data"

MEMO_S: Final = 40.0
"""A memo is at most this long."""

LONG_S: Final = 600.0
"""A long recording is at least this long."""

PAUSE_S: Final = (0.4, 1.6)
"""Between two clips that are joined; a speaker's pause between paragraphs."""

_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and what is said in it. *audio_s* is 0 until `prepared`."""

    path: Path
    language: str
    text: str
    audio_s: float = 0.0

    @property
    def told(self) -> Told:
        """What it is scored by."""
        return Told(self.language, self.text, self.audio_s)


def read(corpus: Path | None, languages: Iterable[str] = ()) -> list[Clip]:
    """The clips of *corpus* that count, or the project's own; only those in *languages*, if any are named."""
    wanted = set(languages)
    found = (_clip(entry, folder) for entry, folder in _entries(corpus) if entry.get("primary", True))
    return [clip for clip in found if clip.text and clip.language and (not wanted or clip.language in wanted)]


def long_form(corpus: Path | None, languages: Iterable[str] = ()) -> list[Clip]:
    """The recordings that the manifest says are long ones (role ``longform``), counted or not."""
    wanted = set(languages)
    found = (_clip(entry, folder) for entry, folder in _entries(corpus) if entry.get("role") == "longform")
    return [clip for clip in found if clip.text and clip.language and (not wanted or clip.language in wanted)]


def speechless(corpus: Path | None) -> list[Path]:
    """The recordings of which the manifest says that nothing is said in them: their text is empty, not absent."""
    return [folder / entry["file"] for entry, folder in _entries(corpus) if entry.get("text") == ""]


def prepared(clip: Clip, path: Path, decode: Callable[[Path], wav.Samples]) -> Clip:
    """The same clip as a 16 kHz mono WAV file at *path*, with its length. *decode* reads any recording."""
    samples = decode(clip.path)
    wav.write(path, [samples])
    return replace(clip, path=path, audio_s=len(samples) / wav.RATE_HZ)


def memos(clips: Sequence[Clip], limit_s: float = 0.0) -> list[Clip]:
    """The prepared clips of at most `MEMO_S`, mixed as they would arrive; with *limit_s* no more audio than that.

    Languages take turns, so a limit leaves every language in. The order is the same at every run.
    """
    chance = random.Random(_SEED)  # noqa: S311  # not for secrets
    by_language: dict[str, list[Clip]] = {}
    for clip in clips:
        if 0.0 < clip.audio_s <= MEMO_S:
            by_language.setdefault(clip.language, []).append(clip)
    for group in by_language.values():
        chance.shuffle(group)
    chosen: list[Clip] = []
    for clip in (clip for turn in itertools.zip_longest(*by_language.values()) for clip in turn if clip):
        if limit_s and sum(other.audio_s for other in chosen) + clip.audio_s > limit_s:
            break
        chosen.append(clip)
    chance.shuffle(chosen)
    return chosen


def joined(clips: Sequence[Clip], path: Path, min_s: float = LONG_S) -> Clip:
    """One recording at *path*: the prepared *clips*, of one language, one after the other with pauses between.

    Clips are repeated until it is *min_s* long; all of them are in it at least once. The pauses are the same at every
    run. There must be a clip.
    """
    chance = random.Random(_SEED)  # noqa: S311  # not for secrets
    texts: list[str] = []

    def pieces() -> Iterator[wav.Samples]:
        n_samples = 0
        for n, clip in enumerate(itertools.cycle(clips)):
            if n >= len(clips) and n_samples >= min_s * wav.RATE_HZ:
                return
            texts.append(clip.text)
            samples = wav.read(clip.path)
            pause = np.zeros(int(chance.uniform(*PAUSE_S) * wav.RATE_HZ), np.int16)
            n_samples += len(samples) + len(pause)
            yield samples
            yield pause

    wav.write(path, pieces())
    return Clip(path, clips[0].language, " ".join(texts), wav.duration_s(path))


def long_recordings(
    clips: Sequence[Clip], long_clips: Sequence[Clip], folder: Path, *, min_s: float = LONG_S, n_most: int = 2
) -> list[Clip]:
    """At most *n_most* recordings of at least *min_s*, from prepared clips.

    First the long-form recordings that are that long themselves. Then the clips of a language joined into one, the
    language with the most speech first; its shorter long-form recordings serve where its clips do not last *min_s*.
    """
    whole = [clip for clip in long_clips if clip.audio_s >= min_s]
    by_language: dict[str, list[Clip]] = {}
    for clip in clips:
        by_language.setdefault(clip.language, []).append(clip)
    order = sorted(by_language, key=lambda language: (-_total_s(by_language[language]), language))
    made: list[Clip] = []
    for language in order[: max(0, n_most - len(whole))]:
        parts = by_language[language]
        if _total_s(parts) < min_s:
            parts = [clip for clip in long_clips if clip.language == language and clip not in whole] + parts
        made.append(joined(parts, folder / f"long-{language}.wav", min_s))
    return [*whole[:n_most], *made]


def _total_s(clips: Sequence[Clip]) -> float:
    return sum(clip.audio_s for clip in clips)


def _entries(corpus: Path | None) -> Iterator[tuple[dict[str, Any], Path]]:
    if corpus is None:
        texts = cast("dict[str, dict[str, Any]]", json.loads((OWN_CLIPS / "texts.json").read_text("utf-8")))
        yield from (({"file": name, **entry}, OWN_CLIPS) for name, entry in texts.items())
        return
    for line in (corpus / "manifest.jsonl").read_text("utf-8").splitlines():
        if line.strip():
            yield json.loads(line), corpus


def _clip(entry: dict[str, Any], folder: Path) -> Clip:
    return Clip(folder / entry["file"], entry.get("language") or "", entry.get("text") or "")
