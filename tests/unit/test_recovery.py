from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.options import Format, JobOptions
from daemon.outputs import publish
from daemon.outputs.formats import Document
from daemon.outputs.kept import Kept, KeptDocuments
from daemon.recovery import recover
from daemon.transcript import Transcript
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, JobState, NewJob, Outcome, Output, Result, StoredSegment

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
RESULT = Result(Outcome.OK, "", "en", 0.9, "base", "cpu", "int8", 2.0, 1, 2)
CONTENTS: dict[Format, bytes] = {"txt": b"the words\n", "srt": b"1\n", "json": b"{}\n"}


class Wreck:
    """What a daemon leaves that was killed, and the next one that finds it."""

    def __init__(self, root: Path) -> None:
        self.inbox = root / "inbox"
        self.spool = root / "spool"
        self.inbox.mkdir()
        self.spool.mkdir()
        self.path = self.inbox / "memo.wav"
        self.path.write_bytes(b"RIFF")
        self.kept = KeptDocuments(root / "kept")
        self._database = root / "history.db"
        self.store = JobStore.open(self._database, "daemon-1")

    def claim(self) -> Job:
        """A job in the hands of the daemon that is about to die."""
        path = os.fsencode(self.path)
        new = NewJob(path, os.fsencode(self.inbox), Fingerprint.of(os.lstat(path)), {}, "d")
        self.store.enqueue([new], AT)
        job = self.store.claim(AT)
        assert job is not None
        return job

    def publishing(self) -> tuple[Job, tuple[Output, ...]]:
        """A job whose intent is committed."""
        job = self.claim()
        outputs = publish.stage(job.path, CONTENTS, self.store.written(job.path))
        self.store.publishing(job, outputs, RESULT, AT)
        return job, outputs

    def recover(self) -> None:
        """The next daemon starts, and the inbox is there."""
        self.store.close()
        self.store = JobStore.open(self._database, "daemon-2")
        self.unsettled = recover(self.store, self.spool, self.kept)
        self.unsettled.settle(os.fsencode(self.inbox))

    def job(self, job: Job) -> Job:
        """The job as the history has it now."""
        now = self.store.job(job.id)
        assert now is not None
        return now

    def names(self) -> set[str]:
        """What lies beside the recording."""
        return {path.name for path in self.inbox.iterdir()} - {"memo.wav"}


@pytest.fixture
def wreck(tmp_path: Path) -> Iterator[Wreck]:
    wreck = Wreck(tmp_path)
    yield wreck
    wreck.store.close()


@pytest.mark.fault(19, "an end between the links")
@pytest.mark.parametrize("n_linked", range(4))
@pytest.mark.parametrize("unlinked", [False, True])
def test_a_publication_is_brought_to_its_end(wreck: Wreck, n_linked: int, unlinked: bool) -> None:
    """Killed before, between and after the files got their names: one whole set, no temporary file, the job done."""
    job, outputs = wreck.publishing()
    for number, output in enumerate(outputs[:n_linked], start=1):
        os.link(output.temp_path, output.path)
        if number < n_linked or unlinked:
            os.unlink(output.temp_path)
    wreck.recover()
    assert wreck.names() == {"memo.txt", "memo.srt", "memo.json"}
    assert (wreck.inbox / "memo.txt").read_bytes() == CONTENTS["txt"]
    after = wreck.job(job)
    assert (after.state, after.outcome, after.attempt) == (JobState.DONE, Outcome.OK, 1)
    assert after.outputs == outputs


def test_the_text_survives_the_daemon(wreck: Wreck) -> None:
    """It is on disk with the intent: a job that the next daemon publishes can be searched like any other."""
    job = wreck.claim()
    outputs = publish.stage(job.path, CONTENTS, {})
    wreck.store.publishing(job, outputs, RESULT, AT, [StoredSegment(0.0, 1.0, "Good morning.", -0.2)])
    wreck.recover()
    assert [hit.job_id for hit in wreck.store.search(["good morning"])] == [job.id]


def test_a_name_that_was_only_reserved_is_used(wreck: Wreck) -> None:
    """Where there are no hard links a kill can leave an empty file: it is ours."""
    job, outputs = wreck.publishing()
    Path(os.fsdecode(outputs[0].path)).touch()
    wreck.recover()
    assert wreck.names() == {"memo.txt", "memo.srt", "memo.json"}
    assert wreck.job(job).state is JobState.DONE


def test_before_the_intent_the_job_is_queued(wreck: Wreck) -> None:
    """A job that ran is done again from its start; its temporary files are the sweep's."""
    job = wreck.claim()
    publish.stage(job.path, CONTENTS, {})
    (wreck.spool / "1-1.s16").write_bytes(b"samples")
    wreck.recover()
    assert wreck.job(job).state is JobState.QUEUED
    assert list(wreck.spool.iterdir()) == []


@pytest.mark.fault(20, "temporary files lost")
@pytest.mark.parametrize("n_linked", [0, 1])
def test_without_its_temporary_files_the_job_is_done_again(wreck: Wreck, n_linked: int) -> None:
    """A power cut may take files that were never named: the job is queued, its attempt given back."""
    job, outputs = wreck.publishing()
    for output in outputs[:n_linked]:
        os.link(output.temp_path, output.path)
    for output in outputs:
        os.unlink(output.temp_path)
    wreck.recover()
    after = wreck.job(job)
    assert (after.state, after.attempt, after.outcome) == (JobState.QUEUED, 0, None)
    again, second = wreck.publishing()
    assert again.id == job.id
    publish.commit(second, wreck.store.written(job.path))
    assert wreck.names() == {"memo.txt", "memo.srt", "memo.json"}, "the set takes the place of what was there of it"


def test_a_file_that_came_meanwhile_is_left_alone(wreck: Wreck) -> None:
    """Somebody took a name while no daemon ran: the job is done again, under other names."""
    job, outputs = wreck.publishing()
    os.link(outputs[0].temp_path, outputs[0].path)
    os.unlink(outputs[0].temp_path)
    (wreck.inbox / "memo.txt").write_text("by hand")
    wreck.recover()
    assert wreck.job(job).state is JobState.QUEUED
    assert (wreck.inbox / "memo.txt").read_text() == "by hand"
    assert not [name for name in wreck.names() if name.startswith(".tr-")]


def test_a_transcript_that_was_edited_meanwhile_is_kept(wreck: Wreck) -> None:
    """All files had their names, and a person was quick: the words are theirs."""
    job, outputs = wreck.publishing()
    publish.commit(outputs, {})
    (wreck.inbox / "memo.txt").write_text("corrected")
    wreck.recover()
    assert (wreck.inbox / "memo.txt").read_text() == "corrected"
    assert wreck.job(job).state is JobState.QUEUED


def test_a_folder_that_is_gone_is_no_trouble(wreck: Wreck) -> None:
    """The share may be offline at the start: the job is queued and meets what is there in its turn."""
    job, _ = wreck.publishing()
    wreck.inbox.rename(wreck.inbox.with_name("elsewhere"))
    wreck.recover()
    assert wreck.job(job).state is JobState.QUEUED


def test_a_folder_that_cannot_be_written_blocks(wreck: Wreck, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made for it waits there, and is published by itself once the folder can be written: nothing is lost."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    job, _ = wreck.publishing()
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        wreck.recover()
    assert wreck.job(job).state is JobState.PUBLISHING
    assert wreck.unsettled.inboxes() == {os.fsencode(wreck.inbox)}
    wreck.unsettled.settle(os.fsencode(wreck.inbox))
    assert wreck.job(job).state is JobState.DONE
    assert wreck.unsettled.inboxes() == set()


def test_many_jobs_are_settled_each_for_itself(wreck: Wreck) -> None:
    """One that cannot be ended does not keep the others from it."""
    lost, outputs = wreck.publishing()
    for output in outputs:
        os.unlink(output.temp_path)
    wreck.path = wreck.inbox / "other.wav"
    wreck.path.write_bytes(b"RIFF")
    saved, _ = wreck.publishing()
    wreck.recover()
    assert wreck.job(lost).state is JobState.QUEUED
    assert wreck.job(saved).state is JobState.DONE


def test_documents_of_jobs_that_are_over_are_dropped(wreck: Wreck) -> None:
    """What was kept for a blocked folder goes with its job; that of a job still to be done stays."""
    job = wreck.claim()
    transcript = Transcript((), "en", 1.0, "base", "cpu", "int8")
    sha256 = hashlib.sha256(b"RIFF").hexdigest()
    document = Document(transcript, JobOptions(), "memo.wav", sha256, 1.0, None, "ok", "", "transcribed", "now")
    for job_id in (job.id, 77):
        wreck.kept.save(job_id, Kept(document, job.fingerprint, "d"))
    wreck.recover()
    assert wreck.kept.job_ids() == [job.id]
    wreck.store.cancel([job.id], AT)
    wreck.recover()
    assert wreck.kept.job_ids() == []
