"""What the decode processes are told at their start: limits and speech thresholds. Pure, both sides read it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from daemon.transcript import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

MISSING_S: Final = 2.0
MISSING_RATIO: Final = 0.01
"""Decoded audio may be shorter than declared by the larger of both: encoders round, players estimate."""

APART_SAMPLES: Final = 30 * SAMPLE_RATE_HZ
"""The silence in a spool file between two channels that are heard apart. The engine ends a window at a tenth of it."""


def is_short(decoded_s: float, declared_s: float | None) -> bool:
    """Whether noticeably less came out of a recording than its header declares."""
    return declared_s is not None and decoded_s < declared_s - max(MISSING_S, MISSING_RATIO * declared_s)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a recording may ask of us; a crafted file of some kilobytes can otherwise claim years of audio."""

    max_duration_s: float = 12 * 3600.0
    max_source_bytes: int = 8 * 1024**3
    min_rate_hz: int = 2_000
    max_rate_hz: int = 768_000
    max_channels: int = 64

    @property
    def max_spool_bytes(self) -> int:
        """The spool file of a recording of *max_duration_s*, with two channels one after the other."""
        return (2 * int(self.max_duration_s * SAMPLE_RATE_HZ) + APART_SAMPLES) * BYTES_PER_SAMPLE


@dataclass(frozen=True, slots=True)
class SpeechThresholds:
    """When speech starts and ends, as probabilities, and how far its spans are widened.

    Silero's own defaults (snakers4/silero-vad, faster-whisper's VadOptions), but 500 ms of silence where
    faster-whisper waits for 2000: long spans are cut anew for the model, and silence between is work saved.
    """

    start: float = 0.5
    end: float = 0.35
    min_silence_ms: int = 500
    pad_ms: int = 400


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """Everything that a decode process is started with.

    With *programs* it may start ffmpeg, takes one recording and asks only pydub about it.
    """

    limits: DecodeLimits
    thresholds: SpeechThresholds
    programs: bool = False

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DecodeSettings:
        """The settings that `to_json` wrote."""
        data = json.loads(text)
        return cls(DecodeLimits(**data["limits"]), SpeechThresholds(**data["thresholds"]), data["programs"])
