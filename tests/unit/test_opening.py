"""What is served where: with and without pages, and what the configuration has to say for that."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from daemon import web
from daemon.config import Config, load
from daemon.errors import ConfigError
from daemon.monitoring import Monitoring
from daemon.opening import Pages, open_pages

HERE = Path(__file__).parents[2]

WITHOUT = """
import sys
for name in ("argon2", "fastapi", "python_multipart", "multipart"):
    sys.modules[name] = None
"""

RUN = """
import json, os, sys, urllib.request, urllib.error
from pathlib import Path
from daemon.actor import Pulse
from daemon.config import load
from daemon.parts import Parts

def ask(path):
    try:
        with urllib.request.urlopen("http://127.0.0.1:PORT" + path) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code

parts = Parts(load(Path(sys.argv[1]), {}).config, dict(os.environ), Pulse())
parts.start()
found = {path: ask(path) for path in ("/healthz", "/metrics", "/static/site.css")}
heavy = ("fastapi", "argon2", "daemon.web.app")
print(json.dumps({"found": found, "loaded": [name for name in heavy if sys.modules.get(name) is not None]}), flush=True)
os._exit(0)  # its processes end with it
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def run(tmp_path: Path, code: str, more: str = "") -> dict[str, Any]:
    """What a daemon in a process of its own says, with *more* in its table of the web."""
    port = free_port()
    (tmp_path / "inbox").mkdir()
    file = tmp_path / "transcribed.toml"
    file.write_text(
        f'state_dir = "state"\n[canary]\ninterval_s = 0\n[web]\nlisten = "127.0.0.1:{port}"\n{more}\n'
        '[[inbox]]\npath = "inbox"\n',
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-c", code.replace("PORT", str(port)), str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=HERE,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    return cast("dict[str, Any]", json.loads(done.stdout.splitlines()[-1]))


def test_without_the_extra_the_daemon_works_and_monitoring_is_served(tmp_path: Path) -> None:
    """Only the pages for people are not there."""
    told = run(tmp_path, WITHOUT + RUN)
    assert told["found"] == {"/healthz": 200, "/metrics": 200, "/static/site.css": 404}
    assert told["loaded"] == []


def test_with_it_the_pages_are_there(tmp_path: Path) -> None:
    """Beside what monitoring asks for, at the same place."""
    told = run(tmp_path, RUN)
    assert told["found"] == {"/healthz": 200, "/metrics": 200, "/static/site.css": 200}


def test_where_no_pages_are_wanted_none_are_loaded(tmp_path: Path) -> None:
    """They cost some memory."""
    told = run(tmp_path, RUN, "pages = false")
    assert told["found"]["/static/site.css"] == 404
    assert told["loaded"] == []


def test_the_daemon_itself_loads_nothing_of_the_web() -> None:
    """Neither do the commands."""
    code = "import sys, daemon.service, daemon.cli.app; print([name for name in sys.modules if name in WEB])"
    heavy = ("starlette", "fastapi", "uvicorn", "argon2", "anyio", "python_multipart")
    done = subprocess.run(
        [sys.executable, "-c", f"WEB = {heavy}; {code}"], capture_output=True, text=True, check=True, cwd=HERE
    )
    assert done.stdout.strip() == "[]"


class Place:
    """A configuration, and what is opened with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        (root / "state").mkdir()
        self.opened: list[Pages] = []

    def config(self, web: str) -> Config:
        """With *web* in its table."""
        file = self.root / "transcribed.toml"
        listen = "" if "listen" in web else f'listen = "127.0.0.1:{self.port}"\n'
        file.write_text(f'state_dir = "state"\n[web]\n{listen}{web}\n', encoding="utf-8")
        return load(file, {}).config

    def open(self, web: str) -> Pages:
        """What is served so."""
        monitoring = cast("Monitoring", SimpleNamespace(latest=None, open_alerts=()))
        pages = open_pages(self.config(web), {}, monitoring, str, str)
        assert pages is not None
        self.opened.append(pages)
        return pages

    def ask(self, path: str) -> int:
        """The status of an answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for pages in place.opened:
        pages.close()


def test_a_file_of_passwords_that_others_can_read_stops_the_start(place: Place) -> None:
    """Better now than that nobody can log in later; the message has the remedy."""
    users = place.root / "state" / "web-users"
    users.write_text("anna:act:x\n")
    users.chmod(0o644)
    with pytest.raises(ConfigError, match="web-users: others may read or change it; chmod 600 it"):
        place.open('login = ["password"]')


def test_where_nobody_can_log_in_yet_it_is_said(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """With the command that changes it."""
    with caplog.at_level(logging.WARNING):
        place.open('login = ["password"]')
    assert "transcribed web-user add" in caplog.text


def test_other_machines_reach_it_only_with_the_pages_and_their_login(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without pages there is nothing that asks who comes; without the extra neither, and that is said."""
    listen = f'listen = "0.0.0.0:{place.port}"\nlogin = ["password"]\n'
    with pytest.raises(ConfigError, match="only this machine can reach"):
        place.open(f"{listen}pages = false")
    monkeypatch.setattr(web, "installed", lambda: False)
    with pytest.raises(ConfigError, match="only this machine can reach"):
        place.open(listen)
    assert "transcribed[web] is not installed" in caplog.text
    monkeypatch.undo()
    place.open(listen)
    assert place.ask("/healthz") == 200


def test_while_the_daemon_begins_the_pages_say_so(place: Place) -> None:
    """And monitoring is answered."""
    pages = place.open("")
    assert pages.with_site
    assert (place.ask("/healthz"), place.ask("/")) == (200, 503)
    begun = time.monotonic()
    pages.close()
    assert time.monotonic() - begun < 4.0
