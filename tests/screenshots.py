"""Pictures of every page of the web, in light and dark, on a phone and a desk.

Run by `make screenshots`. A real daemon with the real model transcribes the sample recordings; the figures of the day
before are made up. Needs Chromium.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page

from monitor.alert import Judgement
from monitor.figures import Key, Sample
from monitor.history.store import MetricsHistory
from tests import web_world
from tests.browser import CHROMIUM, LOOKS, chromium
from tests.harness import DATA, Daemon

say = partial(print, flush=True)

SAMPLES: Final = {
    "lecture.ogg": "Lecture on water.ogg",
    "meeting.flac": "2026-11 planning/Monday meeting.flac",
    "interview.mp3": "Interviews/Interview with a neighbour.mp3",
    "voice-note.m4a": "Interviews/Sprachnotiz.m4a",
    "presentation.mp4": "Presentation.mp4",
    "silence.flac": "Empty tape.flac",
    "broken.mp3": "Voicemail.mp3",
}
SETTINGS: Final = 'language = "de"\ntask = "both"\nhotwords = "Berlin"\n'
MISTAKEN: Final = 'langauge = "de"\n'


def fill(daemon: Daemon) -> dict[str, int]:
    """The samples are in the inbox, transcribed, and one is corrected; the number of each job by the sample's name."""
    for folder in ("2026-11 planning", "Interviews"):
        (daemon.inbox / folder).mkdir()
    (daemon.inbox / "Interviews/transcribed.toml").write_text(SETTINGS, encoding="utf-8")
    (daemon.inbox / "2026-11 planning/transcribed.toml").write_text(MISTAKEN, encoding="utf-8")
    for sample, name in SAMPLES.items():
        web_world.drop(DATA / sample, (daemon.inbox / name).parent, Path(name).name)
    web_world.call(daemon.inbox / "Call with a customer.wav")
    jobs = daemon.wait_ended(len(SAMPLES) + 1)
    named = {Path(job["path"]).name: job["id"] for job in jobs}
    return {sample: named[Path(name).name] for sample, name in SAMPLES.items()} | {
        "call": named["Call with a customer.wav"]
    }


def figures(path: Path, folder: str) -> None:
    """A day as the daemon would have written it, of a machine that works by day on what comes into *folder*."""
    now_at = datetime.now(UTC).replace(microsecond=0)
    with closing(MetricsHistory.open(path, 64 * 1024 * 1024)) as history:
        for minute in range(24 * 60, 0, -1):
            at = now_at - timedelta(minutes=minute)
            wave = 0.5 - 0.5 * math.cos(2 * math.pi * minute / 720)
            ripple = 0.08 * math.sin(minute * 1.7) * wave
            made = {
                Key("host_cpu_used_ratio"): 0.05 + 0.85 * wave + ripple,
                Key("host_memory_used_ratio"): 0.35 + 0.2 * wave,
                Key("host_swap_used_ratio"): 0.02,
                Key("jobs", "queued"): round(40 * wave * wave),
                Key("jobs", "waiting"): round(2 * wave),
                Key("jobs", "running"): round(3 * wave),
                Key("queue_oldest_wait_s"): 900 * wave * wave,
                Key("recent_speed_ratio"): 9 + 4 * wave + 20 * ripple,
                Key("recent_failed_ratio"): 0.02 + 0.03 * wave,
                Key("process_rss_bytes", "daemon"): 96e6 + 4e6 * wave,
                Key("process_rss_bytes", "engine"): 620e6 + 90e6 * wave,
                Key("folder_free_ratio", folder): 0.6 - minute / 20_000,
            }
            history.add(Sample(at, made), Judgement())


def looks(browser: Browser, address: str, name: str) -> Iterator[tuple[str, Page]]:
    """A page for each colour and width, with *name* logged in; before it what it looks like."""
    for colours, width in LOOKS:
        size = {"width": width, "height": 900}
        with closing(browser.new_context(color_scheme=colours, viewport=size, locale="en-GB")) as context:  # type: ignore[arg-type]  # a TypedDict of its own
            page = context.new_page()
            if name:
                web_world.log_in(page, address, name)
            yield f"{colours}-{width}", page


def picture(page: Page, address: str, path: str, to: Path) -> None:
    """The whole of one page."""
    page.goto(f"{address}{path}")
    page.wait_for_timeout(200)  # a player that reads the recording, a first event
    page.screenshot(path=to, full_page=True)


def shoot(browser: Browser, daemon: Daemon, address: str, out: Path) -> None:
    """Every page as it is now: first quiet, then with work in hand."""
    named = fill(daemon)
    quiet = {
        "now": "/",
        "history": "/history",
        "history-none": "/history?q=nothing",
        "search": "/search",
        "search-hits": "/search?q=water",
        "upload": "/upload",
        "folders": "/folders?path=" + str(daemon.inbox / "Interviews/Sprachnotiz.m4a"),
        "health": "/health?span=day",
        "recording": f"/jobs/{named['lecture.ogg']}?t=16",
        "recording-speakers": f"/jobs/{named['call']}",
        "recording-english": f"/jobs/{named['voice-note.m4a']}",
        "recording-film": f"/jobs/{named['presentation.mp4']}",
        "recording-failed": f"/jobs/{named['broken.mp3']}",
        "recording-silent": f"/jobs/{named['silence.flac']}",
        "correct": f"/jobs/{named['lecture.ogg']}/correct",
        "correct-speakers": f"/jobs/{named['call']}/correct",
        "versions": f"/jobs/{named['lecture.ogg']}/versions",
        "error": "/jobs/999999",
    }
    for look, page in looks(browser, address, ""):
        picture(page, address, "/login", out / f"login-{look}.png")
    for number, (look, page) in enumerate(looks(browser, address, "anna")):
        if number == 0:
            correct(page, address, named["lecture.ogg"])
        for name, path in quiet.items():
            picture(page, address, path, out / f"{name}-{look}.png")
        say(f"{look}: {len(quiet)} pages")
    for look, page in looks(browser, address, "ben"):
        picture(page, address, quiet["recording"], out / f"recording-read-only-{look}.png")
    web_world.long_talk(daemon.inbox / "A long evening.flac", 40)
    daemon.until(lambda: daemon.wait_stage("engine"), "work in hand")
    for name in ("Evening before", "Evening after"):
        web_world.long_talk(daemon.inbox / f"{name}.flac", 20)
    daemon.until(lambda: "Evening after" in str(daemon.jobs()), "more of it")
    busy = {Path(job["path"]).stem: job["id"] for job in daemon.jobs()}
    for look, page in looks(browser, address, "anna"):
        for name, path in {"now-busy": "/", "recording-waiting": f"/jobs/{busy['Evening after']}"}.items():
            picture(page, address, path, out / f"{name}-{look}.png")


def correct(page: Page, address: str, job: int) -> None:
    """Somebody corrects a word of a recording."""
    page.goto(f"{address}/jobs/{job}/correct")
    field = page.locator("textarea").first
    field.fill(field.input_value().replace("Water", "Fresh water"))
    page.locator(".saving button").first.click()
    page.wait_for_url(f"{address}/jobs/{job}")


def main() -> int:
    """Make them; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="where the pictures go (./screenshots)")
    out: Path = parser.parse_args().out.absolute()
    if not CHROMIUM.exists():
        say(f"there is no {CHROMIUM}; `make browser` installs it", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="transcribed-") as folder:
        root = Path(folder)
        daemon, address = web_world.made(root, root / "models")
        figures(daemon.state_dir / "metrics.db", str(daemon.inbox))
        try:
            with chromium() as browser:
                shoot(browser, daemon.start(), address, out)
        finally:
            daemon.kill()
    say(f"{len(list(out.glob('*.png')))} pictures in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
