"""Why a path is treated as it is, in words, with and without a daemon."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.clock import utc_now
from daemon.config import InboxConfig
from daemon.intake import explain as explain_module
from daemon.intake.explain import Explanation, explain
from daemon.shares import NoAnswer
from storage.jobs import JobStore
from storage.records import Fingerprint, NewJob

Explain = Callable[[Path], Explanation]


@pytest.fixture
def inbox(tmp_path: Path) -> InboxConfig:
    (tmp_path / "inbox").mkdir()
    return InboxConfig(path=tmp_path / "inbox")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore.open(tmp_path / "history.db", "daemon")
    yield store
    store.close()


@pytest.fixture
def ask(inbox: InboxConfig, store: JobStore) -> Explain:
    return lambda path: explain(path, [inbox], store, lambda name: None)


def queued(store: JobStore, inbox: InboxConfig, path: Path) -> int:
    fingerprint = Fingerprint.of(path.lstat())
    new = NewJob(os.fsencode(path), os.fsencode(inbox.path), fingerprint, {"model": "base"}, "d")
    (job_id,) = store.enqueue([new], utc_now())
    return job_id


def test_outside_of_every_inbox(tmp_path: Path, ask: Explain, inbox: InboxConfig) -> None:
    """The inboxes are named, so that a wrong folder shows; a folder with a similar name is no inbox."""
    for path in (tmp_path / "a.wav", tmp_path / "inbox2" / "a.wav", inbox.path / ".." / "a.wav"):
        found = ask(path)
        assert found.rule == "not in an inbox"
        assert str(inbox.path) in found.lines[0]
    assert "none is configured" in explain(tmp_path / "a.wav", [], None, lambda name: None).lines[0]


@pytest.mark.parametrize(
    ("place", "word"),
    [("a.wav.part", "Firefox"), (".a.wav", "hidden"), ("a.txt", ".txt"), ("@eaDir/a.wav", "Synology")],
)
def test_a_name_that_is_no_recording_is_the_whole_answer(
    ask: Explain, inbox: InboxConfig, place: str, word: str
) -> None:
    """The rule that decided is named, whether the file is there or not."""
    found = ask(inbox.path / place)
    assert word in found.rule
    assert found.job_id is None


def test_a_new_file_has_no_job_yet(ask: Explain, inbox: InboxConfig) -> None:
    """It is there, it is a recording, and the next scan finds it."""
    (inbox.path / "a.wav").write_bytes(b"12345")
    found = ask(inbox.path / "a.wav")
    assert found.rule == "no job yet: the next scan finds it"
    assert found.lines == (
        f"in the inbox {inbox.path}",
        "recording: .wav",
        "on disk: 5 bytes",
        "no job yet: the next scan finds it",
    )


def test_the_newest_job_is_the_answer(ask: Explain, inbox: InboxConfig, store: JobStore) -> None:
    """With its state and reason, also after the file is gone."""
    path = inbox.path / "a.wav"
    path.write_bytes(b"x")
    job_id = queued(store, inbox, path)
    assert ask(path).rule == f"job {job_id} is queued"
    job = store.claim(utc_now())
    assert job is not None
    store.fail(job, "no audio in it", utc_now())
    path.unlink()
    found = ask(path)
    assert found.rule == f"job {job_id} is failed"
    assert found.lines[-1] == f"job {job_id} is failed: no audio in it"
    assert "on disk: No such file or directory" in found.lines
    assert found.job_id == job_id


def test_what_the_intake_waits_for_comes_first(inbox: InboxConfig, store: JobStore) -> None:
    """A file that changed after it was done is of more interest than what was."""
    path = inbox.path / "a.wav"
    path.write_bytes(b"x")
    job_id = queued(store, inbox, path)
    asked: list[bytes] = []

    def unfinished(name: bytes) -> str:
        asked.append(name)
        return "settling: unchanged for 1 s of 3 s"

    found = explain(path, [inbox], store, unfinished)
    assert found.rule == "settling: unchanged for 1 s of 3 s"
    assert found.lines[-1] == f"job {job_id} is queued"
    assert asked == [os.fsencode(path)]


def test_what_is_no_regular_file_is_said_to_be_none(ask: Explain, inbox: InboxConfig, tmp_path: Path) -> None:
    """A link, a FIFO, a folder, nothing at all: no scan will ever find it."""
    (tmp_path / "real.wav").write_bytes(b"x")
    (inbox.path / "link.wav").symlink_to(tmp_path / "real.wav")
    os.mkfifo(inbox.path / "fifo.wav")
    (inbox.path / "folder.wav").mkdir()
    assert "links are not followed" in ask(inbox.path / "link.wav").rule
    assert "only regular files" in ask(inbox.path / "fifo.wav").rule
    assert "only regular files" in ask(inbox.path / "folder.wav").rule
    assert "No such file" in ask(inbox.path / "nothing.wav").rule


def test_a_linked_folder_is_not_searched(ask: Explain, inbox: InboxConfig, tmp_path: Path) -> None:
    """The file is there and regular, but the scan does not get to it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.wav").write_bytes(b"x")
    (inbox.path / "linked").symlink_to(tmp_path / "outside")
    found = ask(inbox.path / "linked" / "a.wav")
    assert f"{inbox.path / 'linked'} is a symbolic link" in found.rule


def test_an_inbox_is_known_by_every_name(tmp_path: Path, inbox: InboxConfig, store: JobStore) -> None:
    """It may be configured by a link and asked for by its real path, or the other way round."""
    (tmp_path / "link").symlink_to(inbox.path)
    path = inbox.path / "a.wav"
    path.write_bytes(b"x")
    job_id = queued(store, inbox, path)
    assert explain(tmp_path / "link" / "a.wav", [inbox], store, lambda name: None).job_id == job_id
    linked = InboxConfig(path=tmp_path / "link")
    found = explain(path, [linked], store, lambda name: None)
    assert found.lines[0] == f"in the inbox {tmp_path / 'link'}"


def test_without_a_history_there_is_still_an_answer(inbox: InboxConfig) -> None:
    """Before the first run, say."""
    (inbox.path / "a.wav").write_bytes(b"x")
    assert explain(inbox.path / "a.wav", [inbox], None, lambda name: None).rule.startswith("no job yet")


def test_a_relative_path_is_taken_from_where_the_person_is(
    ask: Explain, inbox: InboxConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every other program does."""
    (inbox.path / "a.wav").write_bytes(b"x")
    monkeypatch.chdir(inbox.path)
    assert ask(Path("a.wav")).rule.startswith("no job yet")


def test_subfolders_of_an_inbox_that_is_not_recursive(inbox: InboxConfig) -> None:
    """The setting is the rule."""
    flat = InboxConfig(path=inbox.path, recursive=False)
    assert "not recursive" in explain(inbox.path / "sub" / "a.wav", [flat], None, lambda name: None).rule


def test_the_settings_of_the_folders_are_told_with_their_origin(
    ask: Explain, inbox: InboxConfig, store: JobStore
) -> None:
    """As the files are now; with a mistake in one, what it said at the last scan."""
    folder = inbox.path / "anna"
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"x")
    file = folder / "transcribed.toml"
    file.write_text('language = "de"')
    (inbox.path / "transcribed.toml").write_text("quality = 1")
    lines = "\n".join(ask(folder / "a.wav").lines)
    assert f'setting: language = "de" ({file})' in lines
    assert f"mistake in {inbox.path}/transcribed.toml: Line 1: quality = 1" in lines
    assert "setting: quality" not in lines
    store.keep_settings(os.fsencode(inbox.path), {os.fsencode(inbox.path): {"quality": "careful"}}, [])
    lines = "\n".join(ask(folder / "a.wav").lines)
    assert f'setting: quality = "careful" ({inbox.path}/transcribed.toml)' in lines
    assert "what it said before still counts" in lines
    nobody = explain(folder / "a.wav", [inbox.model_copy(update={"may_set": ()})], store, lambda name: None)
    assert not any(line.startswith(("setting", "mistake")) for line in nobody.lines)


def test_a_recording_that_its_folder_ignores(ask: Explain, inbox: InboxConfig) -> None:
    """The file that says so is the answer."""
    (inbox.path / "transcribed.toml").write_text('ignore = ["*.mp4"]')
    for name in ("a.mp4", "a.wav"):
        (inbox.path / name).write_bytes(b"x")
    assert ask(inbox.path / "a.mp4").rule == f"ignored: so say the settings in {inbox.path}/transcribed.toml"
    assert ask(inbox.path / "a.wav").rule == "no job yet: the next scan finds it"


def test_settings_on_a_share_that_does_not_answer_are_those_of_the_last_scan(
    ask: Explain, inbox: InboxConfig, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it."""
    store.keep_settings(os.fsencode(inbox.path), {os.fsencode(inbox.path): {"language": "de"}}, [])

    def hang(*_: object) -> None:
        raise NoAnswer

    monkeypatch.setattr(explain_module, "within", hang)
    found = ask(inbox.path / "a.wav")
    assert f'setting: language = "de" ({inbox.path}/transcribed.toml)' in found.lines
    assert "does not answer" in found.rule
