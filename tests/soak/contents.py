"""What people record in a soak: no two files alike, so that every one has to be transcribed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none

from daemon.transcript import SAMPLE_RATE_HZ
from tests.harness import words_of
from tests.recordings import Clip, Sound

LONG: Final = "lecture"
"""The one clip of several windows."""


class Fate(Enum):
    """What a recording deserves."""

    SPEECH = "speech"
    SILENCE = "silence"
    CUT_OFF = "cut off"
    BROKEN = "broken"
    EMPTY = "empty"

    @property
    def state(self) -> str:
        """The state of its newest job, when all is done."""
        return {Fate.BROKEN: "failed", Fate.EMPTY: "waiting"}.get(self, "done")

    @property
    def outcomes(self) -> tuple[str | None, ...]:
        """The outcomes that are right. One that was only touched is a duplicate."""
        outcome = {Fate.SPEECH: "ok", Fate.SILENCE: "no_speech", Fate.CUT_OFF: "partial"}.get(self)
        return (None,) if outcome is None else (outcome, "duplicate")


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file; *said* is the text of the clip that it was cut from."""

    data: bytes
    extension: str
    fate: Fate
    said: str = ""


_Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Form:
    """A container and codec that libsndfile writes."""

    extension: str
    format: str
    subtype: str
    rate_hz: int = SAMPLE_RATE_HZ
    n_channels: int = 1


_FORMS: Final = (
    _Form("wav", "WAV", "PCM_16"),
    _Form("wav", "WAV", "ULAW", rate_hz=8000),
    _Form("WAV", "WAV", "FLOAT", rate_hz=44_100, n_channels=2),
    _Form("flac", "FLAC", "PCM_16"),
    _Form("flac", "FLAC", "PCM_24", rate_hz=48_000, n_channels=2),
    _Form("ogg", "OGG", "VORBIS", rate_hz=22_050),
    _Form("opus", "OGG", "OPUS", rate_hz=48_000),
    _Form("mp3", "MP3", "MPEG_LAYER_III", rate_hz=44_100),
    _Form("aiff", "AIFF", "PCM_16", rate_hz=22_050),
    _Form("caf", "CAF", "PCM_16"),
    _Form("w64", "W64", "PCM_16"),
    _Form("au", "AU", "PCM_16"),
)


class Studio:
    """Makes recordings. The same *random* makes the same ones."""

    def __init__(self, clips: Mapping[str, Clip], random: Random) -> None:
        self._clips = dict(sorted(clips.items()))
        self._random = random
        self._makers: dict[Callable[[], Content], float] = {
            self.speech: 78,
            self._silence: 7,
            self._broken: 7,
            self._cut_off: 5,
            self._empty: 3,
        }

    def any(self) -> Content:
        """A recording of any fate, most of them of speech."""
        (make,) = self._random.choices(list(self._makers), list(self._makers.values()))
        return make()

    def speech(self) -> Content:
        """Two to six seconds of somebody speaking; one in twenty is long enough for several windows."""
        random = self._random
        sound, said = self._speech(15.0, 30.0) if random.random() < 0.05 else self._speech(2.0, 6.0)
        return self._written(sound, random.choice(_FORMS), Fate.SPEECH, said)

    def _speech(self, least_s: float, most_s: float) -> tuple[_Samples, str]:
        random = self._random
        long = least_s > 10
        clip = self._clips[LONG] if long else random.choice([*self._clips.values()])
        n_wanted = round(random.uniform(least_s, most_s) * SAMPLE_RATE_HZ)
        # From a start of speech: the detector must find some in every cut.
        begin = 0 if long else random.choice([span.start for span in clip.spans])
        cut = clip.sound[begin : begin + n_wanted]
        if len(cut) < least_s * SAMPLE_RATE_HZ:
            cut = clip.sound
        return _as_float(cut) * 10 ** (random.uniform(-9, 0) / 20), clip.text

    def _silence(self) -> Content:
        random = self._random
        n_samples = round(random.uniform(1.0, 5.0) * SAMPLE_RATE_HZ)
        times = np.arange(n_samples) / SAMPLE_RATE_HZ
        level = random.choice((0.0, 0.1))
        tone: _Samples = (level * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
        return self._written(tone, random.choice(_FORMS[:5]), Fate.SILENCE)

    def _cut_off(self) -> Content:
        """A copy that broke off: half of what the header says."""
        sound, said = self._speech(15.0, 16.0)
        whole = self._written(sound, _FORMS[0], Fate.CUT_OFF, said)
        n_bytes = round(len(whole.data) * self._random.uniform(0.2, 0.5))
        return Content(whole.data[:n_bytes], whole.extension, Fate.CUT_OFF, said)

    def _broken(self) -> Content:
        random = self._random
        text = " ".join(random.choices(["no", "sound", "in", "here", "<html>", "404"], k=random.randint(50, 500)))
        data = random.choice((text.encode(), bytes(random.randint(1000, 9000)), b"%PDF-1.7\n" + text.encode()))
        return Content(data, random.choice(("mp3", "wav", "m4a", "flac", "mp4")), Fate.BROKEN)

    def _empty(self) -> Content:
        return Content(b"", self._random.choice(("wav", "mp3")), Fate.EMPTY)

    def _written(self, sound: _Samples, form: _Form, fate: Fate, said: str = "") -> Content:
        file = io.BytesIO()
        samples: Any = np.stack([_at_rate(sound, form.rate_hz)] * form.n_channels, axis=1)
        soundfile.write(file, samples, form.rate_hz, format=form.format, subtype=form.subtype)
        return Content(file.getvalue(), form.extension, fate, said)


def _as_float(sound: Sound) -> _Samples:
    scaled: _Samples = (sound / 32768).astype(np.float32)
    return scaled


def _at_rate(sound: _Samples, rate_hz: int) -> _Samples:
    times = np.arange(0, len(sound), SAMPLE_RATE_HZ / rate_hz)
    other: _Samples = np.interp(times, np.arange(len(sound)), sound).astype(np.float32)
    return other


def likeness(text: str, said: str) -> float:
    """Which part of a transcript is in *said*, by three letters at a time; 1.0 for none."""
    found, there = _threes(text), _threes(said)
    return len(found & there) / len(found) if found else 1.0


def _threes(text: str) -> set[str]:
    letters = " ".join(words_of(text))
    return {letters[at : at + 3] for at in range(len(letters) - 2)}
