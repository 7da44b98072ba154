from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import OutputBlocked, SourceVanished
from daemon.options import Format
from daemon.outputs.publish import NameTaken, Ours, commit, digest_of, discard, stage
from storage.records import Output

CONTENTS: Mapping[Format, bytes] = {"txt": b"the words\n", "srt": b"1\n", "json": b"{}\n"}

STEPS = ("open", "fsync", "link", "rename", "unlink")
"""What changes the disk, in `os`."""


def failing(number: int) -> Callable[..., None]:
    """A function that answers this error of the system."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def nothing_there(path: object) -> bool:
    """In place of `os.path.lexists`: a look that came too early."""
    return False


class Cut(Exception):
    """Raised in place of a kill."""


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "memo.wav").write_bytes(b"RIFF")
    return folder


def recording(inbox: Path) -> bytes:
    return os.fsencode(inbox / "memo.wav")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names(inbox: Path) -> set[str]:
    return {path.name for path in inbox.iterdir()} - {"memo.wav"}


def temporary(inbox: Path) -> set[str]:
    return {name for name in names(inbox) if name.startswith(".tr-")}


def ours(*outputs: Output) -> Ours:
    return {output.path: {output.sha256} for output in outputs}


def published(
    inbox: Path, contents: Mapping[Format, bytes] = CONTENTS, known: Ours | None = None
) -> tuple[Output, ...]:
    outputs = stage(recording(inbox), contents, known or {})
    commit(outputs, known or {})
    return outputs


class Calls:
    """Watches the calls of `os` and lets the nth of some fail, or end everything as a kill would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, str]] = []
        self.fail: Callable[[int, str], None] = lambda number, name: None
        for name in STEPS:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            first = arguments[0]
            path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else os.fsdecode(first)
            self.made.append((name, os.path.basename(path)))
            self.fail(len(self.made), name)
            return real(*arguments, **more)

        return call


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    with monkeypatch.context() as patch:
        yield Calls(patch)


def test_all_formats_appear_whole_and_alone(inbox: Path) -> None:
    """After a commit the outputs are there with their content, and no temporary file."""
    outputs = published(inbox)
    assert names(inbox) == {"memo.txt", "memo.srt", "memo.json"}
    for output in outputs:
        assert sha256(Path(os.fsdecode(output.path)).read_bytes()) == output.sha256


def test_until_the_commit_only_hidden_files_are_there(inbox: Path) -> None:
    """Staging shows nothing; what is staged lies in the same folder and so on the same filesystem."""
    outputs = stage(recording(inbox), CONTENTS, {})
    assert names(inbox) == temporary(inbox)
    assert len(temporary(inbox)) == 3
    discard(outputs)
    assert names(inbox) == set()


def test_content_is_on_disk_before_it_has_a_name(inbox: Path, calls: Calls) -> None:
    """Each file is synced before any is linked, and the folder after all: a power cut leaves no empty transcript."""
    outputs = stage(recording(inbox), CONTENTS, {})
    staged = [name for name, _ in calls.made if name == "fsync"]
    assert len(staged) == 3
    calls.made.clear()
    commit(outputs, {})
    order = [(name, target) for name, target in calls.made if name in ("fsync", "link")]
    assert [name for name, _ in order] == ["link", "link", "link", "fsync"]
    assert order[-1] == ("fsync", "inbox")


def test_the_text_comes_last(inbox: Path) -> None:
    """Whoever waits for the .txt finds the others there, in whatever order they were asked for."""
    assert [output.format for output in stage(recording(inbox), CONTENTS, {})] == ["srt", "json", "txt"]


def test_rights_are_those_of_any_new_file(inbox: Path) -> None:
    """Transcripts are as readable as the umask says: colleagues on the share can open them."""
    old = os.umask(0o027)
    try:
        (output,) = published(inbox, {"txt": b"x"})
    finally:
        os.umask(old)
    assert os.stat(output.path).st_mode & 0o777 == 0o640


def test_a_foreign_file_is_never_touched(inbox: Path) -> None:
    """A file that we did not write keeps its name and its content; the whole set goes elsewhere."""
    (inbox / "memo.srt").write_text("by hand")
    published(inbox)
    assert (inbox / "memo.srt").read_text() == "by hand"
    assert names(inbox) == {"memo.srt", "memo.wav.txt", "memo.wav.srt", "memo.wav.json"}


def test_our_unchanged_file_is_replaced_at_once(inbox: Path) -> None:
    """A new transcript of the recording takes the old one's place in one step, without a moment without a file."""
    first = published(inbox)
    inode = (inbox / "memo.txt").stat().st_ino
    published(inbox, {**CONTENTS, "txt": b"better words\n"}, ours(*first))
    assert (inbox / "memo.txt").read_bytes() == b"better words\n"
    assert (inbox / "memo.txt").stat().st_ino != inode
    assert names(inbox) == {"memo.txt", "memo.srt", "memo.json"}


def test_an_edited_transcript_is_kept(inbox: Path) -> None:
    """What a person corrected is not ours any more."""
    first = published(inbox)
    (inbox / "memo.txt").write_text("corrected")
    published(inbox, {**CONTENTS, "txt": b"better words\n"}, ours(*first))
    assert (inbox / "memo.txt").read_text() == "corrected"
    assert (inbox / "memo.wav.txt").read_bytes() == b"better words\n"


@pytest.mark.parametrize("kind", ["folder", "link", "dangling link", "fifo"])
def test_what_is_no_file_is_in_the_way(inbox: Path, kind: str) -> None:
    """A folder, a link or a pipe under a name that we once wrote is foreign, and opening it neither hangs nor fails."""
    path = inbox / "memo.txt"
    match kind:
        case "folder":
            path.mkdir()
        case "link":
            (inbox / "target").write_bytes(b"x")
            path.symlink_to(inbox / "target")
        case "dangling link":
            path.symlink_to(inbox / "nowhere")
        case _:
            os.mkfifo(path)
    known = {os.fsencode(path): {sha256(b"x"), sha256(b"")}}
    assert digest_of(os.fsencode(path)) is None
    (output,) = published(inbox, {"txt": b"new"}, known)
    assert output.path == os.fsencode(inbox / "memo.wav.txt")


def test_a_digest_needs_a_file_that_can_be_read(inbox: Path) -> None:
    """A file has its hash, what is not there has none, and no descriptor stays open."""
    n_before = len(os.listdir("/proc/self/fd"))
    (inbox / "a").write_bytes(b"abc")
    assert digest_of(os.fsencode(inbox / "a")) == sha256(b"abc")
    assert digest_of(os.fsencode(inbox / "b")) is None
    assert digest_of(os.fsencode(inbox)) is None
    assert len(os.listdir("/proc/self/fd")) == n_before


@pytest.mark.parametrize("content", [b"by hand", b""])
def test_a_file_that_appears_in_between_wins(inbox: Path, content: bytes) -> None:
    """A name taken between staging and commit stays with the other program, be its file still empty."""
    outputs = stage(recording(inbox), CONTENTS, {})
    (inbox / "memo.txt").write_bytes(content)
    with pytest.raises(NameTaken):
        commit(outputs, {})
    discard(outputs)
    assert (inbox / "memo.txt").read_bytes() == content
    assert names(inbox) == {"memo.txt"}


def test_a_name_taken_at_the_last_moment_is_noticed(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link itself refuses to replace: no check before it has to be in time."""
    outputs = stage(recording(inbox), {"txt": b"x"}, {})
    monkeypatch.setattr(os.path, "lexists", nothing_there)
    (inbox / "memo.txt").write_text("by hand")
    with pytest.raises(NameTaken):
        commit(outputs, {})
    assert (inbox / "memo.txt").read_text() == "by hand"


def test_a_set_is_given_up_whole(inbox: Path) -> None:
    """Where one name is lost to somebody else, those that had theirs go: one set, not one and a half."""
    outputs = stage(recording(inbox), CONTENTS, {})
    (inbox / "memo.txt").write_text("by hand")  # the last of the set
    with pytest.raises(NameTaken):
        commit(outputs, {})
    discard(outputs)
    published(inbox)
    assert names(inbox) == {"memo.txt", "memo.wav.txt", "memo.wav.srt", "memo.wav.json"}


def tried(inbox: Path) -> tuple[tuple[Output, ...], str]:
    """What was staged, and why it could not be published; empty where it was."""
    outputs: tuple[Output, ...] = ()
    try:
        outputs = stage(recording(inbox), CONTENTS, {})
        commit(outputs, {})
    except OutputBlocked as error:
        return outputs, str(error)
    return outputs, ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT])
def test_any_call_may_fail(inbox: Path, calls: Calls, number: int) -> None:
    """Whichever call fails, the error says so, no half file is visible, and the next try succeeds."""
    nth, done = 0, False
    while not done:
        nth += 1

        def fail(made: int, name: str, nth: int = nth) -> None:
            if made == nth and name != "unlink":
                raise OSError(number, os.strerror(number))

        calls.made.clear()
        calls.fail = fail
        outputs, reason = tried(inbox)
        done = len(calls.made) < nth
        calls.fail = lambda made, name: None
        discard(outputs)
        assert not reason or (str(inbox) in reason and os.strerror(number) in reason)
        assert temporary(inbox) == set()
        for name in names(inbox):
            assert (inbox / name).read_bytes() == CONTENTS[name.rpartition(".")[2]]  # type: ignore[index]
        if not done:
            published(inbox, known=ours(*outputs))
            assert names(inbox) == {"memo.txt", "memo.srt", "memo.json"}
        for name in names(inbox):
            (inbox / name).unlink()
    assert nth > 10


@pytest.mark.parametrize("links", [True, False])
def test_a_crash_at_any_step_is_mended_by_a_second_commit(
    inbox: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Killed before any call of the commit, the next daemon's commit ends with one whole set and nothing else."""
    if not links:
        refuse_links(monkeypatch)
    nth, done = 0, False
    while not done:
        nth += 1
        outputs = stage(recording(inbox), CONTENTS, {})

        def kill(made: int, name: str, nth: int = nth) -> None:
            if made >= nth:
                raise Cut

        calls.made.clear()
        calls.fail = kill
        try:
            commit(outputs, {})
            done = True
        except Cut:
            pass
        finally:
            calls.fail = lambda made, name: None
        commit(outputs, ours(*outputs), resumed=True)
        assert names(inbox) == {"memo.txt", "memo.srt", "memo.json"}
        assert [digest_of(output.path) for output in outputs] == [output.sha256 for output in outputs]
        for output in outputs:
            os.unlink(output.path)
    assert nth > 6


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    monkeypatch.setattr(os, "link", failing(number))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_filesystems_without_hard_links_serve_too(inbox: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """On FAT and on many shares a name is reserved and then replaced; still nobody's file is."""
    refuse_links(monkeypatch, number)
    published(inbox)
    assert names(inbox) == {"memo.txt", "memo.srt", "memo.json"}
    assert (inbox / "memo.txt").read_bytes() == CONTENTS["txt"]


def test_without_links_a_name_taken_in_between_is_noticed(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reservation refuses to take a name that is there."""
    refuse_links(monkeypatch)
    monkeypatch.setattr(os.path, "lexists", nothing_there)
    outputs = stage(recording(inbox), {"txt": b"x"}, {})
    (inbox / "memo.txt").write_text("by hand")
    with pytest.raises(NameTaken):
        commit(outputs, {})
    assert (inbox / "memo.txt").read_text() == "by hand"


def test_a_reservation_does_not_stay(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second step of a publication without links fails, no empty transcript is left."""
    refuse_links(monkeypatch)
    outputs = stage(recording(inbox), {"txt": b"x"}, {})
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(errno.ENOSPC))
        with pytest.raises(OutputBlocked, match="No space left"):
            commit(outputs, {})
    discard(outputs)
    assert names(inbox) == set()


def test_a_folder_that_is_gone_is_a_recording_that_is_gone(inbox: Path) -> None:
    """Staging and commit tell a folder that was removed from one that cannot be written."""
    outputs = stage(recording(inbox), CONTENTS, {})
    for path in inbox.iterdir():
        path.unlink()
    inbox.rmdir()
    with pytest.raises(SourceVanished):
        commit(outputs, {})
    with pytest.raises(SourceVanished):
        stage(recording(inbox), CONTENTS, {})
    inbox.write_text("a file in the folder's place")
    with pytest.raises(SourceVanished):
        stage(recording(inbox), CONTENTS, {})


def test_a_staged_file_that_is_gone_is_told(inbox: Path) -> None:
    """A commit whose temporary file somebody removed replaces nothing, and says so."""
    first = published(inbox, {"txt": b"old"})
    outputs = stage(recording(inbox), {"txt": b"new"}, ours(*first))
    os.unlink(outputs[0].temp_path)
    with pytest.raises(FileNotFoundError):
        commit(outputs, ours(*first))
    assert (inbox / "memo.txt").read_bytes() == b"old"


def test_a_commit_may_be_repeated(inbox: Path) -> None:
    """What is in place stays, down to its inode."""
    outputs = published(inbox)
    inode = (inbox / "memo.txt").stat().st_ino
    commit(outputs, ours(*outputs), resumed=True)
    assert (inbox / "memo.txt").stat().st_ino == inode


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF])
def test_a_folder_that_cannot_be_synced_is_no_error(inbox: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """CIFS and some FUSE filesystems answer so; the file itself was synced."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(number, os.strerror(number))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    published(inbox)
    assert names(inbox) == {"memo.txt", "memo.srt", "memo.json"}


def test_names_that_are_no_utf8_are_published(inbox: Path) -> None:
    """Bytes of the recording's name are the bytes of the output's."""
    odd = os.path.join(os.fsencode(inbox), b"caf\xe9.wav")
    with open(odd, "wb"):
        pass
    outputs = stage(odd, {"txt": b"x"}, {})
    commit(outputs, {})
    assert b"caf\xe9.txt" in os.listdir(os.fsencode(inbox))


def test_nothing_stays_open(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither success nor failure leaks a descriptor."""
    published(inbox)
    n_before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OutputBlocked):
        published(inbox)
    assert len(os.listdir("/proc/self/fd")) == n_before
