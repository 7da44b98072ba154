"""The pages of a real daemon in a real browser: what was dropped is read, heard at the right second, and found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.harness import DATA, Daemon
from tests.unit.test_opening import free_port

PAGES = ("/", "/history", "/history?q=nothing", "/search", "/search?q=water", "/health", "/folders")


@dataclass
class Place:
    """A daemon that has transcribed, its address, and the number of the job of the lecture."""

    daemon: Daemon
    address: str
    lecture: int
    broken: int

    @property
    def pages(self) -> tuple[str, ...]:
        """Every page."""
        return (*PAGES, f"/jobs/{self.lecture}", f"/jobs/{self.broken}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Place]:
    """One for all tests here: they only look."""
    address = f"127.0.0.1:{free_port()}"
    daemon = Daemon(tmp_path_factory.mktemp("pages"), models_dir, {"TRANSCRIBED_WEB_LISTEN": address})
    for name in ("lecture.ogg", "broken.mp3"):
        shutil.copy(DATA / name, daemon.inbox)
    daemon.start()
    try:
        jobs = {Path(job["path"]).name: job["id"] for job in daemon.wait_ended(2)}
        yield Place(daemon, f"http://{address}", jobs["lecture.ogg"], jobs["broken.mp3"])
    finally:
        daemon.kill()


@pytest.fixture
def page(place: Place, browser: Browser) -> Iterator[Page]:
    """A page in English that may make no complaint of its own."""
    with closing(browser.new_context(locale="en-GB")) as context:
        opened = context.new_page()
        said: list[str] = []
        opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: said.append(str(error)))
        yield opened
        assert said == []


def media(page: Page, what: str) -> float:
    """A property of the player."""
    return float(page.evaluate(f"document.getElementById('media').{what}"))


def wait_for(page: Page, condition: str) -> None:
    """Until *condition* is true. Playwright's own way to wait evaluates text, which the policy of the pages forbids."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"waited for {condition}")


def test_a_click_on_a_word_plays_from_its_second(place: Place, page: Page) -> None:
    """The player stands at the word's time, runs, and the word that is heard is marked."""
    page.goto(f"{place.address}/jobs/{place.lecture}")
    wait_for(page, "document.getElementById('media').readyState >= 1")
    assert media(page, "duration") == pytest.approx(30.9, abs=0.5)
    word = page.locator("#transcript a.w", has_text="mountains").first
    start_s = float(word.get_attribute("data-start") or "nan")
    assert 1 < start_s < 15
    page.evaluate("document.getElementById('media').playbackRate = 0.5")
    word.click()
    wait_for(page, "!document.getElementById('media').paused")
    assert start_s - 0.01 <= media(page, "currentTime") < start_s + 1
    expect(page.locator("#transcript a.w.now")).to_have_count(1)
    page.evaluate("document.getElementById('media').pause()")
    marked = page.locator("#transcript a.w.now")
    assert abs(float(marked.get_attribute("data-start") or "nan") - media(page, "currentTime")) < 2
    assert page.url.endswith(f"/jobs/{place.lecture}")


def test_the_keyboard_is_enough(place: Place, page: Page) -> None:
    """Arrows go from word to word and from paragraph to paragraph, Enter plays there, the space bar stops."""
    page.goto(f"{place.address}/jobs/{place.lecture}")
    wait_for(page, "document.getElementById('media').readyState >= 1")
    words = page.locator("#transcript a.w")
    words.first.focus()
    page.keyboard.press("ArrowRight")
    expect(words.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('p') !== document.querySelector('#transcript p')")
    start_s = float(page.evaluate("document.activeElement.dataset.start"))
    page.keyboard.press("Enter")
    wait_for(page, "!document.getElementById('media').paused")
    assert media(page, "currentTime") == pytest.approx(start_s, abs=1)
    page.keyboard.press(" ")
    wait_for(page, "document.getElementById('media').paused")
    page.keyboard.press("End")
    expect(words.last).to_be_focused()
    assert page.evaluate("document.querySelectorAll('#transcript a.w[tabindex=\"0\"]').length") == 1


def test_a_hit_of_a_search_opens_at_its_second(place: Place, page: Page) -> None:
    """From the search to the recording: the player stands where the line begins."""
    page.goto(f"{place.address}/search")
    page.get_by_label("Words that were said").fill("journey")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("mark").first).to_have_text("journey")
    page.locator(".hits a.clock").first.click()
    wait_for(page, "document.getElementById('media').currentTime > 20")
    assert media(page, "currentTime") == pytest.approx(float(page.url.partition("t=")[2].partition("#")[0]), abs=0.3)


def test_what_is_dropped_appears_by_itself(place: Place, page: Page) -> None:
    """The first page shows a new recording without being loaded anew."""
    page.goto(place.address)
    expect(page.locator("#live")).to_have_text("Live")
    shutil.copy(DATA / "memo.wav", place.daemon.inbox / "dropped later.wav")
    expect(page.locator("#ended")).to_contain_text("dropped later.wav", timeout=60_000)


def test_without_scripts(place: Place, browser: Browser) -> None:
    """Every page is there, a word leads to the recording at its second, filters and downloads work."""
    with closing(browser.new_context(java_script_enabled=False, locale="en-GB")) as context:
        page = context.new_page()
        for path in place.pages:
            answer = page.goto(f"{place.address}{path}")
            assert answer is not None
            assert answer.status == 200
        page.goto(f"{place.address}/jobs/{place.lecture}")
        word = page.locator("#transcript a.w").nth(3)
        assert word.get_attribute("href") == f"/jobs/{place.lecture}/audio#t={word.get_attribute('data-start')}"
        with page.expect_download() as download:
            page.get_by_role("link", name="SRT").click()
        assert download.value.suggested_filename == "lecture.srt"
        page.goto(f"{place.address}/history")
        page.get_by_label("State").select_option("failed")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody")).to_contain_text("broken.mp3")
