from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon.ahead import Ahead
from daemon.decode.pool import Decoded
from daemon.engine.client import Checkpoint, Request
from daemon.errors import (
    DecodeFailed,
    EngineDied,
    JobCancelled,
    OutputBlocked,
    Quarantined,
    RecordingIncomplete,
    SourceChanged,
    SourceVanished,
    SpoolBlocked,
    UnreadableRecording,
)
from daemon.options import JobOptions
from daemon.outputs import publish
from daemon.outputs.kept import KeptDocuments
from daemon.transcript import Segment, Span, Transcript
from daemon.transcription import make_document, perform
from daemon.workshop import Activity, Workshop
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, JobState, NewJob, Outcome

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
AUDIO = b"RIFF" * 100
OPTIONS = JobOptions(formats=("txt", "srt"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def segment(text: str, start_s: float = 0.0) -> Segment:
    return Segment(start_s, start_s + 1.0, text, -0.2, 1.4, 0.01, 0.0)


@dataclass
class FakeDecode:
    """Hashes the recording, writes some samples, and says what the test wants."""

    declared_s: float | None = 10.0
    spans: tuple[Span, ...] = (Span(0, 16_000),)
    meanwhile: Callable[[], None] = lambda: None
    error: Exception | None = None
    n_decoded: int = 0
    n_digests: int = 0
    second: int = 0

    def decode(self, recording_fd: int, spool_fd: int, *, progress: Callable[[float], None], **_: Any) -> Decoded:
        """As `DecodePool.decode`."""
        self.n_decoded += 1
        os.write(spool_fd, b"\0" * 320)
        progress(5.0)
        content = os.pread(recording_fd, 1 << 20, 0)
        self.meanwhile()
        if self.error is not None:
            raise self.error
        return Decoded(
            source_sha256=sha256(content),
            n_samples=160_000,
            decoded_s=10.0,
            declared_s=self.declared_s,
            sample_rate_hz=48_000,
            channels=2,
            codec="pcm",
            reader="fake",
            n_damaged=0,
            spans=self.spans,
            second=self.second,
        )

    def digest(self, fd: int, cancelled: threading.Event | None = None) -> str:
        """As `DecodePool.digest`."""
        self.n_digests += 1
        if cancelled is not None and cancelled.is_set():
            raise JobCancelled("cancelled while it was hashed")
        return sha256(os.pread(fd, 1 << 20, 0))


@dataclass
class FakeEngine:
    """Adds one segment a call to the checkpoint; dies as often as it is told to."""

    deaths: list[EngineDied] = field(default_factory=list[EngineDied])
    texts: tuple[str, ...] = ("Good morning.",)
    language: str = "en"
    english: tuple[str, ...] = ()
    calls: list[tuple[int, int | None]] = field(default_factory=list[tuple[int, int | None]])
    spools: list[bytes] = field(default_factory=list[bytes])

    def transcribe(
        self,
        request: Request,
        checkpoint: Checkpoint,
        *,
        progress: Callable[[float, float], None],
        company: int | None = None,
        **_: Any,
    ) -> Transcript:
        """As `Engine.transcribe`."""
        self.calls.append((len(checkpoint.segments), company))
        self.spools.append(request.spool_path.read_bytes())
        if self.deaths:
            checkpoint.segments.append(segment(f"before death {len(self.calls)}", float(len(self.calls))))
            raise self.deaths.pop(0)
        if request.spans:
            checkpoint.segments.extend(segment(text, 5.0) for text in self.texts)
        progress(10.0, 10.0)
        translation = tuple(segment(text, 5.0) for text in self.english)
        return Transcript(tuple(checkpoint.segments), self.language, 0.9, "base", "cpu", "int8", translation)


class Bench:
    """A real history and real folders around a fake decoder and a fake engine."""

    def __init__(self, root: Path) -> None:
        self.inbox = root / "inbox"
        self.inbox.mkdir()
        self.spool = root / "spool"
        self.spool.mkdir()
        self.path = self.inbox / "memo.wav"
        self.path.write_bytes(AUDIO)
        self.store = JobStore.open(root / "history.db", "daemon-1")
        self.decode = FakeDecode()
        self.engine = FakeEngine()
        self.kept = KeptDocuments(root / "kept")
        self.activity: Activity | None = None
        self.shop = Workshop(
            self.store,
            self.decode,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # as much of it as is called
            Ahead(2, 1000),
            self.engine,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            self.kept,
            self.spool,
            lambda write: write(),
        )

    def enqueue(self, options: JobOptions = OPTIONS) -> int:
        """Queue a job for what is at the path now; its id."""
        path = os.fsencode(self.path)
        fingerprint = Fingerprint.of(os.lstat(path))
        new = NewJob(path, os.fsencode(self.inbox), fingerprint, options.to_dict(), options.digest())
        return self.store.enqueue([new], AT)[0]

    def claim(self) -> Job:
        """The next job, running."""
        job = self.store.claim(AT)
        assert job is not None
        return job

    def perform(self, job: Job | None = None) -> Job:
        """Do the next job; the job as the history has it then."""
        self.activity = Activity(job or self.claim())
        perform(self.activity, self.shop)
        return self.job(self.activity.job.id)

    def job(self, job_id: int) -> Job:
        """The job as the history has it."""
        job = self.store.job(job_id)
        assert job is not None
        return job

    def outputs(self) -> dict[str, str]:
        """What lies in the inbox beside the recording."""
        return {path.name: path.read_text() for path in self.inbox.iterdir() if path != self.path}

    def kinds(self, job_id: int) -> list[str]:
        """The kinds of a job's events."""
        return [event.kind for event in self.store.events(job_id)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    assert list(bench.spool.iterdir()) == [], "the decoded audio is removed in every case"
    assert not [name for name in bench.outputs() if name.startswith(".tr-")]
    bench.store.close()


def test_a_recording_becomes_its_outputs(bench: Bench) -> None:
    """Outputs are in place, the job is done with its figures, and every step is in the history."""
    job_id = bench.enqueue()
    job = bench.perform()
    assert (job.state, job.outcome, job.reason) == (JobState.DONE, Outcome.OK, "")
    assert (job.audio_s, job.declared_s, job.speech_s) == (10.0, 10.0, 1.0)
    assert (job.language, job.model, job.n_segments, job.n_words) == ("en", "base", 1, 2)
    assert job.source_sha256 == sha256(AUDIO)
    assert bench.outputs()["memo.txt"] == "Good morning.\n"
    assert {os.path.basename(output.path) for output in job.outputs} == {b"memo.txt", b"memo.srt"}
    assert bench.kinds(job_id) == ["queued", "running", "decoded", "publishing", "done"]
    assert bench.path.read_bytes() == AUDIO
    assert bench.engine.spools == [b"\0" * 320]
    assert bench.activity is not None
    assert (bench.activity.stage, bench.activity.total_s) == ("publish", 10.0)
    assert not bench.activity.outdated


def test_the_text_of_a_recording_is_in_the_history(bench: Bench) -> None:
    """Every line with its times can be searched once the job is done."""
    bench.enqueue()
    job = bench.perform()
    (hit,) = bench.store.search(["MORNING"])
    assert (hit.job_id, hit.path, hit.number, hit.text) == (job.id, job.path, 1, "Good morning.")
    assert (hit.start_s, hit.end_s) == (5.0, 6.0)


def put(bench: Bench, name: str, content: bytes = AUDIO) -> None:
    """Another recording in the inbox; the bench is about that one from now on."""
    bench.path = bench.inbox / name
    bench.path.write_bytes(content)


def test_the_same_content_is_not_transcribed_twice(bench: Bench) -> None:
    """The other recording gets the text under its own name, though a person changed the first transcript meanwhile."""
    bench.enqueue()
    first = bench.perform()
    (bench.inbox / "memo.txt").write_text("Edited.\n")
    put(bench, "copy.wav")
    bench.enqueue()
    second = bench.perform()
    assert (second.state, second.outcome, second.same_as) == (JobState.DONE, Outcome.OK, first.id)
    assert second.reason == f"same content as in job {first.id}; its text was used again"
    assert (bench.decode.n_decoded, len(bench.engine.calls)) == (1, 1)
    assert (second.audio_s, second.speech_s, second.source_sha256) == (10.0, 1.0, sha256(AUDIO))
    assert bench.outputs()["copy.txt"] == "Good morning.\n"
    assert bench.outputs()["copy.srt"] == bench.outputs()["memo.srt"]
    assert [hit.job_id for hit in bench.store.search(["morning"])] == [second.id, first.id]


def test_where_to_listen_is_in_the_files_and_in_the_history(bench: Bench) -> None:
    """From the spans of the decoder and the text of the engine; also of a recording that takes the text over."""
    bench.decode.spans = (Span(80_000, 160_000),)
    bench.enqueue(replace(OPTIONS, formats=("txt", "json"), list_suspects=True))
    bench.perform()
    assert bench.outputs()["memo.txt"] == "Good morning.\n\nListen here:\n[00:00:06 - 00:00:10] speech without text\n"
    (place,) = json.loads(bench.outputs()["memo.json"])["suspects"]
    assert place == {
        "rank": 1,
        "start": 6.0,
        "end": 10.0,
        "reasons": ["speech_without_text"],
        "text": "",
        "speech_s": 4.0,
    }
    put(bench, "copy.wav")
    bench.enqueue(replace(OPTIONS, formats=("json",)))
    bench.perform()
    assert json.loads(bench.outputs()["copy.json"])["suspects"] == [place]
    with closing(sqlite3.connect(bench.inbox.parent / "history.db")) as database:
        found = database.execute("SELECT name, start_s, end_s, reasons FROM v_suspects").fetchall()
    assert found == [(name, 6.0, 10.0, "speech_without_text") for name in ("memo.wav", "copy.wav")]


@pytest.mark.parametrize("content", [AUDIO[::-1], AUDIO + b"RIFF"])
def test_other_content_is_transcribed(bench: Bench, content: bytes) -> None:
    """It is hashed before only where its size is that of a known one."""
    bench.enqueue()
    bench.perform()
    n_before = bench.decode.n_digests
    put(bench, "other.wav", content)
    bench.enqueue()
    assert bench.perform().same_as is None
    assert bench.decode.n_decoded == 2
    assert bench.decode.n_digests - n_before == (len(content) == len(AUDIO))


def test_the_same_content_with_other_options_is_transcribed(bench: Bench) -> None:
    """But for the formats, which do not change the words."""
    bench.enqueue()
    first = bench.perform()
    put(bench, "german.wav")
    bench.enqueue(replace(OPTIONS, language="de"))
    assert bench.perform().same_as is None
    put(bench, "subtitles.wav")
    bench.enqueue(replace(OPTIONS, formats=("vtt",)))
    assert bench.perform().same_as == first.id
    assert "Good morning." in bench.outputs()["subtitles.vtt"]
    assert bench.decode.n_decoded == 2


def test_other_looks_need_no_model(bench: Bench) -> None:
    """A recording that is touched once its inbox asks for other names or paragraphs gets them from the history."""
    bench.enqueue()
    first = bench.perform()
    os.utime(bench.path, (1.0, 1.0))
    bench.enqueue(replace(OPTIONS, formats=("txt", "md"), paragraph_times=True))
    assert bench.perform().same_as == first.id
    assert bench.outputs()["memo.txt"] == "[00:00:05] Good morning.\n"
    assert (bench.decode.n_decoded, len(bench.engine.calls)) == (1, 1)
    os.utime(bench.path, (2.0, 2.0))
    bench.enqueue(replace(OPTIONS, formats=("txt",), paragraph_times=True))
    assert bench.perform().outcome is Outcome.DUPLICATE, "the transcript stands"


def test_the_language_is_in_the_names_if_that_is_configured(bench: Bench) -> None:
    """Of every format; asked for again, the same files are replaced."""
    bench.enqueue(replace(OPTIONS, language_suffix=True))
    bench.perform()
    assert bench.outputs().keys() == {"memo.en.txt", "memo.en.srt"}
    redone(bench, "Good evening.")
    assert bench.outputs().keys() == {"memo.en.txt", "memo.en.srt"}
    assert bench.outputs()["memo.en.txt"] == "Good evening.\n"


def test_a_translation_lies_beside_the_text(bench: Bench) -> None:
    """It is one of the files of the job: replaced with the text, written again from the history, known as ours."""
    bench.engine.texts, bench.engine.language, bench.engine.english = ("Guten Morgen.",), "de", ("Good morning.",)
    bench.enqueue(replace(OPTIONS, task="both", language_suffix=True))
    job = bench.perform()
    assert bench.outputs().keys() == {"memo.de.txt", "memo.de.srt", "memo.en.txt", "memo.en.srt"}
    assert (bench.outputs()["memo.de.txt"], bench.outputs()["memo.en.txt"]) == ("Guten Morgen.\n", "Good morning.\n")
    assert {output.format for output in job.outputs} == {"txt", "srt", "txt.en", "srt.en"}
    os.utime(bench.path, (1.0, 1.0))
    bench.enqueue(replace(OPTIONS, task="both", language_suffix=True))
    assert bench.perform().outcome is Outcome.DUPLICATE
    (bench.inbox / "memo.en.srt").unlink()
    os.utime(bench.path, (2.0, 2.0))
    bench.enqueue(replace(OPTIONS, task="both", language_suffix=True))
    bench.perform()
    assert "Good morning." in bench.outputs()["memo.en.srt"]
    assert len(bench.engine.calls) == 1
    bench.engine.english = ("Good day.",)
    redone(bench, "Guten Tag.")
    assert bench.outputs().keys() == {"memo.de.txt", "memo.de.srt", "memo.en.txt", "memo.en.srt"}
    assert bench.outputs()["memo.en.txt"] == "Good day.\n"


def test_what_is_english_gets_no_second_files(bench: Bench) -> None:
    """Whether the engine says the same twice, or nothing."""
    for english in ((), bench.engine.texts):
        bench.engine.english = english
        bench.enqueue(replace(OPTIONS, task="both"))
        bench.perform()
        assert bench.outputs().keys() == {"memo.txt", "memo.srt"}


@pytest.mark.parametrize("name", ["memo.wav", "copy.wav"])
def test_a_recording_that_is_only_hashed_can_be_cancelled(bench: Bench, name: str) -> None:
    """One that was touched, and one with the size of another: neither holds a decoder that others wait for."""
    bench.enqueue()
    bench.perform()
    bench.path = bench.inbox / name
    bench.path.write_bytes(AUDIO)
    bench.enqueue()
    activity = Activity(bench.claim())
    activity.cancelled.set()
    with pytest.raises(JobCancelled):
        perform(activity, bench.shop)


def test_an_operator_may_have_the_same_content_transcribed_each_time(bench: Bench) -> None:
    """With ``[history] reuse`` off."""
    bench.shop = replace(bench.shop, reuse=lambda: False)
    bench.enqueue()
    bench.perform()
    put(bench, "copy.wav")
    bench.enqueue()
    assert bench.perform().same_as is None
    assert bench.decode.n_decoded == 2


def test_a_removed_transcript_comes_back_without_the_model(bench: Bench) -> None:
    """When its recording is touched: the history has the text."""
    bench.enqueue()
    first = bench.perform()
    for name in bench.outputs():
        (bench.inbox / name).unlink()
    os.utime(bench.path, (1.0, 1.0))
    bench.enqueue()
    assert bench.perform().same_as == first.id
    assert bench.outputs()["memo.txt"] == "Good morning.\n"
    assert bench.decode.n_decoded == 1


def redone(bench: Bench, text: str) -> Job:
    """The job that a person asks for after the last one, done, with another text."""
    last = bench.store.jobs()[0]
    bench.engine.texts = (text,)
    bench.store.redo(
        [NewJob(last.path, os.fsencode(bench.inbox), last.fingerprint, last.options, last.options_digest)], AT
    )
    return bench.perform()


def test_a_recording_is_transcribed_again_when_a_person_asks(bench: Bench) -> None:
    """Though nothing changed. Our files are replaced; the earlier text stays in the history."""
    bench.enqueue()
    first = bench.perform()
    second = redone(bench, "Good evening.")
    assert (second.outcome, second.again, bench.decode.n_decoded) == (Outcome.OK, True, 2)
    assert bench.outputs().keys() == {"memo.txt", "memo.srt"}
    assert bench.outputs()["memo.txt"] == "Good evening.\n"
    assert [hit.text for hit in bench.store.search(["good"])] == ["Good evening."]
    with closing(bench.store.view("v_segments")) as rows:
        names, *found = rows
    texts = [(row[names.index("job_id")], row[names.index("text")], row[names.index("newest")]) for row in found]
    assert texts == [(first.id, "Good morning.", 0), (second.id, "Good evening.", 1)]
    assert bench.job(first.id).outputs == ()


def test_an_edited_transcript_survives_being_asked_again(bench: Bench) -> None:
    """The new text goes beside it."""
    bench.enqueue()
    bench.perform()
    (bench.inbox / "memo.srt").write_text("edited by a person")
    redone(bench, "Good evening.")
    assert bench.outputs()["memo.srt"] == "edited by a person"
    renewed = {name for name, text in bench.outputs().items() if "Good evening." in text}
    assert renewed == {"memo.wav.txt", "memo.wav.srt"}


def test_silence_is_an_empty_transcript(bench: Bench) -> None:
    """Nothing is invented, and the text says why it is empty."""
    bench.decode.spans = ()
    bench.enqueue()
    job = bench.perform()
    assert (job.outcome, job.n_segments, job.n_words) == (Outcome.NO_SPEECH, 0, 0)
    assert bench.outputs() == {"memo.txt": "[no speech detected]\n", "memo.srt": ""}


@pytest.mark.fault(35, "less audio than declared")
@pytest.mark.parametrize(
    ("declared_s", "partial"),
    [(None, False), (9.0, False), (10.0, False), (11.99, False), (12.01, True), (600.0, True)],
)
def test_missing_audio_is_marked(bench: Bench, declared_s: float | None, partial: bool) -> None:
    """More than two seconds short of a short recording's declared length is partial, and the transcript says so."""
    bench.decode.declared_s = declared_s
    bench.enqueue()
    job = bench.perform()
    assert job.outcome == (Outcome.PARTIAL if partial else Outcome.OK)
    assert ("partial" in bench.outputs()["memo.txt"]) == partial


def test_a_recording_that_may_still_grow_is_not_published(bench: Bench) -> None:
    """Half a recording, written just now, waits for the rest; when its time is over it is done as it is."""
    bench.shop = replace(bench.shop, incomplete_wait_s=300.0)
    bench.decode.declared_s = 20.0
    bench.enqueue()
    job = bench.claim()
    with pytest.raises(RecordingIncomplete, match="only 10 s of 20 s") as caught:
        bench.perform(job)
    assert 200 < caught.value.wait_s <= 300
    assert bench.outputs() == {}
    bench.shop = replace(bench.shop, incomplete_wait_s=1e-9)
    assert bench.perform(job).outcome == Outcome.PARTIAL


def test_an_unreadable_recording_that_may_still_grow_waits_too(bench: Bench) -> None:
    """An MP4 file gets its index last; one that is no recording at all is refused at once."""
    bench.shop = replace(bench.shop, incomplete_wait_s=300.0)
    bench.enqueue()
    job = bench.claim()
    bench.decode.error = UnreadableRecording("it is not audio but a text file")
    with pytest.raises(UnreadableRecording):
        bench.perform(job)
    bench.decode.error.cut_off = "its index (moov) is missing"
    with pytest.raises(RecordingIncomplete, match="index"):
        bench.perform(job)
    bench.shop = replace(bench.shop, incomplete_wait_s=0.0)
    with pytest.raises(UnreadableRecording):
        bench.perform(job)


@pytest.mark.parametrize(("declared_s", "outcome"), [(10_100.0, "ok"), (10_102.0, "partial")])
def test_long_recordings_may_miss_a_hundredth(declared_s: float, outcome: str) -> None:
    """Declared lengths of long recordings are estimates."""
    decoded = Decoded("ab", 1, 10_000.0, declared_s, 16_000, 1, "mp3", "fake", 0, ())
    transcript = Transcript((segment("x"),), "en", 1.0, "base", "cpu", "int8")
    assert make_document(b"/inbox/a.mp3", OPTIONS, decoded, transcript).outcome == outcome


def touch(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000_000))


def test_a_recording_that_was_only_touched_is_a_duplicate(bench: Bench) -> None:
    """The same bytes and options give no new work, however often; the transcript stands, also an edited one."""
    bench.enqueue()
    first = bench.perform()
    (bench.inbox / "memo.txt").write_text("corrected by hand")
    for _ in range(2):
        touch(bench.path)
        bench.enqueue()
        job = bench.perform()
        assert (job.state, job.outcome) == (JobState.DONE, Outcome.DUPLICATE)
        assert job.reason == f"same content as in job {first.id}; its transcript stands"
        assert job.outputs == first.outputs
    assert bench.decode.n_decoded == len(bench.engine.calls) == 1
    assert bench.outputs()["memo.txt"] == "corrected by hand"


@pytest.mark.parametrize("difference", ["content", "options", "formats", "transcript removed"])
def test_what_is_not_the_same_is_transcribed(bench: Bench, difference: str) -> None:
    """Other bytes and other options need work; a format more, or a transcript that is gone, is made of the text."""
    bench.enqueue()
    bench.perform()
    options = OPTIONS
    match difference:
        case "content":
            bench.path.write_bytes(b"FFIR" * 100)
        case "options":
            options = dataclasses.replace(OPTIONS, beam_size=1)
        case "formats":
            options = dataclasses.replace(OPTIONS, formats=("txt", "json"))
        case _:
            (bench.inbox / "memo.srt").unlink()
    touch(bench.path)
    bench.enqueue(options)
    assert bench.perform().outcome is Outcome.OK
    assert bench.decode.n_decoded == (2 if difference in ("content", "options") else 1)
    assert {"memo.txt", "memo.srt"} <= set(bench.outputs())


def test_a_duplicate_that_is_replaced_meanwhile_is_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that were compared must still be there at the end."""
    bench.enqueue()
    bench.perform()
    touch(bench.path)
    job_id = bench.enqueue()

    def digest_and_replace(fd: int, _cancelled: threading.Event) -> str:
        found = sha256(os.pread(fd, 1 << 20, 0))
        bench.path.write_bytes(b"something longer" * 100)
        return found

    monkeypatch.setattr(bench.decode, "digest", digest_and_replace)
    with pytest.raises(SourceChanged):
        bench.perform()
    assert bench.job(job_id).state is JobState.RUNNING


def died(n_inside: int, *, by_others: bool = False) -> EngineDied:
    return EngineDied("the engine died during job 1: killed by SIGSEGV", n_inside=n_inside, by_others=by_others)


def test_an_engine_that_dies_once_costs_nothing(bench: Bench) -> None:
    """What was finished before is kept, and the rest is done with nothing else in the engine."""
    bench.engine.deaths = [died(2)]
    job_id = bench.enqueue()
    job = bench.perform()
    assert (job.outcome, job.engine_deaths, job.attempt) == (Outcome.OK, 1, 1)
    assert bench.engine.calls == [(0, None), (1, 1)]
    assert bench.outputs()["memo.txt"] == "before death 1\n\nGood morning.\n"
    assert "engine_died" in bench.kinds(job_id)


@pytest.mark.fault(43, "an engine that dies twice")
def test_a_recording_that_kills_the_engine_twice_is_quarantined(bench: Bench) -> None:
    """The second time with nothing else in it, so it is to blame; nothing is published."""
    bench.engine.deaths = [died(2), died(1)]
    bench.enqueue()
    with pytest.raises(Quarantined, match=r"2 times.*SIGSEGV"):
        bench.perform()
    assert bench.engine.calls == [(0, None), (1, 1)]
    assert bench.outputs() == {}


def test_a_recording_is_not_blamed_for_others(bench: Bench) -> None:
    """Deaths among others count, but only one alone ends it: until then it goes on in smaller and smaller company."""
    bench.engine.deaths = [died(32), died(5), died(2)]
    bench.enqueue()
    assert bench.perform().engine_deaths == 3
    assert bench.engine.calls == [(0, None), (1, 5), (2, 1), (3, 1)]


@pytest.mark.fault(43, "SIGKILL from outside, again and again")
def test_a_recording_is_not_blamed_for_who_kills_the_engine(bench: Bench) -> None:
    """No recording sends SIGKILL: alone at several such deaths, it is done in the end. But not tried for ever."""
    bench.engine.deaths = [died(1, by_others=True)] * 5
    bench.enqueue()
    assert bench.perform().engine_deaths == 5
    bench.engine.deaths = [died(1, by_others=True)] * 6
    bench.path.write_bytes(b"other bytes")
    bench.enqueue()
    with pytest.raises(Quarantined, match="6 times"):
        bench.perform()


def test_a_suspect_from_earlier_goes_alone_at_once(bench: Bench) -> None:
    """A death of an earlier attempt is remembered in the history."""
    bench.enqueue()
    job = bench.claim()
    bench.store.engine_death(job, AT)
    bench.store.requeue(job, "", AT, refund=False)
    bench.engine.deaths = [died(1)]
    with pytest.raises(Quarantined):
        bench.perform()
    assert bench.engine.calls == [(0, 1)]


def refuse_writes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_CREAT and os.fsencode(path).startswith(os.fsencode(folder)):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.fault(16, "a folder that cannot be written")
def test_a_blocked_folder_costs_no_second_transcription(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is kept, and published by the next attempt without decoder and engine, after a chmod too."""
    bench.enqueue()
    job = bench.claim()
    with monkeypatch.context() as patch:
        refuse_writes(patch, bench.inbox)
        with pytest.raises(OutputBlocked, match="Read-only"):
            bench.perform(job)
    assert bench.outputs() == {}
    bench.store.hold(job, "blocked", AT, delay_s=0, refund=True)
    bench.path.chmod(0o600)
    done = bench.perform()
    assert done.outcome is Outcome.OK
    assert bench.decode.n_decoded == len(bench.engine.calls) == 1
    assert bench.outputs()["memo.txt"] == "Good morning.\n"
    assert bench.kept.job_ids() == []
    assert done.speed is None, "nobody knows it: what counts as lately's pace must not be a publication"
    assert (done.source_sha256, done.audio_s, done.declared_s) == (sha256(AUDIO), 10.0, 10.0)


def test_a_kept_document_is_written_in_the_formats_of_now(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Formats that were configured meanwhile are those that are written."""
    bench.enqueue()
    job = bench.claim()
    with monkeypatch.context() as patch:
        refuse_writes(patch, bench.inbox)
        with pytest.raises(OutputBlocked):
            bench.perform(job)
    bench.store.hold(job, "blocked", AT, delay_s=0, refund=True)
    bench.enqueue(dataclasses.replace(OPTIONS, formats=("tsv",)))
    assert job.id == bench.perform().id
    assert set(bench.outputs()) == {"memo.tsv"}
    assert bench.decode.n_decoded == 1


@pytest.mark.parametrize("change", ["content", "options"])
def test_a_kept_document_of_something_else_is_not_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A recording or options that changed since need a new transcript."""
    bench.enqueue()
    job = bench.claim()
    with monkeypatch.context() as patch:
        refuse_writes(patch, bench.inbox)
        with pytest.raises(OutputBlocked):
            bench.perform(job)
    bench.store.hold(job, "blocked", AT, delay_s=0, refund=True)
    options = OPTIONS
    if change == "content":
        bench.path.write_bytes(b"other audio" * 10)
    else:
        options = dataclasses.replace(OPTIONS, language="de")
    bench.enqueue(options)
    bench.perform()
    assert bench.decode.n_decoded == 2


def test_a_document_that_cannot_be_kept_hides_no_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the state folder is full as well, the error is still that of the inbox."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    bench.enqueue()
    with monkeypatch.context() as patch:
        refuse_writes(patch, bench.inbox)
        patch.setattr(bench.kept, "save", full)
        with pytest.raises(OutputBlocked):
            bench.perform()


@pytest.mark.fault(18, "ENOSPC for the decoded audio")
def test_a_full_state_folder_is_no_fault_of_the_recording(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool file cannot be made: the job waits, it does not fail."""
    bench.enqueue()
    with monkeypatch.context() as patch:
        refuse_writes(patch, bench.spool)
        with pytest.raises(SpoolBlocked, match="Read-only"):
            bench.perform()


@pytest.mark.fault(10, "os.replace while it is decoded")
def test_a_recording_replaced_while_it_is_decoded_is_not_published(bench: Bench) -> None:
    """A transcript of bytes that are no longer there would be a lie."""

    def replace() -> None:
        bench.path.write_bytes(b"new content" * 100)

    bench.decode.meanwhile = replace
    job_id = bench.enqueue()
    with pytest.raises(SourceChanged):
        bench.perform()
    assert bench.outputs() == {}
    assert bench.job(job_id).state is JobState.RUNNING
    assert bench.kept.job_ids() == []


@pytest.mark.fault(9, "unlink while it is decoded")
def test_a_recording_removed_while_it_is_decoded_leaves_no_orphan(bench: Bench) -> None:
    """No transcript appears beside nothing."""
    bench.decode.meanwhile = lambda: bench.path.unlink()
    bench.enqueue()
    with pytest.raises(SourceVanished):
        bench.perform()
    assert bench.outputs() == {}


@pytest.mark.fault(7, "touch while it is decoded")
def test_a_recording_touched_while_it_is_decoded_is_published(bench: Bench) -> None:
    """The same bytes are the same recording; its job has the fingerprint of now, so it is not done again."""
    bench.decode.meanwhile = lambda: touch(bench.path)
    bench.enqueue()
    job = bench.perform()
    assert job.outcome is Outcome.OK
    assert job.fingerprint == Fingerprint.of(bench.path.lstat())
    assert "touched" in bench.kinds(job.id)
    assert bench.activity is not None
    assert not bench.activity.outdated


def test_a_recording_replaced_while_it_is_published_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The intake leaves a job in hand alone, so the caller must have it look again."""
    real = publish.commit

    def commit(*arguments: Any, **named: Any) -> None:
        bench.path.write_bytes(b"new content" * 100)
        real(*arguments, **named)

    monkeypatch.setattr(publish, "commit", commit)
    bench.enqueue()
    bench.perform()
    assert bench.activity is not None
    assert bench.activity.outdated


@pytest.mark.parametrize("error", [DecodeFailed("died"), RuntimeError("a bug")])
def test_errors_of_the_decoder_come_up(bench: Bench, error: Exception) -> None:
    """Nothing is published, and the job is still in the hand of the caller."""
    bench.decode.error = error
    job_id = bench.enqueue()
    with pytest.raises(type(error)):
        bench.perform()
    assert bench.outputs() == {}
    assert bench.job(job_id).state is JobState.RUNNING


def test_a_new_transcript_replaces_the_old(bench: Bench) -> None:
    """New content of a recording takes the place of its own old transcript."""
    bench.enqueue()
    bench.perform()
    bench.path.write_bytes(b"new content" * 100)
    bench.engine.texts = ("Good evening.",)
    bench.enqueue()
    bench.perform()
    assert bench.outputs()["memo.txt"] == "Good evening.\n"
    assert set(bench.outputs()) == {"memo.txt", "memo.srt"}


def test_a_file_that_comes_in_between_keeps_its_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other names are chosen, once for the whole set."""
    real = publish.commit

    def commit(*arguments: Any, **named: Any) -> None:
        if not (bench.inbox / "memo.txt").exists():
            (bench.inbox / "memo.txt").write_text("by hand")
        real(*arguments, **named)

    monkeypatch.setattr(publish, "commit", commit)
    bench.enqueue()
    job = bench.perform()
    assert {os.path.basename(output.path) for output in job.outputs} == {b"memo.wav.txt", b"memo.wav.srt"}
    assert set(bench.outputs()) == {"memo.txt", "memo.wav.txt", "memo.wav.srt"}
    assert bench.outputs()["memo.txt"] == "by hand"


def test_names_are_not_chosen_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which every name is taken at once is blocked; the document is kept."""

    def commit(*_: Any, **__: Any) -> None:
        raise publish.NameTaken("memo.txt")

    monkeypatch.setattr(publish, "commit", commit)
    job_id = bench.enqueue()
    with pytest.raises(OutputBlocked, match="every name"):
        bench.perform()
    assert bench.kept.job_ids() == [job_id]


def test_a_temporary_file_that_is_removed_blocks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that cleans up after us costs a delay, not the transcript."""
    real = publish.commit

    def commit(outputs: Any, *more: Any, **named: Any) -> None:
        os.unlink(outputs[0].temp_path)
        real(outputs, *more, **named)

    job_id = bench.enqueue()
    job = bench.claim()
    with monkeypatch.context() as patch:
        patch.setattr(publish, "commit", commit)
        with pytest.raises(OutputBlocked, match="removes"):
            bench.perform(job)
    bench.store.hold(job, "blocked", AT, delay_s=0, refund=True)
    assert bench.perform().id == job_id
    assert bench.decode.n_decoded == 1


def test_names_that_are_no_utf8_go_all_the_way(bench: Bench) -> None:
    """A recording with bytes in its name that are no text is transcribed like any other."""
    odd = bench.inbox / os.fsdecode(b"caf\xe9.wav")
    bench.path.rename(odd)
    bench.path = odd
    bench.enqueue()
    assert bench.perform().outcome is Outcome.OK
    assert b"caf\xe9.txt" in os.listdir(os.fsencode(bench.inbox))


def test_a_share_that_goes_away_before_publishing_costs_no_second_transcription(bench: Bench, tmp_path: Path) -> None:
    """It may be gone with everything on it: the document is kept, and published when it is back."""
    job_id = bench.enqueue()

    def go_away() -> None:
        bench.inbox.rename(tmp_path / "away")

    bench.decode.meanwhile = go_away
    job = bench.claim()
    with pytest.raises(SourceVanished):
        bench.perform(job)
    assert bench.kept.job_ids() == [job_id]
    (tmp_path / "away").rename(bench.inbox)
    bench.store.hold(job, "the recording is gone", AT, delay_s=0.0, refund=True)
    assert bench.perform().state is JobState.DONE
    assert bench.decode.n_decoded == 1


def test_a_blocked_folder_is_told_with_what_is_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the reason knows that nothing is lost, and that nothing but the folder has to be mended."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    def keep(*_: object) -> None:
        """Its own fsync would fail as well."""

    bench.enqueue()
    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(bench.kept, "save", keep)
    with pytest.raises(OutputBlocked, match="Disk quota exceeded; the transcript is made and kept"):
        bench.perform()
