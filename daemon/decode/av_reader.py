"""The second reader: FFmpeg's libraries through PyAV, for AAC, WMA, AMR and the sound of video files.

FFmpeg opens whatever a file tells it to open, so demuxers, decoders and protocols are named one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition

from daemon.decode.settings import DecodeLimits
from daemon.decode.soundfile_reader import frame_of
from daemon.decode.source import DescriptorFile
from daemon.decode.track import Gap, check_shape
from daemon.errors import EmptyRecording, UnreadableRecording

FORMATS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dss,dts,eac3,flac,flv,gsm,loas,m4a,3gp,matroska,mka,mov,mp3,"
    "mp4,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,qcp,rm,sox,tak,tta,voc,w64,wav,webm,wv,xwma"
)

_CODECS: Final = frozenset(
    "aac aac_fixed aac_latm ac3 alac amrnb amrwb ape atrac3 cook dca dss_sp eac3 evrc flac g722 g723_1 g729 gsm gsm_ms "
    "ilbc mp1 mp1float mp2 mp2float mp3 mp3float mpc7 mpc8 nellymoser opus libopus qcelp qdm2 ra_144 ra_288 shorten "
    "sipr speex tak truespeech tta vorbis wavpack wmav1 wmav2 wmalossless wmapro wmavoice "
    "adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha adpcm_g722 adpcm_g726 adpcm_g726le "
    "pcm_alaw pcm_bluray pcm_dvd pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16be_planar "
    "pcm_s16le pcm_s16le_planar pcm_s24be pcm_s24le pcm_s24le_planar pcm_s32be pcm_s32le pcm_s32le_planar pcm_s8 "
    "pcm_s8_planar pcm_u16be pcm_u16le pcm_u24le pcm_u32le pcm_u8".split()
)

_OPTIONS: Final = {
    "format_whitelist": FORMATS,
    "codec_whitelist": ",".join(sorted(_CODECS)),  # also keeps the probe from opening video decoders
    "protocol_whitelist": "none",  # the bytes come from our file object; nothing else may be opened
}

_READ_BYTES: Final = 256 * 1024

_SAYS_DURATION: Final = frozenset({"mov", "matroska", "asf", "avi", "flac", "wav", "aiff", "caf", "w64", "mxf", "flv"})
"""Containers whose duration is written down; FFmpeg guesses it from the bit rate for the others."""

_HAS_TIMES: Final = frozenset({"mov", "matroska"})
"""Containers whose packet times can be trusted enough to fill gaps: browsers and phones leave muted stretches out."""

_MIN_GAP_S: Final = 0.5
_MAX_GAP_S: Final = 3600.0
_MAX_STALLS: Final = 100

_MAX_DAMAGE_RATIO: Final = 3
"""More damaged packets than this for each good one is noise in which a decoder sees things."""


class AvTrack:
    """A recording opened by PyAV. Raises UnreadableRecording, EmptyRecording, RecordingTooLarge."""

    reader = "pyav"

    def __init__(self, file: DescriptorFile, limits: DecodeLimits) -> None:
        self._limits = limits
        self.n_damaged = 0
        try:
            self._container = av.open(file, "r", options=_OPTIONS, metadata_errors="ignore", buffer_size=_READ_BYTES)
        except av.error.FFmpegError as error:
            raise UnreadableRecording(f"FFmpeg: {_reason(error)}") from error
        try:
            self._stream = _sound(self._container)
            self._describe()
            check_shape(self.sample_rate_hz, self.channels, limits)
        except BaseException:
            self._container.close()
            raise

    def _describe(self) -> None:
        context = self._stream.codec_context
        try:
            self.codec = context.name
        except AttributeError as error:  # PyAV asks a codec that is not there for its name
            raise UnreadableRecording("its sound is coded in a way that FFmpeg does not know") from error
        if self.codec not in _CODECS:
            raise UnreadableRecording(f"its sound is coded as {self.codec}, which is not read")
        self.sample_rate_hz = int(context.sample_rate or 0)
        self.channels = context.layout.nb_channels
        family = self._container.format.name.split(",")[0]
        self._has_times = family in _HAS_TIMES
        self._origin_s = Fraction(self._container.start_time or 0, av.time_base)
        self.declared_s = self._declared_s() if family in _SAYS_DURATION else None

    def _declared_s(self) -> float | None:
        duration, base = self._stream.duration, self._stream.time_base
        if duration is not None and base is not None:
            late_s = (self._stream.start_time or 0) * base - self._origin_s  # we fill that with silence
            return float(duration * base + max(Fraction(0), late_s if self._has_times else Fraction(0))) or None
        written = _clock_s(self._stream.metadata.get("DURATION", ""))  # Matroska's, of this track alone
        if written is not None:
            return written
        return self._container.duration / av.time_base if self._container.duration else None

    def frames(self) -> Iterator[AudioFrame | Gap]:
        """Frames as the decoder gives them; over two channels without a layout come averaged to one."""
        position_s = Fraction(0)
        shape: tuple[int, int] | None = None
        average = _Averager()
        for frame in self._decoded():
            if shape != (frame.sample_rate, frame.layout.nb_channels):
                shape = (frame.sample_rate, frame.layout.nb_channels)
                check_shape(*shape, self._limits)
                average = _Averager()
            if (gap_s := self._gap_before(frame, position_s)) is not None:
                position_s += gap_s
                yield Gap(float(gap_s))
            position_s += Fraction(frame.samples, frame.sample_rate)
            frame.pts = None  # else the resampler makes up for jumps in broken time stamps
            if not _has_no_layout(frame):
                yield frame
            else:
                yield from average.of(frame)

    def _gap_before(self, frame: AudioFrame, position_s: Fraction) -> Fraction | None:
        if not self._has_times or frame.pts is None or frame.time_base is None:
            return None
        at = frame.pts * frame.time_base - self._origin_s
        gap_s = at - position_s
        credible = gap_s <= _MAX_GAP_S if self.declared_s is None else at <= self.declared_s + 1
        return gap_s if gap_s >= _MIN_GAP_S and credible else None

    def _decoded(self) -> Iterator[AudioFrame]:
        n_good = 0
        for packet in self._packets():
            try:
                yield from packet.decode()
                n_good += bool(packet.size)
            except av.error.FFmpegError:
                self.n_damaged += 1  # one packet; the decoder finds its feet at the next
        if self.n_damaged > _MAX_DAMAGE_RATIO * n_good:
            raise UnreadableRecording(f"FFmpeg: {self.n_damaged} {self.codec} packets are damaged, {n_good} are good")

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        n_stalls = 0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    n_stalls = 0
                    yield packet
                return
            except av.error.FFmpegError:
                # The demuxer goes on behind the damage where it can; where it cannot, it fails again at once.
                self.n_damaged += 1
                n_stalls += 1
                if n_stalls > _MAX_STALLS:
                    return

    def close(self) -> None:
        """Free the container and its decoders."""
        self._container.close()


def _sound(container: InputContainer) -> AudioStream:
    """The sound track that a player would choose; the others are dropped while reading."""
    tracks = container.streams.audio
    if not tracks:
        raise EmptyRecording("it has no sound track")
    chosen = next((track for track in tracks if track.disposition & Disposition.default), tracks[0])
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all
    return chosen


def _clock_s(text: str) -> float | None:
    """Seconds of ``01:02:03.5``; None for anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _has_no_layout(frame: AudioFrame) -> bool:
    return frame.layout.nb_channels > 2 and frame.layout.name.endswith("channels")


class _Averager:
    """Frames of one shape to the mean of all channels: without a layout no channel is known to matter more."""

    def __init__(self) -> None:
        self._packer: AudioResampler | None = None

    def of(self, frame: AudioFrame) -> list[AudioFrame]:
        """*frame* as mono float32."""
        if not frame.format.is_planar:
            return [_mean(frame)]
        # PyAV 18 looks for the planes of a frame up to the first null pointer. From nine channels on there is none,
        # and it reads what lies behind in memory; one plane with all channels is safe.
        self._packer = self._packer or AudioResampler(frame.format.packed, frame.layout, frame.sample_rate)
        return [_mean(packed) for packed in self._packer.resample(frame)]


def _mean(frame: AudioFrame) -> AudioFrame:
    block: npt.NDArray[np.generic] = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
    if block.dtype == np.uint8:
        scaled: npt.NDArray[np.float32] = (block.astype(np.float32) - np.float32(128)) / np.float32(128)
    elif np.issubdtype(block.dtype, np.integer):
        scaled = block.astype(np.float32) / np.float32(np.iinfo(block.dtype.name).max)
    else:
        scaled = block.astype(np.float32)
    return frame_of(scaled, "flt", frame.sample_rate)


def _reason(error: av.error.FFmpegError) -> str:
    return str(error.strerror or error)
