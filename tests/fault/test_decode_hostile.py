"""Files made to break, flood or mislead a decoder: each is refused in words, soon, and the next one is decoded."""

from __future__ import annotations

import contextlib
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none

from daemon.decode.pool import DecodeLimits, DecodePool
from daemon.errors import RecordingError, RecordingTooLarge, UnreadableRecording
from tests.recordings import decode_file

DATA = Path(__file__).parent.parent / "data"

SOON_S = 10.0
MAX_S = 3 * 3600.0
"""A bomb without a declared length is noticed only when so much is decoded: 4.6 s for the default of 12 hours."""

MAX_PEAK_BYTES = 600 * 1024**2


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    """One worker for all these files: none of them may end it."""
    made = DecodePool(workers=1, limits=DecodeLimits(max_duration_s=MAX_S), on_output=lambda _name, _line: None)
    yield made
    made.close(0)


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def crc_table(bits: int, polynomial: int) -> list[int]:
    table: list[int] = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) & 1 else 0)
        table.append(value & ((1 << bits) - 1))
    return table


CRC8, CRC16 = crc_table(8, 0x07), crc_table(16, 0x8005)


def flac_number(value: int) -> bytes:
    """A frame number as FLAC writes it: UTF-8, up to three bytes are enough here (RFC 9639, section 9.1.5)."""
    if value < 0x80:
        return bytes([value])
    if value < 0x800:
        return bytes([0xC0 | value >> 6, 0x80 | value & 63])
    return bytes([0xE0 | value >> 12, 0x80 | value >> 6 & 63, 0x80 | value & 63])


def flac_bomb(hours: float, *, declared_hours: float) -> bytes:
    """Hours of silence at 8 kHz in frames of 18 bytes (RFC 9639); the header declares what it likes."""
    block, rate_hz = 65_535, 8_000
    packed = rate_hz << 44 | 15 << 36 | int(declared_hours * 3600 * rate_hz)
    info = struct.pack(">HH", block, block) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    parts = [b"fLaC" + bytes([0x80]) + len(info).to_bytes(3, "big") + info]
    for number in range(int(hours * 3600 * rate_hz) // block):
        head = b"\xff\xf8\x74\x08" + flac_number(number) + struct.pack(">H", block - 1)
        check = 0
        for byte in head:
            check = CRC8[check ^ byte]
        frame = head + bytes([check, 0, 0, 0])
        check = 0
        for byte in frame:
            check = (check << 8 & 0xFFFF) ^ CRC16[check >> 8 ^ byte]
        parts.append(frame + struct.pack(">H", check))
    return b"".join(parts)


def wav(*, rate_hz: int = 16_000, channels: int = 1, bits: int = 16, tag: int = 1, n_bytes: int = 400_000) -> bytes:
    """A WAV header, field by field as given, and 400 kB of silence."""
    byte_rate, block_align = rate_hz * channels * bits // 8 & 0xFFFFFFFF, channels * bits // 8 & 0xFFFF
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, channels, rate_hz, byte_rate, block_align, bits)
    head = b"RIFF" + struct.pack("<I", 36 + n_bytes & 0xFFFFFFFF) + b"WAVE" + form
    return head + struct.pack("<4sI", b"data", n_bytes) + bytes(400_000)


def aiff(rate: bytes) -> bytes:
    """An AIFF file with a sample rate of these ten bytes, an 80-bit float."""
    common = struct.pack(">4sIHIH", b"COMM", 18, 1, 40_000, 16) + rate
    sound = struct.pack(">4sIII", b"SSND", 80_008, 0, 0) + bytes(80_000)
    return b"FORM" + struct.pack(">I", 4 + len(common) + len(sound)) + b"AIFF" + common + sound


def caf(n_bytes: int, *, packet_frames: int = 1) -> bytes:
    """A CAF file whose data chunk is said to have *n_bytes*."""
    description = struct.pack(">d4sIIIII", 16_000.0, b"lpcm", 0, 2, packet_frames, 1, 16)
    return (
        b"caff\0\1\0\0desc" + struct.pack(">q", 32) + description + b"data" + struct.pack(">q", n_bytes) + bytes(9000)
    )


def xing(n_frames: int) -> bytes:
    """An MP3 of silence whose first frame says how many follow."""
    frame = b"\xff\xfb\x90\xc0" + bytes(413)
    first = b"\xff\xfb\x90\xc0" + bytes(17) + struct.pack(">4sII", b"Info", 1, n_frames)
    return first.ljust(417, b"\0") + frame * 50


def patched(name: str, at: bytes, offset: int, value: bytes) -> bytes:
    """A good recording with *value* written *offset* bytes behind the first *at*."""
    content = bytearray((DATA / name).read_bytes())
    where = content.index(at) + offset
    content[where : where + len(value)] = value
    return bytes(content)


def png(side: int) -> bytes:
    """A picture of *side* by *side* pixels, all black, packed to almost nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    lines = zlib.compress(bytes((side + 1) * side))
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


REFUSED: dict[str, tuple[Callable[[], bytes], type[RecordingError], str | None]] = {
    # 38: too long, too fast, too many
    "100 hours.flac": (lambda: flac_bomb(100, declared_hours=100), RecordingTooLarge, "limit of 3 hours"),
    "silent liar.flac": (lambda: flac_bomb(30, declared_hours=0), RecordingTooLarge, "limit of 3 hours"),
    "1 Hz.wav": (lambda: wav(rate_hz=1), RecordingTooLarge, "1 Hz"),
    "2 GHz.wav": (lambda: wav(rate_hz=2**31), RecordingTooLarge, "2147483648 Hz"),
    "65535 channels.wav": (lambda: wav(channels=65_535), RecordingTooLarge, "65535 channels"),
    "slow.wav": (lambda: wav(rate_hz=2_000, bits=8, n_bytes=2**31 - 2**17), RecordingTooLarge, "3 hours"),
    "0 Hz.wav": (lambda: wav(rate_hz=0), UnreadableRecording, "no reader"),
    "no channel.wav": (lambda: wav(channels=0), UnreadableRecording, "no reader"),
    "no bits.wav": (lambda: wav(bits=0), UnreadableRecording, "no reader"),
    "65528 bits.wav": (lambda: wav(bits=65_528), UnreadableRecording, "no reader"),
    "endless.mp3": (lambda: xing(2**32 - 1), RecordingTooLarge, "3 hours"),
    "no rate.aiff": (lambda: aiff(bytes(10)), RecordingTooLarge, "1 Hz"),
    "infinite rate.aiff": (lambda: aiff(b"\x7f\xff\x80" + bytes(7)), RecordingError, None),
    "huge rate.aiff": (lambda: aiff(b"\x50\x0e\xbb\x80" + bytes(6)), RecordingError, None),
    "endless.caf": (lambda: caf(2**62), RecordingTooLarge, "3 hours"),
    "thick packets.caf": (lambda: caf(9_000, packet_frames=2**31), RecordingError, None),
    # 39: something else under the name of a recording
    "zip.mp3": (lambda: b"PK\x03\x04" + bytes(5_000), UnreadableRecording, "a ZIP archive"),
    "pdf.m4a": (lambda: b"%PDF-1.7\n" + bytes(5_000), UnreadableRecording, "a PDF document"),
    "program.ogg": (lambda: b"\x7fELF" + bytes(5_000), UnreadableRecording, r"a program \(ELF\)"),
    "gzip bomb.wav": (lambda: b"\x1f\x8b" + zlib.compress(bytes(10**8)), UnreadableRecording, "a gzip archive"),
    "picture bomb.wav": (lambda: png(10_000), UnreadableRecording, "a PNG picture"),
    "bitmap.wav": (lambda: b"BM" + struct.pack("<IHHI", 99, 0, 0, 54) + bytes(9_000), UnreadableRecording, "no reader"),
    "tiff.wav": (lambda: b"II*\0\x08\0\0\0" + bytes(9_000), UnreadableRecording, "no reader"),
    "webp.wav": (lambda: b"RIFF\x24\x23\0\0WEBPVP8 " + bytes(9_000), UnreadableRecording, "no reader"),
    "letter.mp3": (lambda: b"Dear all,\n" * 500, UnreadableRecording, "a text file"),
    "zeros.wav": (lambda: bytes(100_000), UnreadableRecording, "nothing but zeros"),
    # 40: lists of other files
    "list.wav": (lambda: b"ffconcat version 1.0\nfile secret.wav\n", UnreadableRecording, "a playlist"),
    "hls.mp3": (lambda: b"#EXTM3U\n#EXTINF:4,\nsecret.wav\n" + bytes(900), UnreadableRecording, "a playlist"),
    "hls behind a tag.mp3": (
        lambda: b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + b"#EXTM3U\n#EXTINF:4,\nsecret.wav\n" * 40,
        UnreadableRecording,
        "no reader",
    ),
    "pls.mp3": (lambda: b"[playlist]\nFile1=secret.wav\n", UnreadableRecording, "a playlist"),
    "session.wav": (
        lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        UnreadableRecording,
        "playlist",
    ),
    "dash.mp4": (
        lambda: b"<?xml version='1.0'?><MPD><BaseURL>secret.wav</BaseURL></MPD>",
        UnreadableRecording,
        "playlist",
    ),
    "wide list.wav": (lambda: "ffconcat version 1.0\nfile secret.wav\n".encode("utf-16"), UnreadableRecording, None),
    "address.wav": (lambda: b"RTSPtext\r\nrtsp://127.0.0.1/secret\r\n" * 9, UnreadableRecording, "a text file"),
}


@pytest.mark.fault(38, "bombs of length, rate and channels")
@pytest.mark.fault(39, "files of other kinds")
@pytest.mark.fault(40, "playlists")
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_soon_and_in_words(pool: DecodePool, tmp_path: Path, name: str) -> None:
    """The reason names what it is or which limit it passes; the same worker decodes the next recording."""
    make, error, words = REFUSED[name]
    soundfile.write(tmp_path / "secret.wav", np.ones(16_000), 16_000)
    (tmp_path / name).write_bytes(make())
    decode_file(pool, DATA / "memo.wav")
    (pid,) = pool.pids()
    began = time.monotonic()
    with pytest.raises(error, match=words) as caught:
        decode_file(pool, tmp_path / name)
    assert time.monotonic() - began < SOON_S
    assert str(caught.value)
    assert decode_file(pool, DATA / "memo.wav").spans
    assert pool.pids() == [pid]
    assert peak_bytes(pid) < MAX_PEAK_BYTES


LIES: dict[str, Callable[[], bytes]] = {
    "more than it says.flac": lambda: flac_bomb(30, declared_hours=0.01),
    "many samples.m4a": lambda: patched("voice-note.m4a", b"stsz", 12, b"\x7f\xff\xff\xff"),
    "many chunks.m4a": lambda: patched("voice-note.m4a", b"stco", 8, b"\x7f\xff\xff\xff"),
    "many times.m4a": lambda: patched("voice-note.m4a", b"stts", 8, b"\xff\xff\xff\xff"),
    "long sample.m4a": lambda: patched("voice-note.m4a", b"stts", 16, b"\x7f\xff\xff\xff"),
    "long track.m4a": lambda: patched("voice-note.m4a", b"mdhd", 20, b"\x7f\xff\xff\xff"),
    "elsewhere.m4a": lambda: patched("voice-note.m4a", b"url ", 4, b"\0\0\0\0"),
    "endless box.m4a": lambda: patched("voice-note.m4a", b"moov", -4, b"\x7f\xff\xff\xff"),
    "far page.ogg": lambda: patched("lecture.ogg", b"OggS", 6, b"\xff\xff\xff\xff\xff\xff\xff\x7f"),
    "many channels.opus": lambda: patched("greeting.opus", b"OpusHead", 9, b"\xff"),
    "no rate.flac": lambda: patched("meeting.flac", b"fLaC", 18, b"\0\0\0"),
    "long chunk.wav": lambda: patched("memo.wav", b"fmt ", 4, b"\xf0\xff\xff\x7f"),
    "wide.wav": lambda: wav(rate_hz=384_000, channels=64, n_bytes=400_000),
}


@pytest.mark.fault(38, "headers that lie")
@pytest.mark.parametrize("name", LIES)
def test_a_header_that_lies_costs_no_more_than_its_file(pool: DecodePool, tmp_path: Path, name: str) -> None:
    """Refused in words, or decoded to no more than there is: never a crash, a hang or gigabytes."""
    (tmp_path / name).write_bytes(LIES[name]())
    decode_file(pool, DATA / "memo.wav")
    (pid,) = pool.pids()
    began = time.monotonic()
    with contextlib.suppress(RecordingError):
        assert decode_file(pool, tmp_path / name).decoded_s < 60
    assert time.monotonic() - began < SOON_S
    assert decode_file(pool, DATA / "memo.wav").spans
    assert pool.pids() == [pid]
    assert peak_bytes(pid) < MAX_PEAK_BYTES


@pytest.mark.fault(38, "a sparse terabyte")
def test_a_file_of_a_terabyte_without_content_is_refused_unread(pool: DecodePool, tmp_path: Path) -> None:
    """A sparse file, and one that is within the limit on bytes but not on time: neither is read to its end."""
    began = time.monotonic()
    with open(tmp_path / "a.wav", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(RecordingTooLarge, match=r"1024\.0 GiB"):
        decode_file(pool, tmp_path / "a.wav")
    with open(tmp_path / "b.wav", "wb") as file:
        file.write(wav(n_bytes=2**31 - 2**17))
        file.truncate(8 * 10**9)
    with pytest.raises(RecordingTooLarge, match="3 hours"):
        decode_file(pool, tmp_path / "b.wav")
    assert time.monotonic() - began < SOON_S


@pytest.mark.fault(35, "bytes flipped in each format")
@pytest.mark.parametrize("seed", range(8))
def test_flipped_bytes_end_no_worker(pool: DecodePool, tmp_path: Path, seed: int) -> None:
    """Every format with a hundred bytes changed is refused or decoded as far as it goes."""
    chance = np.random.default_rng(seed)
    names = ["memo.wav", "meeting.flac", "interview.mp3", "voice-note.m4a", "greeting.opus", "presentation.mp4"]
    for name in names:
        content = bytearray((DATA / name).read_bytes())
        for at in chance.integers(4, len(content), 100):
            content[at] = chance.integers(256)
        (tmp_path / name).write_bytes(content)
        with contextlib.suppress(RecordingError):
            decode_file(pool, tmp_path / name)
    assert decode_file(pool, DATA / "memo.wav").spans
