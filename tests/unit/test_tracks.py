"""Recordings of one talk: which belong together, what they say together, and the files that are made of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from daemon import failpoints, joints
from daemon.joints import write_due
from daemon.options import JobOptions
from daemon.outputs import publish
from daemon.outputs.document import Document
from daemon.outputs.formats import contents_of
from daemon.outputs.kept import Kept, packed
from daemon.shares import SILENT_S, Share
from daemon.tracks import Told, TrackName, talk_of, together, track_of
from daemon.transcript import Segment, Transcript
from storage.jobs import JobStore
from storage.records import Fingerprint, NewJob, Outcome, Output, Result

AT: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OPTIONS: Final = JobOptions(formats=("txt", "json"), tracks=True)
NAMED: Final = JobOptions(formats=("txt",), tracks=True, speaker_names=("Anna", "Ben"))


def document(recording: str, *lines: tuple[float, str], outcome: str = "ok", speaker: str = "") -> Document:
    segments = tuple(
        Segment(start_s, start_s + 1, text, -0.2, 1.2, 0.0, 0.0, speaker=speaker) for start_s, text in lines
    )
    transcript = Transcript(segments, "en", 1.0, "base", "cpu", "int8")
    return Document(transcript, OPTIONS, recording, "ab", 60.0, None, outcome, "", "us", "now")


def said(told: Document | None) -> list[tuple[str, str]]:
    assert told is not None
    return [(line.speaker, line.text) for line in told.transcript.segments]


@pytest.mark.parametrize(
    ("name", "talk", "number"),
    [
        ("talk-1.wav", "talk", 1),
        ("talk_02.flac", "talk", 2),
        ("talk 3.m4a", "talk", 3),
        ("board 2026-11-23-2.wav", "board 2026-11-23", 2),
        ("größe-1.wav", "größe", 1),
    ],
)
def test_a_number_at_the_end_is_that_of_a_track(name: str, talk: str, number: int) -> None:
    """As recorders and Audacity name them."""
    path = os.fsencode(f"/in/{name}")
    assert track_of(path) == TrackName(os.fsencode(f"/in/{talk}"), number)


@pytest.mark.parametrize(
    "name",
    ["talk.wav", "talk1.wav", "2026-11-23.wav", "memo 2026-11-23.wav", "memo_20261123_12.wav", "-1.wav", "a-123.wav"],
)
def test_dates_and_plain_names_are_no_tracks(name: str) -> None:
    """Two memos of two days are not one talk."""
    assert track_of(os.fsencode(f"/in/{name}")) is None


def test_zoom_names_who_speaks() -> None:
    """The digits are the meeting's."""
    assert track_of(b"/in/audioAnnaMuster21234567890.m4a") == TrackName(b"/in/audio", 0, "AnnaMuster")


def test_only_who_asks_for_it_has_tracks() -> None:
    """Numbers in names mean something else to other people."""
    assert talk_of(b"/in/talk-1.wav", OPTIONS) == b"/in/talk"
    assert talk_of(b"/in/talk-1.wav", JobOptions()) == b""
    assert talk_of(b"/in/talk.wav", OPTIONS) == b""


def test_two_tracks_are_one_talk_in_order_of_time() -> None:
    """With the names that are configured, by number; else with numbers."""
    tracks = [
        Told(b"/in/talk-2.wav", document("talk-2.wav", (2, "Fine."))),
        Told(b"/in/talk-1.wav", document("talk-1.wav", (1, "How are you?"), (3, "Good."))),
    ]
    names = [("Anna", "How are you?"), ("Ben", "Fine."), ("Anna", "Good.")]
    told = together(b"/in/talk", tracks, NAMED)
    assert said(told) == names
    assert told is not None
    assert (told.recording, told.outcome, told.notice) == ("talk-1.wav, talk-2.wav", "ok", "")
    assert [who for who, _ in said(together(b"/in/talk", tracks, OPTIONS))] == ["Speaker 1", "Speaker 2", "Speaker 1"]


def test_numbers_from_nought_are_numbers_too() -> None:
    """The first name is that of the first track."""
    tracks = [Told(b"/in/a-%d.wav" % n, document(f"a-{n}.wav", (n, f"line {n}"))) for n in (0, 1)]
    assert said(together(b"/in/a", tracks, NAMED)) == [("Anna", "line 0"), ("Ben", "line 1")]


def test_a_track_without_a_transcript_is_named() -> None:
    """What is there is told, and what is not."""
    tracks = [
        *(Told(b"/in/talk-%d.wav" % n, document(f"talk-{n}.wav", (n, "Yes."))) for n in (1, 3)),
        Told(b"/in/talk-2.wav", None),
        Told(b"/in/talk-show-4.wav", None),
        Told(b"/in/talk-1.txt", None),
    ]
    told = together(b"/in/talk", tracks, NAMED)
    assert told is not None
    assert (told.outcome, told.notice) == ("partial", "partial: without talk-2.wav")
    assert said(told) == [("Anna", "Yes."), ("Speaker 3", "Yes.")]


def test_one_transcript_is_no_talk() -> None:
    """It has its own file already."""
    tracks = [Told(b"/in/talk-1.wav", document("talk-1.wav", (1, "Yes."))), Told(b"/in/talk-2.wav", None)]
    assert together(b"/in/talk", tracks, NAMED) is None


def test_a_track_in_two_formats_is_heard_once() -> None:
    """Recorders write both; the one with a transcript counts."""
    tracks = [
        Told(b"/in/talk-1.mp3", None),
        Told(b"/in/talk-1.wav", document("talk-1.wav", (1, "Yes."))),
        Told(b"/in/talk-2.mp3", document("talk-2.mp3", (2, "No."))),
        Told(b"/in/talk-2.wav", document("talk-2.wav", (2, "No."))),
    ]
    told = together(b"/in/talk", tracks, NAMED)
    assert said(told) == [("Anna", "Yes."), ("Ben", "No.")]
    assert told is not None
    assert told.notice == ""


def test_zoom_speakers_have_their_own_names() -> None:
    """Unless others are configured."""
    tracks = [
        Told(b"/in/audioBen11234567890.m4a", document("b", (1, "Hello."))),
        Told(b"/in/audioAnna21234567890.m4a", document("a", (2, "Good day."))),
    ]
    assert said(together(b"/in/audio", tracks, OPTIONS)) == [("Ben", "Hello."), ("Anna", "Good day.")]


def test_two_people_on_one_track_stay_two() -> None:
    """A track may have two channels."""
    both = document("talk-1.wav", (1, "Yes."), speaker="Speaker 2")
    tracks = [Told(b"/in/talk-1.wav", both), Told(b"/in/talk-2.wav", document("talk-2.wav", (2, "No.")))]
    assert said(together(b"/in/talk", tracks, NAMED)) == [("Anna, Speaker 2", "Yes."), ("Ben", "No.")]


class Inbox:
    """A real history and a real folder; recordings are done as their text is given."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "inbox"
        self.folder.mkdir()
        self.store = JobStore.open(root / "history.db", "daemon-1")

    def done(self, name: str, text: str, options: JobOptions = NAMED) -> None:
        """The recording *name* ends with one line."""
        file = self.folder / name
        file.write_bytes(os.urandom(8))
        path, inbox = os.fsencode(file), os.fsencode(self.folder)
        stat = Fingerprint.of(os.lstat(path))
        self.store.enqueue([NewJob(path, inbox, stat, options.to_dict(), options.digest())], AT)
        job = self.store.claim(AT)
        assert job is not None
        kept = Kept(document(name, (float(len(text)), text)), stat, options.digest())
        result = Result(Outcome.OK, "", "en", 0.9, "base", "cpu", "int8", 2.0, 1, 2)
        self.store.publishing(job, (), result, AT, document=packed(kept))
        self.store.finish(job, result, AT, talk=talk_of(path, options))

    def write(self) -> None:
        """As the inbox does after each scan."""
        write_due(self.store, os.fsencode(self.folder))

    def names(self) -> set[str]:
        """What is there besides the recordings."""
        return {path.name for path in self.folder.iterdir() if path.suffix != ".wav"}

    def text(self, name: str = "talk.txt") -> str:
        """What is in that file."""
        return (self.folder / name).read_text()


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox(tmp_path)
    yield inbox
    inbox.store.close()


def test_the_transcript_of_all_tracks_grows_with_each(inbox: Inbox) -> None:
    """From the second on; the third joins in the same file."""
    inbox.done("talk-1.wav", "One.")
    inbox.write()
    assert inbox.names() == set()
    inbox.done("talk-2.wav", "Number two.")
    inbox.write()
    assert inbox.names() == {"talk.txt"}
    assert ("Anna: One." in inbox.text(), "Ben: Number two." in inbox.text()) == (True, True)
    inbox.done("talk-3.wav", "And the third.")
    inbox.write()
    assert inbox.names() == {"talk.txt"}
    assert "Speaker 3: And the third." in inbox.text()


def test_it_is_written_once_for_what_ended(inbox: Inbox) -> None:
    """Nothing is touched where nothing is new."""
    inbox.done("talk-1.wav", "One.")
    inbox.done("talk-2.wav", "Two.")
    inbox.write()
    before = (inbox.folder / "talk.txt").stat()
    inbox.write()
    assert (inbox.folder / "talk.txt").stat().st_ino == before.st_ino


def test_what_a_person_edited_stays(inbox: Inbox) -> None:
    """The new one comes beside it."""
    inbox.done("talk-1.wav", "One.")
    inbox.done("talk-2.wav", "Two.")
    inbox.write()
    (inbox.folder / "talk.txt").write_text("corrected")
    inbox.done("talk-3.wav", "Three.")
    inbox.write()
    assert (inbox.text(), inbox.names()) == ("corrected", {"talk.txt", "talk.joint.txt"})
    assert "Three." in inbox.text("talk.joint.txt")


def test_a_recording_of_the_same_name_keeps_its_own(inbox: Inbox) -> None:
    """A mix beside the tracks has a transcript too."""
    (inbox.folder / "talk.wav").touch()
    inbox.done("talk-1.wav", "One.")
    inbox.done("talk-2.wav", "Two.")
    inbox.write()
    assert inbox.names() == {"talk.joint.txt"}


def test_without_being_asked_there_is_none(inbox: Inbox) -> None:
    """Numbered memos are no talk."""
    for n in (1, 2):
        inbox.done(f"memo-{n}.wav", "Yes.", JobOptions(formats=("txt",)))
    inbox.write()
    assert inbox.names() == set()


def test_the_share_is_not_called_while_it_is_made(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """So one that takes long to make is no share that does not answer."""
    inbox.done("talk-1.wav", "One.")
    inbox.done("talk-2.wav", "Two.")
    share = Share(lambda: clock[0])
    held: list[float | None] = []
    clock = [0.0]
    stage_joint = publish.stage_joint

    def made(told: Document) -> dict[str, bytes]:
        clock[0] += 10 * SILENT_S
        held.append(share.silent_since())
        return contents_of(told)

    def staged(*args: object, **names: object) -> tuple[Output, ...]:
        clock[0] += 2 * SILENT_S
        held.append(share.silent_since())
        return stage_joint(*args, **names)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # as given

    monkeypatch.setattr(joints, "contents_of", made)
    monkeypatch.setattr(publish, "stage_joint", staged)
    with share.touching() as touch:
        write_due(inbox.store, os.fsencode(inbox.folder), touch.aside)
    assert held == [None, 10 * SILENT_S]
    assert inbox.names() == {"talk.txt"}


def test_a_folder_that_cannot_be_written_is_tried_again(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is due."""
    inbox.done("talk-1.wav", "One.")
    inbox.done("talk-2.wav", "Two.")
    with monkeypatch.context() as patched:
        patched.setattr(publish, "stage_joint", _refuses)
        inbox.write()
    assert inbox.names() == set()
    inbox.write()
    assert inbox.names() == {"talk.txt"}


def _refuses(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def _kept(_outputs: object) -> None:
    """A process that ends takes nothing away."""


class Killed(BaseException):
    """The end of the process."""


@pytest.mark.parametrize("at", ["joint.staged", "joint.intended", "publish.linked", "joint.committed"])
def test_an_end_at_any_step_loses_nothing(inbox: Inbox, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """The next daemon writes it, once, with nothing beside it that is taken for a file of a person."""
    inbox.done("talk-1.wav", "One.")
    inbox.done("talk-2.wav", "Two.")

    def reached(place: str) -> None:
        if place == at:
            raise Killed

    monkeypatch.setattr(publish, "discard", _kept)
    failpoints.listen(reached)
    try:
        with pytest.raises(Killed):
            inbox.write()
    finally:
        failpoints.listen(None)
    monkeypatch.undo()
    for leftover in inbox.folder.glob(".tr-*.part"):  # as the sweep does
        leftover.unlink()
    inbox.write()
    assert inbox.names() == {"talk.txt"}
    assert ("Anna: One." in inbox.text(), "Ben: Two." in inbox.text()) == (True, True)
