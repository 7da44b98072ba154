from __future__ import annotations

import struct

import pytest

from daemon.decode.endings import cut_off


def verdict(content: bytes) -> str:
    return cut_off(lambda offset, size: content[offset : offset + size], len(content))


def page(kind: int, body: bytes = bytes(300), serial: int = 1) -> bytes:
    lacing = bytes([255] * (len(body) // 255) + [len(body) % 255])
    return b"OggS\0" + struct.pack("<BQIIIB", kind, 0, serial, 0, 0, len(lacing)) + lacing + body


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def test_an_ogg_file_ends_with_the_page_that_says_so() -> None:
    """The mark counts only on a page that is there to its end; what stands behind it does not matter."""
    whole = page(2) + page(0) * 5 + page(4)
    assert verdict(whole) == ""
    assert verdict(whole + bytes(500)) == ""
    assert verdict(whole[:-1]) == "its last page is missing"
    assert verdict(page(2) + page(0) * 5) == "its last page is missing"
    assert verdict(page(2)[:20]) == "its last page is missing"


def test_the_last_page_is_found_in_a_long_file() -> None:
    """Two streams end one after the other; the largest page fits in what is looked at."""
    largest = page(4, bytes(255 * 254 + 254))
    assert verdict(page(2) + page(0, bytes(60_000)) * 3 + largest) == ""
    assert verdict(page(2) + page(0, bytes(60_000)) * 3 + page(4, serial=1) + page(4, serial=2)) == ""


def test_an_mp4_file_needs_its_index_and_all_of_its_boxes() -> None:
    """Before or behind the sound, or in fragments; a box may run to the end of the file."""
    kind, index, sound = box(b"ftyp", b"isom"), box(b"moov", bytes(99)), box(b"mdat", bytes(999))
    for whole in (kind + index + sound, kind + sound + index, kind + box(b"moof", bytes(9)) + sound):
        assert verdict(whole) == ""
        assert verdict(whole[:-10]) == "it ends 10 bytes too early"
    assert verdict(kind + sound) == "its index (moov) is missing"
    assert verdict(kind + index + b"\0\0\0\0mdat" + bytes(99)) == ""
    assert verdict(kind + index + b"\0\0\0\1mdat" + struct.pack(">Q", 116) + bytes(100)) == ""
    assert verdict(kind + index + b"\0\0\0\1mdat" + struct.pack(">Q", 126) + bytes(100)) == "it ends 10 bytes too early"
    assert verdict(kind + index + b"\0\0") == "it ends in the middle of a header"


def test_what_is_no_box_ends_the_search() -> None:
    """Bytes of no meaning behind an MP4 file are no sign of a copy that broke off."""
    assert verdict(box(b"ftyp", b"isom") + box(b"moov") + b"\0\0\0\3junk" + bytes(99)) == ""


def test_a_chain_of_tiny_boxes_is_not_followed_for_ever() -> None:
    """A file of empty boxes costs no more than so many reads."""
    reads: list[int] = []
    content = box(b"ftyp", b"isom") + box(b"free") * 100_000

    def read_at(offset: int, size: int) -> bytes:
        reads.append(offset)
        return content[offset : offset + size]

    assert cut_off(read_at, len(content)) == "its index (moov) is missing"
    assert len(reads) < 1100


@pytest.mark.parametrize(("n_bytes", "said"), [(36 + 100, ""), (36 + 150, "it ends 50 bytes too early"), (0, ""),
                                               (0xFFFFFFFF, ""), (0x7FFFFFFF, "")])  # fmt: skip
def test_a_wav_file_is_as_long_as_its_first_size(n_bytes: int, said: str) -> None:
    """What a writer puts down before it knows the size says nothing."""
    assert verdict(b"RIFF" + struct.pack("<I", n_bytes) + b"WAVE" + bytes(132)) == said


def test_other_formats_say_nothing_of_their_end() -> None:
    """No format is guessed at."""
    assert verdict(b"fLaC" + bytes(100)) == verdict(b"\xff\xfb" + bytes(100)) == verdict(b"") == ""
