"""A recording for a player: only what was transcribed, only by the number of its job, in the stretches asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.shares import NoAnswer
from daemon.web import audio
from daemon.web.audio import Stretch, stretch_of
from daemon.web.errors import Declined
from storage.records import Fingerprint
from tests.unit.web_pages import AT, Office, office

SOUND = bytes(range(256)) * 2000


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Office]:
    made = office(tmp_path)
    with closing(made.store):
        yield made


def n_open() -> int:
    """The open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def test_all_of_it(place: Office) -> None:
    """Without a range the whole recording comes, with its kind and its length, and a place to come back to."""
    number = place.transcribed("memo.mp3", SOUND)
    answer = place.get(f"/jobs/{number}/audio")
    assert answer.status_code == 200
    assert answer.content == SOUND
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"].startswith("inline")
    again = place.get(f"/jobs/{number}/audio", **{"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=300000-", 300_000, len(SOUND) - 1),
        ("bytes=-500", len(SOUND) - 500, len(SOUND) - 1),
        ("bytes=511999-9999999", len(SOUND) - 1, len(SOUND) - 1),
        ("bytes=-99999999", 0, len(SOUND) - 1),
    ],
)
def test_a_stretch_of_it(place: Office, header: str, first: int, last: int) -> None:
    """A range gives these bytes and says which they are."""
    number = place.transcribed("memo.mp3", SOUND)
    answer = place.get(f"/jobs/{number}/audio", range=header)
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(SOUND)}"
    assert answer.content == SOUND[first : last + 1]


@pytest.mark.parametrize("header", ["bytes=512000-", "bytes=5-4", "bytes=-0"])
def test_a_stretch_that_is_not_there(place: Office, header: str) -> None:
    """A range beyond the end is refused, with the length."""
    number = place.transcribed("memo.mp3", SOUND)
    answer = place.get(f"/jobs/{number}/audio", range=header)
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(SOUND)}"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "items=0-1", "bytes", "bytes=-", "bytes=a-b", "bytes=" + "9" * 40])
def test_other_ranges_give_all_of_it(place: Office, header: str) -> None:
    """What is not understood is as if it were not said, as HTTP has it."""
    number = place.transcribed("memo.mp3", SOUND)
    answer = place.get(f"/jobs/{number}/audio", range=header)
    assert (answer.status_code, answer.content) == (200, SOUND)


def test_a_range_of_another_version_gives_all_of_it(place: Office) -> None:
    """If-Range with a tag of before: the player has other bytes than these."""
    number = place.transcribed("memo.mp3", SOUND)
    answer = place.get(f"/jobs/{number}/audio", range="bytes=0-9", **{"if-range": '"old"'})
    assert answer.status_code == 200


@given(st.text("0123456789-,= bytes", max_size=30), st.integers(0, 1000))
def test_ranges_stay_inside(tail: str, size: int) -> None:
    """Whatever is asked for, only bytes that are there are given."""
    try:
        found = stretch_of(f"bytes={tail}", size)
    except ValueError:
        return
    assert found is None or (found.first >= 0 and found.length > 0 and found.first + found.length <= size)
    assert stretch_of("bytes=0-0", 1) == Stretch(0, 1)


def test_another_recording_under_the_same_name_is_not_played(place: Office) -> None:
    """When the file was replaced, it is not given for the text of the one before."""
    number = place.transcribed("memo.mp3", SOUND)
    (place.inbox / "memo.mp3").write_bytes(b"something else")
    answer = place.get(f"/jobs/{number}/audio")
    assert answer.status_code == 410
    assert "something else" not in answer.text


def test_a_touched_recording_is_still_played(place: Office) -> None:
    """A new time on the same bytes, which a later job found out, is no other recording."""
    number = place.transcribed("memo.mp3", SOUND)
    file = place.inbox / "memo.mp3"
    os.utime(file, (1, 1))
    assert place.get(f"/jobs/{number}/audio").status_code == 410
    place.store.touched(os.fsencode(file), Fingerprint.of(file.stat()), AT)
    assert place.get(f"/jobs/{number}/audio").status_code == 200


def test_nothing_is_followed(place: Office) -> None:
    """Neither a link in the recording's place nor one in that of its folder leads anywhere."""
    secret = place.root / "secret"
    secret.mkdir()
    number = place.transcribed("anna/memo.mp3", SOUND)
    original = place.inbox / "anna" / "memo.mp3"
    os.rename(original, secret / "memo.mp3")
    original.symlink_to(secret / "memo.mp3")
    assert place.get(f"/jobs/{number}/audio").status_code == 404
    original.unlink()
    original.parent.rmdir()
    original.parent.symlink_to(secret)
    assert place.get(f"/jobs/{number}/audio").status_code == 404


def test_what_is_no_file_is_not_opened(place: Office) -> None:
    """A pipe in its place does not hang the page, a folder is not listed."""
    number = place.transcribed("memo.mp3", SOUND)
    (place.inbox / "memo.mp3").unlink()
    assert place.get(f"/jobs/{number}/audio").status_code == 404
    os.mkfifo(place.inbox / "memo.mp3")
    assert place.get(f"/jobs/{number}/audio").status_code == 404
    (place.inbox / "memo.mp3").unlink()
    (place.inbox / "memo.mp3").mkdir()
    assert place.get(f"/jobs/{number}/audio").status_code == 404


@pytest.mark.parametrize("place_in", [b"../x", b"a//b", b"", b"a/", b"./a", b"a/../../b"])
def test_no_way_out_of_a_folder(tmp_path: Path, place_in: bytes) -> None:
    """A place that is not plainly below is not opened."""
    with pytest.raises(OSError):
        audio.open_below(os.fsencode(tmp_path), place_in)


def test_kinds_that_no_browser_plays_are_saved(place: Office) -> None:
    """Such a recording, and any when asked for, comes as a file; it can never be shown as a page."""
    odd = place.transcribed("memo.wma", SOUND)
    answer = place.get(f"/jobs/{odd}/audio")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    page = place.get(f"/jobs/{odd}")
    assert "No browser plays recordings of this kind." in page.text
    assert "<audio" not in page.text
    plain = place.transcribed('a "b"\r\n<c>.wav', SOUND)
    saved = place.get(f"/jobs/{plain}/audio?save=1")
    assert saved.headers["content-disposition"].startswith('attachment; filename="a _b____c_.wav"')
    assert "default-src 'none'" in saved.headers["content-security-policy"]


def test_only_the_head(place: Office) -> None:
    """HEAD tells length and kind and sends nothing."""
    number = place.transcribed("memo.mp3", SOUND)
    answer = place.client().head(f"/jobs/{number}/audio")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(SOUND))


def test_files_are_closed_again(place: Office) -> None:
    """After every way in which it can end nothing is left open, and places for players are free again."""
    number = place.transcribed("memo.mp3", SOUND)
    client = place.client()
    client.get(f"/jobs/{number}/audio")
    before = n_open()
    for _ in range(audio.MOST_OPEN + 5):
        for headers in ({}, {"range": "bytes=0-9"}, {"range": "bytes=999999-"}):
            client.get(f"/jobs/{number}/audio", headers=headers)
        client.head(f"/jobs/{number}/audio")
    (place.inbox / "memo.mp3").write_bytes(b"other")
    client.get(f"/jobs/{number}/audio")
    assert n_open() == before


def test_too_many_players(place: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there are places for is told to come again."""
    number = place.transcribed("memo.mp3", SOUND)
    for _ in range(audio.MOST_OPEN):
        assert audio.open_recordings.acquire(blocking=False)
    try:
        before = n_open()
        assert place.get(f"/jobs/{number}/audio").status_code == 503
        assert n_open() <= before + 5  # of the client
    finally:
        for _ in range(audio.MOST_OPEN):
            audio.open_recordings.release()


def test_a_share_that_does_not_answer(place: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a recording on it is told so, and is not held up."""

    def silent(_limit_s: float, _name: str, _touch: Any) -> Any:
        raise NoAnswer("audio")

    number = place.transcribed("memo.mp3", SOUND)
    monkeypatch.setattr(audio, "within", silent)
    assert place.get(f"/jobs/{number}/audio").status_code == 503


def test_a_recording_that_went_elsewhere(tmp_path: Path) -> None:
    """One that lies outside of its inbox by now is opened in its folder, and there nothing is followed either."""
    there = tmp_path / "done"
    there.mkdir()
    file = there / "a.mp3"
    file.write_bytes(SOUND)
    fingerprint = Fingerprint.of(file.stat())
    fd, found = audio.opened(b"/srv/inbox", os.fsencode(file), (fingerprint,))
    os.close(fd)
    assert found == fingerprint
    file.rename(there / "b.mp3")
    file.symlink_to(there / "b.mp3")
    with pytest.raises(Declined):
        audio.opened(b"/srv/inbox", os.fsencode(file), (fingerprint,))
