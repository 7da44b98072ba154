"""What a recording says of itself: duration, rate, channels, from the header alone. Pure but for the reads it is given.

Why not ask the readers: libsndfile and FFmpeg silently shorten what a truncated file declares, and the difference is
what tells a partial transcript from a whole one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

ReadAt = Callable[[int, int], bytes]
"""(offset, size) -> up to *size* bytes; fewer at the end of the file."""

_MAX_CHUNKS: Final = 1000
_UNKNOWN_32: Final = 0xFFFFFFFF

_PLACEHOLDERS_32: Final = (range(1), range(0x7FFF_0000, 0x8000_0001), range(0xFFFF_0000, 0x1_0000_0000))
"""Sizes that a WAV writer puts down before it knows better: nothing, or the most that fits (2 GiB: SoX, arecord).

They stay where it wrote to a pipe or was cut off, and say nothing of the duration.
"""

_PCM: Final = 1
_FLOAT: Final = 3
_EXTENSIBLE: Final = 0xFFFE


@dataclass(frozen=True, slots=True)
class Declared:
    """What the header says; None where it says nothing or nothing that can be believed."""

    duration_s: float | None = None
    rate_hz: int | None = None
    channels: int | None = None


def declared(read_at: ReadAt) -> Declared:
    """What the header of a WAV, RF64, W64, AIFF, CAF, AU, FLAC, SPHERE, MP3 or WMA file declares; else nothing."""
    head = read_at(0, 16)
    try:
        for magic, parse in _PARSERS:
            if head.startswith(magic):
                return parse(read_at)
        if head[:1] == b"\xff" or head.startswith(b"ID3"):
            return _mp3(read_at)
    except (struct.error, ValueError, OverflowError, ZeroDivisionError, LookupError):
        # A header that ends early or makes no sense declares nothing; the readers will say what is wrong with it.
        pass
    return Declared()


def is_placeholder(size: int) -> bool:
    """Whether a WAV writer puts this size down before it knows better."""
    return any(size in sizes for sizes in _PLACEHOLDERS_32)


def _seconds(n_frames: float, rate_hz: float) -> float | None:
    return n_frames / rate_hz if n_frames > 0 and rate_hz > 0 else None


def _riff_chunks(read_at: ReadAt, order: str) -> Iterator[tuple[bytes, int, int]]:
    """(id, offset of the content, declared size), the data chunk last: what comes after it may be missing."""
    offset = 12
    for _ in range(_MAX_CHUNKS):
        name, size = struct.unpack(f"{order}4sI", read_at(offset, 8))
        yield name, offset + 8, size
        if name == b"data":
            return
        offset += 8 + size + (size & 1)


def _wav(read_at: ReadAt) -> Declared:
    order = ">" if read_at(0, 4) == b"RIFX" else "<"
    tag = channels = rate = byte_rate = block_align = 0
    n_frames: int | None = None
    long_size: int | None = None
    for name, offset, chunk_size in _riff_chunks(read_at, order):
        size = chunk_size
        if name == b"fmt ":
            tag, channels, rate, byte_rate, block_align = struct.unpack(f"{order}HHIIH", read_at(offset, 14))
            if tag == _EXTENSIBLE:
                (tag,) = struct.unpack(f"{order}H", read_at(offset + 24, 2))
        elif name == b"fact":
            (n_frames,) = struct.unpack(f"{order}I", read_at(offset, 4))
        elif name == b"ds64":
            (long_size,) = struct.unpack("<Q", read_at(offset + 8, 8))
        elif name == b"data":
            if size == _UNKNOWN_32 and long_size is not None:
                size = long_size
            if is_placeholder(size):
                return Declared(None, rate, channels)
            if tag in (_PCM, _FLOAT):
                return Declared(_seconds(size / block_align, rate), rate, channels)
            if n_frames and n_frames != _UNKNOWN_32:
                return Declared(_seconds(n_frames, rate), rate, channels)
            return Declared(_seconds(size, byte_rate), rate, channels)
    return Declared(None, rate or None, channels or None)


def _w64(read_at: ReadAt) -> Declared:
    offset = 40
    rate = channels = byte_rate = 0
    for _ in range(_MAX_CHUNKS):
        name, size = struct.unpack("<4s12xQ", read_at(offset, 24))  # a GUID whose first bytes are the RIFF name
        if name == b"fmt ":
            _tag, channels, rate, byte_rate = struct.unpack("<HHII", read_at(offset + 24, 12))
        elif name == b"data":
            return Declared(_seconds(size - 24, byte_rate), rate, channels)
        if size < 24:
            break
        offset += (size + 7) // 8 * 8
    return Declared()


def _aiff(read_at: ReadAt) -> Declared:
    offset = 12
    for _ in range(_MAX_CHUNKS):
        name, size = struct.unpack(">4sI", read_at(offset, 8))
        if name == b"COMM":
            channels, n_frames, _bits, exponent, mantissa = struct.unpack(">HIHHQ", read_at(offset + 8, 18))
            rate = mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63)  # 80-bit IEEE 754 extended
            return Declared(_seconds(n_frames, rate), int(rate), channels)
        offset += 8 + size + (size & 1)
    return Declared()


def _flac(read_at: ReadAt) -> Declared:
    # STREAMINFO is always the first block (RFC 9639, section 8.2).
    (packed,) = struct.unpack(">Q", read_at(8 + 10, 8))
    rate = packed >> 44
    return Declared(_seconds(packed & (1 << 36) - 1, rate), rate, (packed >> 41 & 7) + 1)


_AU_SAMPLE_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}


def _au(read_at: ReadAt) -> Declared:
    order = ">" if read_at(0, 4) == b".snd" else "<"
    size, encoding, rate, channels = struct.unpack(f"{order}8xIIII", read_at(0, 24))
    if size == _UNKNOWN_32 or encoding not in _AU_SAMPLE_BYTES:
        return Declared(None, rate, channels)
    return Declared(_seconds(size / (_AU_SAMPLE_BYTES[encoding] * channels), rate), rate, channels)


def _caf(read_at: ReadAt) -> Declared:
    offset = 8
    rate, packet_bytes, packet_frames, channels = 0.0, 0, 0, 0
    from_data: float | None = None
    for _ in range(_MAX_CHUNKS):
        header = read_at(offset, 12)
        if len(header) < 12:
            break
        name, size = struct.unpack(">4sq", header)
        if name == b"desc":
            rate, packet_bytes, packet_frames, channels = struct.unpack(">d8xIII", read_at(offset + 12, 28))
        elif name == b"pakt":
            (n_frames,) = struct.unpack(">8xq", read_at(offset + 12, 16))
            return Declared(_seconds(n_frames, rate), int(rate), channels)
        elif name == b"data" and packet_bytes:
            from_data = _seconds((size - 4) / packet_bytes * packet_frames, rate)
        if size < 0:  # the data chunk of a stream runs to the end of the file
            break
        offset += 12 + size
    return Declared(from_data, int(rate), channels)


def _sphere(read_at: ReadAt) -> Declared:
    head = read_at(0, 1024)
    if b"end_head" not in head:
        return Declared()
    fields = dict(re.findall(rb"^(\w+) -i (\d+)", head, re.MULTILINE))
    rate, channels = int(fields[b"sample_rate"]), int(fields.get(b"channel_count", b"1"))
    return Declared(_seconds(int(fields.get(b"sample_count", b"0")), rate), rate, channels)


_MP3_RATES_HZ: Final = (44_100, 48_000, 32_000)


def _mp3(read_at: ReadAt) -> Declared:
    """From the Xing or Info frame that encoders write first; without one an MP3 declares no duration."""
    offset = 0
    tag = read_at(0, 10)
    if tag.startswith(b"ID3"):
        offset = 10 + (tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9])
    frame = read_at(offset, 64)
    if frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2 or frame[2] >> 2 & 3 == 3:
        return Declared()
    version = frame[1] >> 3 & 3  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    rate = _MP3_RATES_HZ[frame[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}.get(version, 0)
    mono = frame[3] >> 6 == 3
    side_bytes = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    name, flags, n_frames = struct.unpack_from(">4sII", frame, 4 + side_bytes)
    if name not in (b"Xing", b"Info") or not flags & 1:
        return Declared(None, rate, 1 if mono else 2)
    return Declared(_seconds(n_frames * (1152 if version == 3 else 576), rate), rate, 1 if mono else 2)


_ASF_FILE_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _asf(read_at: ReadAt) -> Declared:
    # ASF specification 01.20.05, section 3.2: play duration in 100 ns, which counts the preroll (ms) in.
    head = read_at(0, 1 << 16)
    at = head.index(_ASF_FILE_PROPERTIES)
    play, preroll_ms, flags = struct.unpack_from("<Q8xQI", head, at + 64)
    broadcast = flags & 1
    return Declared(None if broadcast else _seconds(play / 1e7 - preroll_ms / 1e3, 1))


_PARSERS: Final[tuple[tuple[bytes, Callable[[ReadAt], Declared]], ...]] = (
    (b"RIFF", _wav),
    (b"RIFX", _wav),
    (b"RF64", _wav),
    (b"riff", _w64),
    (b"FORM", _aiff),
    (b"fLaC", _flac),
    (b".snd", _au),
    (b"dns.", _au),
    (b"caff", _caf),
    (b"NIST_1A", _sphere),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _asf),
)
