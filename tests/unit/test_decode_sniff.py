from __future__ import annotations

import pytest

from daemon.decode.sniff import not_a_recording, reader_order


@pytest.mark.fault(39, "text, archives and programs")
@pytest.mark.fault(40, "playlists by their content")
@pytest.mark.parametrize(
    "head",
    [
        b"PK\x03\x04" + bytes(100),
        b"%PDF-1.7\n\xe2\xe3",
        b"\x7fELF\x02\x01\x01" + bytes(100),
        b"MZ\x90\x00",
        b"\x89PNG\r\n\x1a\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n" + bytes(200),
        b"\xef\xbb\xbf#EXTM3U\n#EXTINF:1,\nhttp://localhost/x.ts\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"<?xml version='1.0'?><MPD/>",
        "Protokoll der Sitzung, Grüße\n".encode() * 10,
        ("ä" * 3000).encode()[:4095],
        bytes(4096),
    ],
)
def test_what_is_no_recording_is_refused_by_its_content(head: bytes) -> None:
    """Archives, documents, programs, playlists, any text and zeros have a name; no parser needs to see them."""
    assert not_a_recording(head)


@pytest.mark.parametrize(
    "head",
    [
        b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00",
        b"ID3\x04\x00\x00\x00\x00\x00\x21TSSE" + bytes(40),
        b"NIST_1A\n   1024\nchannel_count -i 1\n" + b" " * 1000,
        b"#!AMR\n\x3c\x48\xf5\x1f\x96\x66\x79\xe1\xe0\x01\xe7\x8a\xf0",
        b"\xff\xfb\x90\x64" + bytes(400),
        b"\x1aE\xdf\xa3" + bytes(50),
        b"\x00\x00\x00\x20ftypisom",
        b"",
        b"RI",
    ],
)
def test_what_may_be_a_recording_passes(head: bytes) -> None:
    """Real headers, and files too short to tell, are left to the readers."""
    assert not_a_recording(head) is None


def test_the_readers_are_asked_in_the_order_that_suits_the_file() -> None:
    """First libsndfile for what it reads well; second for MP3 and Opus; not at all where it could only guess."""
    assert reader_order(b"RIFF" + bytes(60)) == ("soundfile", "pyav")
    assert reader_order(b"OggS" + bytes(24) + b"\x01vorbis") == ("soundfile", "pyav")
    assert reader_order(b"OggS" + bytes(24) + b"OpusHead") == ("pyav", "soundfile")
    assert reader_order(b"ID3\x04" + bytes(60)) == ("pyav", "soundfile")
    assert reader_order(b"\xff\xfb\x90\x64") == ("pyav", "soundfile")
    assert reader_order(b"\xff\xf1\x50\x80") == ("pyav",)  # AAC in ADTS
    assert reader_order(b"MATLAB 5.0 MAT-file") == ("pyav",)
    assert reader_order(b"") == ("pyav",)
