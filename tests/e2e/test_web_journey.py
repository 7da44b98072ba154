"""What people do with the pages, from the first login to the last, with a real daemon and the real model in Chromium.

One daemon for all tests here, which does one recording after the other; each test brings recordings of its own.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import LOOKS, complaints, is_too_wide
from tests.harness import DATA, ENDED, Daemon
from tests.web_world import drop, log_in, long_talk, made

TEXTS: dict[str, dict[str, Any]] = json.loads((DATA / "texts.json").read_text(encoding="utf-8"))
SOON_MS = 60_000
"""For what the model has to do on a slow machine."""


@dataclass
class Office:
    """A daemon with people who may log in, and somebody's browser."""

    daemon: Daemon
    address: str
    browser: Browser

    @contextmanager
    def somebody(self, name: str = "anna", *, script: bool = True, **options: Any) -> Generator[Page]:
        """A page with *name* logged in; whatever goes wrong on it by itself is a failure."""
        asked: dict[str, Any] = {"locale": "en-GB", "java_script_enabled": script, **options}
        with closing(self.browser.new_context(**asked)) as context:
            page = context.new_page()
            page.set_default_timeout(SOON_MS)
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: said.append(str(error)))
            if name:
                log_in(page, self.address, name)
            yield page
            assert said == []

    def done(self, sample: str, name: str) -> int:
        """The job of a copy of *sample* in the inbox, which is transcribed."""
        path = drop(DATA / sample, self.daemon.inbox, name)
        return self.ended(path)

    def ended(self, path: Path) -> int:
        """The number of the newest job of *path*, which has ended."""
        asked = "SELECT job_id, state FROM v_jobs WHERE path = ? ORDER BY job_id DESC"
        self.daemon.until(
            lambda: self.rows(asked, str(path))[:1] and self.rows(asked, str(path))[0][1] in ENDED, path.name
        )
        return int(self.rows(asked, str(path))[0][0])

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the history answers; a command would take half a second of a core each time."""
        database = self.daemon.state_dir / "transcribed.db"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()

    def events(self, job: int, kind: str) -> list[dict[str, Any]]:
        """What was noted of *job* each time that it was of that *kind*."""
        found = self.rows("SELECT detail FROM v_events WHERE job_id = ? AND kind = ? ORDER BY event_id", job, kind)
        return [json.loads(detail) for (detail,) in found]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, models_dir: Path, browser: Browser) -> Iterator[Office]:
    """One for all tests here."""
    daemon, address = made(tmp_path_factory.mktemp("office"), models_dir)
    try:
        daemon.start()
        yield Office(daemon, address, browser)
    finally:
        if daemon.running():
            daemon.kill()


def wait_for(page: Page, condition: str) -> None:
    """Until *condition* is true. Playwright's own way to wait evaluates text, which the policy of the pages forbids."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"waited for {condition}")


def second(page: Page) -> float:
    """Where the player is."""
    return float(page.evaluate("document.getElementById('media').currentTime"))


def flash(page: Page, words: str) -> None:
    """The page says *words* once."""
    expect(page.locator(".flash")).to_have_text(words)


def test_from_a_file_to_its_corrected_text(office: Office, tmp_path: Path) -> None:
    """Upload, watch, read, search, listen, correct, download: each step leads to the next."""
    with office.somebody() as page:
        page.get_by_role("link", name="Upload").click()
        page.get_by_label("Language spoken").select_option("en")
        page.set_input_files("#files", DATA / "lecture.ogg")
        page.get_by_role("button", name="Upload").click()
        expect(page.locator("#came li")).to_contain_text("done", timeout=SOON_MS)
        expect(page.locator("#came li")).to_contain_text("runs down the mountains")
        page.locator("#came").get_by_role("link", name="lecture.ogg").click()
        page.wait_for_url("**/jobs/*")
        job = int(page.url.rpartition("/")[2])
        expect(page.locator("#transcript")).to_contain_text("rises into the air")

        page.get_by_role("link", name="Search").click()
        page.get_by_label("Words that were said").fill("journey")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("mark").first).to_have_text("journey")
        page.locator(".hits a.clock").first.click()
        wait_for(page, "document.getElementById('media').currentTime > 20")

        word = page.locator("#transcript a.w", has_text="rivers").first
        start_s = float(word.get_attribute("data-start") or "nan")
        word.click()
        wait_for(page, "!document.getElementById('media').paused")
        assert start_s - 0.05 <= second(page) < start_s + 1
        expect(page.locator("#transcript a.w.now")).to_have_count(1)
        page.keyboard.press("Escape")
        wait_for(page, "document.getElementById('media').paused")
        marked = page.locator("#transcript a.w.now")
        assert float(marked.get_attribute("data-start") or "nan") <= second(page) + 0.05

        page.get_by_role("link", name="Correct the text").click()
        line = page.locator("textarea", has_text="journey")
        line.fill(line.input_value().replace("journey", "voyage"))
        expect(page.locator("#changed")).to_have_text("Lines changed: 1")
        page.get_by_role("button", name="Save", exact=True).click()
        flash(page, "Saved as version 2. The files beside the recording follow.")
        expect(page.locator("#transcript")).to_contain_text("voyage")
        text = office.daemon.inbox / "lecture.txt"
        office.daemon.until(lambda: "voyage" in text.read_text(encoding="utf-8"), "the file beside the recording")
        assert "voyage" in (office.daemon.inbox / "lecture.srt").read_text(encoding="utf-8")
        page.get_by_role("link", name="Versions of the text").click()
        expect(page.locator(".changes del")).to_contain_text("journey")
        expect(page.locator(".changes ins")).to_contain_text("voyage")
        page.get_by_role("button", name="Make version 1 the newest again").click()
        page.get_by_role("link", name="lecture.ogg").click()
        expect(page.locator("#transcript")).to_contain_text("journey")
        office.daemon.until(lambda: "journey" in text.read_text(encoding="utf-8"), "the file to be as before")
        downloads(page, tmp_path)
    assert job in {found["id"] for found in office.daemon.jobs_of(office.daemon.inbox / "lecture.ogg")}


def downloads(page: Page, folder: Path) -> None:
    """Every format of the recording on *page* comes as a file with its words."""
    links = page.locator("#files-title ~ ul a")
    assert links.count() >= 8
    for index in range(links.count()):
        with page.expect_download() as download:
            links.nth(index).click()
        saved = folder / download.value.suggested_filename
        download.value.save_as(saved)
        assert saved.name.startswith("lecture.")
        assert saved.suffix == ".docx" or "mountains" in saved.read_text(encoding="utf-8")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the recording").click()
    download.value.save_as(folder / "again.ogg")
    assert (folder / "again.ogg").read_bytes() == (DATA / "lecture.ogg").read_bytes()


def test_a_file_is_dragged_onto_the_page(office: Office) -> None:
    """It is sent as one that was chosen, and its words appear by themselves."""
    content = base64.b64encode((DATA / "memo.wav").read_bytes()).decode()
    with office.somebody() as page:
        page.goto(f"{office.address}/upload")
        dropped = page.evaluate_handle(
            "content => { const data = new DataTransfer(); const bytes = Uint8Array.from(atob(content),"
            " (letter) => letter.charCodeAt(0)); data.items.add(new File([bytes], 'dragged here.wav')); return data; }",
            content,
        )
        page.dispatch_event("#drop", "dragover", {"dataTransfer": dropped})
        expect(page.locator("#drop.over")).to_have_count(1)
        page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
        expect(page.locator("#came li")).to_contain_text("garden is full of flowers", timeout=SOON_MS)
        assert not page.locator("#drop.over").count()


def test_work_is_watched_and_its_order_changed(office: Office) -> None:
    """Progress comes by itself; who waits may go first, and what takes too long is cancelled."""
    inbox = office.daemon.inbox
    long_talk(inbox / "long talk.flac", 20)
    office.daemon.until(
        lambda: any("long talk" in job["path"] for job in office.daemon.wait_stage("engine")["in_hand"]), "the talk"
    )
    for name in ("talk behind.flac", "last of all.flac"):  # the first of them is got ready meanwhile
        long_talk(inbox / name, 1)
    asked = "SELECT job_id FROM v_jobs WHERE name LIKE '%.flac' AND state = 'queued' AND started_at IS NULL"
    office.daemon.until(lambda: office.rows(asked), "one to wait")
    with office.somebody() as page, office.somebody() as other:
        going = page.locator("#going li", has_text="long talk.flac")
        expect(page.locator("#live")).to_have_text("Live")
        expect(going.locator("progress[value]")).to_have_count(1)
        first = float(going.locator("progress").get_attribute("value") or "nan")
        wait_for(page, f"document.querySelector('#going progress').value > {first}")
        expect(going).to_contain_text("done in about")
        judge(page, "the first page with work in hand")

        ((waits,),) = office.rows(asked)
        other.goto(f"{office.address}/jobs/{waits}")
        other.get_by_label("Turn").select_option("high")
        other.get_by_role("button", name="Set").click()
        flash(other, "The order is changed.")
        assert office.rows("SELECT priority FROM v_jobs WHERE job_id = ?", waits) == [(1,)]
        assert office.events(waits, "prioritized")[-1]["by"] == "anna"
        page.locator("#going").get_by_role("link", name="long talk.flac").click()
        page.get_by_role("button", name="Cancel").click()
        flash(page, "Cancelled. What is in progress stops in a moment.")
        expect(page.locator(".headline .badge")).to_have_text("cancelled", timeout=SOON_MS)  # by itself
        page.goto(office.address)
        expect(page.locator("#ended")).to_contain_text("last of all.flac", timeout=SOON_MS)
        expect(page.locator("#going")).to_contain_text("Nothing is being transcribed.", timeout=SOON_MS)


def judge(page: Page, what: str) -> None:
    """*page* as it is, in each colour and width: axe finds nothing serious, nothing stands out sideways."""
    for colours, width in LOOKS:
        page.emulate_media(color_scheme=colours)
        page.set_viewport_size({"width": width, "height": 800})
        assert complaints(page) == [], (what, colours, width)
        assert not is_too_wide(page), (what, colours, width)


@pytest.mark.parametrize("script", [True, False])
def test_what_failed_is_tried_again_and_another_way(office: Office, script: bool) -> None:
    """The reason is in words; another try is a button; what is done is transcribed again with another option."""
    job = office.done("broken.mp3", f"no sound {script}.mp3")
    text = office.done("voice-note.m4a", f"note {script}.m4a")
    with office.somebody(script=script) as page:
        page.goto(f"{office.address}/history?state=failed")
        page.get_by_role("link", name=f"no sound {script}.mp3").click()
        expect(page.locator(".alarm")).to_contain_text("The file is no recording, although its name says so.")
        page.get_by_role("button", name="Try again").click()
        flash(page, "Queued again.")
        office.daemon.until(lambda: len(office.events(job, "failed")) == 2, "the second try to fail")
        assert office.events(job, "queued")[-1]["by"] == "anna"

        page.goto(f"{office.address}/jobs/{text}")
        expect(page.locator("#transcript")).to_contain_text("Guten Morgen")
        page.get_by_text("Transcribe again, in another way").click()
        page.locator("#redo-task").select_option("translate")
        page.get_by_role("button", name="Transcribe again").click()
        flash(page, "It is transcribed again. This is the new job.")
        new = int(page.url.rpartition("/")[2])
        assert new != text
        office.ended(office.daemon.inbox / f"note {script}.m4a")
        page.reload()
        expect(page.locator("#transcript")).to_contain_text("morning", ignore_case=True)
        expect(page.locator(".versions li")).to_have_count(2)


def test_who_may_look_changes_nothing(office: Office) -> None:
    """Ben reads, searches and hears; no page offers him to act, and what he sends anyhow is refused."""
    job = office.done("memo.wav", "for ben.wav")
    with office.somebody("ben") as page:
        expect(page.locator(".self")).to_contain_text("(may look)")
        page.goto(f"{office.address}/jobs/{job}")
        expect(page.locator("#transcript")).to_contain_text("garden")
        for name in ("Correct the text", "Transcribe again", "Try again", "Set"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
            expect(page.get_by_role("link", name=name)).to_have_count(0)
        token = page.locator("meta[name=csrf-token]").get_attribute("content") or ""
        for path in (f"/jobs/{job}/redo", f"/jobs/{job}/correct", f"/jobs/{job}/cancel", "/upload", "/api/v1/uploads"):
            headers = {"X-CSRF-Token": token, "Origin": office.address}
            assert page.request.post(f"{office.address}{path}", headers=headers).status == 403, path
    assert len(office.daemon.jobs_of(office.daemon.inbox / "for ben.wav")) == 1


def test_without_a_script(office: Office) -> None:
    """Upload, reading, search, listening and correction by forms and links alone."""
    with office.somebody(script=False) as page:
        page.get_by_role("link", name="Upload").click()
        page.set_input_files("#files", {"name": "by form.wav", "mimeType": "audio/wav", "buffer": memo()})
        page.get_by_role("button", name="Upload").click()
        flash(page, "Recordings taken: 1.")
        job = office.ended(office.daemon.inbox / "by form.wav")
        page.locator("#came").get_by_role("link", name="by form.wav").click()
        expect(page.locator("#transcript")).to_contain_text("birds are singing")
        word = page.locator("#transcript a.w", has_text="birds")
        assert word.get_attribute("href") == f"/jobs/{job}/audio#t={word.get_attribute('data-start')}"
        assert page.locator("#keys").is_hidden()

        page.get_by_role("link", name="Correct the text").click()
        assert page.locator("#draft").is_hidden()
        line = page.locator("textarea").first
        line.fill(line.input_value().replace("garden", "orchard"))
        page.get_by_role("button", name="Save", exact=True).click()
        flash(page, "Saved as version 2. The files beside the recording follow.")
        text = office.daemon.inbox / "by form.txt"
        office.daemon.until(lambda: "orchard" in text.read_text(encoding="utf-8"), "the file beside the recording")

        page.get_by_role("link", name="Search").click()
        page.get_by_label("Words that were said").fill("orchard")
        page.get_by_role("button", name="Search").click()
        page.locator(".hits a.clock").first.click()
        expect(page.locator("h1")).to_have_text("by form.wav")
        assert "#t=" in (page.locator("#media").get_attribute("src") or "") or page.url.endswith("#player")


def memo() -> bytes:
    """A short recording."""
    return (DATA / "memo.wav").read_bytes()


def test_pages_speak_three_languages_and_have_two_looks(office: Office) -> None:
    """What the browser asks for, then what is chosen; it holds on the next page."""
    with office.somebody(locale="de-DE", color_scheme="light") as page:
        expect(page.locator("html")).to_have_attribute("lang", "de")
        expect(page.locator("h1")).to_have_text("Jetzt")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="dunkel").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        page.get_by_role("button", name="中文").click()
        page.goto(f"{office.address}/health")
        expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.get_by_role("button", name="English").click()
        expect(page.locator("h1")).to_have_text("Health")
        page.get_by_role("button", name="Log out").click()
        flash(page, "You are logged out.")


@pytest.fixture(scope="module")
def paths(office: Office) -> dict[str, str]:
    """An address for each page, with something on it."""
    memo_job = office.done("memo.wav", "to look at.wav")
    broken = office.done("broken.mp3", "to look at.mp3")
    return {
        "now": "/",
        "history": "/history",
        "history with a filter": "/history?q=look",
        "history without a hit": "/history?q=nothing",
        "search": "/search",
        "search with hits": "/search?q=garden",
        "recording": f"/jobs/{memo_job}?t=1",
        "failed recording": f"/jobs/{broken}",
        "correction": f"/jobs/{memo_job}/correct",
        "correction with speakers": f"/jobs/{memo_job}/correct?speakers=1",
        "versions": f"/jobs/{memo_job}/versions",
        "upload": "/upload",
        "health": "/health",
        "folders": f"/folders?path={office.daemon.inbox}",
        "error": "/jobs/999999",
    }


def test_everybody_can_use_every_page(office: Office, paths: dict[str, str]) -> None:
    """In each colour and width axe finds nothing serious, and nothing has to be scrolled sideways."""
    with closing(office.browser.new_context(locale="en-GB")) as context:
        page = context.new_page()
        page.goto(f"{office.address}/login")
        judge(page, "login")
        log_in(page, office.address)
        for what, path in paths.items():
            page.goto(f"{office.address}{path}")
            judge(page, what)
