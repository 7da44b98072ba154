"""What every reader hands on: one sound track as a stream of frames. Knows no reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from av import logging as av_logging
from av.audio.frame import AudioFrame

from daemon.decode.settings import DecodeLimits
from daemon.errors import RecordingTooLarge, telling


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without sound that the container's times show and that no packet fills."""

    duration_s: float


class Track(Protocol):
    """An opened sound track. *declared_s* is what the container says, None if nothing."""

    reader: str
    codec: str
    sample_rate_hz: int
    channels: int
    declared_s: float | None
    n_damaged: int

    def frames(self) -> Iterator[AudioFrame | Gap]:
        """The track from its start to its end, in blocks of bounded size; counts up *n_damaged* on the way."""
        ...

    def close(self) -> None:
        """Let go of the reader's memory; the descriptor stays open."""
        ...


def check_shape(rate_hz: int | None, channels: int | None, limits: DecodeLimits) -> None:
    """Raises RecordingTooLarge where a sample rate or a number of channels is outside of *limits*."""
    if rate_hz and not limits.min_rate_hz <= rate_hz <= limits.max_rate_hz:
        words = f"the sample rate is {rate_hz} Hz; between {limits.min_rate_hz} and {limits.max_rate_hz} Hz are read"
        raise telling(RecordingTooLarge(words), "odd_rate", rate_hz=rate_hz)
    if channels and channels > limits.max_channels:
        words = f"it has {channels} channels; at most {limits.max_channels} are read"
        raise telling(RecordingTooLarge(words), "too_many_channels", channels=channels, limit=limits.max_channels)


def check_duration(duration_s: float | None, limits: DecodeLimits) -> None:
    """Raises RecordingTooLarge where *duration_s* is over the limit."""
    if duration_s is not None and duration_s > limits.max_duration_s:
        words = (
            f"it is longer than the limit of {limits.max_duration_s / 3600:g} hours "
            "(split the recording, or raise the limit in the configuration)"
        )
        raise telling(RecordingTooLarge(words), "too_long", limit_h=limits.max_duration_s / 3600)


def silence_av_log() -> None:
    """FFmpeg writes nothing of its own to stderr; what went wrong comes as exceptions."""
    av_logging.set_level(None)
