"""Settings dropped into folders under a real daemon with the real model."""

from __future__ import annotations

import json

from tests.harness import MakeDaemon, copy_sample


def test_a_changed_file_of_settings_counts_for_the_next_recording_and_not_for_the_one_in_hand(
    make_daemon: MakeDaemon,
) -> None:
    """Within one scan; the transcripts, `job` and `explain` say so, and a mistake is answered in the folder."""
    daemon = make_daemon(TRANSCRIBED_OPTIONS_FORMATS="json").start()
    anna = daemon.inbox / "anna"
    anna.mkdir()
    settings = anna / "transcribed.toml"
    settings.write_text('formats = ["txt"]\nlanguage = "en"\nnames = ["Kubernetes"]\n')
    first = copy_sample("lecture.ogg", anna)
    daemon.wait_stage("engine")
    settings.write_text('formats = ["md"]\n')
    second = copy_sample("memo.wav", anna)
    jobs = daemon.wait_ended(2)
    assert [job["state"] for job in jobs] == ["done", "done"]
    assert sorted(path.name for path in anna.iterdir()) == [
        "lecture.ogg",
        "lecture.txt",
        "memo.md",
        "memo.wav",
        "transcribed.toml",
    ]
    assert jobs[0]["options"]["hotwords"] == "Kubernetes"
    assert jobs[0]["origins"] == {
        **dict.fromkeys(("formats", "language", "hotwords"), str(settings)),
    }
    assert f'formats = ["md"] ({settings})' in daemon.run("job", "2").stdout
    settings.write_text('langauge = "de"\n')
    note = anna / "transcribed.toml.error.txt"
    daemon.until(note.exists, "the answer")
    assert "is language meant?" in note.read_text()
    explained = json.loads(daemon.run("explain", "--json", str(second)).stdout)
    assert f'setting: formats = ["md"] ({settings})' in explained["lines"]
    assert any("what it said before still counts" in line for line in explained["lines"])
    settings.write_text("")
    daemon.until(lambda: not note.exists(), "the note to go")
    assert not list(anna.glob(".tr-*"))
    assert first.exists()
    assert daemon.stop() == 0
