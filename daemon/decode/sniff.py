"""What a file is by its first bytes: refuses what is no recording before any parser sees it. Pure.

A file of text is refused whatever it claims to be: FFmpeg's playlist formats (concat, HLS, SDP, DASH) are all text
and make it open other files and addresses.
"""

from __future__ import annotations

from typing import Final, Literal

HEAD_BYTES: Final = 4096
"""How much of the start of a file the functions here want to see."""

_NOT_AUDIO: Final = (
    (b"PK\x03\x04", "a ZIP archive (or an Office document)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program (ELF)"),
    (b"MZ", "a Windows program"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"{\\rtf", "an RTF document"),
)

_PLAYLISTS: Final = (b"ffconcat", b"#extm3u", b"[playlist]", b"v=0", b"<?xml", b"<asx", b"<smil", b"[reference]")

_TEXT_WITH_AUDIO: Final = (b"NIST_1A\n",)
"""SPHERE files open with a kilobyte of text."""

_TEXT_BYTES: Final = frozenset(range(0x20, 0x100)) - {0x7F} | frozenset(b"\t\n\v\f\r\x1b")

_MIN_TEXT: Final = 16
"""Shorter than this, a file is not called text: some bytes of audio may look like it."""

Reader = Literal["soundfile", "pyav", "pydub"]

_LIBSNDFILE_FIRST: Final = (
    b"RIFF", b"RIFX", b"RF64", b"riff\x2e\x91\xcf\x11", b"FORM", b".snd", b"dns.",
    b"caff", b"fLaC", b"OggS", b"NIST_1A", b"Creative Voice File\x1a",
)  # fmt: skip


def not_a_recording(head: bytes) -> str | None:
    """What the file is, if its first HEAD_BYTES show that it is no recording; else None."""
    for magic, what in _NOT_AUDIO:
        if head.startswith(magic):
            return what
    if head.startswith(_TEXT_WITH_AUDIO):
        return None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    if start.startswith(_PLAYLISTS):
        return "a playlist or a text file"
    if len(head) >= _MIN_TEXT and _looks_like_text(head):
        return "a text file"
    if len(head) >= _MIN_TEXT and not any(head):
        return "a file that starts with nothing but zeros, as one does that was never filled"
    return None


def _looks_like_text(head: bytes) -> bool:
    if not _TEXT_BYTES.issuperset(head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut in two at the end is no reason against.
        return len(head) - error.start < 4 and error.reason == "unexpected end of data"
    return True


def reader_order(head: bytes) -> tuple[Reader, ...]:
    """The readers to ask, the best first, by how the file opens; PyAV alone where libsndfile could only guess.

    Opus and MP3 go to PyAV first. libsndfile keeps Opus's pre-skip (6.5 ms) in, and mpg123 inside it writes a line to
    stderr for each damaged MP3 frame and does not count them.
    """
    if head.startswith(_LIBSNDFILE_FIRST) and head[28:36] != b"OpusHead":
        return ("soundfile", "pyav")
    if head.startswith((b"OggS", b"ID3")) or _is_mpeg_layer_3(head):
        return ("pyav", "soundfile")
    return ("pyav",)


def _is_mpeg_layer_3(head: bytes) -> bool:
    # Sync, a version that exists, layer III (ISO/IEC 11172-3, section 2.4.2.3).
    return len(head) > 3 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08
