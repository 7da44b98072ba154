"""Uploads: what name a recording gets, how it comes into its folder, and that nothing is lost on the way."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import failpoints
from daemon.config import InboxConfig
from daemon.intake.rules import is_recording
from daemon.web.uploads import landing, receiving
from daemon.web.uploads.forms import BadForm, Field, FileBegins, FileEnds, FormReader
from daemon.web.uploads.names import LONGEST_BYTES, BadName, cleaned, folders_of, numbered
from daemon.web.uploads.receiving import Surroundings, Upload, UploadError, Uploads, Wanted, WrongOffset

SOUND = bytes(range(256)) * 40


def no_links(*_args: object, **_named: object) -> None:
    """What a filesystem without hard links answers."""
    raise PermissionError(1, "no links here")


@dataclass
class Shore:
    """An inbox, and what became of what was sent to it."""

    root: Path
    offline: str = ""
    taken: list[tuple[bytes, object, str]] = field(default_factory=list[tuple[bytes, object, str]])
    at: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    max_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        self.inbox = self.root / "inbox"
        (self.inbox / "a" / "b").mkdir(parents=True)
        self.uploads = self.begin_anew()

    def begin_anew(self) -> Uploads:
        """As after a restart."""
        self.uploads = Uploads(
            self.root / "uploads",
            Surroundings(
                inboxes=lambda: [InboxConfig(path=self.inbox)],
                offline=lambda _inbox: self.offline,
                take=self.take,
                max_bytes=lambda: self.max_bytes,
                clock=lambda: self.at,
            ),
        )
        return self.uploads

    def take(self, path: bytes, choices: object, by: str) -> int | None:
        """A job for what is in place."""
        assert os.path.isfile(path)
        self.taken.append((path, choices, by))
        return len(self.taken)

    def wanted(self, name: str = "talk.wav", folder: str = "", size: int | None = len(SOUND), sha: str = "") -> Wanted:
        """An upload to be."""
        return Wanted(os.fsencode(self.inbox), folder, name, size, sha, {"language": "de"})

    def send(self, wanted: Wanted | None = None, content: bytes = SOUND, by: str = "anna") -> Upload:
        """An upload from its begin to its end."""
        upload = self.uploads.begin(wanted or self.wanted(), by)
        self.add(upload, content)
        return self.uploads.finish(upload)

    def add(self, upload: Upload, content: bytes, offset: int = 0) -> None:
        """Add bytes."""
        with self.uploads.adding(upload, offset) as sink:
            sink.write(content)

    def names(self) -> list[str]:
        """What is in the inbox but its folders."""
        return sorted(path.name for path in self.inbox.iterdir() if path.is_file())


@pytest.fixture
def shore(tmp_path: Path) -> Shore:
    return Shore(tmp_path)


@pytest.fixture(autouse=True)
def _nobody_listens() -> Iterator[None]:
    yield
    failpoints.listen(None)


# Names.


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("talk.wav", "talk.wav"),
        ("C:\\fakepath\\talk.wav", "talk.wav"),
        ("../../etc/talk.wav", "talk.wav"),
        (".hidden.mp3", "hidden.mp3"),
        ("a\0b\nc.wav", "abc.wav"),
        ("talk\u202evaw.wav", "talkvaw.wav"),
        ('who? "me": <a|b>*.ogg', "who_ _me__ _a_b__.ogg"),
        ("  two   spaces .m4a ", "two spaces.m4a"),
        ("e\u0301te\u0301.flac", "\u00e9t\u00e9.flac"),
        ("\u4f1a\u8bae.MP4", "\u4f1a\u8bae.MP4"),
    ],
)
def test_a_name_is_made_harmless(sent: str, kept: str) -> None:
    """Paths, control and bidirectional characters and what Windows cannot have do not get into a folder."""
    assert cleaned(sent) == kept


@pytest.mark.parametrize(
    "name", ["", "..", "/", "x.txt", "x", "._talk.wav.part", "~$x.docx", "...", "\u202e", "a." + "x" * 300]
)
def test_a_name_that_is_no_recordings_is_refused(name: str) -> None:
    """What the intake would not take is not taken here either."""
    with pytest.raises(BadName):
        cleaned(name)


@given(st.text(max_size=400), st.sampled_from(["wav", "mp3", "MKV"]))
def test_whatever_is_sent_the_name_is_one_of_a_recording(text: str, extension: str) -> None:
    """It is short, in one piece, and seen by the intake; cleaning it once more changes nothing."""
    try:
        name = cleaned(f"{text}.{extension}")
    except BadName:
        return
    assert is_recording(name)
    assert "/" not in name
    assert len(name.encode()) <= LONGEST_BYTES
    assert cleaned(name) == name


def test_the_second_of_a_name_is_numbered() -> None:
    """As in a browser's folder of downloads."""
    assert [numbered("a.b.wav", n) for n in (1, 2, 3)] == ["a.b.wav", "a.b (2).wav", "a.b (3).wav"]


@pytest.mark.parametrize("place", ["..", "a/../..", ".git", "a/\0", "@eaDir", "a/.x"])
def test_a_folder_never_leads_out_or_to_what_is_not_searched(place: str) -> None:
    """A path below an inbox goes down only, and to folders that the intake looks into."""
    with pytest.raises(BadName):
        folders_of(place)


# From the first byte to the job.


def test_an_upload_lands_whole_with_its_job(shore: Shore) -> None:
    """The recording is under its name with all its bytes, its job has the choices, and nothing else is left."""
    done = shore.send(shore.wanted(sha=hashlib.sha256(SOUND).hexdigest()))
    assert (shore.inbox / "talk.wav").read_bytes() == SOUND
    assert shore.taken == [(os.fsencode(shore.inbox / "talk.wav"), {"language": "de"}, "anna")]
    assert (done.path, done.job) == (str(shore.inbox / "talk.wav"), 1)
    assert shore.names() == ["talk.wav"]
    assert (shore.inbox / "talk.wav").stat().st_nlink == 1


def test_an_upload_goes_into_the_folder_that_was_chosen(shore: Shore) -> None:
    """A path below the inbox is followed folder by folder."""
    done = shore.send(shore.wanted(folder="a/b"))
    assert done.path == str(shore.inbox / "a" / "b" / "talk.wav")
    assert Path(done.path).read_bytes() == SOUND


def test_what_is_not_whole_is_hidden_and_for_nobody(shore: Shore) -> None:
    """While it comes the file has a name that no scan takes, and no other user can read it."""
    upload = shore.uploads.begin(shore.wanted(), "anna")
    shore.add(upload, SOUND[:100])
    (name,) = shore.names()
    assert name.startswith(".tr-")
    assert not is_recording(name)
    assert stat.S_IMODE((shore.inbox / name).stat().st_mode) == 0o600
    with pytest.raises(WrongOffset):
        shore.uploads.finish(upload)


def test_whoever_may_read_the_folder_may_read_what_came(shore: Shore) -> None:
    """As with a file that was dropped there."""
    shore.inbox.chmod(0o775)
    shore.send()
    assert stat.S_IMODE((shore.inbox / "talk.wav").stat().st_mode) & 0o044 == 0o044


def test_a_name_that_is_taken_is_never_replaced(shore: Shore) -> None:
    """The second recording of a name gets a number, also where the first is somebody else's, or a link."""
    (shore.inbox / "talk.wav").write_bytes(b"theirs")
    (shore.inbox / "talk (2).wav").symlink_to("/etc/passwd")
    assert shore.send().path == str(shore.inbox / "talk (3).wav")
    assert (shore.inbox / "talk.wav").read_bytes() == b"theirs"


def test_a_filesystem_without_hard_links_replaces_nothing_either(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is reserved first, then the file is renamed over the reservation."""
    monkeypatch.setattr(os, "link", no_links)
    (shore.inbox / "talk.wav").write_bytes(b"theirs")
    assert shore.send().path == str(shore.inbox / "talk (2).wav")
    assert (shore.inbox / "talk (2).wav").read_bytes() == SOUND
    assert shore.names() == ["talk (2).wav", "talk.wav"]


def test_an_upload_goes_on_where_it_broke_off(shore: Shore) -> None:
    """After a break, and after a restart of the service, the offset says where to go on; other bytes are refused."""
    upload = shore.uploads.begin(shore.wanted(), "anna")
    shore.add(upload, SOUND[:1000])
    shore.begin_anew()
    upload = shore.uploads.of(upload.id, "anna")
    assert shore.uploads.offset(upload) == 1000
    for wrong in (0, 999, 1001):
        with pytest.raises(WrongOffset) as told:
            shore.uploads.add(upload, wrong)
        assert told.value.offset == 1000
    shore.add(upload, SOUND[1000:], 1000)
    assert Path(shore.uploads.finish(upload).path).read_bytes() == SOUND


def test_two_cannot_write_one_upload_at_once(shore: Shore) -> None:
    """A second request for the same upload is told to wait, and does not mix its bytes in."""
    upload = shore.uploads.begin(shore.wanted(), "anna")
    with shore.uploads.adding(upload, 0), pytest.raises(UploadError) as told:
        shore.uploads.add(upload, 0)
    assert told.value.kind == "busy"
    shore.add(upload, SOUND)  # and afterwards it goes on


def test_finish_may_be_asked_again(shore: Shore) -> None:
    """Who did not hear the answer gets it again; there is one file and one job."""
    upload = shore.uploads.begin(shore.wanted(), "anna")
    shore.add(upload, SOUND)
    first = shore.uploads.finish(upload)
    again = shore.uploads.finish(shore.uploads.of(upload.id, "anna"))
    assert first == again
    assert len(shore.taken) == 1


def test_an_upload_is_for_who_began_it(shore: Shore) -> None:
    """To others it is as if it were not there, whatever they know of its number."""
    upload = shore.uploads.begin(shore.wanted(), "anna")
    for upload_id, by in ((upload.id, "ben"), ("0" * 32, "anna"), ("../records", "anna"), ("", "anna")):
        with pytest.raises(UploadError) as told:
            shore.uploads.of(upload_id, by)
        assert told.value.kind == "unknown"
    assert shore.uploads.open_of("ben") == []
    assert shore.uploads.open_of("anna") == [upload]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"size": 2 << 20}, "large"),
        ({"size": 0}, "empty"),
        ({"name": "notes.txt"}, "name"),
        ({"folder": "nope"}, "folder"),
        ({"folder": "../.."}, "name"),
        ({"sha": "abc"}, "hash"),
    ],
)
def test_what_cannot_be_is_refused_before_a_byte_is_sent(shore: Shore, change: dict[str, object], kind: str) -> None:
    """Nothing is made in the folder for it."""
    with pytest.raises(UploadError) as told:
        shore.uploads.begin(shore.wanted(**change), "anna")  # type: ignore[arg-type]
    assert told.value.kind == kind
    assert shore.names() == []


def test_more_bytes_than_promised_are_refused(shore: Shore) -> None:
    """Also where no size was promised, the largest recording is the limit."""
    upload = shore.uploads.begin(shore.wanted(size=10), "anna")
    with shore.uploads.adding(upload, 0) as sink, pytest.raises(UploadError) as told:
        sink.write(b"12345678901")
    assert told.value.kind == "large"
    unknown = shore.uploads.begin(shore.wanted(size=None), "anna")
    with shore.uploads.adding(unknown, 0) as sink, pytest.raises(UploadError):
        sink.write(bytes(shore.max_bytes + 1))


def test_bytes_that_are_not_those_of_the_hash_go(shore: Shore) -> None:
    """A recording that was damaged on the way is not transcribed; its sender is told to send it again."""
    upload = shore.uploads.begin(shore.wanted(sha="0" * 64), "anna")
    shore.add(upload, SOUND)
    with pytest.raises(UploadError) as told:
        shore.uploads.finish(upload)
    assert told.value.kind == "hash"
    assert (shore.names(), shore.taken) == ([], [])


def test_a_folder_that_is_a_link_is_not_followed(shore: Shore, tmp_path: Path) -> None:
    """Also where it becomes one between two pieces."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (shore.inbox / "link").symlink_to(outside)
    with pytest.raises(UploadError) as told:
        shore.uploads.begin(shore.wanted(folder="link"), "anna")
    assert told.value.kind == "folder"
    upload = shore.uploads.begin(shore.wanted(folder="a/b"), "anna")
    (shore.inbox / "a").rename(outside / "a")
    (shore.inbox / "a").symlink_to(outside / "a")
    with pytest.raises(UploadError):
        shore.uploads.add(upload, 0)


def test_a_part_that_became_a_link_is_not_written_through(shore: Shore, tmp_path: Path) -> None:
    """Whoever may write to the folder cannot have the service write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    upload = shore.uploads.begin(shore.wanted(), "anna")
    (shore.inbox / upload.part).unlink()
    (shore.inbox / upload.part).symlink_to(victim)
    with pytest.raises(UploadError):
        shore.add(upload, SOUND)
    assert victim.read_bytes() == b""


def test_a_full_disk_is_told_before_and_on_the_way(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What open uploads still need counts as taken."""

    def little(_folder: landing.Folder) -> int:
        return receiving.MARGIN_BYTES + len(SOUND) + 10

    monkeypatch.setattr(landing.Folder, "free_bytes", little)
    shore.uploads.begin(shore.wanted(), "anna")
    with pytest.raises(UploadError) as told:
        shore.uploads.begin(shore.wanted(), "anna")
    assert told.value.kind == "full"


def test_there_are_only_so_many_open_uploads(shore: Shore) -> None:
    """Of one visitor, so that nobody can fill the folder with parts of files."""
    for _ in range(receiving.MOST_OPEN_EACH):
        shore.uploads.begin(shore.wanted(size=1), "anna")
    with pytest.raises(UploadError) as told:
        shore.uploads.begin(shore.wanted(size=1), "anna")
    assert told.value.kind == "many"
    shore.uploads.begin(shore.wanted(size=1), "ben")


def test_a_share_that_does_not_answer_is_not_touched(shore: Shore) -> None:
    """It is told at once; what was sent before is still there when the share comes back."""
    upload = shore.uploads.begin(shore.wanted(), "anna")
    shore.add(upload, SOUND[:10])
    shore.offline = "not answering"
    for touch in (lambda: shore.uploads.add(upload, 10), lambda: shore.uploads.finish(upload)):
        with pytest.raises(UploadError) as told:
            touch()
        assert told.value.kind == "offline"
    shore.at += timedelta(days=3)
    shore.uploads.step(0.0)
    shore.offline = ""
    assert shore.uploads.offset(shore.uploads.of(upload.id, "anna")) == 10


def test_what_was_given_up_is_removed_after_a_day(shore: Shore) -> None:
    """An upload to which nothing was added for a day goes; of one in its place only the record does."""
    left = shore.uploads.begin(shore.wanted("left.wav"), "anna")
    lives = shore.uploads.begin(shore.wanted("lives.wav"), "anna")
    done = shore.send(shore.wanted("done.wav"))
    then = (shore.at - timedelta(hours=1)).timestamp()
    os.utime(shore.inbox / left.part, (then, then))
    later = (shore.at + timedelta(hours=20)).timestamp()
    os.utime(shore.inbox / lives.part, (later, later))
    shore.at += timedelta(days=1, hours=1)
    shore.uploads.step(0.0)
    assert shore.names() == sorted(["done.wav", lives.part])
    assert shore.uploads.open_of("anna") == [lives]
    with pytest.raises(UploadError):
        shore.uploads.of(done.id, "anna")


class Killed(BaseException):
    """The end of the process."""


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("place", ["upload.synced", "upload.linked", "upload.named", "upload.taken"])
def test_a_kill_at_any_step_leaves_one_recording_and_a_job(
    shore: Shore, place: str, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the restart the upload is brought to its end by itself, or by its sender; never is it there twice."""
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    upload = shore.uploads.begin(shore.wanted(), "anna")
    shore.add(upload, SOUND)

    def kill(reached: str) -> None:
        if reached == place:
            raise Killed

    failpoints.listen(kill)
    with pytest.raises(Killed) if links or place != "upload.linked" else nullcontext():
        shore.uploads.finish(upload)
    failpoints.listen(None)
    shore.begin_anew().step(0.0)
    done = shore.uploads.finish(shore.uploads.of(upload.id, "anna"))
    assert shore.names() == ["talk.wav"]
    assert (shore.inbox / "talk.wav").read_bytes() == SOUND
    assert done.path == str(shore.inbox / "talk.wav")
    assert {path for path, _, _ in shore.taken} == {os.fsencode(shore.inbox / "talk.wav")}


# Forms.


def form(*parts: tuple[str, bytes], end: bool = True) -> bytes:
    head = b"--B\r\nContent-Disposition: form-data; "
    body = b"".join(head + said.encode() + b"\r\n\r\n" + content + b"\r\n" for said, content in parts)
    return body + (b"--B--\r\n" if end else b"")


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_form_is_read_in_pieces_of_any_size(step: int) -> None:
    """Fields come whole, files in pieces that together are the file."""
    body = form(('name="csrf"', b"x"), ('name="files"; filename="a b.wav"', SOUND), ('name="task"', "\u4f60".encode()))
    reader = FormReader("multipart/form-data; boundary=B")
    pieces = [piece for start in range(0, len(body), step) for piece in reader.feed(body[start : start + step])]
    reader.end()
    assert pieces[0] == Field("csrf", "x")
    assert pieces[1] == FileBegins("files", "a b.wav")
    assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == SOUND
    assert pieces[-2:] == [FileEnds(), Field("task", "\u4f60")]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b""),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=B", b"no form at all"),
        ("multipart/form-data; boundary=B", form(("name=a", b"x"), end=False)),
        ("multipart/form-data; boundary=B", form(("", b"x"))),
        ("multipart/form-data; boundary=B", form(("name=a", bytes(200_000)))),
        ("multipart/form-data; boundary=B", form(*[("name=a", b"x")] * 100)),
        ("multipart/form-data; boundary=B", b"--B\r\n" + b"X: y\r\n" * 1000),
        ("multipart/form-data; boundary=B", b'--B\r\nContent-Disposition: form-data; name="' + b"a" * 100_000),
    ],
)
def test_what_is_no_decent_form_is_refused(kind: str, body: bytes) -> None:
    """Whatever its size, little of it is kept in memory."""

    def read() -> None:
        reader = FormReader(kind)
        reader.feed(body)
        reader.end()

    with pytest.raises(BadForm):
        read()
