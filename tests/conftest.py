"""Fixtures that end-to-end and fault tests share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.harness import DATA, Daemon, MakeDaemon
from tests.recordings import Clip, load_clips

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# How long one example takes says more of what else the machine does than of the code.
settings.register_profile("transcribed", deadline=None)
settings.load_profile("transcribed")


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model is joined once for all tests."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")  # while it is there, an event loop runs in this thread, and no test may begin another
def browser() -> Iterator[Browser]:
    """Chromium; where there is none, the tests of the pages are skipped."""
    from tests.browser import CHROMIUM, chromium  # only now: Playwright takes half a second to load

    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM} (Debian: chromium)")
    with chromium() as found:
        yield found


@pytest.fixture
def make_daemon(tmp_path: Path, models_dir: Path) -> Iterator[MakeDaemon]:
    """Make daemons that are not started yet; whatever runs at the end of the test is killed."""
    made: list[Daemon] = []

    def make(name: str = "one", **settings: str) -> Daemon:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        made.append(Daemon(root, models_dir, settings))
        return made[-1]

    yield make
    for daemon in made:
        if daemon.running():
            daemon.kill()


@pytest.fixture(scope="session")
def texts() -> dict[str, dict[str, Any]]:
    """What the sample recordings say."""
    content: dict[str, dict[str, Any]] = json.loads((DATA / "texts.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="session")
def clips() -> dict[str, Clip]:
    """The sample recordings with speech, decoded."""
    return load_clips()
