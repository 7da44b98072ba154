"""Recordings in which nobody speaks, made with NumPy: whatever a transcriber writes for them is invented.

Every sound is the same on every machine and at every run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks import wav

LENGTH_S: Final = 12.0

Wave = npt.NDArray[np.float64]


def _times() -> Wave:
    return np.arange(int(LENGTH_S * wav.RATE_HZ)) / wav.RATE_HZ


def _chance() -> np.random.Generator:
    return np.random.default_rng(20)


def _full_scale(wave: Wave) -> Wave:
    """The same, its loudest sample at 1."""
    scaled: Wave = wave / float(np.max(np.abs(wave)))
    return scaled


def _noise(colour: float) -> Wave:
    """Noise whose power falls with frequency to the power of *colour*: 0 white, 1 pink, 2 brown."""
    white = np.fft.rfft(_chance().standard_normal(len(_times())))
    frequencies = np.maximum(np.arange(len(white)), 20.0)
    return _full_scale(np.fft.irfft(white / frequencies ** (colour / 2.0), len(_times())))


def _tone(frequency_hz: float) -> Wave:
    return np.sin(2.0 * np.pi * frequency_hz * _times())


def _hum() -> Wave:
    """Mains hum with its overtones."""
    return sum((_tone(50.0 * n) / n for n in range(1, 8)), np.zeros(len(_times()))) / 2.0


def _note(frequency_hz: float, at_s: float, length_s: float) -> Wave:
    """A plucked string: overtones that die away, the higher the sooner."""
    since = _times() - at_s
    sounding = (since >= 0.0) & (since < length_s)
    overtones = (np.sin(2.0 * np.pi * frequency_hz * n * since) * np.exp(-since * (1.0 + n)) / n for n in range(1, 6))
    return np.where(sounding, sum(overtones, np.zeros(len(since))), 0.0)


def _music() -> Wave:
    """Four chords with a melody over them, twice."""
    chords = ((261.6, 329.6, 392.0), (220.0, 261.6, 329.6), (174.6, 220.0, 261.6), (196.0, 246.9, 293.7))
    melody = (523.3, 587.3, 659.3, 587.3, 523.3, 440.0, 493.9, 392.0)
    total = np.zeros(len(_times()))
    for n in range(8):
        for frequency_hz in chords[n % 4]:
            total += _note(frequency_hz, 1.5 * n, 1.5)
        total += 1.5 * _note(melody[n], 1.5 * n, 0.75) + 1.5 * _note(melody[-n - 1], 1.5 * n + 0.75, 0.75)
    return _full_scale(total)


def _clicks() -> Wave:
    """Short knocks at odd times, as of a keyboard."""
    total = np.zeros(len(_times()))
    for at_s in np.cumsum(_chance().uniform(0.08, 0.6, 40)):
        start = int(at_s * wav.RATE_HZ)
        if start + 400 < len(total):
            total[start : start + 400] += _chance().standard_normal(400) * np.exp(-np.arange(400) / 60.0)
    return _full_scale(total)


def _sweep() -> Wave:
    """A tone that climbs from 200 to 3000 Hz."""
    times = _times()
    return np.sin(2.0 * np.pi * (200.0 * times + (2800.0 / (2.0 * LENGTH_S)) * times**2))


SOUNDS: Final[dict[str, Callable[[], Wave]]] = {
    "silence": lambda: np.zeros(len(_times())),
    "faint noise": lambda: 0.001 * _noise(0.0),
    "white noise": lambda: 0.3 * _noise(0.0),
    "pink noise": lambda: 0.5 * _noise(1.0),
    "brown noise": lambda: 0.7 * _noise(2.0),
    "hum": lambda: 0.3 * _hum(),
    "tone 440 Hz": lambda: 0.5 * _tone(440.0),
    "tone 1 kHz": lambda: 0.5 * _tone(1000.0),
    "dial tone": lambda: 0.25 * (_tone(350.0) + _tone(440.0)),
    "sweep": lambda: 0.4 * _sweep(),
    "clicks": lambda: 0.5 * _clicks(),
    "music": lambda: 0.6 * _music(),
    "music and noise": lambda: 0.4 * _music() + 0.2 * _noise(1.0),
}
"""The name of each sound, and what makes its samples: between -1 and 1, 16 kHz."""


def write_all(folder: Path) -> dict[str, Path]:
    """A file for each sound, in *folder*, by name."""
    paths: dict[str, Path] = {}
    for name, make in SOUNDS.items():
        paths[name] = folder / f"{name.replace(' ', '-')}.wav"
        samples = np.clip(make() * 32767.0, -32768, 32767).astype(np.int16)
        wav.write(paths[name], [samples])
    return paths
