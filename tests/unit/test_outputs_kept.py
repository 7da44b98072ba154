from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.options import JobOptions
from daemon.outputs.formats import Document
from daemon.outputs.kept import Kept, KeptDocuments, packed, unpacked
from daemon.suspects import Suspect
from daemon.transcript import Segment, Transcript, Word
from storage.records import Fingerprint

FINGERPRINT = Fingerprint(100, 1, 2, 3, 4)


def kept(recording: str = "memo.wav") -> Kept:
    word = Word(0.1, 0.5, " Good", 0.9)
    segments = (
        Segment(0.0, 1.0, "Good", -0.2, 1.4, 0.01, 0.0, words=(word,), suspect=("loop", "silence")),
        Segment(1.0, 2.0, "語 \u202e x", -0.2, 1.4, 0.01, 0.2),
    )
    options = JobOptions(language="en", formats=("txt", "tsv"))
    document = Document(
        transcript=Transcript(segments, "en", 1.0, "base", "cpu", "int8"),
        options=options,
        recording=recording,
        source_sha256="ab" * 32,
        audio_s=2.0,
        declared_s=None,
        outcome="ok",
        notice="",
        made_by="transcribed 1.0",
        made_at="2025-03-01T12:00:00Z",
        suspects=(Suspect(0.0, 1.0, ("loop", "low_confidence"), 1, "Good", 0.8, -0.2, 1.4, None),),
    )
    return Kept(document, FINGERPRINT, options.digest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state/kept"


def test_what_is_kept_comes_back_equal(folder: Path) -> None:
    """Every field survives, also for a later process; tuples are tuples again."""
    KeptDocuments(folder).save(7, kept())
    assert KeptDocuments(folder).load(7) == kept()


def test_words_that_an_earlier_version_kept_are_read(folder: Path) -> None:
    """It wrote them with the names of their fields."""
    documents = KeptDocuments(folder)
    documents.save(7, kept())
    content = json.loads((folder / "7.json").read_text())
    segment = content["document"]["transcript"]["segments"][0]
    assert segment["words"] == [[0.1, 0.5, " Good", 0.9]]
    segment["words"] = [{"start_s": 0.1, "end_s": 0.5, "text": " Good", "probability": 0.9}]
    (folder / "7.json").write_text(json.dumps(content))
    assert documents.load(7) == kept()


def test_a_document_of_an_earlier_version_has_no_places_to_listen_to(folder: Path) -> None:
    """It kept none, no translation, and neither language nor speaker with a line."""
    documents = KeptDocuments(folder)
    documents.save(7, kept())
    content = json.loads((folder / "7.json").read_text())
    del content["document"]["suspects"]
    del content["document"]["transcript"]["translation"]
    for segment in content["document"]["transcript"]["segments"]:
        del segment["language"], segment["speaker"]
    (folder / "7.json").write_text(json.dumps(content))
    assert documents.load(7) == replace(kept(), document=replace(kept().document, suspects=()))


def test_speakers_and_translation_come_back(folder: Path) -> None:
    """From the file of a job, and packed as the history has it."""
    found = kept()
    transcript = found.document.transcript
    first, second = transcript.segments
    transcript = replace(
        transcript,
        segments=(replace(first, speaker="Anna\n<b>"), second),
        translation=(replace(first, text="Good", speaker="Anna"), replace(second, words=(Word(1.0, 2.0, "x", 0.5),))),
    )
    found = replace(found, document=replace(found.document, transcript=transcript))
    documents = KeptDocuments(folder)
    documents.save(7, found)
    assert documents.load(7) == found
    assert unpacked(packed(found)) == found


def test_names_that_are_no_utf8_survive(folder: Path) -> None:
    """A recording's name may hold bytes that are no text."""
    odd = kept(b"caf\xe9.wav".decode("utf-8", "surrogateescape"))
    documents = KeptDocuments(folder)
    documents.save(7, odd)
    assert documents.load(7) == odd


def test_jobs_are_apart(folder: Path) -> None:
    """One job's document is not another's, and dropping one leaves the other."""
    documents = KeptDocuments(folder)
    documents.save(1, kept("a.wav"))
    documents.save(2, kept("b.wav"))
    documents.drop(1)
    documents.drop(1)
    assert documents.load(1) is None
    assert documents.load(2) == kept("b.wav")
    assert documents.job_ids() == [2]


def test_a_later_document_replaces_the_earlier(folder: Path) -> None:
    """A job keeps one document, the last."""
    documents = KeptDocuments(folder)
    documents.save(1, kept("a.wav"))
    documents.save(1, kept("b.wav"))
    assert documents.load(1) == kept("b.wav")
    assert [path.name for path in folder.iterdir()] == ["1.json"]


@pytest.mark.fault(20, "the order of fsync and rename")
def test_it_is_on_disk_before_it_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced, then renamed, then its folder is synced: after a power cut it is whole or not there."""
    documents = KeptDocuments(folder)
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(fd: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")
        fsync(fd)

    def noted_replace(path: Path, target: Path) -> Path:
        order.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    documents.save(1, kept())
    assert order == ["file", "rename", "folder"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        '"x"',
        "{}",
        '{"version": 1}',
        '{"version": 2}',
        "\xff",
        '{"version": 1, "document": []}',
    ],
)
def test_what_cannot_be_read_is_nothing(folder: Path, content: str) -> None:
    """A damaged file, or one of another version, means that the recording is transcribed again."""
    documents = KeptDocuments(folder)
    (folder / "1.json").write_bytes(content.encode("latin-1"))
    assert documents.load(1) is None


def test_fields_of_a_later_version_are_not_guessed(folder: Path) -> None:
    """A document with a field that we do not know is not read."""
    documents = KeptDocuments(folder)
    documents.save(1, kept())
    content = json.loads((folder / "1.json").read_text())
    content["document"]["transcript"]["speakers"] = 2
    (folder / "1.json").write_text(json.dumps(content))
    assert documents.load(1) is None


def test_half_written_files_are_removed(folder: Path) -> None:
    """What a crash left is no document, and goes when the documents are listed."""
    documents = KeptDocuments(folder)
    documents.save(3, kept())
    (folder / "1.part").write_text("{")
    (folder / "notes.json").write_text("{}")
    assert documents.job_ids() == [3]
    assert not (folder / "1.part").exists()


def test_a_file_that_cannot_be_removed_is_no_error(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The job is done by then: dropping must not undo that."""
    documents = KeptDocuments(folder)
    (folder / "1.json").mkdir()
    documents.drop(1)
    assert "1.json" in caplog.text
