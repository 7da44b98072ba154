from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.errors import RecordingError, SourceBlocked, SourceChanged, SourceVanished
from daemon.source import Source, content_differs
from storage.records import Fingerprint

CONTENT = b"RIFF" * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "memo.wav"
    path.write_bytes(CONTENT)
    return path


def fingerprint(path: Path) -> Fingerprint:
    return Fingerprint.of(path.lstat())


def opened(path: Path, expected: Fingerprint | None = None) -> Source:
    return Source(os.fsencode(path), expected or fingerprint(path))


def digest(fd: int) -> str:
    return hashlib.sha256(os.pread(fd, 1 << 20, 0)).hexdigest()


def no_digest(fd: int) -> str:
    raise AssertionError("nothing had to be read again")


SHA256 = hashlib.sha256(CONTENT).hexdigest()


def n_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def age(path: Path) -> None:
    """Give *path* another time of its last change, as touch(1) does."""
    os.utime(path, ns=(1, 1))


def private(path: Path) -> None:
    """Take *path* from everybody else."""
    path.chmod(0o600)


def written(content: bytes) -> Callable[[Path], None]:
    """Writes *content* into the file that is there."""

    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def replaced(content: bytes) -> Callable[[Path], None]:
    """Puts a file with *content* in the place of another."""

    def replace(path: Path) -> None:
        other = path.with_name("other")
        other.write_bytes(content)
        other.replace(path)

    return replace


def test_an_untouched_recording_is_itself(path: Path) -> None:
    """Its bytes are read from one descriptor, and it is unchanged without being read again."""
    source = opened(path)
    assert os.pread(source.fd, 4, 0) == b"RIFF"
    assert source.check_unchanged(SHA256, no_digest) == fingerprint(path)
    assert not source.outdated()
    source.close()


@pytest.mark.parametrize(
    "change",
    [
        written(b"longer" * 1000),
        age,
        replaced(CONTENT),
    ],
    ids=["content", "touched", "replaced"],
)
def test_a_recording_that_changed_before_its_turn_is_not_opened(path: Path, change: Callable[[Path], None]) -> None:
    """A job is for one content: size, time or inode of another one end it, and no descriptor stays open."""
    expected = fingerprint(path)
    change(path)
    n_before = n_open()
    with pytest.raises(SourceChanged):
        opened(path, expected)
    assert n_open() == n_before


def test_a_chmod_before_its_turn_does_not_matter(path: Path) -> None:
    """Rights are not content."""
    expected = fingerprint(path)
    path.chmod(0o600)
    source = opened(path, expected)
    assert source.fingerprint == fingerprint(path)
    source.close()


def test_a_recording_that_is_gone_has_vanished(path: Path) -> None:
    """Also when its folder is gone, or is a file by now."""
    expected = fingerprint(path)
    path.unlink()
    with pytest.raises(SourceVanished):
        opened(path, expected)
    with pytest.raises(SourceVanished):
        opened(path.parent / "folder" / "memo.wav", expected)
    path.parent.joinpath("folder").write_text("a file")
    with pytest.raises(SourceVanished):
        opened(path.parent / "folder" / "memo.wav", expected)


@pytest.mark.fault(11, "a FIFO in the place of the recording")
def test_what_is_no_file_fails(path: Path) -> None:
    """A pipe or a folder in its place is never a recording; opening a pipe does not hang."""
    expected = fingerprint(path)
    path.unlink()
    os.mkfifo(path)
    n_before = n_open()
    with pytest.raises(RecordingError, match="not a regular file"):
        opened(path, expected)
    path.unlink()
    path.mkdir()
    with pytest.raises(RecordingError, match="not a regular file"):
        opened(path, expected)
    assert n_open() == n_before


@pytest.mark.fault(11, "a link to /etc/passwd")
def test_a_link_is_not_followed(path: Path) -> None:
    """A link in its place must not lead to a file outside of the inbox."""
    expected = fingerprint(path)
    target = path.with_name("target.wav")
    path.rename(target)
    path.symlink_to(target)
    with pytest.raises(SourceBlocked, match=r"memo\.wav"):
        opened(path, expected)


def test_a_recording_that_cannot_be_opened_is_blocked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights and shares come back: the error says what is in the way."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    expected = fingerprint(path)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceBlocked, match=r"memo\.wav: Permission denied"):
        opened(path, expected)


@pytest.mark.parametrize(
    "change",
    [age, private, replaced(CONTENT), written(CONTENT)],
    ids=["touched", "chmod", "copied over", "written again"],
)
def test_the_same_bytes_are_no_change(path: Path, change: Callable[[Path], None]) -> None:
    """What only looks different is read again, and its new fingerprint is the recording's from then on."""
    source = opened(path)
    change(path)
    n_before = n_open()
    assert source.check_unchanged(SHA256, digest) == fingerprint(path)
    assert n_open() == n_before
    assert source.fingerprint == fingerprint(path)
    assert source.check_unchanged(SHA256, no_digest) == fingerprint(path)
    source.close()


@pytest.mark.fault(10, "other bytes of the same size")
@pytest.mark.parametrize(
    "change",
    [
        written(b"FFIR" * 100),
        written(b"short"),
        replaced(b"FFIR" * 100),
        replaced(b"longer" * 1000),
    ],
    ids=["same size", "other size", "replaced, same size", "replaced"],
)
def test_other_bytes_are_a_change(path: Path, change: Callable[[Path], None]) -> None:
    """A transcript of the old bytes must not stand beside the new ones."""
    source = opened(path)
    change(path)
    age(path)
    n_before = n_open()
    with pytest.raises(SourceChanged) as caught:
        source.check_unchanged(SHA256, digest)
    assert not isinstance(caught.value, SourceVanished)
    assert n_open() == n_before
    source.close()


@pytest.mark.fault(2, "utime set back after a write")
def test_a_write_that_hides_its_time_is_seen(path: Path) -> None:
    """Programs that preallocate and set the time back change ctime at least."""
    source = opened(path)
    status = path.stat()
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # the clock of a filesystem ticks some hundred times a second
        path.write_bytes(b"FFIR" * 100)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SourceChanged):
        source.check_unchanged(SHA256, digest)
    source.close()


def test_a_file_that_changes_while_it_is_read_again_changed(path: Path) -> None:
    """The second reading counts only if nothing moved meanwhile."""

    def digest_and_touch(fd: int) -> str:
        found = digest(fd)
        os.utime(fd, ns=(2, 2))
        return found

    source = opened(path)
    age(path)
    with pytest.raises(SourceChanged):
        source.check_unchanged(SHA256, digest_and_touch)
    source.close()


def test_a_recording_removed_meanwhile_has_vanished(path: Path) -> None:
    """Nothing is published beside a recording that is gone; it counts as outdated only where another is there."""
    source = opened(path)
    path.unlink()
    with pytest.raises(SourceVanished):
        source.check_unchanged(SHA256, digest)
    assert not source.outdated()
    path.write_bytes(CONTENT + b"more")
    assert source.outdated()
    source.close()


def test_another_device_number_is_no_other_content() -> None:
    """A share that is mounted anew has another number; its files are the same."""
    one = Fingerprint(size_bytes=1, mtime_ns=2, ctime_ns=3, device=4, inode=5)
    assert not content_differs(one, Fingerprint(1, 2, 9, 9, 5))
    assert content_differs(one, Fingerprint(1, 2, 3, 4, 6))
    assert content_differs(one, Fingerprint(1, 9, 3, 4, 5))
    assert content_differs(one, Fingerprint(9, 2, 3, 4, 5))
