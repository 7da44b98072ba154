from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none

from daemon.decode.headers import Declared, declared

RATE_HZ = 22_050
SECONDS = 3.0


def declared_by(content: bytes) -> Declared:
    return declared(lambda offset, size: content[offset : offset + size])


def written(format_name: str, subtype: str) -> bytes:
    file = io.BytesIO()
    silence = np.zeros((int(SECONDS * RATE_HZ), 2), np.float32)
    soundfile.write(file, silence, RATE_HZ, format=format_name, subtype=subtype)
    return file.getvalue()


def wav(*, rate_hz: int = 16_000, channels: int = 1, n_bytes: int = 64_000, content: bytes = b"") -> bytes:
    """A 16-bit WAV header, field by field as given, and *content*."""
    byte_rate, block_align = rate_hz * channels * 2 & 0xFFFFFFFF, channels * 2 & 0xFFFF
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate_hz, byte_rate, block_align, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + n_bytes & 0xFFFFFFFF)
        + b"WAVE"
        + form
        + struct.pack("<4sI", b"data", n_bytes)
        + content
    )


@pytest.mark.parametrize(
    ("format_name", "subtype"),
    [
        ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "MS_ADPCM"),
        ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_24"), ("AU", "PCM_16"),
        ("AU", "ALAW"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("FLAC", "PCM_16"), ("NIST", "PCM_16"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)  # fmt: skip
def test_a_header_declares_what_was_written(format_name: str, subtype: str) -> None:
    """Duration, rate and channels are read from the header alone, whatever the format calls them."""
    found = declared_by(written(format_name, subtype))
    # ADPCM and MP3 come in whole blocks: up to a tenth of a second more.
    assert found.duration_s == pytest.approx(SECONDS, abs=0.15 if subtype in ("MS_ADPCM", "MPEG_LAYER_III") else 1e-4)
    assert (found.rate_hz, found.channels) == (RATE_HZ, 2)


@pytest.mark.parametrize("format_name", ["WAV", "W64", "AIFF", "FLAC", "AU", "NIST"])
def test_a_truncated_file_still_declares_its_full_duration(format_name: str) -> None:
    """The header of a file cut in the middle says how long it should have been."""
    content = written(format_name, "PCM_16")
    assert declared_by(content[: max(2000, len(content) // 2)]).duration_s == pytest.approx(SECONDS, abs=1e-4)


@pytest.mark.parametrize("n_bytes", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF])
def test_a_streamed_wav_declares_no_duration(n_bytes: int) -> None:
    """A writer that could not go back to fill in the size leaves 0 or the largest number that it dares to."""
    assert declared_by(wav(n_bytes=n_bytes)) == Declared(None, 16_000, 1)


def test_odd_values_are_passed_on_for_the_limits_to_judge() -> None:
    """A rate of 1 Hz and 65535 channels are what the header says."""
    assert declared_by(wav(rate_hz=1)).rate_hz == 1
    assert declared_by(wav(channels=65_535)).channels == 65_535


@pytest.mark.parametrize("format_name", ["WAV", "W64", "AIFF", "FLAC", "AU", "NIST", "CAF", "MP3", "RF64"])
def test_a_header_cut_anywhere_declares_nothing_or_the_truth(format_name: str) -> None:
    """No length of a cut header raises anything."""
    content = written(format_name, "MPEG_LAYER_III" if format_name == "MP3" else "PCM_16")
    for length in range(200):
        found = declared_by(content[:length]).duration_s
        assert found is None or found == pytest.approx(SECONDS, abs=0.15)


def test_other_formats_declare_nothing_here(tmp_path: Path) -> None:
    """Ogg has its length at its end only; bytes of no format have none."""
    soundfile.write(tmp_path / "a.ogg", np.zeros(16_000), 16_000)
    assert declared_by((tmp_path / "a.ogg").read_bytes()) == Declared()
    assert declared_by(bytes(range(256)) * 4) == Declared()
    assert declared_by(b"") == Declared()
