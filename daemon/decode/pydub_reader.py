"""The last resort: pydub through a system ffmpeg, where there is one and the two readers before found nothing.

Only for name extensions whose demuxer and decoder are known: pydub would otherwise let ffprobe guess, and that guess
may be a playlist.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from typing import Any, Final, Protocol, cast

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from daemon.decode.settings import DecodeLimits
from daemon.decode.soundfile_reader import frame_of
from daemon.decode.track import check_duration, check_shape
from daemon.errors import RecordingTooLarge, UnreadableRecording, telling

_KNOWN: Final = {
    "aac": ("aac", "aac"), "ac3": ("ac3", "ac3"), "amr": ("amr", "amrnb"), "ape": ("ape", "ape"),
    "ds2": ("dss", "dss_sp"), "dss": ("dss", "dss_sp"), "flac": ("flac", "flac"), "m4a": ("mov", "aac"),
    "m4b": ("mov", "aac"), "mkv": ("matroska", "aac"), "mov": ("mov", "aac"), "mp3": ("mp3", "mp3"),
    "mp4": ("mov", "aac"), "mpg": ("mpeg", "mp2"), "oga": ("ogg", "vorbis"), "ogg": ("ogg", "vorbis"),
    "opus": ("ogg", "opus"), "ra": ("rm", "cook"), "tta": ("tta", "tta"),
    "webm": ("matroska", "opus"), "wma": ("asf", "wmav2"), "wmv": ("asf", "wmav2"), "wv": ("wv", "wavpack"),
}  # fmt: skip

_BLOCK_S: Final = 120
_MAX_S: Final = 3 * 3600.0
"""pydub decodes from the start for each block, so the work grows with the square of the length."""


class _Segment(Protocol):
    """What we use of pydub.AudioSegment, which has no types."""

    raw_data: bytes
    frame_rate: int
    channels: int
    sample_width: int


class _Reads(Protocol):
    def __call__(
        self,
        file: str,
        format: str,
        codec: str,
        start_second: float,
        duration: float,
    ) -> _Segment: ...


class PydubTrack:
    """A recording opened by ffmpeg through pydub. Raises UnreadableRecording, RecordingTooLarge."""

    reader = "pydub"
    declared_s: float | None = None
    n_damaged = 0

    @staticmethod
    def knows(extension: str) -> bool:
        """Whether there is anything to try for a name with this extension."""
        return extension in _KNOWN

    def __init__(self, fd: int, extension: str, limits: DecodeLimits) -> None:
        if shutil.which("ffmpeg") is None:
            raise UnreadableRecording("pydub: there is no ffmpeg on this machine")
        if extension not in _KNOWN:
            raise UnreadableRecording(f"pydub: no decoder is known for the name extension '{extension}'")
        self._demuxer, self.codec = _KNOWN[extension]
        self._limits = limits
        # Our own path, not /proc/self: ffmpeg does not inherit the descriptor.
        self._path = f"/proc/{os.getpid()}/fd/{fd}"
        self._from_file, self._errors = load()
        self._first = self._segment(0.0)
        self.sample_rate_hz = self._first.frame_rate
        self.channels = self._first.channels
        check_shape(self.sample_rate_hz, self.channels, limits)

    def _segment(self, start_s: float) -> _Segment:
        try:
            return self._from_file(
                self._path, format=self._demuxer, codec=self.codec, start_second=start_s, duration=_BLOCK_S
            )
        except self._errors as error:
            raise UnreadableRecording("pydub: ffmpeg could not decode it") from error

    def frames(self) -> Iterator[AudioFrame]:
        """Frames of 120 s."""
        segment, start_s = self._first, 0.0
        while segment.raw_data:
            values = _values(segment)
            yield _frame(values, segment)
            start_s += _BLOCK_S
            if len(values) < (_BLOCK_S - 1) * segment.frame_rate:
                return
            check_duration(start_s, self._limits)
            if start_s > _MAX_S:
                words = "only ffmpeg reads it, which is slow; over three hours convert it to FLAC first"
                raise telling(RecordingTooLarge(words), "too_long_for_its_kind", limit_h=_MAX_S / 3600)
            segment = self._segment(start_s)

    def close(self) -> None:
        """Nothing is held between blocks."""


def _values(segment: _Segment) -> npt.NDArray[Any]:
    dtype = np.int16 if segment.sample_width == 2 else np.int32
    return np.frombuffer(segment.raw_data, dtype).reshape(-1, segment.channels)


def _frame(values: npt.NDArray[Any], segment: _Segment) -> AudioFrame:
    if segment.channels > 2:
        full_scale = np.float32(np.iinfo(values.dtype.name).max)
        return frame_of(values.astype(np.float32) / full_scale, "flt", segment.frame_rate)
    return frame_of(values, "s16" if segment.sample_width == 2 else "s32", segment.frame_rate)


def load() -> tuple[_Reads, tuple[type[Exception], ...]]:
    """The reading function of pydub and the errors that it raises. Raises UnreadableRecording where it is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and audioop's end, on import
            from pydub import AudioSegment  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
            from pydub.exceptions import (  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
                CouldntDecodeError,
            )
    except ImportError as error:
        raise UnreadableRecording(f"pydub: not installed ({error})") from error
    return cast(_Reads, AudioSegment.from_file), (CouldntDecodeError, OSError, IndexError, KeyError)
