"""Frames of any shape to 16 kHz mono samples in a spool file. Knows no reader."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
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
    resampling = Resampling()
    for frame in frames:
        yield from resampling.take(frame)
    yield from resampling.end()


class Resampling:
    """The same for whoever has the frames one by one; with *n_channels* of two, samples of both by turns."""

    def __init__(self, n_channels: int = 1) -> None:
        self._layout = "mono" if n_channels == 1 else "stereo"
        self._sample_bytes = n_channels * BYTES_PER_SAMPLE
        self._resampler: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None

    def take(self, frame: AudioFrame | Gap) -> Iterator[bytes]:
        """The samples that are ready by now."""
        if isinstance(frame, Gap):
            yield from self._zeros(frame.duration_s)
            return
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:  # the sound changes in the middle
            yield from self.end()
        if self._resampler is None:
            self._resampler = AudioResampler(format="s16", layout=self._layout, rate=SAMPLE_RATE_HZ)
            self._shape = shape
        yield from self._samples(self._resampler, frame)

    def end(self) -> Iterator[bytes]:
        """The samples that are left."""
        if self._resampler is not None:
            yield from self._samples(self._resampler, None)
            self._resampler = None

    def _samples(self, resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[bytes]:
        try:
            portions: list[AudioFrame | None] = [*resampler.resample(frame)]
            for made in portions:
                if made is not None:  # what a resampler with nothing to do gives back for the end
                    yield bytes(made.planes[0])[: made.samples * self._sample_bytes]
        except (av.error.FFmpegError, ValueError) as error:
            raise UnreadableRecording(f"its samples cannot be converted: {error}") from error

    def _zeros(self, duration_s: float) -> Iterator[bytes]:
        left = round(duration_s * SAMPLE_RATE_HZ) * self._sample_bytes
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
