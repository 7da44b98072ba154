"""The first reader: libsndfile, for WAV, FLAC, Ogg, MP3, AIFF, AU, CAF, W64, SPHERE. The only door to soundfile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Literal, cast

import numpy as np
import numpy.typing as npt
import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none
from av.audio.frame import AudioFrame

from daemon.decode.settings import DecodeLimits
from daemon.decode.source import DescriptorFile
from daemon.decode.track import check_shape
from daemon.errors import UnreadableRecording

_FORMATS: Final = frozenset(
    {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "NIST", "VOC", "SVX"}
)
"""libsndfile reads more (Matlab files, instruments): nothing that a person records."""

_BLOCK_S: Final = 30
_BLOCK_VALUES: Final = 2_000_000
"""Samples times channels of one block: 8 MB at most, whatever the rate and the number of channels."""

_INT16_CODECS: Final = frozenset({"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"})
_INT32_CODECS: Final = frozenset({"PCM_24", "PCM_32", "ALAC_24", "ALAC_32"})


class SoundfileTrack:
    """A recording opened by libsndfile. Raises UnreadableRecording, RecordingTooLarge."""

    reader = "soundfile"
    n_damaged = 0  # libsndfile does not say

    def __init__(self, file: DescriptorFile, limits: DecodeLimits) -> None:
        self._source = file
        try:
            self._file = soundfile.SoundFile(cast(BinaryIO, file))
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            raise UnreadableRecording(f"libsndfile: {_reason(error)}") from error
        self.codec = str(self._file.subtype).lower()
        self.sample_rate_hz = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.declared_s: float | None = None  # the header says it better, see headers.py
        try:
            if self._file.format not in _FORMATS:
                raise UnreadableRecording(f"libsndfile takes it for {self._file.format}, which is no recording format")
            check_shape(self.sample_rate_hz, self.channels, limits)
        except BaseException:
            self.close()
            raise

    def frames(self) -> Iterator[AudioFrame]:
        """Frames of up to 30 s, mono or stereo as recorded; more channels come averaged to one."""
        n_frames = max(1, min(_BLOCK_S * self.sample_rate_hz, _BLOCK_VALUES // self.channels))
        dtype, format_name = self._sample_type()
        while True:
            try:
                block: npt.NDArray[Any] = self._file.read(n_frames, dtype=dtype, always_2d=True)
            except soundfile.SoundFileError as error:
                raise UnreadableRecording(f"libsndfile: {_reason(error)}") from error
            if self._source.error is not None:
                raise self._source.error
            if not len(block):
                return
            yield frame_of(block, format_name, self.sample_rate_hz)

    def _sample_type(self) -> tuple[Literal["float32", "int32", "int16"], str]:
        if self.channels > 2:
            return "float32", "flt"
        subtype = str(self._file.subtype)
        if subtype in _INT16_CODECS:
            return "int16", "s16"
        return ("int32", "s32") if subtype in _INT32_CODECS else ("float32", "flt")

    def close(self) -> None:
        """Free libsndfile's handle."""
        self._file.close()


def frame_of(block: npt.NDArray[Any], format_name: str, rate_hz: int) -> AudioFrame:
    """An interleaved frame of *block*, shape (n_samples, n_channels); over two channels (float32) are averaged."""
    if block.shape[1] > 2:
        block = block.mean(axis=1, dtype=np.float32, keepdims=True)
    layout = "mono" if block.shape[1] == 1 else "stereo"
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(block).reshape(1, -1), format=format_name, layout=layout)
    frame.sample_rate = rate_hz
    return frame


def _reason(error: Exception) -> str:
    return str(cast(object, getattr(error, "error_string", None)) or error).rstrip(".")
