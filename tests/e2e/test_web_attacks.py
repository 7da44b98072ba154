"""What somebody could try who drops files, sends sound, or knows an address: all of it is only what it is."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none
from playwright.sync_api import Browser, Dialog, Page, Request

from tests.harness import DATA, Daemon
from tests.unit.test_opening import free_port

WHO = '"><img src=x onerror=alert(1)>'
"""How the web server in front calls who asks."""

EVIL = "\"'><img src=x onerror=alert(1)><svg onload=alert(2)>{{7*7}}"
"""As it can be the name of a file or a folder."""

SPOKEN = f"</textarea></script>{EVIL}<script>alert(3)</script><a href='javascript:alert(4)'>water</a>"
"""As somebody can write it into a transcript."""

LONGEST_S = 600


@dataclass
class Place:
    """A daemon behind a web server that says who asks, and the number of the job of its one recording."""

    daemon: Daemon
    port: int
    recording: Path
    job: int = 0

    @property
    def address(self) -> str:
        """Where its pages are."""
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and content of what is answered; *body* is JSON unless it is bytes."""
        told = {"X-Remote-User": "anna", **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body, told["Content-Type"] = json.dumps(body).encode(), "application/json"
        if method not in ("GET", "HEAD"):
            told["X-CSRF-Token"] = self.token
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)) as connection:
            connection.request(method, path, body, told)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    @property
    def token(self) -> str:
        """What anna's pages send with each change."""
        _, _, page = self.ask("GET", "/folders")
        found = re.search(rb'name="csrf-token" content="(\w+)"', page)
        assert found is not None
        return found[1].decode()

    def jobs(self) -> list[dict[str, Any]]:
        """The newest, first."""
        found: list[dict[str, Any]] = json.loads(self.ask("GET", "/api/v1/jobs")[2])["jobs"]
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Place]:
    root, port = tmp_path_factory.mktemp("attacks"), free_port()
    (root / "t.toml").write_text(
        f"[decode]\nmax_duration_s = {LONGEST_S}\n"
        f'[web]\nlisten = "127.0.0.1:{port}"\nlogin = ["proxy"]\nproxy_from = ["127.0.0.1"]\nproxy_actors = ["*"]\n'
        f'[[inbox]]\npath = "{root}/inbox"\nmay_set = ["initial_prompt", "speaker_names", "formats"]\n'
    )
    daemon = Daemon(root, models_dir, {"TRANSCRIBED_CONFIG": str(root / "t.toml")})
    del daemon.environment["TRANSCRIBED_INBOX"]
    folder = daemon.inbox / EVIL
    folder.mkdir()
    (folder / "transcribed.toml").write_text(
        f"initial_prompt = {json.dumps(SPOKEN)}\nspeaker_names = {json.dumps([EVIL])}\n"
        f'"{EVIL.replace(chr(34), "")}" = 1\n'
    )
    recording = folder / f"{EVIL}.wav"
    recording.write_bytes(tagged((DATA / "memo.wav").read_bytes(), SPOKEN))
    place = Place(daemon.start(), port, recording)
    try:
        daemon.until(lambda: [job for job in place.jobs() if job["state"] == "done"], "the recording to be done")
        place.job = place.jobs()[0]["id"]
        yield place
    finally:
        daemon.kill()


def tagged(wav: bytes, title: str) -> bytes:
    """*wav* with a title (RIFF INFO)."""
    text = title.encode() + b"\0" * (2 - len(title.encode()) % 2)
    info = b"INFOINAM" + struct.pack("<I", len(text)) + text
    whole = wav[8:] + b"LIST" + struct.pack("<I", len(info)) + info
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


@pytest.fixture
def page(place: Place, browser: Browser) -> Iterator[Page]:
    """A page on which nothing that was not ours may run, or even be tried."""
    with closing(browser.new_context(locale="en-GB", extra_http_headers={"X-Remote-User": WHO})) as context:
        opened = context.new_page()
        said: list[str] = []

        def ran(dialog: Dialog) -> None:
            said.append(f"dialog {dialog.message}")
            dialog.dismiss()

        def asked(request: Request) -> None:
            if not request.url.startswith(place.address):
                said.append(request.url)

        opened.on("dialog", ran)
        opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", asked)
        yield opened
        assert said == []


def made(page: Page) -> list[str]:
    """The elements of the page that only text could have made."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('img, iframe, object, embed, script:not([src]), svg[onload], [onerror], "
        '[href^="javascript:"], base, [style]\')].map((one) => one.outerHTML)'
    )
    return found


def test_what_looks_like_a_page_is_shown_as_text_everywhere(place: Place, page: Page) -> None:
    """Stored XSS: by file, folder, tag, settings, text and speakers that a person writes, a user, a question."""
    page.goto(f"{place.address}/jobs/{place.job}/correct?speakers=1")
    assert made(page) == []
    page.locator("textarea").first.fill(SPOKEN)
    page.locator("input.speaker-name").first.fill(EVIL)
    page.get_by_role("button", name="Save").first.click()
    page.wait_for_url(f"{place.address}/jobs/{place.job}")
    assert "<script>alert(3)</script>" in page.locator("#transcript").inner_text()
    job, evil = f"/jobs/{place.job}", quote(EVIL)
    for path in (
        *("/", "/history", "/search", "/folders", "/upload", "/health", job, f"{job}/correct", f"{job}/versions"),
        f"{job}/versions?old=1&new=2",
        f"/history?q={evil}&lang={quote(EVIL[:20])}&folder={quote(str(place.recording.parent))}",
        f"/history?folder={evil}&since={evil}",
        "/search?q=water",
        f"/search?q={quote(SPOKEN)}&folder={evil}",
        f"/folders?path={quote(str(place.recording))}",
        f"/folders?path={evil}",
        f"/upload?folder={quote(str(place.recording.parent))}&job={place.job}",
        f"/upload?folder={evil}",
        f"/health?span={evil}",
    ):
        page.goto(f"{place.address}{path}")
        assert made(page) == [], path
        assert "49" not in page.title(), path
    page.goto(f"{place.address}/")
    page.wait_for_selector("#live[data-live]")
    page.wait_for_timeout(300)  # what is told of changes is put in as HTML
    assert made(page) == []


def test_what_is_given_to_programs_is_never_a_page(place: Place) -> None:
    """Downloads, JSON, sound and messages of errors: none has a type that a browser would run, each is held to it."""
    job = f"/jobs/{place.job}"
    kinds = ("txt", "srt", "vtt", "json", "tsv", "md", "docx", "lrc")
    paths = [f"{job}/download/{kind}" for kind in kinds]
    paths += [f"/api/v1{job}/transcript?format={kind}" for kind in kinds]
    for path in paths:
        status, headers, _ = place.ask("GET", path)
        assert status == 200, path
        assert headers["content-disposition"].startswith("attachment;"), path
        assert "\r" not in headers["content-disposition"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "html" not in headers["content-type"]
        assert headers["cache-control"] == "no-store"
    for path in (
        "/api/v1/jobs",
        f"/api/v1{job}/events",
        "/api/v1/folders",
        f"/api/v1/nothing{quote(EVIL)}",
        "/v1/models",
    ):
        _, headers, content = place.ask("GET", path, headers={"Accept": "text/html"})
        assert headers["content-type"] == "application/json", path
        assert headers["x-content-type-options"] == "nosniff"
        json.loads(content)
    status, headers, _ = place.ask("GET", f"{job}/audio")
    assert (status, headers["content-type"]) == (200, "audio/wav")
    assert "script-src" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]


def test_only_the_recording_itself_is_played(place: Place) -> None:
    """IDOR: a job's address gives nothing once something else lies in its place, nor what lies beside it."""
    job, kept = f"/jobs/{place.job}", place.recording.with_suffix(".kept")
    secret = place.daemon.state_dir / "transcribed.db"
    os.rename(place.recording, kept)
    try:
        place.recording.symlink_to(secret)
        assert place.ask("GET", f"{job}/audio")[0] == 404
        place.recording.unlink()
        place.recording.symlink_to(kept)
        assert place.ask("GET", f"{job}/audio")[0] == 404
        place.recording.unlink()
        place.recording.write_bytes(b"RIFF" + bytes(place.job + kept.stat().st_size))
        assert place.ask("GET", f"{job}/audio")[0] == 410
    finally:
        place.recording.unlink(missing_ok=True)
        os.rename(kept, place.recording)
    assert place.ask("GET", f"{job}/audio")[0] == 200
    for way in ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/audio", "%2f..%2f..%2fstate/transcribed.db", "%00"):
        assert place.ask("GET", f"{job}/audio{way}")[0] == 404
        assert place.ask("GET", f"{job}/download/{way}")[0] == 404
        assert place.ask("GET", f"/static{way}")[0] == 404


def form(content: bytes, name: str = "a.wav") -> tuple[bytes, dict[str, str]]:
    """What a client of OpenAI's sends."""
    parts = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    parts += b'--B\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode() + b'"\r\n\r\n'
    return parts + content + b"\r\n--B--\r\n", {"Content-Type": "multipart/form-data; boundary=B"}


def test_what_somebody_else_asks_for_is_on_no_page(place: Place) -> None:
    """IDOR: while a program waits for its words, the next numbers of jobs give nothing to others, before and after."""
    body, headers = form((DATA / "greeting.opus").read_bytes(), "secret-name.opus")
    answers: list[int] = []
    newest = place.jobs()[0]["id"]

    def wait() -> None:
        answers.append(place.ask("POST", "/v1/audio/transcriptions", body, headers)[0])

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        while thread.is_alive():
            for number in (newest + 1, newest + 2):
                for path in ("", "/audio", "/download/txt", "/versions"):
                    assert place.ask("GET", f"/jobs/{number}{path}")[0] == 404
                for path in ("", "/transcript", "/events", "/suspects", "/versions"):
                    assert place.ask("GET", f"/api/v1/jobs/{number}{path}")[0] == 404
            assert place.jobs()[0]["id"] == newest
            for path in ("/", "/history", "/api/v1/status", "/api/v1/jobs", "/search?q=a*"):
                assert b"secret-name" not in place.ask("GET", path)[2], path
            thread.join(0.05)
    finally:
        thread.join()
    assert answers == [200]
    for path in ("/api/v1/events", "/history", "/search?q=a*"):
        assert b"secret-name" not in place.ask("GET", path)[2], path


def test_nobody_waits_for_the_rest_of_what_was_sent_whole(place: Place) -> None:
    """A recording that ends too early is transcribed as it is: a program that sent it would hold its place for long."""
    content = (DATA / "memo.wav").read_bytes()
    status, _, answer = place.ask("POST", "/v1/audio/transcriptions", *form(content[: len(content) // 2]))
    assert status == 200, answer
    assert json.loads(answer)["text"]


def bomb() -> bytes:
    """Three hours of silence in some hundred kilobytes."""
    file, second = io.BytesIO(), np.zeros(8000 * 60, dtype=np.int16)
    with soundfile.SoundFile(file, "w", 8000, 1, format="FLAC") as sound:
        for _ in range(180):
            sound.write(second)
    return file.getvalue()


def test_a_small_file_that_holds_hours_takes_nothing_from_others(place: Place) -> None:
    """Zip bombs: by upload it is a failed job, by OpenAI's way an answer; nothing of it stays, the next one is done."""
    content = bomb()
    assert len(content) < 1_000_000
    status, _, answer = place.ask("POST", "/v1/audio/transcriptions", *form(content, "bomb.flac"))
    assert status == 400, answer
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"
    endless = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 2**32 - 16, b"WAVE", b"fmt ", 16, 1, 1, 1, 1, 1, 8)
    endless += struct.pack("<4sI", b"data", 2**32 - 256) + bytes(400_000)
    assert place.ask("POST", "/v1/audio/transcriptions", *form(endless))[0] in (200, 400)
    (place.daemon.inbox / "bomb.flac").write_bytes(content)
    (place.daemon.inbox / "after.flac").write_bytes((DATA / "silence.flac").read_bytes())

    def states() -> dict[str, str]:
        return {Path(job["path"]).name: job["state"] for job in place.jobs()}

    place.daemon.until(lambda: states().get("after.flac") == "done", "the next recording to be done")
    place.daemon.until(lambda: states().get("bomb.flac") in ("failed", "quarantined"), "the bomb to fail")
    files = [path for path in place.daemon.state_dir.rglob("*") if path.is_file()]
    assert [path for path in files if path.stat().st_size > 50_000_000] == []


def test_a_crowd_that_searches_holds_up_nothing(place: Place) -> None:
    """A hundred slow questions at once: each has an answer, the service is well, and a recording is done meanwhile."""
    name = "meanwhile.flac"
    (place.daemon.inbox / name).write_bytes((DATA / "silence.flac").read_bytes() + b"\0")
    statuses: list[int] = []
    query = "+".join(f"{letter}*" for letter in "abcdefghijklmnopqrstuvwxyz")

    def search() -> None:
        statuses.append(place.ask("GET", f"/search?q={query}")[0])

    threads = [threading.Thread(target=search) for _ in range(40)]
    for thread in threads:
        thread.start()
    assert place.ask("GET", "/healthz")[0] in (200, 503)
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    done = {"done"}
    place.daemon.until(
        lambda: done & {job["state"] for job in place.jobs() if job["path"].endswith(name)}, "the recording to be done"
    )


@pytest.mark.parametrize("number", ["0", "-1", str(2**63 - 1), str(2**63), "9" * 5000, "1.5", "%00", "٣"])
def test_no_number_is_a_bug(place: Place, number: str) -> None:
    """Numbers of jobs that cannot be are those of no job, whatever is to be done with it."""
    number = quote(number)
    for action in ("retry", "cancel", "priority", "redo", "correct", "restore"):
        assert place.ask("POST", f"/jobs/{number}/{action}")[0] in (404, 405), action
    for action in ("retry", "cancel", "priority", "redo"):
        status = place.ask("POST", f"/api/v1/jobs/{number}/{action}", {})[0]
        assert status in (404, 422), action
    assert place.ask("GET", f"/api/v1/jobs?before={number}")[0] in (200, 422)
    assert place.ask("GET", f"/api/v1/events?before={number}")[0] in (200, 422)


def test_nothing_of_it_was_a_bug(place: Place) -> None:
    """The log has no error of ours after all that."""
    assert not place.daemon.has_logged("bug")
