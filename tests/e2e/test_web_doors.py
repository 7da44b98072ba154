"""Every address of a real daemon's pages and API, found from the application itself: none is open by oversight."""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from daemon.actor import Pulse
from daemon.config import load
from daemon.parts import Parts
from daemon.web.access import people, secret_file
from daemon.web.access.visitor import Role
from daemon.web.app import MONITORING
from tests.unit.test_opening import free_port

READER, ACTOR = people.new_token(), people.new_token()

OPEN = {("GET", "/login"), ("POST", "/login"), ("POST", "/look")}
"""What is there before anybody logged in; and what looks like ours is, /static."""


@dataclass(frozen=True, slots=True)
class Site:
    """A daemon's pages on a port, and each address with its methods."""

    port: int
    doors: tuple[tuple[str, str], ...]

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> int:
        """The status of the answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, body or None, dict(headers))
            return connection.getresponse().status


def doors(routes: list[Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Each method and path, with something in the place of what is variable."""
    for route in routes:
        path = before + re.sub(r"\{[^}]*\}", "1", str(getattr(route, "path", "")))
        if getattr(route, "routes", None):
            yield from doors(list(route.routes), path)
        elif getattr(route, "methods", None):
            yield from ((method, path) for method in sorted(route.methods) if method != "HEAD")


def described(port: int, before: str) -> Iterator[tuple[str, str]]:
    """Each method and path of the API *before*, as it says itself (OpenAPI)."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", f"{before}/openapi.json", headers={"Authorization": f"Bearer {READER}"})
        document: dict[str, Any] = json.loads(connection.getresponse().read())
    for path, methods in document["paths"].items():
        # What begins with the prefix already has it.
        full = path if path.startswith(f"{before}/") else before + path
        yield from ((method.upper(), re.sub(r"\{[^}]*\}", "1", full)) for method in methods if method != "head")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Site]:
    root, port = tmp_path_factory.mktemp("doors"), free_port()
    (root / "inbox").mkdir()
    (root / "state").mkdir()
    tokens = {
        "reader": people.Person("reader", Role.READ, people.hashed_token(READER)),
        "actor": people.Person("actor", Role.ACT, people.hashed_token(ACTOR)),
    }
    secret_file.write(root / "state" / "web-tokens", people.written(tokens, "about"))
    file = root / "transcribed.toml"
    file.write_text(
        f'state_dir = "state"\n[canary]\ninterval_s = 0\n[engine]\nmodels_dir = "{models_dir}"\n'
        f'[web]\nlisten = "127.0.0.1:{port}"\nlogin = ["password"]\n[[inbox]]\npath = "inbox"\n',
        encoding="utf-8",
    )
    parts = Parts(load(file, {}).config, dict(os.environ), Pulse())
    try:
        parts.start()
        gate = cast("Any", parts)._web._front._site
        found = [*doors(gate._app.routes), *described(port, "/api/v1"), *described(port, "/v1")]
        yield Site(port, tuple(door for door in dict.fromkeys(found) if door[1] not in MONITORING))
    finally:
        parts.stop()


def test_there_are_doors_to_try(site: Site) -> None:
    """Pages, actions and both APIs are among them."""
    paths = {path for _, path in site.doors}
    wanted = {"/", "/history", "/search", "/upload", "/jobs/1/retry", "/v1/audio/transcriptions"}
    assert not wanted - paths
    assert any(path.startswith("/api/v1/") for path in paths)
    assert len(site.doors) > 30, paths


def test_nothing_is_open_to_whoever_did_not_log_in(site: Site) -> None:
    """Pages lead to the login, the rest is refused, whatever is sent along."""
    for method, path in site.doors:
        if (method, path) not in OPEN:
            status = site.ask(method, path, {})
            assert status == 401 or (status == 303 and method == "GET"), (method, path, status)
            assert site.ask(method, path, {"Authorization": "Bearer tr_x", "X-Remote-User": "root"}) in (401, 429)


def test_nothing_is_open_by_a_foreign_name(site: Site) -> None:
    """DNS rebinding, with a good token even."""
    for method, path in site.doors:
        headers = {"Host": "evil.example", "Authorization": f"Bearer {ACTOR}"}
        assert site.ask(method, path, headers) == 421, (method, path)


def test_who_may_look_changes_nothing_anywhere(site: Site) -> None:
    """Each method that is not for looking is refused before the page hears of it."""
    for method, path in site.doors:
        if method != "GET" and path not in ("/login", "/logout", "/look"):
            assert site.ask(method, path, {"Authorization": f"Bearer {READER}"}, b"{}") == 403, (method, path)


def test_who_may_look_can_look_and_nothing_breaks(site: Site) -> None:
    """No page ends in an error of ours, with a job that is not there either."""
    for method, path in site.doors:
        if method == "GET" and not path.endswith("/events"):  # those go on
            status = site.ask(method, path, {"Authorization": f"Bearer {READER}"})
            assert status < 500, (path, status)
