"""A browser for the tests of the pages: the system's Chromium, led by Playwright; and axe-core, which judges a page."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, cast

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM: Final = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
"""Debian's package chromium; Playwright's own is fetched from the network."""

LOOKS: Final[tuple[tuple[Literal["light", "dark"], int], ...]] = (
    ("light", 360),
    ("dark", 360),
    ("light", 1280),
    ("dark", 1280),
)
"""Colours and widths in which each page is looked at."""


@contextmanager
def chromium() -> Generator[Browser]:
    """One, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def complaints(page: Page) -> list[str]:
    """What axe-core finds on *page* that is serious or worse, one line each."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(str(Axe().axe_script))  # half a megabyte: once for a page, however often it is looked at
    response = cast("dict[str, Any]", page.evaluate("axe.run({ resultTypes: ['violations'] })"))
    return [
        f"{found['id']}: {found['nodes'][0]['html'][:200]}"
        for found in response["violations"]
        if found["impact"] in ("serious", "critical")
    ]


def is_too_wide(page: Page) -> bool:
    """Whether the page as a whole has to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
