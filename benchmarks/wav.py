"""Mono 16-bit 16 kHz WAV files: the one form in which every contestant gets its audio."""

from __future__ import annotations

import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

RATE_HZ: Final = 16_000

Samples = npt.NDArray[np.int16]


def write(path: Path, pieces: Iterable[Samples]) -> None:
    """The *pieces* one after the other in a new file."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
        for piece in pieces:
            file.writeframes(piece.astype("<i2").tobytes())


def read(path: Path) -> Samples:
    """The samples of a file that `write` made."""
    with wave.open(str(path), "rb") as file:
        return from_bytes(file.readframes(file.getnframes()))


def from_bytes(data: bytes) -> Samples:
    """The samples of a spool file: signed 16-bit little-endian."""
    return np.frombuffer(data, dtype="<i2")


def read_float(path: Path) -> npt.NDArray[np.float32]:
    """The samples as Whisper's programs take them: 1.0 is full scale."""
    return read(path).astype(np.float32) / np.float32(32768.0)


def duration_s(path: Path) -> float:
    """The length of a file that `write` made."""
    with wave.open(str(path), "rb") as file:
        return file.getnframes() / file.getframerate()
