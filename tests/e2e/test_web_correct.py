"""A text is corrected in a real browser, with and without JavaScript, and the files of a real daemon follow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import LOOKS, complaints, is_too_wide
from tests.harness import DATA, Daemon
from tests.unit.test_opening import free_port


@dataclass
class Place:
    """A daemon that has transcribed a lecture, the address of its page, and the files beside the recording."""

    daemon: Daemon
    url: str

    def text(self, ending: str = "txt") -> str:
        """What the file says at present."""
        path = self.daemon.inbox / f"lecture.{ending}"
        return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Place]:
    address = f"127.0.0.1:{free_port()}"
    daemon = Daemon(tmp_path_factory.mktemp("correct"), models_dir, {"TRANSCRIBED_WEB_LISTEN": address})
    shutil.copy(DATA / "lecture.ogg", daemon.inbox)
    daemon.start()
    try:
        (job,) = daemon.wait_ended(1)
        yield Place(daemon, f"http://{address}/jobs/{job['id']}")
    finally:
        daemon.kill()


@pytest.mark.parametrize("javascript", [True, False])
def test_what_is_written_is_in_the_files(place: Place, browser: Browser, javascript: bool) -> None:
    """And on the page of the recording, with who wrote it."""
    word = "Rotterdam" if javascript else "Amsterdam"
    with closing(browser.new_context(locale="en-GB", java_script_enabled=javascript)) as context:
        page = context.new_page()
        page.goto(place.url)
        page.get_by_role("link", name="Correct the text").click()
        first = page.locator("textarea").first
        first.fill(f"Water is everywhere in {word}.")
        if javascript:
            expect(page.locator("#changed")).to_have_text("Lines changed: 1")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator(".flash")).to_contain_text("Saved as version")
        expect(page.locator("#transcript")).to_contain_text(f"Water is everywhere in {word}.")
    place.daemon.until(lambda: f"in {word}." in place.text(), "the text", 20)
    assert f"in {word}." in place.text("srt")


def test_a_draft_outlives_the_page(place: Place, browser: Browser) -> None:
    """It is offered when the page is opened again, and gone once it is saved."""
    with closing(browser.new_context(locale="en-GB")) as context:
        page = context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{place.url}/correct")
        page.locator("textarea").nth(1).fill("It falls as rain on Delft.")
        page.reload()
        expect(page.locator("textarea").nth(1)).not_to_have_value("It falls as rain on Delft.")
        page.get_by_role("button", name="Take them over").click()
        expect(page.locator("textarea").nth(1)).to_have_value("It falls as rain on Delft.")
        page.keyboard.press("Control+s")
        expect(page.locator(".flash")).to_contain_text("Saved as version")
        expect(page.locator("#draft")).to_be_hidden()


@pytest.mark.parametrize(("colours", "width"), LOOKS)
def test_everybody_can_use_both_pages(place: Place, browser: Browser, colours: str, width: int) -> None:
    """In each colour and width axe finds nothing serious, and nothing has to be scrolled sideways."""
    size = {"width": width, "height": 800}
    with closing(browser.new_context(color_scheme=colours, viewport=size)) as context:  # type: ignore[arg-type]
        page = context.new_page()
        for path in ("correct", "versions", "versions?new=1"):
            page.goto(f"{place.url}/{path}")
            assert complaints(page) == [], path
            assert not is_too_wide(page), path
