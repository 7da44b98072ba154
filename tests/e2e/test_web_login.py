"""Logging in to the pages of a real daemon, in a real browser, by every way that a person has."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from daemon.web.access import people, secret_file
from daemon.web.access.visitor import Role
from tests.browser import LOOKS, complaints, is_too_wide
from tests.harness import Daemon, MakeDaemon
from tests.unit.test_opening import free_port

PASSWORD = "a long password"


@pytest.fixture
def place(make_daemon: MakeDaemon) -> tuple[Daemon, str]:
    """A daemon where anna may log in, and its address."""
    address = f"127.0.0.1:{free_port()}"
    daemon = make_daemon(TRANSCRIBED_WEB_LISTEN=address, TRANSCRIBED_WEB_LOGIN="password")
    daemon.state_dir.mkdir(mode=0o750)
    anna = people.Person("anna", Role.ACT, people.hashed_password(PASSWORD))
    secret_file.write(daemon.state_dir / "web-users", people.written({"anna": anna}, "about"))
    return daemon.start(), f"http://{address}"


def log_in(page: Page, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def events(database: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT kind, detail FROM event WHERE kind LIKE 'web_%' ORDER BY id").fetchall()
    return [(kind, json.loads(detail).get("by", "")) for kind, detail in rows]


@pytest.mark.parametrize("script", [True, False])
def test_somebody_logs_in_looks_around_and_logs_out(place: tuple[Daemon, str], browser: Browser, script: bool) -> None:
    """With JavaScript and without; a wrong password is said in words; what was asked for comes after the login."""
    daemon, address = place
    with closing(browser.new_context(java_script_enabled=script, locale="en-GB")) as context:
        page = context.new_page()
        page.goto(f"{address}/nowhere")
        assert page.url == f"{address}/login?next=/nowhere"
        log_in(page, "wrong password")
        expect(page.get_by_role("alert")).to_have_text("Name or password is not right.")
        log_in(page)
        assert page.url == f"{address}/nowhere"
        expect(page.get_by_role("status")).to_have_text("You are logged in as anna.")
        page.get_by_role("button", name="dark").click()
        assert page.locator("html").get_attribute("data-theme") == "dark"
        page.get_by_role("button", name="Deutsch").click()
        assert page.locator("html").get_attribute("lang") == "de"
        page.get_by_role("button", name="Abmelden").click()
        expect(page.get_by_role("status")).to_have_text("Sie sind abgemeldet.")
        page.goto(f"{address}/nowhere")
        assert "/login" in page.url
        assert not any("password" in str(cookie) for cookie in context.cookies())
    assert events(daemon.state_dir / "transcribed.db") == [
        ("web_login_refused", "anna"),
        ("web_login", "anna"),
        ("web_logout", "anna"),
    ]


def test_the_form_is_for_everybody(place: tuple[Daemon, str], browser: Browser) -> None:
    """In each colour and width axe finds nothing serious; the keyboard alone is enough, and the first key skips."""
    _, address = place
    for colours, width in LOOKS:
        with closing(browser.new_context(color_scheme=colours, viewport={"width": width, "height": 800})) as context:
            page = context.new_page()
            page.goto(f"{address}/login")
            assert complaints(page) == []
            assert not is_too_wide(page)
    with closing(browser.new_context(locale="en-GB")) as context:
        page = context.new_page()
        page.goto(f"{address}/login")
        page.keyboard.type("anna")  # the first field has the focus
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/")
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text("To the content")
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


def test_a_page_of_somebody_else_does_nothing(place: tuple[Daemon, str], browser: Browser) -> None:
    """A form on another site that aims at ours, in a browser in which somebody is logged in (CSRF); and no frame."""
    daemon, address = place
    with closing(browser.new_context(locale="en-GB")) as context:
        page = context.new_page()
        page.goto(f"{address}/login")
        log_in(page)
        page.wait_for_url(f"{address}/")
        evil = context.new_page()
        evil.route("http://evil.test/**", lambda route: route.fulfill(body="<html></html>", content_type="text/html"))
        evil.goto("http://evil.test/")
        evil.set_content(
            f'<form id="f" method="post" action="{address}/logout"><input name="csrf" value="x"></form>'
            f'<iframe src="{address}/"></iframe><img id="i" src="{address}/static/icon.svg">'
        )
        evil.wait_for_timeout(300)
        assert evil.evaluate("document.getElementById('i').naturalWidth") == 0
        with evil.expect_navigation():
            evil.evaluate("document.getElementById('f').submit()")
        page.reload()
        expect(page.get_by_text("anna")).to_be_visible()
    assert ("web_logout", "anna") not in events(daemon.state_dir / "transcribed.db")
