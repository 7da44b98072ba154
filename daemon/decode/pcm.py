"""Frames of any shape to 16 kHz mono samples in a spool file. Knows no reader."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import av.error
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from daemon.decode.settings import DecodeLimits
from daemon.decode.source import Pulse
from daemon.decode.track import Gap, check_duration
from daemon.errors import UnreadableRecording
from daemon.transcript import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

_WRITE_BYTES: Final = 256 * 1024
_GAP_BLOCK_BYTES: Final = 1024 * 1024


def resampled(frames: Iterable[AudioFrame | Gap]) -> Iterator[bytes]:
    """*frames* as signed 16-bit mono samples at SAMPLE_RATE_HZ, in portions.

    FFmpeg's resampler with its defaults: the same mixing and filter as faster-whisper's `decode_audio`, so that the
    model hears the same. Raises UnreadableRecording where a frame makes no sense.
    """
    resampler: AudioResampler | None = None
    shape: tuple[str, str, int] | None = None
    ending: list[None] = [None]
    for frame in chain(frames, ending):
        if isinstance(frame, Gap):
            yield from _zeros(frame.duration_s)
            continue
        seen = None if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is not None and seen != shape:  # the sound changes in the middle, or ends
            yield from _samples(resampler, None)
            resampler = None
        if frame is not None:
            resampler = resampler or AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
            shape = seen
            yield from _samples(resampler, frame)


def _samples(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[bytes]:
    try:
        portions: list[AudioFrame | None] = [*resampler.resample(frame)]
        for mono in portions:
            if mono is not None:  # what a resampler with nothing to do gives back for the end
                yield bytes(mono.planes[0])[: mono.samples * BYTES_PER_SAMPLE]
    except (av.error.FFmpegError, ValueError) as error:
        raise UnreadableRecording(f"its samples cannot be converted: {error}") from error


def _zeros(duration_s: float) -> Iterator[bytes]:
    left = round(duration_s * SAMPLE_RATE_HZ) * BYTES_PER_SAMPLE
    while left > 0:
        yield bytes(min(left, _GAP_BLOCK_BYTES))
        left -= _GAP_BLOCK_BYTES


class Spool:
    """Writes the spool file from its start, whatever the offset of its descriptor; stops at the limit."""

    def __init__(self, fd: int, limits: DecodeLimits, pulse: Pulse) -> None:
        self._fd = fd
        self._limits = limits
        self._pulse = pulse
        self._waiting = bytearray()
        self._written = 0

    def write(self, portions: Iterable[bytes]) -> int:
        """The number of samples written; the file then holds these and nothing else.

        Raises RecordingTooLarge as soon as there are more than the limit allows, OSError where the disk is full.
        """
        for portion in portions:
            self._waiting += portion
            if len(self._waiting) >= _WRITE_BYTES:
                self._drain()
        self._drain()
        os.ftruncate(self._fd, self._written)
        return self._written // BYTES_PER_SAMPLE

    def _drain(self) -> None:
        decoded_s = (self._written + len(self._waiting)) / (SAMPLE_RATE_HZ * BYTES_PER_SAMPLE)
        check_duration(decoded_s, self._limits)
        with memoryview(self._waiting) as rest:
            done = 0
            while done < len(rest):
                done += os.pwrite(self._fd, rest[done:], self._written + done)
        self._written += done
        self._waiting.clear()
        self._pulse.beat(decoded_s)
