"""Recordings for tests with the real model: the sample clips cut, joined and made worse, and their texts asked for."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import wave
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.decode.pool import Decoded, DecodeLimits, DecodePool
from daemon.engine.client import Checkpoint, Engine, EngineSettings, Limits, Request
from daemon.options import JobOptions
from daemon.transcript import SAMPLE_RATE_HZ, Span, Transcript
from tests.harness import DATA

Sound = npt.NDArray[np.int16]
"""Mono samples at 16 kHz, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A sample recording: its sound, where the speech detector heard speech, and what is said in it."""

    sound: Sound
    spans: tuple[Span, ...]
    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one recording: its transcript, or why there is none."""

    transcript: Transcript | None
    error: Exception | None = None

    @property
    def text(self) -> str:
        """All of its words."""
        assert self.transcript is not None, self.error
        return " ".join(segment.text for segment in self.transcript.segments)


def load_clips() -> dict[str, Clip]:
    """Every sample in which somebody speaks, by the name of its file without the ending."""
    content: dict[str, dict[str, Any]] = json.loads((DATA / "texts.json").read_text(encoding="utf-8"))
    with decoding() as decode:
        return {
            Path(name).stem: Clip(*decode(DATA / name), said["text"], said["language"])
            for name, said in content.items()
            if said["text"]
        }


Decode = Callable[[Path], tuple[Sound, tuple[Span, ...]]]
"""What the decode process makes of a file."""


def decode_file(pool: DecodePool, path: Path) -> Decoded:
    """What *pool* makes of a file; the sound itself is dropped."""
    recording_fd, spool_fd = os.open(path, os.O_RDONLY), os.memfd_create("spool")
    try:
        return pool.decode(recording_fd, spool_fd, extension=path.suffix, cancelled=threading.Event())
    finally:
        os.close(recording_fd)
        os.close(spool_fd)


@contextlib.contextmanager
def decoding() -> Generator[Decode, None, None]:
    """What the real decode process makes of a file: its sound, and the spans of speech in it."""
    pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=lambda _name, _line: None)

    def decode(path: Path) -> tuple[Sound, tuple[Span, ...]]:
        with path.open("rb") as file, tempfile.NamedTemporaryFile() as spool:
            found = pool.decode(
                file.fileno(), spool.fileno(), extension=path.suffix.lstrip("."), cancelled=threading.Event()
            )
            return np.fromfile(spool.name, "<i2"), found.spans

    try:
        yield decode
    finally:
        pool.close(1.0)


@contextlib.contextmanager
def running(settings: EngineSettings, limits: Limits | None = None) -> Generator[Engine, None, None]:
    """An engine whose processes end with the block."""
    engine = Engine(settings, lambda _name, _line: None, limits=limits)
    try:
        yield engine
    finally:
        engine.close(5.0)


def request(folder: Path, name: str, sound: Sound, options: JobOptions, spans: Sequence[Span] | None = None) -> Request:
    """*sound* as a spool file, all of it speech unless *spans* say better."""
    spool = folder / f"{name}.s16"
    spool.write_bytes(sound.astype("<i2").tobytes())
    return Request(1, spool, len(sound), tuple(spans or (Span(0, len(sound)),)), options)


def ask(
    engine: Engine,
    wanted: Request,
    *,
    company: int | None = None,
    progress: Callable[[float, float], None] = lambda _done_s, _total_s: None,
    cancelled: threading.Event | None = None,
) -> Told:
    """The end of one recording, in this thread."""
    try:
        transcript = engine.transcribe(
            wanted, Checkpoint(), progress=progress, cancelled=cancelled or threading.Event(), company=company
        )
    except Exception as error:  # noqa: BLE001  # for the test to look at
        return Told(None, error)
    return Told(transcript)


def ask_all(engine: Engine, wanted: Mapping[str, Request]) -> dict[str, Told]:
    """The ends of all recordings, each asked by a thread of its own."""
    with ThreadPoolExecutor(len(wanted)) as pool:
        asked = {name: pool.submit(ask, engine, one) for name, one in wanted.items()}
        return {name: future.result() for name, future in asked.items()}


def save(path: Path, sound: Sound) -> Path:
    """*sound* as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", "not compressed"))
        file.writeframes(sound.astype("<i2").tobytes())
    return path


def silence(seconds: float) -> Sound:
    """Nothing at all."""
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.int16)


def joined(*sounds: Sound) -> Sound:
    """One after the other."""
    return np.concatenate(sounds)


def trimmed(sound: Sound) -> Sound:
    """Without what is quieter than 2 % of its peak at both ends."""
    loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > np.abs(sound.astype(np.int32)).max() // 50)
    kept: Sound = sound[loud[0] : loud[-1] + 1]
    return kept


def faster(sound: Sound, factor: float) -> Sound:
    """Played *factor* times as fast, higher in pitch."""
    times = np.arange(0, len(sound) - 1, factor)
    played: Sound = np.interp(times, np.arange(len(sound)), sound).astype(np.int16)
    return played


def noisy(sound: Sound, ratio: float, seed: int) -> Sound:
    """With white noise of *ratio* of its level."""
    level = float(np.sqrt(np.mean(np.square(sound.astype(np.float64)))))
    noise = np.random.default_rng(seed).normal(0.0, ratio * level, len(sound))
    worse: Sound = np.clip(sound + noise, -32768, 32767).astype(np.int16)
    return worse


def resident_mb(pid: int) -> float:
    """The memory of a process that is in use now (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"process {pid} has no memory any more")
