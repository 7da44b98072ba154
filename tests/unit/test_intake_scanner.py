"""What one walk of a folder finds, on a real disk."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.intake.scanner import scan
from storage.records import Fingerprint


def names(root: Path, *, recursive: bool = True) -> set[str]:
    found = scan(os.fsencode(root), recursive=recursive)
    return {os.path.relpath(os.fsdecode(path), root) for path in found.recordings}


def test_recordings_come_with_their_fingerprints(tmp_path: Path) -> None:
    """The fingerprint is that of lstat; nothing is opened."""
    path = tmp_path / "a.wav"
    path.write_bytes(b"x" * 10)
    found = scan(os.fsencode(tmp_path), recursive=True)
    assert found.recordings == {os.fsencode(path): Fingerprint.of(path.lstat())}


def test_what_is_known_is_not_made_again(tmp_path: Path) -> None:
    """A file that did not change has the very fingerprint that it had; one that changed has its own."""
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"x")
    before = scan(os.fsencode(tmp_path), recursive=True).recordings
    (tmp_path / "b.wav").write_bytes(b"xx")
    after = scan(os.fsencode(tmp_path), recursive=True, known=before).recordings
    same, changed = os.fsencode(tmp_path / "a.wav"), os.fsencode(tmp_path / "b.wav")
    assert after[same] is before[same]
    assert after[changed] == Fingerprint.of((tmp_path / "b.wav").lstat()) != before[changed]


def test_a_tree_is_searched_to_the_bottom(tmp_path: Path) -> None:
    """Three levels of folders, without the folders of machines."""
    for place in ("a.wav", "one/b.mp3", "one/two/c.flac", "one/two/three/d.mp4", "@eaDir/e.wav", ".hidden/f.wav"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"x")
    assert names(tmp_path) == {"a.wav", "one/b.mp3", "one/two/c.flac", "one/two/three/d.mp4"}
    assert names(tmp_path, recursive=False) == {"a.wav"}


@pytest.mark.fault(11, "each kind of file")
def test_only_regular_files_are_recordings(tmp_path: Path) -> None:
    """A link, a FIFO, a socket, a device and a folder may be named like one; none is opened, so nothing hangs."""
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link.wav").symlink_to("target")
    (tmp_path / "dangling.wav").symlink_to("nowhere")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "secret.wav").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "folder.wav").mkdir()
    folder = os.open(tmp_path, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:  # by way of the descriptor: the name may not be long
        listener.bind(f"/proc/self/fd/{folder}/socket.wav")
    os.close(folder)
    try:
        os.mknod(tmp_path / "null.wav", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pass  # only root may; the rest stands
    assert names(tmp_path) == set()


def test_a_linked_folder_is_not_entered(tmp_path: Path) -> None:
    """Not even one that leads back up, which would never end."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "etc").symlink_to("/etc")
    (tmp_path / "sub" / "a.wav").write_bytes(b"x")
    assert names(tmp_path) == {"sub/a.wav"}


def test_a_hard_link_is_a_recording(tmp_path: Path) -> None:
    """It is a name of a regular file like any other."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "a.wav").write_bytes(b"x")
    os.link(tmp_path / "a.wav", tmp_path / "inbox" / "b.wav")
    assert names(tmp_path / "inbox") == {"b.wav"}


@pytest.mark.fault(13, "names of odd bytes")
def test_every_name_that_a_disk_can_hold_is_found(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, 255 bytes of name, line breaks, right-to-left marks."""
    root = os.fsencode(tmp_path)
    all_names = [
        b"caf\xe9.wav",
        b"x" * 251 + b".wav",
        "語".encode() * 83 + b".wav",
        b"a\nb.wav",
        "\u202ea.wav".encode(),
    ]
    for name in all_names:
        with open(os.path.join(root, name), "wb") as file:
            file.write(b"x")
    assert scan(root, recursive=True).recordings.keys() == {os.path.join(root, name) for name in all_names}


def test_only_our_own_temporary_files_are_noted(tmp_path: Path) -> None:
    """In subfolders too; what looks similar belongs to somebody."""
    (tmp_path / "sub").mkdir()
    ours = [tmp_path / ".tr-0123456789abcdef.part", tmp_path / "sub" / ".tr-probe-0123456789abcdef"]
    for path in [*ours, tmp_path / ".tr-mine.part", tmp_path / "x.part", tmp_path / ".transcribed-inbox"]:
        path.write_bytes(b"")
    found = scan(os.fsencode(tmp_path), recursive=True)
    assert sorted(found.temporary) == sorted(map(os.fsencode, ours))


def refusing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let *folder* refuse to be listed. Root may read everything, so modes alone would not do."""
    real = os.scandir

    def scandir(path: bytes) -> Iterator[os.DirEntry[bytes]]:
        if path == os.fsencode(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_subfolder_that_cannot_be_read_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is found all the same."""
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.wav").write_bytes(b"x")
    refusing(monkeypatch, tmp_path / "locked")
    found = scan(os.fsencode(tmp_path), recursive=True)
    assert list(found.recordings) == [os.fsencode(tmp_path / "a.wav")]
    assert found.unreadable == {os.fsencode(tmp_path / "locked"): "Permission denied"}


def test_a_root_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty answer would mean that everything was deleted."""
    refusing(monkeypatch, tmp_path)
    with pytest.raises(PermissionError):
        scan(os.fsencode(tmp_path), recursive=True)
    with pytest.raises(FileNotFoundError):
        scan(os.fsencode(tmp_path / "nothing"), recursive=True)


class _Broken:
    """An entry that cannot be looked at, as on a damaged disk or a share with a stale handle."""

    def __init__(self, entry: os.DirEntry[bytes], number: int) -> None:
        self.name, self.path, self._number = entry.name, entry.path, number

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        raise OSError(self._number, os.strerror(self._number))


class _Listing:
    def __init__(self, entries: list[os.DirEntry[bytes] | _Broken]) -> None:
        self._entries = entries

    def __enter__(self) -> list[os.DirEntry[bytes] | _Broken]:
        return self._entries

    def __exit__(self, *error: object) -> None:
        return None


@pytest.mark.parametrize(("number", "is_noted"), [(errno.EIO, True), (errno.ESTALE, True), (errno.ENOENT, False)])
def test_one_broken_file_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_noted: bool
) -> None:
    """It is noted as one about which nothing is known, unless it is merely gone since the folder was listed."""
    for name in ("bad.wav", "good.wav"):
        (tmp_path / name).write_bytes(b"x")
    real = os.scandir

    def scandir(path: bytes) -> _Listing:
        with real(path) as entries:
            return _Listing([_Broken(entry, number) if entry.name == b"bad.wav" else entry for entry in entries])

    monkeypatch.setattr(os, "scandir", scandir)
    found = scan(os.fsencode(tmp_path), recursive=True)
    assert list(found.recordings) == [os.fsencode(tmp_path / "good.wav")]
    assert list(found.unreadable) == ([os.fsencode(tmp_path / "bad.wav")] if is_noted else [])
