"""Subtitle files as the programs of others read them. The one door to packages that say nothing of their types."""

from __future__ import annotations

import html
import importlib
import io
from typing import Any, Literal

import av
from av.container import InputContainer

Seen = list[tuple[int, int, str]]
"""Of each cue start and end in milliseconds, and the text with its rows."""


def by_srt(content: str) -> Seen:
    """What the package srt finds, which raises where a file is not as it should be; cues are numbered from one."""
    package: Any = importlib.import_module("srt")
    cues: list[Any] = list(package.parse(content))
    assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
    return [
        (round(cue.start.total_seconds() * 1000), round(cue.end.total_seconds() * 1000), str(cue.content))
        for cue in cues
    ]


def by_webvtt(content: str) -> Seen:
    """What the package webvtt-py finds; what was escaped is as it was. A tag would be gone, but for that of a voice."""
    return [
        (_ms(cue.start), _ms(cue.end), html.unescape(cue.text if cue.voice else cue.raw_text))
        for cue in _captions(content)
    ]


def voices_by_webvtt(content: str) -> Seen:
    """Who speaks in each cue, as webvtt-py finds it; empty where no tag says so."""
    return [(_ms(cue.start), _ms(cue.end), html.unescape(cue.voice or "")) for cue in _captions(content)]


def _captions(content: str) -> list[Any]:
    package: Any = importlib.import_module("webvtt")
    return list(package.from_buffer(io.StringIO(content), format="vtt"))


def by_ffmpeg(content: str, kind: Literal["srt", "webvtt", "lrc"]) -> Seen:
    """What FFmpeg's demuxer finds; nothing is unescaped."""
    with av.open(io.BytesIO(content.encode()), "r", format=kind) as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.subtitles[0]
        assert stream.time_base is not None
        ms = float(stream.time_base) * 1000
        packets: list[Any] = [packet for packet in container.demux(stream) if packet.pts is not None]
        return [
            (round(packet.pts * ms), round((packet.pts + (packet.duration or 0)) * ms), bytes(packet).decode().rstrip())
            for packet in packets
        ]


def _ms(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000)
