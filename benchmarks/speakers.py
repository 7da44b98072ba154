"""Who says what on two channels: conversations of two people, made of a corpus, and recordings that have both on each.

    python -m benchmarks.speakers [CORPUS] [--pairs 3]

Two people of the corpus take turns, a voice on each channel: as it is, with leaks and echoes, as MP3. Then the same
conversation where both channels have both voices, or one has none. All go the way of a file on the command line, with
``speakers`` on and off. A word counts as right where the right person says it. Recordings of the corpus with two
channels are taken too, scored by channel where the manifest has a ``channel_text``.

Exit status 1 if channels were taken for what they are not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none

from benchmarks import corpus, tables
from benchmarks.scoring import errors
from daemon.config import Config, load
from daemon.decode.pool import DecodeLimits, DecodePool
from daemon.oneshot import open_oneshot, options_for
from daemon.transcript import Segment

Wave = npt.NDArray[np.floating[Any]]
"""Samples at 16 kHz, shape (n,), or (n, 2)."""

RATE_HZ: Final = 16_000
TURNS: Final = 6
PAUSE_S: Final = 0.5
LOUDNESS: Final = 0.05
NAMES: Final = ("left", "right")

_CHANCE: Final = np.random.default_rng(1)


@dataclass(frozen=True, slots=True)
class Talk:
    """Turns of two people, a voice on each channel, and their words: of each, and of both in order."""

    sound: Wave
    said: tuple[str, str]
    together: str
    language: str


@dataclass(slots=True)
class Row:
    """One kind of recording: how many, what its channels were taken for, and the words wrong of how many."""

    wanted: str
    layouts: list[str] = field(default_factory=list[str])
    apart: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    mixed: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


def _noise(shape: tuple[int, ...], below_db: float) -> Wave:
    return (10 ** (-below_db / 20) * _CHANCE.standard_normal(shape)).astype(np.float32)


def _later(sound: Wave, seconds: float) -> Wave:
    return np.concatenate((np.zeros((int(seconds * RATE_HZ), *sound.shape[1:]), np.float32), sound))[: len(sound)]


def _room(sound: Wave, tail_db: float, seconds: float = 0.5) -> Wave:
    """*sound* across a room whose echoes die away in *seconds* and are *tail_db* louder than what comes straight."""
    n_tail = int(seconds * RATE_HZ)
    tail = _CHANCE.standard_normal(n_tail) * 10 ** (-3 * np.arange(n_tail) / n_tail)
    response = np.concatenate(([1.0], tail * 10 ** (tail_db / 20) / np.sqrt(np.sum(tail**2))))
    n_fft = 1 << (len(sound) + len(response)).bit_length()
    heard = np.fft.irfft(np.fft.rfft(sound, n_fft) * np.fft.rfft(response, n_fft), n_fft)[: len(sound)]
    return heard.astype(np.float32)


def _two_in_a_room(sound: Wave, other_db: float, tail_db: float) -> Wave:
    """Two microphones, each nearer to one of both: the other one is *other_db* louder (below 0: softer)."""
    left, right, part = sound[:, 0], sound[:, 1], np.float32(10 ** (other_db / 20))
    return np.stack(
        [
            _room(left, tail_db) + part * _room(_later(right, 0.003), tail_db),
            part * _room(_later(left, 0.003), tail_db) + _room(right, tail_db),
        ],
        axis=1,
    )


def _leaking(sound: Wave, leak_db: float, late_s: float = 0.0) -> Wave:
    leak = np.float32(10 ** (-leak_db / 20))
    return sound + leak * _later(sound[:, ::-1], late_s) + _noise(sound.shape, 70)


def _beside(sound: Wave, other: Wave) -> Wave:
    return np.stack([sound.sum(axis=1), other], axis=1)


def _hum(n_samples: int) -> Wave:
    return (0.1 * np.sin(2 * np.pi * 50 * np.arange(n_samples) / RATE_HZ)).astype(np.float32)


KINDS: Final[Mapping[str, tuple[str, str, Callable[[Wave], Wave]]]] = {
    "a call": ("distinct", "wav", lambda sound: sound),
    "a call, MP3": ("distinct", "mp3", lambda sound: sound),
    "a call, Vorbis": ("distinct", "ogg", lambda sound: sound),
    "one 20 dB softer": ("distinct", "wav", lambda sound: sound * np.array([0.1, 1], np.float32)),
    "each leaks, -30 dB": ("distinct", "wav", lambda sound: _leaking(sound, 30)),
    "each leaks, -15 dB": ("distinct", "wav", lambda sound: _leaking(sound, 15)),
    "echo after 250 ms, -15 dB": ("distinct", "wav", lambda sound: _leaking(sound, 15, 0.25)),
    "noise, 20 dB below": ("distinct", "wav", lambda sound: sound + _noise(sound.shape, 46)),
    "both on both": ("joint", "wav", lambda sound: _beside(sound, sound.sum(axis=1))),
    "both on both, MP3": ("joint", "mp3", lambda sound: _beside(sound, sound.sum(axis=1))),
    "placed left and right, 6 dB": ("joint", "wav", lambda sound: sound + np.float32(0.5) * sound[:, ::-1]),
    "two microphones, dry room": ("joint", "wav", lambda sound: _two_in_a_room(sound, -6, -6)),
    "two microphones, echoing room": ("joint", "wav", lambda sound: _two_in_a_room(sound, -6, 3)),
    "one 100 ms late": ("joint", "wav", lambda sound: _beside(sound, _later(sound.sum(axis=1), 0.1))),
    "one upside down": ("inverted", "wav", lambda sound: _beside(sound, -sound.sum(axis=1))),
    "one silent": ("one_live", "wav", lambda sound: _beside(sound, np.zeros(len(sound), np.float32))),
    "one hums": ("one_live", "wav", lambda sound: _beside(sound, _hum(len(sound)))),
}
"""What its channels are to be taken for, the format, and how it is made of a voice on each channel."""


def talks(folder: Path | None, n_pairs: int, decode: Callable[[Path], Wave]) -> Iterator[Talk]:
    """Conversations of the people of *folder* who say enough, in the language with most of them."""
    people: dict[tuple[str, str], list[corpus.Clip]] = {}
    for entry, clip in _clips(folder):
        if entry.get("channels", 1) == 1 and entry.get("role", "asr") == "asr":
            people.setdefault((clip.language, str(entry.get("speaker") or clip.path.stem)), []).append(clip)
    n_turns = TURNS // 2 if folder is not None else 1
    enough = [who for who, clips in people.items() if len(clips) >= n_turns and who[0] not in ("", "zh", "ja", "ko")]
    language = max({who[0] for who in enough}, key=[who[0] for who in enough].count)
    chosen = sorted(who for who in enough if who[0] == language)
    for one, other in list(zip(chosen, chosen[1:] + chosen[:1], strict=True))[:n_pairs]:
        yield _talk(people[one][:n_turns], people[other][:n_turns], decode)


def _talk(ones: Sequence[corpus.Clip], others: Sequence[corpus.Clip], decode: Callable[[Path], Wave]) -> Talk:
    turns = [(channel, clip) for pair in zip(ones, others, strict=True) for channel, clip in enumerate(pair)]
    voices = [decode(clip.path) for _, clip in turns]
    pause = int(PAUSE_S * RATE_HZ)
    sound = np.zeros((sum(len(voice) + pause for voice in voices), 2), np.float32)
    at = 0
    for (channel, _), voice in zip(turns, voices, strict=True):
        sound[at : at + len(voice), channel] = voice * np.float32(LOUDNESS / np.sqrt(np.mean(voice**2)))
        at += len(voice) + pause
    said = tuple(" ".join(clip.text for channel, clip in turns if channel == one) for one in (0, 1))
    return Talk(sound, (said[0], said[1]), " ".join(clip.text for _, clip in turns), ones[0].language)


def _clips(folder: Path | None) -> Iterator[tuple[dict[str, Any], corpus.Clip]]:
    by_path = {clip.path: clip for clip in corpus.read(folder)}
    if folder is None:
        yield from (({}, clip) for clip in by_path.values())
        return
    for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines():
        entry: dict[str, Any] = json.loads(line) if line.strip() else {}
        if (clip := by_path.get(folder / entry.get("file", ""))) is not None:
            yield entry, clip


def _decoded(pool: DecodePool) -> Callable[[Path], Wave]:
    def decode(path: Path) -> Wave:
        with path.open("rb") as file, tempfile.TemporaryFile() as spool:
            pool.decode(file.fileno(), spool.fileno(), extension=path.suffix[1:], cancelled=Event())
            spool.seek(0)
            return np.frombuffer(spool.read(), "<i2").astype(np.float32) / np.float32(32768)

    return decode


def _layout(pool: DecodePool, path: Path) -> str:
    with path.open("rb") as file, tempfile.TemporaryFile() as spool:
        extension = path.suffix[1:]
        return pool.decode(file.fileno(), spool.fileno(), extension=extension, cancelled=Event(), speakers=True).layout


@dataclass(frozen=True, slots=True)
class Wanted:
    """A recording to be transcribed: of which kind, and what is said in it, by whom where that can be told apart."""

    path: Path
    kind: str
    wanted: str
    language: str
    said: tuple[str, str] | None
    together: str


def recordings(options: argparse.Namespace, pool: DecodePool, folder: Path) -> Iterator[Wanted]:
    """All of them, made in *folder*."""
    for n, talk in enumerate(talks(options.corpus, options.pairs, _decoded(pool))):
        for m, (kind, (wanted, format, make)) in enumerate(KINDS.items()):
            path = folder / f"{n}-{m}.{format}"
            soundfile.write(path, np.clip(make(talk.sound), -1, 1), RATE_HZ)
            said = talk.said if wanted == "distinct" else None
            yield Wanted(path, kind, wanted, talk.language, said, talk.together)
    if options.corpus is not None:
        yield from _found(options.corpus)


def _found(folder: Path) -> Iterator[Wanted]:
    """The recordings of the corpus with two channels."""
    for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines():
        entry: dict[str, Any] = json.loads(line) if line.strip() else {}
        if entry.get("channels") == 2 and entry.get("text"):
            apart = entry.get("channel_text")
            kind, wanted = ("corpus: two people", "distinct") if apart else ("corpus: other stereo", "joint")
            said = (apart[0], apart[1]) if apart else None
            yield Wanted(folder / entry["file"], kind, wanted, entry["language"], said, entry["text"])


def measure(wanted: Sequence[Wanted], config: Config, pool: DecodePool) -> dict[str, Row]:
    """What became of each kind."""
    rows: dict[str, Row] = {}
    for language in sorted({each.language for each in wanted}):
        group = [each for each in wanted if each.language == language]
        for speakers in ("auto", "off"):
            options = options_for(config, {"speakers": speakers, "speaker_names": NAMES, "language": language})
            with open_oneshot(config, "base", lambda _name, _line: None) as one:
                paths = [os.fsencode(each.path) for each in group]
                ends = list(one.transcribe(paths, options, None, _nobody, write=False))
            for each, done in zip(group, ends, strict=True):
                row = rows.setdefault(each.kind, Row(each.wanted))
                assert done.document is not None, (each.path, done.error)
                _count(row, each, done.document.transcript.segments, apart=speakers == "auto")
                if speakers == "auto":
                    row.layouts.append(_layout(pool, each.path))
    return rows


def _count(row: Row, each: Wanted, lines: Sequence[Segment], *, apart: bool) -> None:
    if not apart:
        row.mixed.append(errors(each.together, " ".join(line.text for line in lines), each.language))
        return
    for name, text in zip(NAMES, each.said, strict=True) if each.said else [("", each.together)]:
        told = " ".join(line.text for line in lines if line.speaker == name)
        row.apart.append(errors(text, told, each.language))


def _nobody(_path: bytes, _stage: str, _done_s: float, _total_s: float) -> None:
    """Nobody looks at the progress."""


def table(rows: Mapping[str, Row]) -> str:
    """One line a kind."""
    lines = [
        [
            kind,
            str(len(row.layouts)),
            row.wanted,
            f"{sum(layout == row.wanted for layout in row.layouts)} of {len(row.layouts)}",
            _rate(row.apart),
            _rate(row.mixed),
        ]
        for kind, row in rows.items()
    ]
    return tables.markdown(
        ["channels", "recordings", "are", "taken for that", "words wrong %", "mixed to one %"], lines
    )


def _rate(counts: Sequence[tuple[int, int]]) -> str:
    return f"{100 * sum(wrong for wrong, _ in counts) / max(1, sum(words for _, words in counts)):.1f}"


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description="Who says what on two channels.")
    parser.add_argument("corpus", type=Path, nargs="?", help="a folder with a manifest.jsonl")
    parser.add_argument("--pairs", type=int, default=3, help="conversations of each kind")
    options = parser.parse_args()
    pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=lambda _name, _line: None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "inbox").mkdir()
        file = folder / "transcribed.toml"
        file.write_text("state_dir = 'state'\n[engine]\ndevice = 'cpu'\n[[inbox]]\npath = 'inbox'\n")
        (folder / "state").mkdir()
        rows = measure(list(recordings(options, pool, folder)), load(file, {}).config, pool)
    pool.close(1.0)
    print(table(rows))
    return int(any(layout != row.wanted for row in rows.values() for layout in row.layouts))


if __name__ == "__main__":
    sys.exit(main())
