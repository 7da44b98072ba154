"""Drop a recording in the folder, its transcript appears beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from daemon.outputs.subtitles import Shape
from tests.harness import DATA, MakeDaemon, copy_sample, word_error_rate
from tests.subtitle_rules import broken_rules, read_srt

Texts = dict[str, dict[str, Any]]


def test_every_kind_of_sample_ends_with_the_right_words(make_daemon: MakeDaemon, texts: Texts) -> None:
    """All formats, languages and sampling rates, silence, a tone and a broken file: words, or a reason in words.

    Their subtitles keep the rules.
    """
    daemon = make_daemon().start()
    for name in texts:
        shutil.copyfile(DATA / name, daemon.inbox / name)
    shutil.copyfile(DATA / "broken.mp3", daemon.inbox / "broken.mp3")
    names = {*texts, "broken.mp3"}
    jobs = {os.path.basename(job["path"]): job for job in daemon.wait_ended(len(names))}

    assert set(jobs) == names
    assert jobs["broken.mp3"]["state"] == "failed"
    assert "text" in jobs["broken.mp3"]["reason"]
    errors: dict[str, float] = {}
    for name, expected in texts.items():
        assert jobs[name]["state"] == "done", jobs[name]
        if not expected["text"]:
            assert jobs[name]["outcome"] == "no_speech", name
            assert "no speech" in (daemon.inbox / name).with_suffix(".txt").read_text()
            continue
        assert jobs[name]["outcome"] == "ok"
        assert jobs[name]["language"] == expected["language"]
        errors[name] = word_error_rate(expected["text"], (daemon.inbox / name).with_suffix(".txt").read_text("utf-8"))
        subtitles = read_srt((daemon.inbox / name).with_suffix(".srt").read_text("utf-8"))
        assert [one for one in broken_rules(subtitles, Shape()) if not one.unavoidable] == [], name
    assert max(errors.values()) <= 0.2, errors
    assert sum(errors.values()) / len(errors) <= 0.06, errors
    assert daemon.stop() == 0
    assert daemon.leftovers() == []


def test_the_outputs_say_where_they_come_from(make_daemon: MakeDaemon) -> None:
    """The JSON carries language, model, options and the hash of the recording; times grow; the SRT has its cues."""
    daemon = make_daemon(TRANSCRIBED_OPTIONS_WORD_TIMESTAMPS="true").start()
    recording = copy_sample("lecture.ogg", daemon.inbox)
    (job,) = daemon.wait_ended(1)
    content = json.loads(recording.with_suffix(".json").read_text("utf-8"))
    assert content["source_sha256"] == hashlib.sha256(recording.read_bytes()).hexdigest() == job["source_sha256"]
    assert content["language"] == "en"
    assert content["language_probability"] > 0.5
    assert content["model"] == "base"
    assert content["options"]["beam_size"] == 5
    segments = content["segments"]
    assert len(segments) > 1
    times = [time for segment in segments for time in (segment["start"], segment["end"])]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= content["audio_s"] + 0.01
    words = [word for segment in segments for word in segment["words"]]
    assert len(words) > 60
    assert all(word["start"] <= word["end"] for word in words)
    cues = recording.with_suffix(".srt").read_text("utf-8").count(" --> ")
    assert cues == content["subtitles"]["n_cues"]


@pytest.mark.fault(5, "each way, into a real daemon")
@pytest.mark.fault(3, "a hidden name, into a real daemon")
@pytest.mark.fault(6, "a tree moved into a real daemon")
def test_files_arrive_in_every_way_that_people_have(make_daemon: MakeDaemon, texts: Texts) -> None:
    """Slowly, preallocated, renamed into place, in a folder moved in, at start-up: one job each, of the final bytes."""
    daemon = make_daemon()
    content = (DATA / "memo.wav").read_bytes()
    # Half of it is there at start-up, and still being written.
    at_start = daemon.inbox / "at-start.wav"
    at_start.write_bytes(content[: len(content) // 2])
    daemon.start()
    with at_start.open("ab") as file:
        file.write(content[len(content) // 2 :])

    slow = daemon.inbox / "slow.wav"
    allocated = daemon.inbox / "preallocated.wav"
    with slow.open("wb") as slow_file, allocated.open("wb") as allocated_file:
        allocated_file.truncate(len(content))
        for start in range(0, len(content), len(content) // 8):
            piece = content[start : start + len(content) // 8]
            for file in (slow_file, allocated_file):
                file.write(piece)
                file.flush()
            time.sleep(0.6)  # the writer's own pace: together longer than the file needs to settle
    os.utime(allocated, (1_600_000_000, 1_600_000_000))  # cp -p sets an old time at the end
    copy_sample("memo.wav", daemon.inbox / "renamed.wav")
    outside = daemon.inbox.parent / "moved" / "deep"
    outside.mkdir(parents=True)
    shutil.copyfile(DATA / "memo.wav", outside / "inside.wav")
    outside.parent.rename(daemon.inbox / "moved")

    jobs = daemon.wait_ended(5)
    paths = [Path(job["path"]).relative_to(daemon.inbox) for job in jobs]
    assert sorted(map(str, paths)) == [
        "at-start.wav",
        "moved/deep/inside.wav",
        "preallocated.wav",
        "renamed.wav",
        "slow.wav",
    ]
    for job in jobs:
        assert job["state"] == "done", job
        assert job["audio_s"] == jobs[0]["audio_s"]
        assert word_error_rate(texts["memo.wav"]["text"], Path(job["outputs"][-1]).read_text("utf-8")) == 0


@pytest.mark.fault(8, "both, under a real daemon")
def test_a_replaced_recording_is_transcribed_anew_and_an_edited_transcript_survives(make_daemon: MakeDaemon) -> None:
    """New content under the same name gives a new version; what a person wrote into the old one stays."""
    daemon = make_daemon().start()
    recording = copy_sample("memo.wav", daemon.inbox / "note.wav")
    daemon.wait_ended(1)
    (daemon.inbox / "note.txt").write_text("corrected by hand\n")
    copy_sample("studio.flac", recording)  # FLAC bytes under a .wav name: read for what they are
    jobs = daemon.wait_ended(2)
    assert [job["state"] for job in jobs] == ["done", "done"]
    assert (daemon.inbox / "note.txt").read_text() == "corrected by hand\n"
    assert "hill" in (daemon.inbox / "note.wav.txt").read_text("utf-8").lower()


def test_the_same_recording_under_another_name_needs_no_model(make_daemon: MakeDaemon) -> None:
    """Its transcript appears under its own name, and the job says whose text it is."""
    daemon = make_daemon(TRANSCRIBED_HISTORY_REUSE="true").start()
    copy_sample("memo.wav", daemon.inbox)
    daemon.wait_ended(1)
    copy_sample("memo.wav", daemon.inbox / "copy of memo.wav")
    first, second = daemon.wait_ended(2)
    assert (second["state"], second["outcome"]) == ("done", "ok")
    assert f"same content as in job {first['id']}" in second["reason"]
    assert (daemon.inbox / "copy of memo.txt").read_bytes() == (daemon.inbox / "memo.txt").read_bytes()


@pytest.mark.fault(7, "touch and chmod under a real daemon")
def test_touching_a_recording_makes_no_second_transcript(make_daemon: MakeDaemon) -> None:
    """A new time on the same bytes is seen, compared by hash, and leaves the transcript alone."""
    daemon = make_daemon().start()
    recording = copy_sample("memo.wav", daemon.inbox)
    daemon.wait_ended(1)
    before = (daemon.inbox / "memo.txt").stat()
    os.utime(recording)
    (daemon.inbox / "look.part").touch()  # a change of times alone raises no event; this one does
    daemon.until(lambda: len(daemon.jobs_of(recording)) == 2, "the touch to be seen")
    jobs = daemon.wait_ended(2)
    assert jobs[1]["outcome"] == "duplicate"
    assert (daemon.inbox / "memo.txt").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.fault(9, "unlink under a real daemon")
def test_a_recording_deleted_in_the_middle_of_its_job_leaves_nothing(make_daemon: MakeDaemon) -> None:
    """The job ends as vanished, no transcript appears, and the same file dropped again is done."""
    daemon = make_daemon().start()
    recording = copy_sample("lecture.ogg", daemon.inbox)
    daemon.wait_stage("engine")
    recording.unlink()
    (job,) = daemon.wait_ended(1)
    assert job["state"] == "vanished"
    daemon.until(lambda: daemon.names() == [".transcribed-inbox"], "the folder to be as it was", 10)
    copy_sample("memo.wav", recording)
    assert daemon.wait_ended(2)[1]["state"] == "done"


def test_options_of_an_inbox_reach_its_jobs(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Each inbox has its own options, and the job remembers those that were used."""
    daemon = make_daemon()
    other = tmp_path / "german"
    other.mkdir()
    config = tmp_path / "transcribed.toml"
    config.write_text(
        f"""
        [options]
        formats = ["txt"]
        [[inbox]]
        path = "{daemon.inbox}"
        [[inbox]]
        path = "{other}"
        language = "de"
        beam_size = 1
        formats = ["txt", "tsv"]
        """
    )
    del daemon.environment["TRANSCRIBED_INBOX"]
    daemon.environment["TRANSCRIBED_CONFIG"] = str(config)
    daemon.start()
    copy_sample("memo.wav", daemon.inbox)
    copy_sample("voice-note.m4a", other)
    jobs = {Path(job["path"]).name: job for job in daemon.wait_ended(2)}
    assert jobs["voice-note.m4a"]["options"]["language"] == "de"
    assert jobs["voice-note.m4a"]["options"]["beam_size"] == 1
    assert {Path(path).suffix for path in jobs["voice-note.m4a"]["outputs"]} == {".txt", ".tsv"}
    assert {Path(path).suffix for path in jobs["memo.wav"]["outputs"]} == {".txt"}
    assert "Berlin" in (other / "voice-note.txt").read_text("utf-8")


@pytest.mark.fault(53, "hostile names, through a real daemon")
@pytest.mark.fault(13, "a name that is no UTF-8, through a real daemon")
def test_hostile_names_are_transcribed_and_logged_on_one_line_each(make_daemon: MakeDaemon) -> None:
    """Newlines, escape sequences, bytes that are no text, 255 bytes: all done, and every log line is JSON."""
    daemon = make_daemon().start()
    names = [
        b"line\nbreak \x1b[31mred.wav",
        "turned \u202e gnp.wav".encode(),
        b"caf\xe9.wav",
        b"x" * 251 + b".wav",
        ("語" * 83).encode() + b".wav",
        b"-rf.wav",
        b"a b  c'\"$(x).wav",
    ]
    for name in names:
        shutil.copyfile(DATA / "memo.wav", os.path.join(os.fsencode(daemon.inbox), name))
    jobs = daemon.wait_ended(len(names))
    assert {job["outcome"] for job in jobs} <= {"ok", "duplicate"}, jobs
    assert len(daemon.transcripts()) == len(names)
    assert daemon.stop() == 0
    assert all(isinstance(record, dict) for record in daemon.records())
