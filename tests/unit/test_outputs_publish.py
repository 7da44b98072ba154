from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import OutputBlocked, SourceVanished
from daemon.options import Format
from daemon.outputs.publish import NameTaken, Ours, commit, digest_of, discard, stage, stage_joint
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


@pytest.mark.fault(20, "the order of fsync and link")
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


@pytest.mark.parametrize(
    ("folder", "source", "expected"),
    [
        (0o755, 0o644, 0o644),
        (0o775, 0o644, 0o664),  # the group may replace files here, so it may write this one
        (0o2770, 0o640, 0o660),
        (0o777, 0o666, 0o664),  # nobody else may: a transcript is not for everybody to change
        (0o755, 0o600, 0o600),  # a private recording in an open folder
        (0o750, 0o440, 0o640),
        (0o1777, 0o604, 0o604),
    ],
)
def test_who_may_read_the_recording_may_read_the_transcript(
    inbox: Path, folder: int, source: int, expected: int
) -> None:
    """Whatever the umask of the service is: it knows nothing of the folder."""
    path = recording(inbox)
    os.chmod(path, source)
    inbox.chmod(folder)
    old = os.umask(0o077)
    try:
        outputs = stage(path, {"txt": b"x"}, {})
        commit(outputs, {})
    finally:
        os.umask(old)
    assert os.stat(outputs[0].path).st_mode & 0o777 == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize(("gid", "mode", "expected"), [(4321, 0o640, 0o660), (99, 0o640, 0o600), (99, 0o644, 0o664)])
def test_group_of_the_folder_and_owner_of_the_recording(inbox: Path, gid: int, mode: int, expected: int) -> None:
    """The group is that of the folder; what the recording grants to another group, it does not grant to this one."""
    path = recording(inbox)
    os.chmod(path, mode)
    os.chown(path, 1234, gid)
    os.chown(inbox, -1, 4321)
    inbox.chmod(0o770)
    outputs = stage(path, {"txt": b"x"}, {})
    commit(outputs, {})
    status = os.stat(outputs[0].path)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 4321, expected)


def default_acl(group: int, mask: int, other: int) -> bytes:
    """An ACL as the kernel keeps it (linux/posix_acl_xattr.h): user 1234 has all rights, under *mask*."""
    nobody = 0xFFFFFFFF
    entries = [(0x01, 7, nobody), (0x02, 7, 1234), (0x04, group, nobody), (0x10, mask, nobody), (0x20, other, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_a_default_acl_of_the_folder_counts(inbox: Path) -> None:
    """Somebody decided on purpose who reads what is made here, and the named user keeps his rights."""
    path = recording(inbox)
    try:
        os.setxattr(inbox, "system.posix_acl_default", default_acl(5, 7, 0))
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    outputs = stage(path, {"txt": b"x"}, {})
    commit(outputs, {})
    assert os.stat(outputs[0].path).st_mode & 0o777 == 0o660
    acl = os.getxattr(outputs[0].path, "system.posix_acl_access")
    assert struct.pack("<HHI", 0x02, 7, 1234) in acl
    assert struct.pack("<HHI", 0x10, 6, 0xFFFFFFFF) in acl


def test_nobody_else_may_look_before_it_is_known_who_may(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the temporary file is ours alone, also for the moment in which it is written."""
    path = recording(inbox)
    seen: list[int] = []

    def fchmod(fd: int, mode: int) -> None:
        seen.append(os.fstat(fd).st_mode & 0o777)
        real(fd, mode)

    real = os.fchmod
    monkeypatch.setattr(os, "fchmod", fchmod)
    stage(path, {"txt": b"x"}, {})
    assert seen == [0o600]


@pytest.mark.fault(14, "a filesystem with names of 143 bytes")
@pytest.mark.parametrize("longest", [143, 255])
def test_names_fit_the_filesystem(inbox: Path, monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    """ECryptfs takes 143 bytes, and says so: a long name is cut to what fits, with a mark of the whole."""

    def pathconf(_path: object, _name: object) -> int:
        return longest

    monkeypatch.setattr(os, "pathconf", pathconf)
    path = inbox / f"{'x' * (longest - 5)}.flac"
    path.write_bytes(b"RIFF")
    outputs = stage(os.fsencode(path), CONTENTS, {})
    commit(outputs, {})
    assert max(len(os.path.basename(output.path)) for output in outputs) == longest
    assert all(os.path.exists(output.path) for output in outputs)


@pytest.mark.parametrize("what", ["folder", "dangling link", "fifo"])
def test_whatever_is_in_the_place_of_a_transcript_stays(inbox: Path, what: str) -> None:
    """The transcript takes another name, as with a file that is not ours; nothing is followed, nothing hangs."""
    place = inbox / "memo.txt"
    if what == "folder":
        place.mkdir()
    elif what == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to("/nowhere")
    before = place.lstat()
    path = recording(inbox)
    mine = {os.fsencode(place): {"aa"}}  # even where we wrote a file of that name before
    outputs = stage(path, {"txt": b"x"}, mine)
    commit(outputs, mine)
    assert [os.path.basename(output.path) for output in outputs] == [b"memo.wav.txt"]
    assert os.path.samestat(place.lstat(), before)


@pytest.mark.fault(15, "a foreign a.txt")
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


@pytest.mark.fault(8, "an edited transcript")
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


@pytest.mark.fault(16, "EROFS at each call")
@pytest.mark.fault(17, "ENOSPC and EDQUOT at each call")
@pytest.mark.fault(21, "EIO at each call, fsync among them")
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


@pytest.mark.fault(19, "an end at each call of the publication")
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


def test_a_joint_transcript_lies_beside_its_recordings(inbox: Path) -> None:
    """Under the name that they share; who may read it is as for them."""
    for n in (1, 2):
        (inbox / f"call-{n}.wav").write_bytes(b"RIFF")
    (inbox / "call-1.wav").chmod(0o640)
    like = os.fsencode(inbox / "call-1.wav")
    first = stage_joint(os.fsencode(inbox / "call"), CONTENTS, {}, like)
    commit(first, {})
    assert {"call.txt", "call.srt", "call.json"} <= names(inbox)
    assert (inbox / "call.txt").stat().st_mode & 0o777 == 0o640
    again = stage_joint(os.fsencode(inbox / "call"), {**CONTENTS, "txt": b"more\n"}, ours(*first), like)
    commit(again, ours(*first))
    assert (inbox / "call.txt").read_bytes() == b"more\n"
    assert [output.path for output in again] == [output.path for output in first]


def test_a_joint_transcript_replaces_nothing_of_others(inbox: Path) -> None:
    """Neither what a person wrote or edited, nor the transcript of a recording of that name."""
    base, like = os.fsencode(inbox / "memo"), recording(inbox)
    (output,) = stage_joint(base, {"txt": b"all\n"}, {}, like)
    commit([output], {})
    assert names(inbox) == {"memo.joint.txt"}
    (inbox / "memo.joint.txt").write_bytes(b"edited\n")
    (other,) = stage_joint(base, {"txt": b"new\n"}, ours(output), like)
    commit([other], ours(output))
    assert (inbox / "memo.joint.txt").read_bytes() == b"edited\n"
    assert (inbox / "memo.joint.r2.txt").read_bytes() == b"new\n"


def test_text_and_translation_are_one_set(inbox: Path) -> None:
    """Written, replaced and moved aside together."""
    contents = {"txt": b"Guten Tag\n", "txt.en": b"Good day\n"}
    outputs = stage(recording(inbox), contents, {}, suffix=".de")
    commit(outputs, {})
    assert names(inbox) == {"memo.de.txt", "memo.en.txt"}
    assert [(output.format, output.path.rpartition(b"/")[2]) for output in outputs] == [
        ("txt.en", b"memo.en.txt"),
        ("txt", b"memo.de.txt"),
    ]
    (inbox / "memo.en.txt").write_bytes(b"edited\n")
    commit(stage(recording(inbox), contents, ours(*outputs), suffix=".de"), ours(*outputs))
    assert (inbox / "memo.en.txt").read_bytes() == b"edited\n"
    assert {"memo.wav.de.txt", "memo.wav.en.txt"} <= names(inbox)


def test_nothing_stays_open(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither success nor failure leaks a descriptor."""
    published(inbox)
    n_before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OutputBlocked):
        published(inbox)
    assert len(os.listdir("/proc/self/fd")) == n_before
