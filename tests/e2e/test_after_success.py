"""A real daemon that takes recordings out of its inbox when they are done, and knows them again by their sound."""

from __future__ import annotations

from pathlib import Path

from tests.harness import DATA, MakeDaemon, copy_sample
from tests.remuxing import remuxed


def test_what_is_done_goes_and_is_known_again(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Under another name and in another container it gets the same text without the model; both lie as they lay."""
    config = tmp_path / "transcribed.toml"
    daemon = make_daemon(TRANSCRIBED_INBOX="", TRANSCRIBED_CONFIG=str(config), TRANSCRIBED_HISTORY_REUSE="true")
    config.write_text(f'[[inbox]]\npath = "{daemon.inbox}"\nafter_success = "move_both"\nformats = ["txt"]\n')
    daemon.start()
    talks = daemon.inbox / "talks"
    talks.mkdir()
    copy_sample("interview.mp3", talks)
    copy_sample("broken.mp3", daemon.inbox)
    done = daemon.inbox / "done" / "talks"
    daemon.until(lambda: (done / "interview.txt").exists(), "the first to go", 90)
    remuxed(DATA / "interview.mp3", tmp_path / "other.mka", "matroska").rename(daemon.inbox / "other.mka")
    daemon.until(lambda: (done.parent / "other.txt").exists(), "the other one to go", 60)
    assert (done.parent / "other.txt").read_bytes() == (done / "interview.txt").read_bytes()
    assert (daemon.inbox / "broken.mp3").exists()
    assert list(talks.iterdir()) == []
    by_name = {Path(job["path"]).name: job for job in daemon.jobs()}
    first, second = by_name["interview.mp3"], by_name["other.mka"]
    assert first["path"] == str(done / "interview.mp3")
    assert second["reason"] == f"same sound as in job {first['id']}; its text was used again"
    assert f"went to {done / 'interview.mp3'}" in daemon.run("explain", str(talks / "interview.mp3")).stdout
    assert {job["state"] for job in by_name.values()} == {"done", "failed"}
    assert daemon.stop() == 0
