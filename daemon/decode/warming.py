"""Loads and tries everything that decoding uses, before the sandbox is entered. Child side."""

from __future__ import annotations

import contextlib
import os
import struct
import traceback
from collections.abc import Generator
from dataclasses import replace
from typing import Final

import numpy as np

from daemon.decode import pydub_reader
from daemon.decode.av_reader import AvTrack
from daemon.decode.channels import Features, judge
from daemon.decode.decoding import Job, decode
from daemon.decode.pcm import Spool, resampled
from daemon.decode.settings import DecodeSettings
from daemon.decode.source import DescriptorFile, Pulse
from daemon.errors import UnreadableRecording

_RATE_HZ: Final = 8_000
_N_FRAMES: Final = _RATE_HZ // 10

_N_JUDGED: Final = 100

_NOISE: Final = bytes(range(256)) * 8


def warm_up(settings: DecodeSettings) -> None:
    """What Python and the libraries load or look up on first use is loaded: decoding opens no file any more.

    A few tenths of a second of silence go through each reader and the speech model, and something that neither reads.
    """
    if settings.programs:
        with contextlib.suppress(UnreadableRecording):  # pydub is missing: it will be said of the recording
            pydub_reader.load()
        settings = replace(settings, programs=False)
    quiet = Pulse(lambda _decoded_s: None)
    with _in_memory(b"") as spool:
        for n_channels in (1, 2, 3):
            with _in_memory(_wav(n_channels)) as recording:
                decode(Job(recording, spool, "wav", speakers=True), settings, quiet)
                with contextlib.closing(AvTrack(DescriptorFile(recording, "a.wav", quiet), settings.limits)) as track:
                    Spool(spool, settings.limits, quiet).write(resampled(track.frames()))
        judge(_chirping(), np.ones(_N_JUDGED, np.bool_))
        with _in_memory(_NOISE) as noise:
            try:
                decode(Job(noise, spool, "mp3"), settings, quiet)
            except UnreadableRecording:
                traceback.format_exc()


def _chirping() -> Features:
    """Two channels with a different pattern each, so that all of the judgement is gone through."""
    bands = np.arange(_N_JUDGED * 16, dtype=np.float32).reshape(_N_JUDGED, 2, 8) ** 2 % 60 - 60
    return Features(bands, bands.mean(axis=2), np.ones((_N_JUDGED, 3), np.float32) * np.array([2, 2, 0], np.float32))


def _wav(n_channels: int) -> bytes:
    n_bytes = _N_FRAMES * n_channels * 2
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, n_channels, _RATE_HZ, _RATE_HZ * 2, n_channels * 2, 16)
    head = b"RIFF" + struct.pack("<I", 36 + n_bytes) + b"WAVE" + form
    return head + struct.pack("<4sI", b"data", n_bytes) + bytes(n_bytes)


@contextlib.contextmanager
def _in_memory(content: bytes) -> Generator[int]:
    fd = os.memfd_create("warm-up")
    try:
        os.write(fd, content)
        yield fd
    finally:
        os.close(fd)
