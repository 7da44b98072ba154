"""The page from which recordings are sent, in a real browser: files are dropped, broken off, and go on."""

from __future__ import annotations

import os
import socket
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser import complaints
from tests.harness import DATA, Daemon

PIECE = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Daemon]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{sock.getsockname()[1]}"
    daemon = Daemon(tmp_path_factory.mktemp("page"), models_dir, {"TRANSCRIBED_WEB_LISTEN": listen})
    try:
        yield daemon.start()
    finally:
        if daemon.running():
            daemon.stop()


@pytest.fixture
def page(daemon: Daemon, browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://{daemon.environment['TRANSCRIBED_WEB_LISTEN']}/upload")
    yield page
    context.close()


def send(page: Page, *files: Path) -> None:
    page.set_input_files("#files", list(files))
    page.click("#upload button[type=submit]")


def long_silence(folder: Path) -> Path:
    """A recording of three pieces."""
    path = folder / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * PIECE + 1000))
    return path


def test_files_are_sent_and_their_text_appears_by_itself(page: Page) -> None:
    """Of each it is shown how it stands, at last the words; what is no recording is refused in words."""
    page.select_option("#language", "en")
    send(page, DATA / "memo.wav", DATA / "README.md")
    page.wait_for_selector("li[data-ended]", timeout=60_000)
    page.wait_for_selector("#came >> text=The garden is full of flowers")
    assert "This name is not that of a recording" in page.inner_text("#came")
    assert complaints(page) == []
    page.click("#came >> text=memo.wav")
    page.wait_for_url("**/jobs/*")


def test_a_file_that_is_dropped_is_sent_whatever_its_name(page: Page, daemon: Daemon) -> None:
    """Its name is text and nothing else."""
    dropped = page.evaluate_handle(
        "() => { const data = new DataTransfer();"
        " data.items.add(new File([new Uint8Array(3000)], 'x <img src=x onerror=alert(1)>.wav')); return data; }"
    )
    page.dispatch_event("body", "drop", {"dataTransfer": dropped})
    page.wait_for_selector("li[data-job]")
    assert page.locator("#came img").count() == 0
    assert "x _img src=x onerror=alert(1)_.wav" in os.listdir(daemon.inbox)


def test_a_broken_connection_is_no_matter(page: Page, tmp_path: Path, daemon: Daemon) -> None:
    """It goes on by itself from the last byte that came."""
    n_pieces = 0

    def now_and_then(route: Route) -> None:
        nonlocal n_pieces
        n_pieces += route.request.method == "PATCH"
        if route.request.method == "PATCH" and n_pieces == 2:
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/uploads/*", now_and_then)
    recording = long_silence(tmp_path)
    send(page, recording)
    page.wait_for_selector("li[data-job]", timeout=30_000)
    assert n_pieces == 4  # one of three came twice
    assert (daemon.inbox / "long.wav").read_bytes() == recording.read_bytes()


def test_after_a_reload_the_rest_alone_is_sent(page: Page, tmp_path: Path) -> None:
    """What broke off is listed; once its file is chosen again, it goes on."""
    n_pieces = 0

    def once(route: Route) -> None:
        nonlocal n_pieces
        n_pieces += route.request.method == "PATCH"
        if route.request.method == "PATCH" and n_pieces > 1:
            route.abort()
        else:
            route.continue_()

    page.on("dialog", lambda dialog: dialog.accept())
    page.route("**/api/v1/uploads/*", once)
    send(page, long_silence(tmp_path))
    page.wait_for_selector("text=The connection broke")
    page.unroute("**/api/v1/uploads/*")
    page.reload()
    page.wait_for_selector("li[data-upload]")
    assert "Broke off" in page.inner_text("#came")
    offsets: list[str] = []
    page.on(
        "request",
        lambda request: offsets.append(request.headers["upload-offset"]) if request.method == "PATCH" else None,
    )
    send(page, tmp_path / "long.wav")
    page.wait_for_selector("li[data-job]", timeout=30_000)
    assert offsets == [str(PIECE), str(2 * PIECE)]
    assert page.locator("li[data-upload]").count() == 0


def test_without_a_script_the_form_is_sent_as_a_whole(daemon: Daemon, browser: Browser) -> None:
    """And the page that follows says how it stands."""
    context = browser.new_context(java_script_enabled=False, locale="de-DE")
    page = context.new_page()
    page.goto(f"http://{daemon.environment['TRANSCRIBED_WEB_LISTEN']}/upload")
    send(page, DATA / "silence.flac")
    assert "Angenommene Aufnahmen: 1" in page.inner_text("main")
    assert page.locator("#came a").inner_text() == "silence.flac"
    context.close()
