"""What is heard of a recording: its mix, or each of two channels. Child side; the spool file is as the result says.

Two channels that are heard apart lie one after the other in the spool file, with so much silence between that whoever
reads it takes them for one long recording. Knows no reader: who has one gives the samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from daemon.decode import speech
from daemon.decode.channels import Features, Layout, judge
from daemon.decode.settings import APART_SAMPLES, SpeechThresholds
from daemon.decode.source import Pulse
from daemon.decode.spans import FRAME_SAMPLES, SpanFinder
from daemon.transcript import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Span

_Stereo = npt.NDArray[np.int16]
_Mask = npt.NDArray[np.bool_]

_SPEECH_BLOCK_S: Final = 30

_COPY_BYTES: Final = 1024 * 1024

MIN_VOICE_S: Final = 1.0
"""Spans of speech on a channel with somebody on it: a "yes", with what they are widened by."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What lies in the spool file. *n_samples* are all; where two channels are in it, the right one begins at *second*.

    *spans* are the speech in samples of the file, in order.
    """

    layout: Layout
    n_samples: int
    spans: tuple[Span, ...]
    second: int = 0


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """The spool file with the mix in it, *n_samples* long."""

    fd: int
    n_samples: int
    thresholds: SpeechThresholds
    pulse: Pulse

    def mixed(self, layout: Layout) -> Heard:
        """What is heard of the mix that is in it."""
        return Heard(layout, self.n_samples, self.spans(0))

    def spans(self, begins: int) -> tuple[Span, ...]:
        """The speech in the channel that begins at the sample *begins*, in samples of the file."""
        meter, finder = speech.SpeechMeter(_session()), SpanFinder(self.thresholds)
        block_bytes = _SPEECH_BLOCK_S * SAMPLE_RATE_HZ * BYTES_PER_SAMPLE
        offset, end = begins * BYTES_PER_SAMPLE, (begins + self.n_samples) * BYTES_PER_SAMPLE
        while offset < end:
            block = os.pread(self.fd, min(block_bytes, end - offset), offset)
            if not block:
                raise OSError("the spool file is shorter than what was written to it")
            offset += len(block)
            finder.feed(meter.feed(np.frombuffer(block, np.int16)))
            self.pulse.beat()
        finder.feed(meter.finish())
        return tuple(Span(begins + span.start, begins + span.end) for span in finder.finish(self.n_samples))

    def hear(self, features: Features, samples: Callable[[], Iterator[_Stereo]], mix: Callable[[], object]) -> Heard:
        """What is heard of a recording with two channels, of which the mix is in the file, and *features* are known.

        *samples* reads both channels once more, in blocks of shape (n, 2); *mix* writes the mix once more. The file
        holds what the answer says.
        """
        whole = self.mixed(Layout.JOINT)
        judged = judge(features, _frames(whole.spans, self.n_samples))
        if judged.layout is Layout.JOINT:
            return whole
        if judged.layout is Layout.INVERTED:
            self._write(samples(), judged.leaks, (0, None))
            return self.mixed(Layout.INVERTED)
        second = self.n_samples + APART_SAMPLES
        self._write(samples(), judged.leaks, (0, second))
        left, right = self.spans(0), self.spans(second)
        voices = [
            sum(span.end - span.start for span in spans) > MIN_VOICE_S * SAMPLE_RATE_HZ for spans in (left, right)
        ]
        if all(voices):
            return Heard(Layout.DISTINCT, second + self.n_samples, left + right, second)
        if not any(voices):
            mix()
            return whole
        if voices[1]:
            self._move(second)
            left = tuple(Span(span.start - second, span.end - second) for span in right)
        os.ftruncate(self.fd, self.n_samples * BYTES_PER_SAMPLE)
        return Heard(Layout.ONE_LIVE, self.n_samples, left)

    def _write(self, samples: Iterator[_Stereo], leaks: _Mask, begins: tuple[int, int | None]) -> None:
        """The file holds the left and the right channel from the samples *begins*, without *leaks*; None: without it.

        As long as the mix: what is read now and was not before is left out, and the other way round is silence.
        """
        os.ftruncate(self.fd, 0)
        done = 0
        for read in samples:
            block = read[: self.n_samples - done].copy()
            frames = (done + np.arange(len(block))) // FRAME_SAMPLES
            known = frames < len(leaks)
            block[known] *= ~leaks[frames[known]]
            for channel, begin in enumerate(begins):
                if begin is not None:
                    _write_all(self.fd, np.ascontiguousarray(block[:, channel]).tobytes(), begin + done)
            done += len(block)
            self.pulse.beat()
        os.ftruncate(self.fd, ((begins[1] or 0) + self.n_samples) * BYTES_PER_SAMPLE)

    def _move(self, begins: int) -> None:
        """The channel that begins at *begins*, behind the end of the first, is at the start."""
        offset, end = 0, self.n_samples * BYTES_PER_SAMPLE
        while offset < end:
            block = os.pread(self.fd, min(_COPY_BYTES, end - offset), begins * BYTES_PER_SAMPLE + offset)
            if not block:
                raise OSError("the spool file is shorter than what was written to it")
            _write_all(self.fd, block, offset // BYTES_PER_SAMPLE)
            offset += len(block)
            self.pulse.beat()


@cache
def _session() -> speech.Session:
    return speech.load()


def _frames(spans: tuple[Span, ...], n_samples: int) -> _Mask:
    """The frames in which anybody speaks."""
    speech_in = np.zeros(n_samples // FRAME_SAMPLES, np.bool_)
    for span in spans:
        speech_in[span.start // FRAME_SAMPLES : span.end // FRAME_SAMPLES] = True
    return speech_in


def _write_all(fd: int, data: bytes, sample: int) -> None:
    offset = sample * BYTES_PER_SAMPLE
    with memoryview(data) as rest:
        done = 0
        while done < len(rest):
            done += os.pwrite(fd, rest[done:], offset + done)
