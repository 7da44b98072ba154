"""What people find in the folder of a real daemon: the page, the note beside what failed, and their end."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC
from pathlib import Path

import pytest

from daemon.folderpage import page
from daemon.folderpage.names import shown
from daemon.folderpage.view import Writer
from daemon.words import catalogue
from tests.harness import DATA, MakeDaemon, copy_sample
from tests.hostile_pages import AT, HOSTILE, Elements, hostile_state

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_the_page_and_the_notes_of_a_real_daemon(make_daemon: MakeDaemon) -> None:
    """A good recording is done, a broken one has a note with what to do; mended, the note is gone; a stop is told."""
    daemon = make_daemon().start()
    html, text = daemon.inbox / "_transcribed.html", daemon.inbox / "_transcribed.txt"
    copy_sample("memo.wav", daemon.inbox)
    broken = copy_sample("broken.mp3", daemon.inbox / "call.mp3")
    note = daemon.inbox / "call.mp3.error.txt"
    daemon.wait_ended(2)
    daemon.until(lambda: note.exists() and "memo.wav" in text.read_text(), "the page and the note", 40)
    assert "== Not transcribed ==\n- call.mp3\n" in text.read_text()
    assert "What you can do:" in note.read_text()
    assert b'href="./memo.txt"' in html.read_bytes()
    shutil.copyfile(DATA / "interview.mp3", broken)
    daemon.until(lambda: not note.exists(), "the note to go", 90)
    assert {job["state"] for job in daemon.jobs()} == {"done", "failed"}
    daemon.until(lambda: "Not transcribed" not in text.read_text(), "the page to know", 30)
    assert len(daemon.jobs()) == 3  # neither page nor note was taken for a recording
    assert daemon.stop() == 0
    assert "The service is stopped since" in text.read_text()


@pytest.mark.fault(55, "hostile names in a real browser")
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_no_hostile_name_does_anything_in_a_browser(tmp_path: Path) -> None:
    """The page as Chromium reads it: what scripts in the names would do is not done, and each name is to be read."""
    file = tmp_path / "_transcribed.html"
    file.write_bytes(page.html(Writer(catalogue("en"), AT, UTC).view(hostile_state())))
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    dump = subprocess.run([*command, "--dump-dom", file.as_uri()], capture_output=True, check=True, timeout=60)
    found, written = Elements(dump.stdout), Elements(file.read_bytes())
    assert found.tags == written.tags
    assert found.attributes == written.attributes
    assert found.links == written.links
    assert found.text.split() == written.text.split()  # the title and all else as it was written
    assert all(shown(name) in found.text for name in HOSTILE)
