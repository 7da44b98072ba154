"""Names, texts and settings that people could write to do harm, on every page of a real daemon in a real browser.

Nothing of them is ever run: no sentinel is touched, no dialog opens, the browser has no complaint, not even that the
policy of the pages forbade something. That would mean that it came so far.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browser import is_too_wide
from tests.harness import DATA, Daemon
from tests.hostile_pages import HOSTILE
from tests.unit.test_opening import free_port
from tests.web_world import drop

MARKUP = "<img src=x onerror=window.harm=1>"
SPOKEN = b"<svg onload=window.harm=2>&amp;<b>bold.wav"
NAMES = [
    *(name for name in HOSTILE if b"/" not in name and not name.startswith(b".")),  # what begins so is left alone
    b"<details open ontoggle=window.harm=3>.mp3",
    b"`${window.harm=4}`.wav",
    b"%3Cscript%3E.wav",
]
LINES = [
    "<script>window.harm = 5</script>",
    "</textarea></script><script>window.harm=6</script>",
    "' autofocus onfocus=window.harm=7 x='\" onpointerenter=\"window.harm=8",
    "\u202egnp.exe\u2066 {{ 7 * 7 }} {% raw %} ${window.harm=9} -->]]>",
    "https://evil.test/ javascript:window.harm=10 \x00\x07\u2028\ud800",
]
SETTINGS = f"""
"{MARKUP}" = 1
language = "</script><script>window.harm=11</script>"
hotwords = '{MARKUP}'
"""


@dataclass
class Place:
    """A daemon with an inbox full of them, and its address."""

    daemon: Daemon
    address: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Place]:
    """One for all tests here. Its inbox is still empty."""
    address = f"127.0.0.1:{free_port()}"
    daemon = Daemon(tmp_path_factory.mktemp("hostile"), models_dir, {"TRANSCRIBED_WEB_LISTEN": address})
    daemon.start()
    try:
        yield Place(daemon, f"http://{address}")
    finally:
        daemon.kill()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser on a phone that notices every harm."""
    with closing(browser.new_context(locale="en-GB", viewport={"width": 360, "height": 800})) as context:
        opened = context.new_page()
        harm: list[str] = []

        def listen(message: ConsoleMessage) -> None:
            # An answer that is an error is expected here and there, and media that are none.
            if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
                harm.append(message.text)

        opened.on("console", listen)
        opened.on("pageerror", lambda error: harm.append(str(error)))
        opened.on("dialog", lambda dialog: harm.append(dialog.message))
        opened.on("request", lambda request: harm.append(request.url) if request.url.endswith("/x") else None)
        yield opened
        assert harm == []


def look(page: Page, address: str) -> None:
    """The page at *address* is as it should be."""
    page.goto(address)
    unharmed(page)


def unharmed(page: Page) -> None:
    """Nothing was run on *page*, nothing of it was read as markup, and it is as wide as it should be."""
    assert page.evaluate("window.harm") is None, page.url
    assert page.title().endswith("· transcribed"), page.url
    strange = "img, iframe, [onerror], [onload], [onfocus], [onclick], [ontoggle], main style, main script"
    assert page.locator(strange).count() == 0, page.url
    assert not is_too_wide(page), page.url


def test_the_first_page_shows_them_as_they_come(place: Place, page: Page) -> None:
    """Each name arrives in a page that is open, while the file is read and when it has ended."""
    page.goto(place.address)
    expect(page.locator("#live")).to_have_text("Live")
    for name in NAMES:
        drop(DATA / "broken.mp3", place.daemon.inbox, name)
    drop(DATA / "memo.wav", place.daemon.inbox, SPOKEN)
    folder = os.path.join(os.fsencode(place.daemon.inbox), MARKUP.encode())
    os.mkdir(folder)
    Path(os.fsdecode(folder), "transcribed.toml").write_text(SETTINGS, encoding="utf-8")
    drop(DATA / "silence.flac", Path(os.fsdecode(folder)), "' onmouseover=window.harm=12 '.flac")
    place.daemon.wait_ended(len(NAMES) + 2)
    expect(page.locator("#ended")).to_contain_text("<svg onload=window.harm=2>", timeout=20_000)
    unharmed(page)


def test_what_a_person_writes_is_text(place: Place, page: Page) -> None:
    """Lines and names of speakers, in the form, on the page, in the search, in the versions, and in each download."""
    job = place.daemon.jobs_of(place.daemon.inbox / os.fsdecode(SPOKEN))[-1]["id"]
    for number, line in enumerate(LINES):
        page.goto(f"{place.address}/jobs/{job}/correct?speakers=1")
        page.evaluate(
            "([text, speaker]) => { document.querySelector('.edit textarea').value = text;"
            " document.querySelector('.edit .speaker-name').value = speaker; }",
            [line, f"{MARKUP}{number}"],
        )
        page.get_by_role("button", name="Save", exact=True).click()
        page.wait_for_url(f"{place.address}/jobs/{job}")
        unharmed(page)
        for path in (f"/jobs/{job}/correct?speakers=1", f"/jobs/{job}/versions", "/search?q=window*", "/search?q=harm"):
            look(page, f"{place.address}{path}")
    kinds = [link.get_attribute("href") or "" for link in page.locator("#files-title ~ ul a").all()]
    for path in kinds:
        answer = page.request.get(f"{place.address}{path}")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "html" not in answer.headers["content-type"]


def test_every_page_with_every_name(place: Place, page: Page) -> None:
    """Lists, filters, explanations, and the page of each recording; with what was asked written back into them."""
    for path in ("/", "/history", "/history?state=failed", "/folders", "/health", "/upload"):
        look(page, f"{place.address}{path}")
    for name in (f'"><script>window.harm=13</script>{LINES[3]}'.encode(), MARKUP.encode(), NAMES[-3], b"\xff\xfe\x1b"):
        asked, inside = quote(name), quote(os.path.join(os.fsencode(place.daemon.inbox), name))
        for path in (f"/history?q={asked}", f"/search?q={asked}&folder={inside}", f"/folders?path={inside}"):
            look(page, f"{place.address}{path}")
    for job in place.daemon.jobs():
        look(page, f"{place.address}/jobs/{job['id']}")
    for path in ("/jobs/<script>window.harm=14<%2Fscript>", "/<img src=x onerror=window.harm=15>", "/login?next=//y"):
        look(page, f"{place.address}{path}")


def test_an_upload_with_any_name_is_text(place: Place, page: Page) -> None:
    """Taken or refused, a name is shown as it is, and lands in the inbox without what could do harm."""
    page.goto(f"{place.address}/upload")
    names = [
        MARKUP + ".wav",
        "../../etc/passwd.wav",
        "two\nlines.wav",
        "\u202egnp.wav",
        LINES[1] + ".wav",
        ".hidden.wav",
    ]
    dropped = page.evaluate_handle(
        "names => { const data = new DataTransfer(); for (const name of names)"
        " data.items.add(new File([new Uint8Array(3000)], name)); return data; }",
        names,
    )
    before = {entry.name for entry in place.daemon.inbox.iterdir()}
    page.dispatch_event("body", "drop", {"dataTransfer": dropped})
    expect(page.locator("#came li")).to_have_count(len(names))
    expect(page.locator("#came li progress:visible")).to_have_count(0, timeout=30_000)
    unharmed(page)
    came = {entry.name for entry in place.daemon.inbox.iterdir()} - before
    assert not [name for name in came if name.startswith(".") and name.endswith(".wav")]
    assert not [name for name in came if set(name) & set("/<>\n\u202e")]
    look(page, f"{place.address}/upload")


def test_the_stream_of_news_is_json_of_escaped_pieces(place: Place, page: Page) -> None:
    """What an open page is told has no element in it that is not ours."""
    page.goto(place.address)
    told = page.evaluate(
        "new Promise((resolve) => { const source = new EventSource('/now/events');"
        " source.addEventListener('now', (event) => { source.close(); resolve(event.data); }); })"
    )
    pieces = json.loads(told)
    assert "ended" in pieces
    assert not [name for name, text in pieces.items() if "<img" in text or "<script" in text or "<svg" in text]
