"""One recording, from its bytes to its spool file and its spans of speech. Child side; knows nothing of messages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from daemon.decode import endings, headers, sniff
from daemon.decode.av_reader import AvTrack
from daemon.decode.channels import ChannelMeter, Features, Layout
from daemon.decode.hearing import Heard, SpoolFile
from daemon.decode.pcm import Resampling, Spool, resampled
from daemon.decode.pydub_reader import PydubTrack
from daemon.decode.settings import DecodeSettings, is_short
from daemon.decode.sound import fingerprint
from daemon.decode.soundfile_reader import SoundfileTrack
from daemon.decode.source import DescriptorFile, Pulse, sha256
from daemon.decode.track import Gap, Track, check_duration, check_shape
from daemon.errors import EmptyRecording, RecordingTooLarge, UnreadableRecording, telling
from daemon.sound import Sound
from daemon.transcript import SAMPLE_RATE_HZ, Span


@dataclass(frozen=True, slots=True)
class Job:
    """What is decoded: descriptors that the caller owns, and the extension of the file's name as a hint.

    With *speakers*, two channels are heard apart where there is a voice on each (`daemon.decode.channels`).
    """

    recording_fd: int
    spool_fd: int
    extension: str
    speakers: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader made of the recording. It is in the spool file if this reader was the last to write."""

    n_samples: int
    declared_s: float | None
    sample_rate_hz: int
    channels: int
    codec: str
    reader: str
    n_damaged: int

    @property
    def decoded_s(self) -> float:
        """Seconds of audio that came out."""
        return self.n_samples / SAMPLE_RATE_HZ

    @property
    def short(self) -> bool:
        """Whether noticeably less came out than the header declares; then the next reader is tried too."""
        return is_short(self.decoded_s, self.declared_s)


@dataclass(frozen=True, slots=True)
class Result:
    """All that is to be known of a decoded recording. *cut_off* shows that the file ends too early; mostly empty."""

    source_sha256: str
    reading: Reading
    heard: Heard
    sound: Sound
    cut_off: str = ""

    @property
    def spans(self) -> tuple[Span, ...]:
        """The speech, in samples of the spool file."""
        return self.heard.spans


class NoReader(UnreadableRecording):
    """Raised when no reader here finds audio in the file, and ffmpeg might."""


def decode(job: Job, settings: DecodeSettings, pulse: Pulse) -> Result:
    """The spool file of *job* holds its recording as 16 kHz mono 16-bit samples, as the result's *heard* says.

    Raises UnreadableRecording, EmptyRecording, RecordingTooLarge; OSError where reading or writing itself fails.
    """
    size = os.fstat(job.recording_fd).st_size
    if size > settings.limits.max_source_bytes:
        size_gib, limit_gib = size / 1024**3, settings.limits.max_source_bytes / 1024**3
        words = f"the file has {size_gib:.1f} GiB; the limit is {limit_gib:g} GiB"
        raise telling(RecordingTooLarge(words), "too_big", size_gib=size_gib, limit_gib=limit_gib)
    if size == 0:
        raise telling(EmptyRecording("the file is empty (0 bytes)"), "empty")
    head = os.pread(job.recording_fd, sniff.HEAD_BYTES, 0)
    if (what := sniff.not_a_recording(head)) is not None:
        raise telling(UnreadableRecording(f"it is not audio but {what}"), "not_audio")
    readers = _Readers(job, settings, pulse)  # refuses by the header, before gigabytes are hashed
    digest = sha256(job.recording_fd, pulse)
    cut_off = endings.cut_off(readers.read_at, size)
    try:
        reading = readers.best(sniff.reader_order(head))
    except (UnreadableRecording, EmptyRecording) as error:
        if not cut_off:
            raise
        incomplete = type(error)(f"{error}; {cut_off}")
        incomplete.cut_off = cut_off
        raise telling(incomplete, "cut_off") from error
    spool = SpoolFile(job.spool_fd, reading.n_samples, settings.thresholds, pulse)
    heard = _heard(spool, readers)
    sound = fingerprint(job.spool_fd, reading.n_samples, pulse.beat, heard.second)
    return Result(digest, reading, heard, sound, cut_off)


def _heard(spool: SpoolFile, readers: _Readers) -> Heard:
    if readers.features is None:
        return spool.mixed(Layout.MONO)
    return spool.hear(readers.features, readers.both_channels, readers.mix_again)


class _Readers:
    """The readers in their order, on one recording."""

    def __init__(self, job: Job, settings: DecodeSettings, pulse: Pulse) -> None:
        self._job = job
        self._limits = limits = settings.limits
        self._programs = settings.programs
        self._pulse = pulse
        self._last: sniff.Reader | None = None
        self.features: Features | None = None
        """Of the channels, if there are two and that is asked for; by the reader that wrote the spool file."""
        self._header = headers.declared(self.read_at)
        check_shape(self._header.rate_hz, self._header.channels, limits)
        check_duration(self._header.duration_s, limits)

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to *size* bytes of the recording."""
        return os.pread(self._job.recording_fd, size, offset)

    def best(self, order: tuple[sniff.Reader, ...]) -> Reading:
        """What the first of *order* makes of it that gets all; else the one that got most."""
        readings: list[tuple[Reading, sniff.Reader]] = []
        reasons: list[str] = []
        empty: EmptyRecording | None = None
        for reader in ("pydub",) if self._programs else order:
            try:
                reading = self._read(reader)
            except UnreadableRecording as error:
                reasons.append(str(error))
                continue
            except EmptyRecording as error:
                empty = error
                continue
            if not reading.short:
                return reading
            readings.append((reading, reader))
        if not readings:
            raise empty or self._nobody(reasons)
        most, reader = max(readings, key=lambda pair: pair[0].n_samples)
        return most if reader == self._last else self._read(reader)

    def both_channels(self) -> Iterator[npt.NDArray[np.int16]]:
        """The samples of both channels, by the reader that read them before, in blocks of shape (n, 2)."""
        assert self._last is not None
        with closing(self._open(self._last)) as track:
            resampling = Resampling(2)
            for frame in track.frames():
                yield from map(_pairs, resampling.take(frame))
            yield from map(_pairs, resampling.end())

    def mix_again(self) -> None:
        """The spool file holds what it held after the last reading."""
        assert self._last is not None
        self._read(self._last)

    def _nobody(self, reasons: list[str]) -> UnreadableRecording:
        if self._programs:
            return UnreadableRecording("; ".join(reasons))
        kind = NoReader if PydubTrack.knows(self._job.extension) else UnreadableRecording
        return kind("no reader finds audio in it: " + "; ".join(reasons))

    def _read(self, reader: sniff.Reader) -> Reading:
        self._last, self.features = reader, None
        with closing(self._open(reader)) as track:
            declared_s = self._header.duration_s or track.declared_s
            check_duration(declared_s, self._limits)
            n_samples = Spool(self._job.spool_fd, self._limits, self._pulse).write(resampled(self._watched(track)))
            if n_samples == 0:
                raise EmptyRecording("its header is valid and it holds no audio samples")
            return Reading(
                n_samples=n_samples,
                declared_s=declared_s,
                sample_rate_hz=track.sample_rate_hz,
                channels=track.channels,
                codec=track.codec,
                reader=track.reader,
                n_damaged=track.n_damaged,
            )

    def _watched(self, track: Track) -> Iterator[AudioFrame | Gap]:
        """Its frames; where they are of two channels, there are features of them at the end."""
        if track.channels != 2 or not self._job.speakers:
            yield from track.frames()
            return
        resampling, meter = Resampling(2), ChannelMeter()
        for frame in track.frames():
            for samples in map(_pairs, resampling.take(frame)):
                meter.feed(samples)
            yield frame
        for samples in map(_pairs, resampling.end()):
            meter.feed(samples)
        self.features = meter.finish()

    def _open(self, reader: sniff.Reader) -> Track:
        if reader == "pydub":
            return PydubTrack(self._job.recording_fd, self._job.extension, self._limits)
        suffix = f".{self._job.extension}" if self._job.extension else ""
        file = DescriptorFile(self._job.recording_fd, f"recording{suffix}", self._pulse)
        return SoundfileTrack(file, self._limits) if reader == "soundfile" else AvTrack(file, self._limits)


def _pairs(portion: bytes) -> npt.NDArray[np.int16]:
    return np.frombuffer(portion, np.int16).reshape(-1, 2)
