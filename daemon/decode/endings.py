"""Whether a file ends before its format says that it may: the mark of a copy that broke off. Pure but for its reads.

Durations tell most of it (`daemon.decode.headers`); this is for files that declare none or cannot be read at all.
"""

from __future__ import annotations

import struct
from typing import Final

from daemon.decode.headers import ReadAt, is_placeholder

_MAX_BOXES: Final = 1000

_MAX_PAGE_BYTES: Final = 65_307
"""Of an Ogg page (RFC 3533, section 6)."""

_LAST_PAGE: Final = 4


def cut_off(read_at: ReadAt, size: int) -> str:
    """What shows that a file of *size* bytes ends too early, in words; empty where nothing does."""
    head = read_at(0, 16)
    try:
        if head.startswith(b"OggS"):
            return _ogg(read_at, size)
        if head[4:8] == b"ftyp":
            return _mp4(read_at, size)
        if head.startswith((b"RIFF", b"RIFX")):
            return _riff(head, size)
    except struct.error:
        return "it ends in the middle of a header"
    return ""


def _ogg(read_at: ReadAt, size: int) -> str:
    tail = read_at(max(0, size - _MAX_PAGE_BYTES), _MAX_PAGE_BYTES)
    at = tail.find(b"OggS")
    while at >= 0:
        kind, n_segments = tail[at + 5 : at + 6], tail[at + 26 : at + 27]
        if kind and n_segments and kind[0] & _LAST_PAGE:
            lengths = tail[at + 27 : at + 27 + n_segments[0]]
            if len(lengths) == n_segments[0] and at + 27 + len(lengths) + sum(lengths) <= len(tail):
                return ""
        at = tail.find(b"OggS", at + 1)
    return "its last page is missing"


def _mp4(read_at: ReadAt, size: int) -> str:
    offset, names = 0, set[bytes]()
    for _ in range(_MAX_BOXES):
        if offset >= size:
            break
        n_bytes, name = struct.unpack(">I4s", read_at(offset, 8))
        if n_bytes == 1:
            (n_bytes,) = struct.unpack(">Q", read_at(offset + 8, 8))
        names.add(name)
        if n_bytes == 0:  # to the end of the file
            break
        if n_bytes < 8:
            return ""  # no box: whatever this is, its end says nothing
        offset += n_bytes
    if offset > size:
        return f"it ends {offset - size} bytes too early"
    return "" if names & {b"moov", b"moof"} else "its index (moov) is missing"


def _riff(head: bytes, size: int) -> str:
    (n_bytes,) = struct.unpack(">I" if head.startswith(b"RIFX") else "<I", head[4:8])
    missing = 8 + n_bytes - size
    return f"it ends {missing} bytes too early" if missing > 0 and not is_placeholder(n_bytes) else ""
