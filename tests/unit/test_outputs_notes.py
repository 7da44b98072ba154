"""Notes of ours beside the files of people: whole or not at all, never in the place of somebody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from daemon.outputs import notes
from daemon.outputs.notes import folder_in, remove_note, write_note


class Place:
    """A folder in an inbox, with a file that a note is about."""

    def __init__(self, root: Path) -> None:
        self.inbox = root / "inbox"
        self.folder = self.inbox / "deep" / "er"
        self.folder.mkdir(parents=True)
        self.about = self.folder / "a.wav"
        self.about.write_bytes(b"x")
        self.path = self.folder / "a.wav.error.txt"

    def write(self, text: str) -> bool:
        """Leave the note."""
        return write_note(os.fsencode(self.inbox), os.fsencode(self.path), text, os.fsencode(self.about))

    def remove(self) -> bool:
        """Take it back."""
        return remove_note(os.fsencode(self.inbox), os.fsencode(self.path))

    def names(self) -> list[str]:
        """What is in the folder, temporary files too."""
        return sorted(os.listdir(self.folder))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_note_says_whose_it_is_and_what_is_the_matter(place: Place) -> None:
    """It can be replaced and taken back, and nothing else is left behind; again is no trouble."""
    assert place.write("zu laut: „Ä\udcff“\n")
    first, _, rest = place.path.read_text(encoding="utf-8").partition("\n\n")
    assert "removes it by itself" in first
    assert rest == "zu laut: „Ä\\udcff“\n"
    inode = place.path.stat().st_ino
    assert place.write("zu laut: „Ä\udcff“\n")
    assert place.path.stat().st_ino == inode
    assert place.write("other")
    assert place.path.read_text().endswith("\n\nother")
    assert place.names() == ["a.wav", "a.wav.error.txt"]
    assert place.remove()
    assert place.remove()
    assert place.names() == ["a.wav"]


@pytest.mark.parametrize(
    "content", ["", "mine", "This file is from the transcription service, (0123456789abcdef)\n\nx"]
)
def test_a_file_that_is_not_ours_stays(place: Place, content: str) -> None:
    """An empty one, too, and one that only looks like ours."""
    place.path.write_text(content)
    assert not place.write("text")
    assert not place.remove()
    assert place.path.read_text() == content
    assert place.names() == ["a.wav", "a.wav.error.txt"]


def test_a_note_that_a_person_wrote_in_is_theirs(place: Place) -> None:
    """Other ends of lines are no writing: editors on Windows make them."""
    place.write("text\nmore\n")
    place.path.write_bytes(place.path.read_bytes().replace(b"\n", b"\r\n"))
    assert place.write("other")
    place.path.write_text(place.path.read_text() + "and me")
    assert not place.write("third")
    assert not place.remove()


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_whatever_else_has_the_name_stays(place: Place, tmp_path: Path, kind: str) -> None:
    """A link is neither followed nor replaced, and a pipe holds nobody up."""
    outside = tmp_path / "outside.txt"
    outside.write_text("theirs")
    match kind:
        case "link":
            place.path.symlink_to(outside)
        case "dangling":
            place.path.symlink_to(tmp_path / "nothing")
        case "pipe":
            os.mkfifo(place.path)
        case _:
            place.path.mkdir()
    before = place.path.lstat()
    assert not place.write("text")
    assert not place.remove()
    assert place.path.lstat() == before
    assert (outside.read_text(), os.path.lexists(tmp_path / "nothing")) == ("theirs", False)


def test_a_folder_that_is_a_link_is_not_gone_into(place: Place, tmp_path: Path) -> None:
    """Wherever on the way it is; the inbox itself may be one."""
    outside = tmp_path / "outside"
    (outside / "er").mkdir(parents=True)
    (place.inbox / "deep").rename(tmp_path / "gone")
    (place.inbox / "deep").symlink_to(outside)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        place.write("text")
    assert os.listdir(outside / "er") == []
    (tmp_path / "other").symlink_to(place.inbox)
    with folder_in(os.fsencode(tmp_path / "other"), os.fsencode(tmp_path / "other")) as fd:
        assert os.fstat(fd).st_ino == place.inbox.stat().st_ino


def test_whoever_may_read_the_file_may_read_the_note(place: Place) -> None:
    """As a transcript: the umask of the service has no say."""
    place.about.chmod(0o644)
    place.folder.chmod(0o775)
    before = os.umask(0o077)
    try:
        place.write("text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o664


def test_where_there_are_no_hard_links_a_note_is_renamed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on many shares; a file that came meanwhile stays there too."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    assert place.write("text")
    assert place.path.read_text().endswith("text")
    place.path.unlink()
    content = notes._content  # pyright: ignore[reportPrivateUsage]  # a file comes right after this look

    def then(folder: int, name: bytes) -> bytes | None:
        found = content(folder, name)
        place.path.write_text("mine")
        return found

    monkeypatch.setattr(notes, "_content", then)
    assert not place.write("other")
    assert place.path.read_text() == "mine"
    assert place.names() == ["a.wav", "a.wav.error.txt"]


def test_a_full_disk_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither half a note nor a temporary file; the one that was there stays."""
    place.write("text")
    before = place.path.read_bytes()

    def refuse(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        place.write("other")
    assert place.path.read_bytes() == before
    assert place.names() == ["a.wav", "a.wav.error.txt"]
