"""The gate of the pages over real sockets: who gets in, and every way to get around it that is known."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, urlencode

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from daemon.web import serving as patience
from daemon.web.access import people, secret_file
from daemon.web.access.access import Access
from daemon.web.access.policy import Policy
from daemon.web.access.sessions import IDLE_S
from daemon.web.app import Front
from daemon.web.pages import login, look
from daemon.web.rendering import render
from daemon.web.serving import Patient
from daemon.web.site import Site
from monitor.pages.endpoints import Known, make_app, make_endpoints
from monitor.pages.serving import Serving
from storage.errors import StorageUnavailable

PASSWORD = "a long password"
TOKEN = people.new_token()
HASHED = people.hashed_password(PASSWORD)


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    cookies: dict[str, str]
    text: str


@dataclass
class Server:
    """The pages of a made-up site on a port of this machine."""

    root: Path
    policy: Policy
    at: list[float] = field(default_factory=lambda: [1000.0])
    events: list[tuple[str, Mapping[str, object]]] = field(default_factory=list[tuple[str, Mapping[str, object]]])
    done: list[str] = field(default_factory=list[str])
    port: int = 0
    front: Any = None
    running: Any = None

    def access(self) -> Access:
        """Who is let in, by a clock that a test turns."""
        return Access(self.policy, self.note, now=lambda: self.at[0])

    def note(self, kind: str, detail: Mapping[str, object], at: datetime, job_id: int | None = None) -> None:
        """Keep an event for a test to look at."""
        del at, job_id
        self.events.append((kind, detail))

    def ask(
        self,
        path: str = "/page",
        method: str = "GET",
        body: bytes | str = b"",
        cookies: Mapping[str, str] | None = None,
        **headers: str,
    ) -> Answer:
        """What is answered; headers are written with _ for -."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if cookies:
            told["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body or None, told)
            answer = connection.getresponse()
            given = [value for name, value in answer.getheaders() if name.lower() == "set-cookie"]
            pairs = [cookie.partition(";")[0].partition("=") for cookie in given]
            set_now = {name: value for name, _, value in pairs}
            return Answer(answer.status, dict(answer.getheaders()), set_now, answer.read().decode())

    def form(
        self, path: str, fields: Mapping[str, str], cookies: Mapping[str, str] | None = None, **more: Any
    ) -> Answer:
        """A form that was sent."""
        kind: dict[str, Any] = {"Content_Type": "application/x-www-form-urlencoded", **more}
        return self.ask(path, "POST", urlencode(fields), cookies, **kind)

    def log_in(self, name: str = "anna", password: str = PASSWORD, **more: Any) -> tuple[Answer, dict[str, str]]:
        """The answer to the form, and the cookies of the browser then."""
        page = self.ask("/login", **more)
        cookies = dict(page.cookies)
        answer = self.form("/login", {"csrf": token_in(page.text), "name": name, "password": password}, cookies, **more)
        return answer, {**cookies, **{name: value for name, value in answer.cookies.items() if value != '""'}}


def token_in(page: str) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', page)
    assert found is not None, page
    return found[1]


def site_of(server: Server) -> Site:
    """As much of one as is asked here."""
    return cast("Site", SimpleNamespace(access=server.access()))


def pages(server: Server) -> list[Route]:
    async def page(request: Request) -> Response:
        return render(request, "error.html", type("Model", (), {"title": "A page", "text": "with text"}))

    async def change(request: Request) -> Response:
        form = await request.form()
        server.done.append(str(form.get("what", request.method)))
        return PlainTextResponse("done")

    async def take(request: Request) -> Response:
        n_bytes = 0
        async for chunk in request.stream():
            n_bytes += len(chunk)
        server.done.append(f"{n_bytes} bytes")
        return PlainTextResponse("taken")

    async def broken(request: Request) -> Response:
        raise ValueError("secret detail")

    async def busy(request: Request) -> Response:
        raise StorageUnavailable("the disk is full")

    async def news(request: Request) -> Response:
        async def lines() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await asyncio.sleep(1.5)
            yield b"data: 2\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def much(request: Request) -> Response:
        async def content() -> AsyncIterator[bytes]:
            for _ in range(1000):
                yield bytes(100_000)

        return StreamingResponse(content())

    return [
        Route("/page", page),
        Route("/much", much),
        Route("/change", change, methods=["POST", "DELETE"]),
        Route("/api/v1/change", change, methods=["POST"]),
        Route("/upload", take, methods=["POST"]),
        Route("/small", take, methods=["POST"]),
        Route("/broken", broken),
        Route("/busy", busy),
        Route("/news", news),
    ]


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a site with a policy: what is given differs from no login at all."""
    running: list[Serving] = []

    def begin(*, opened: bool = True, **policy: Any) -> Server:
        server = Server(tmp_path, Policy(tmp_path / "web-users", tmp_path / "web-tokens", **policy))
        monkeypatch.setattr("daemon.web.app.PAGES", (look.routes, login.routes))
        known = Known("1", lambda: None, lambda: "", lambda: "")
        front = Front(make_app(known), make_endpoints(known), server.policy)
        if opened:
            front.open(site_of(server))
            gate: Any = cast("Any", front)._site
            app: Starlette = gate._app
            app.router.routes[:0] = pages(server)
        server.front = front
        sock = socket.create_server(("127.0.0.1", 0))
        server.port = sock.getsockname()[1]
        serving = Serving(front, [sock], (), Patient)
        serving.start()
        server.running = serving
        running.append(serving)
        return server

    secret_file.write(tmp_path / "web-users", f"anna:act:{HASHED}\nben:read:{HASHED}\n")
    secret_file.write(tmp_path / "web-tokens", f"archive:act:{people.hashed_token(TOKEN)}\nlook:read:{'0' * 64}\n")
    yield begin
    for serving in running:
        serving.close()


# Without a login: whoever reaches this machine.


def test_this_machine_needs_no_login(start: Start) -> None:
    """The page is there, with a token for its forms, and it may change things."""
    server = start()
    page = server.ask()
    assert (page.status, "A page" in page.text) == (200, True)
    assert server.form("/change", {"csrf": token_in(page.text), "what": "this"}).status == 200
    assert server.done == ["this"]


def test_every_answer_holds_browsers_to_our_rules(start: Start) -> None:
    """Pages, files, errors and refusals: no script but ours, no frame, no guess, nothing kept, nothing told on."""
    server = start()
    for path in ("/page", "/static/site.css", "/nowhere", "/broken", "/busy"):
        headers = server.ask(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == ("private, max-age=604800" if "static" in path else "no-store")


def test_a_foreign_name_for_this_machine_is_refused(start: Start) -> None:
    """DNS rebinding: a page that has its own name lead here reads and changes nothing, whatever the path."""
    server = start()
    for path in ("/page", "/static/site.css", "/login", "/api/v1/change"):
        assert server.ask(path, Host="evil.example").status == 421
    answer = server.form("/change", {"csrf": token_in(server.ask().text)}, Host="evil.example")
    assert (answer.status, server.done) == (421, [])
    assert server.ask(Host="evil.example, localhost").status == 421


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, {}),
        ({"csrf": "x"}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": "RIGHT"}, {"Origin": "https://evil.example"}),
        ({"csrf": "RIGHT"}, {"Origin": "null"}),
        ({"csrf": "RIGHT"}, {"Sec_Fetch_Site": "cross-site"}),
        ({"csrf": "RIGHT"}, {"Sec_Fetch_Site": "same-site"}),
        ({}, {"X_CSRF_Token": "é"}),
        ({}, {"Content_Type": "text/plain"}),
    ],
)
def test_a_foreign_page_changes_nothing(start: Start, fields: dict[str, str], headers: dict[str, Any]) -> None:
    """CSRF: a form of another site has no token, and browsers say where it comes from. It is an event."""
    server = start()
    right = token_in(server.ask().text)
    answer = server.form("/change", {name: value.replace("RIGHT", right) for name, value in fields.items()}, **headers)
    assert (answer.status, server.done) == (403, [])
    assert [kind for kind, _ in server.events] == ["web_refused"]


def test_a_script_of_ours_sends_its_token_as_a_header(start: Start) -> None:
    """Whatever the kind of body, and for a method that forms do not have."""
    server = start()
    right = token_in(server.ask().text)
    assert server.ask("/change", "DELETE", X_CSRF_Token=right, Origin=f"http://127.0.0.1:{server.port}").status == 200
    assert server.ask("/change", "DELETE").status == 403
    assert server.done == ["DELETE"]


def test_a_multipart_form_has_its_token_in_front(start: Start) -> None:
    """The upload goes on as it came; one without a token is not even read."""
    server = start()
    right = token_in(server.ask().text)
    kind: dict[str, Any] = {"Content_Type": "multipart/form-data; boundary=x"}
    body = f'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{right}\r\n'.encode() + b"--x--" + b"s" * 300_000
    assert server.ask("/upload", "POST", body, **kind).status == 200
    assert server.done == [f"{len(body)} bytes"]
    assert server.ask("/upload", "POST", body.replace(right.encode(), b"f" * 64), **kind).status == 403
    assert len(server.done) == 1


def test_a_program_without_a_login_sends_what_no_form_can(start: Start) -> None:
    """The official client of another service sends some token, which nobody checks here; a plain form is refused."""
    server = start()
    assert server.ask("/api/v1/change", "POST", Authorization="Bearer whatever").status == 200
    assert server.ask("/api/v1/change", "POST", b"{}", Content_Type="application/json").status == 200
    assert server.form("/api/v1/change", {}).status == 403
    assert server.ask("/change", "POST", b"{}", Content_Type="application/json").status == 403


def test_what_another_site_embeds_is_not_given(start: Start) -> None:
    """No image, script or frame from elsewhere; a link there may lead here."""
    server = start()
    far: dict[str, Any] = {"Sec_Fetch_Site": "cross-site"}
    assert server.ask(**far, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="image").status == 403
    assert server.ask(**far, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe").status == 403
    assert server.ask(**far, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document").status == 200


def test_a_web_server_in_front_without_a_login_is_noticed(start: Start) -> None:
    """Else everybody whom it lets through could change everything."""
    server = start()
    for header in ("X_Forwarded_For", "Forwarded", "Via", "X_Real_IP"):
        assert server.ask(**cast("dict[str, Any]", {header: "10.0.0.1"})).status == 403


def test_no_path_leads_out_of_the_static_files(start: Start) -> None:
    """Traversal, in every way to write it."""
    server = start()
    for way in (
        "../site.py",
        "%2e%2e/site.py",
        "..%2fsite.py",
        "....//site.py",
        "%5c..%5csite.py",
        "//etc/passwd",
        ".%00/",
    ):
        answer = server.ask(f"/static/{way}")
        assert answer.status in (404, 400, 403), way
        assert "import" not in answer.text


def test_a_path_with_markup_is_only_text(start: Start) -> None:
    """In the page that says that there is nothing, too."""
    page = server_page(start(), "/<script>alert(1)</script>")
    assert "<script>alert" not in page


def server_page(server: Server, path: str) -> str:
    return server.ask(quote(path, safe="/")).text


def test_a_page_that_fails_tells_no_more_than_that(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the reason; a history that does not answer is said to be busy."""
    server = start()
    answer = server.ask("/broken")
    assert (answer.status, "secret" in answer.text) == (500, False)
    until = time.monotonic() + 5.0
    while "secret detail" not in caplog.text:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert server.ask("/busy").status == 503
    assert server.ask("/busy", Accept="application/json").text.startswith('{"error"')


def test_before_the_pages_are_there_monitoring_is(start: Start) -> None:
    """While the daemon begins."""
    server = start(opened=False)
    assert server.ask("/healthz").status == 200
    answer = server.ask("/page")
    assert (answer.status, answer.headers["refresh"]) == (503, "3")
    assert "The service begins" in answer.text
    assert server.ask("/static/site.css").status == 200
    assert server.ask("/static/../site.py").status in (404, 503)


# With passwords.


def test_nobody_comes_in_without_logging_in(start: Start) -> None:
    """Pages lead to the form and from there to what was asked; programs are told; the form is there for all."""
    server = start(passwords=True)
    answer = server.ask("/page?x=1")
    assert (answer.status, answer.headers["location"]) == (303, "/login?next=/page%3Fx%3D1")
    assert server.ask("/nowhere").status == 303
    assert server.ask("/api/v1/change").status == 401
    assert server.ask("/page", Accept="application/json").status == 401
    assert server.ask("/page", "POST").status == 401
    assert server.ask("/login").status == 200
    assert server.ask("/static/site.css").status == 200
    assert server.done == []


def test_somebody_logs_in_and_out(start: Start) -> None:
    """The cookie is for us alone; both are events with a name; afterwards the cookie is worth nothing."""
    server = start(passwords=True)
    answer, cookies = server.log_in()
    assert (answer.status, answer.headers["location"]) == (303, "/")
    given = next(value for value in answer.headers.values() if value.startswith("transcribed="))
    assert all(word in given for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    page = server.ask(cookies=cookies)
    assert (page.status, "anna" in page.text) == (200, True)
    assert server.form("/change", {"csrf": token_in(page.text), "what": "hers"}, cookies).status == 200
    assert server.form("/logout", {"csrf": token_in(page.text)}, cookies).status == 303
    assert server.ask(cookies=cookies).status == 303
    assert [(kind, detail["by"]) for kind, detail in server.events] == [("web_login", "anna"), ("web_logout", "anna")]


def test_a_token_of_one_session_is_none_in_another(start: Start) -> None:
    """And none from before the login is good after it."""
    server = start(passwords=True)
    before = token_in(server.ask("/login").text)
    _, one = server.log_in()
    _, other = server.log_in("ben")
    right = token_in(server.ask(cookies=one).text)
    assert server.form("/change", {"csrf": right}, other).status == 403
    assert server.form("/change", {"csrf": before}, one).status == 403
    assert server.form("/change", {"csrf": right}, one).status == 200


def test_the_form_for_logging_in_cannot_be_sent_by_others(start: Start) -> None:
    """Login CSRF: without the cookie that came with the form its token is worth nothing."""
    server = start(passwords=True)
    page = server.ask("/login")
    fields = {"csrf": token_in(page.text), "name": "anna", "password": PASSWORD}
    assert server.form("/login", fields).status == 403
    assert server.form("/login", {**fields, "csrf": "x"}, page.cookies).status == 403
    assert server.form("/login", fields, page.cookies).status == 303


@pytest.mark.parametrize(
    ("name", "password"), [("anna", "wrong password"), ("nobody", PASSWORD), ("", ""), ("anna\x00", "xyzzy")]
)
def test_a_wrong_password_and_a_wrong_name_look_the_same(start: Start, name: str, password: str) -> None:
    """Neither lets in, neither says which it was; it is an event."""
    server = start(passwords=True)
    answer, cookies = server.log_in(name, password)
    assert answer.status == 403
    assert "Name or password is not right." in answer.text
    assert server.ask(cookies=cookies).status == 303
    assert [kind for kind, _ in server.events] == ["web_login_refused"]
    assert not password or password not in str(server.events)
    assert server.events[0][1]["by"] == ("anna" if name == "anna" else "")


def test_passwords_cannot_be_tried_without_end(start: Start) -> None:
    """After ten the next must wait, even with the right one; another day it goes."""
    server = start(passwords=True)
    page = server.ask("/login")

    def attempt(password: str) -> int:
        fields = {"csrf": token_in(page.text), "name": "anna", "password": password}
        return server.form("/login", fields, page.cookies).status

    assert [attempt("wrong password") for _ in range(10)] == [403] * 10
    assert attempt(PASSWORD) == 429
    server.at[0] += 61.0
    assert attempt(PASSWORD) == 303


def test_who_may_look_changes_nothing(start: Start) -> None:
    """Role read: pages, the look of them and logging out, no more. The try is an event with a name."""
    server = start(passwords=True)
    _, cookies = server.log_in("ben")
    page = server.ask(cookies=cookies)
    right = token_in(page.text)
    assert server.form("/change", {"csrf": right}, cookies).status == 403
    assert server.ask("/change", "DELETE", cookies=cookies, X_CSRF_Token=right).status == 403
    assert server.done == []
    assert ("web_refused", "ben") in [(kind, detail["by"]) for kind, detail in server.events]
    assert (
        server.form("/look", {"csrf": right, "theme": "dark", "next": "//evil.example"}, cookies).headers["location"]
        == "/"
    )


def test_a_session_ends_with_the_password_with_the_person_and_by_idling(start: Start) -> None:
    """At the next request; a new role counts from then on too."""
    server = start(passwords=True)
    users = server.policy.users_file
    _, cookies = server.log_in()
    secret_file.write(users, f"anna:read:{HASHED}\n")
    page = server.ask(cookies=cookies)
    assert server.form("/change", {"csrf": token_in(page.text)}, cookies).status == 403
    secret_file.write(users, f"anna:read:{people.hashed_password('another password')}\n")
    assert server.ask(cookies=cookies).status == 303
    _, cookies = server.log_in(password="another password")
    secret_file.write(users, "")
    assert server.ask(cookies=cookies).status == 303
    secret_file.write(users, f"anna:read:{HASHED}\n")
    _, cookies = server.log_in()
    server.at[0] += IDLE_S + 1
    assert server.ask(cookies=cookies).status == 303


def test_a_session_cannot_be_guessed_or_made_up(start: Start) -> None:
    """Only what was given out counts, whatever cookie is sent."""
    server = start(passwords=True)
    _, cookies = server.log_in()
    for value in ("", "x", cookies["transcribed"][:-1], '"', "a; b", "anna"):
        assert server.ask(cookies={"transcribed": value}).status == 303
    assert server.ask(Cookie='transcribed="; =; \\').status == 303


def test_after_logging_in_nobody_is_led_elsewhere(start: Start) -> None:
    """Open redirects: only to pages of ours."""
    server = start(passwords=True)
    for address in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\\\evil",
        "/\tx",
        "javascript:1",
        "/ä",
    ):
        page = server.ask(f"/login?next={quote(address)}")
        fields = {"csrf": token_in(page.text), "name": "anna", "password": PASSWORD, "next": address}
        assert server.form("/login", fields, page.cookies).headers["location"] == "/"


def test_behind_https_the_cookie_goes_nowhere_else(start: Start) -> None:
    """Secure, with the prefix that keeps others from setting it; the form says where it is not so."""
    server = start(passwords=True, https=True, hosts=("texts.example.org",))
    answer, _ = server.log_in(Host="texts.example.org")
    given = next(value for value in answer.headers.values() if value.startswith("__Host-transcribed="))
    assert "Secure" in given
    plain = start(passwords=True, hosts=("texts.example.org",))
    assert "not encrypted" in plain.ask("/login", Host="texts.example.org").text
    assert "not encrypted" not in server.ask("/login", Host="texts.example.org").text


def test_a_path_with_a_slash_too_many_leads_nowhere(start: Start) -> None:
    """It is not there. The service does not know the address that a web server in front gave it, so it sends nobody."""
    server = start(hosts=("texts.example.org",), https=True)
    for path in ("/page/", "/login/", "/static", "//page", "/page//"):
        answer = server.ask(path, Host="texts.example.org")
        assert (answer.status, "location" in answer.headers) == (404, False), path


# With a web server in front.


def test_the_web_server_in_front_says_who_asks(start: Start) -> None:
    """Where it is trusted; those whom the configuration names may change things."""
    server = start(proxy=True, proxy_from=("127.0.0.1",), proxy_actors=("anna",))
    assert server.ask().status == 401
    page = server.ask(X_Remote_User="anna", X_Forwarded_For="10.0.0.9")
    assert page.status == 200
    assert server.form("/change", {"csrf": token_in(page.text)}, X_Remote_User="anna").status == 200
    page = server.ask(X_Remote_User="ben")
    assert server.form("/change", {"csrf": token_in(page.text)}, X_Remote_User="ben").status == 403
    assert server.form("/change", {"csrf": token_in(page.text)}, X_Remote_User="anna").status == 403
    assert server.ask(X_Remote_User="a\tb").status == 401
    assert server.ask(X_Remote_User="x" * 100).status == 401


def test_nobody_else_is_believed_about_who_asks(start: Start) -> None:
    """The header of somebody who comes from elsewhere counts for nothing; nor do two of them."""
    server = start(proxy=True, passwords=True, proxy_from=("socket", "10.0.0.7"), proxy_actors=("*",))
    assert server.ask(X_Remote_User="anna").status == 303
    trusting = start(proxy=True, proxy_from=("127.0.0.1",), proxy_actors=("*",))
    with socket.create_connection(("127.0.0.1", trusting.port), timeout=10) as sock:
        sock.sendall(b"GET /page HTTP/1.1\r\nHost: localhost\r\nX-Remote-User: anna\r\nX-Remote-User: ben\r\n\r\n")
        assert b" 401 " in sock.recv(4096)


# With tokens.


def test_a_program_comes_in_with_its_token(start: Start) -> None:
    """With its role, and without a token against forgery: no browser sends it by itself."""
    server = start(passwords=True)
    assert server.ask("/page", Authorization=f"Bearer {TOKEN}").status == 200
    assert server.ask("/change", "DELETE", Authorization=f"bearer {TOKEN}").status == 200
    assert server.ask("/page", Authorization=f"Basic {TOKEN}").status == 303
    secret_file.write(server.policy.tokens_file, f"archive:read:{people.hashed_token(TOKEN)}\n")
    assert server.ask("/change", "DELETE", Authorization=f"Bearer {TOKEN}").status == 403
    secret_file.write(server.policy.tokens_file, "")
    assert server.ask("/page", Authorization=f"Bearer {TOKEN}").status == 401


def test_tokens_cannot_be_guessed(start: Start) -> None:
    """Each wrong one is refused, the twenty-first for being too many; a right one from there goes on."""
    server = start(passwords=True)
    guesses = [server.ask("/api/v1/change", Authorization=f"Bearer tr_{number}").status for number in range(25)]
    assert guesses == [401] * 20 + [429] * 5
    assert server.ask("/page", Authorization=f"Bearer {TOKEN}").status == 200
    assert {kind for kind, _ in server.events} == {"web_token_refused"}
    assert "tr_1" not in str(server.events)


# Monitoring.


def test_monitoring_from_elsewhere_logs_in_too(start: Start) -> None:
    """What watches on this machine is answered as before; what comes by another name or a web server is not."""
    server = start(passwords=True, hosts=("texts.example.org",))
    for path in ("/metrics", "/healthz", "/readyz"):
        assert server.ask(path).status == 200
        assert server.ask(path, Host="texts.example.org").status == 303
        assert server.ask(path, X_Forwarded_For="10.0.0.1").status == 303
        assert server.ask(path, Host="texts.example.org", Authorization=f"Bearer {TOKEN}").status == 200
    assert start().ask("/metrics", Host="evil.example").status == 421


# Size, speed and patience.


def test_what_is_too_large_is_not_taken(start: Start) -> None:
    """By what it says of itself, and by what comes; recordings may be larger, up to their own limit."""
    server = start(max_upload_bytes=2 << 20)
    right = token_in(server.ask().text)
    big = b"x" * ((1 << 20) + 1)
    assert server.ask("/small", "POST", big, X_CSRF_Token=right).status == 413
    assert server.ask("/upload", "POST", big, X_CSRF_Token=right).status == 200
    assert server.ask("/small", "POST", X_CSRF_Token=right, Content_Length="9" * 30).status in (400, 413)
    head = f"POST /small HTTP/1.1\r\nHost: localhost\r\nX-CSRF-Token: {right}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(head.encode())
        with contextlib.suppress(OSError):  # it may be refused while we still send
            for _ in range(20):
                sock.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        assert b" 413 " in sock.recv(4096)
    assert server.done == [f"{len(big)} bytes"]


def test_nobody_asks_too_fast(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hundred at once, then it is slower; the answer says when to come again."""
    monkeypatch.setattr("daemon.web.access.gate.BURST", 5)
    server = start()
    assert [server.ask().status for _ in range(6)] == [200] * 5 + [429]
    assert server.ask().headers["retry-after"] == "1"
    server.at[0] += 60.0
    assert server.ask().status == 200


def closed_within(sock: socket.socket, limit_s: float) -> bool:
    sock.settimeout(limit_s)
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_S", "STALL_S", "SLOW_S", "UNREAD_S"):
        monkeypatch.setattr(patience, name, 0.4)
    monkeypatch.setattr(patience, "_LOOK_S", 0.05)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /page HTTP/1.1\r\nHost: localhost\r\nX-A: ",
        b"POST /upload HTTP/1.1\r\nHost: localhost\r\nX-CSRF-Token: RIGHT\r\nContent-Length: 1000000\r\n\r\nx",
    ],
)
def test_whoever_dawdles_is_cut_off(start: Start, sent: bytes) -> None:
    """Slowloris: no request, half a head, a body that does not come."""
    server = start()
    right = token_in(server.ask().text).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(sent.replace(b"RIGHT", right))
        assert closed_within(sock, 5.0)
    assert server.ask().status == 200


def drips_until_closed(sock: socket.socket) -> bool:
    """Whether it is closed within five seconds, a byte at a time."""
    try:
        for _ in range(100):
            sock.sendall(b"x")
            time.sleep(0.05)
    except OSError:
        return True
    return False


@pytest.mark.usefixtures("hasty")
def test_a_body_drop_by_drop_is_cut_off_and_a_long_upload_is_not(start: Start) -> None:
    """What counts is that it gets on, not how long it takes."""
    server = start()
    right = token_in(server.ask().text).encode()
    head = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nX-CSRF-Token: " + right + b"\r\nContent-Length: 200000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(head)
        assert drips_until_closed(sock)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(head)
        for _ in range(20):
            sock.sendall(b"x" * 10_000)
            time.sleep(0.05)
        assert b" 200 " in sock.recv(4096)
    assert server.done == ["200000 bytes"]


@pytest.mark.usefixtures("hasty")
def test_a_page_that_listens_for_news_stays(start: Start) -> None:
    """An answer may take as long as it likes: it is ours."""
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"GET /news HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b"data: 2" not in answer:
            chunk = sock.recv(4096)
            assert chunk, answer
            answer += chunk


@pytest.mark.usefixtures("hasty")
def test_an_answer_that_nobody_takes_is_cut_off(start: Start) -> None:
    """Slow reading: who asks for much and takes nothing holds no connection for ever."""
    server = start()
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connections: Any = cast("Any", server).running._server.server_state.connections
        deadline = time.monotonic() + 8.0
        while connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not connections
    assert server.ask().status == 200


def test_a_crowd_of_connections_keeps_nobody_out(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address has so many at once; one more closes its oldest that waits."""
    monkeypatch.setattr(patience, "MAX_EACH", 10)
    server = start()
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(30)]
        assert server.ask().status == 200
        assert closed_within(socks[0], 5.0)


def test_nonsense_is_answered_or_cut_off_and_the_pages_stay(start: Start) -> None:
    """No bytes end the server; the log is not filled by whoever sends them."""
    server = start()
    for sent in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /page HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /%ff%00%c3 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /page HTTP/1.1\r\nHost: localhost\r\nCookie: \xff\xfe=\x80; transcribed_flash=W10=\r\n\r\n",
        b"GET /page HTTP/1.1\r\nHost: localhost\r\nAccept-Language: \xff;q=x\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock, contextlib.suppress(OSError):
            sock.sendall(sent)
            sock.recv(4096)
    assert server.ask().status == 200


FOLLOWING = b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n"


def answers_to(server: Server, sent: bytes) -> list[bytes]:
    """The statuses of all that is answered to *sent* until the connection is closed, or nothing more comes."""
    came = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.5) as sock, contextlib.suppress(OSError):
        sock.sendall(sent)
        while chunk := sock.recv(65536):
            came += chunk
    return re.findall(rb"HTTP/1\.1 (\d+)", came)


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n",
        b"Content-Length: +0\r\n",
        b"Content-Length : 0\r\n",
    ],
)
def test_a_body_whose_end_may_be_argued_about_ends_the_connection(start: Start, headers: bytes) -> None:
    """Request smuggling: what stands behind such a body is no request, whoever is in front of us thinks it is."""
    server = start()
    body = b"0\r\n\r\n" if b"chunked" in headers else b""
    sent = b"POST /small HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n" + body + FOLLOWING
    assert answers_to(server, sent) == [b"400"]
    assert not server.done


def test_a_body_that_is_no_http_leaves_no_trace_in_the_log(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever can connect could fill the log by it."""
    server = start()
    right = token_in(server.ask().text).encode()
    head = b"POST /small HTTP/1.1\r\nHost: localhost\r\nX-CSRF-Token: " + right + b"\r\n"
    assert answers_to(server, head + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 30 + b"\r\nabc") == [b"400"]
    assert server.ask().status == 200
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert not server.done


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape", "idna", "zlib", "utf-16", "x" * 200])
@pytest.mark.parametrize("path", ["/look", "/login"])
def test_a_form_in_any_encoding_is_no_bug(start: Start, path: str, charset: str) -> None:
    """Who sends a form says how it is encoded, before anybody knows who it is."""
    server = start(passwords=True)
    page = server.ask("/login")
    fields = {"csrf": token_in(page.text), "next": "/\\ud800", "name": "\\ud800", "password": "\\ud800-\u00e4"}
    body = "".join(f'--B\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{fields[key]}\r\n' for key in fields)
    kind = f"multipart/form-data; boundary=B; charset={charset}"
    answer = server.ask(path, "POST", f"{body}--B--\r\n".encode(), page.cookies, Content_Type=kind)
    assert answer.status in (303, 400, 403)


def test_a_flash_cannot_say_what_is_not_ours(start: Start) -> None:
    """The cookie names one of our sentences; what fills it is text."""
    server = start()

    def flashed(*packed: object) -> str:
        cookie = base64.urlsafe_b64encode(json.dumps(packed).encode()).decode()
        return server.ask(cookies={"transcribed_flash": f'"{cookie}"'}).text

    assert "logged in as &lt;b&gt;" in flashed("flash.welcome", {"name": "<b>"})
    wrong: list[tuple[object, ...]] = [
        ("access.title", {}),
        ("flash.no", {}),
        ("flash.welcome", {}),
        (1, 2),
        ("flash.welcome", {"name": [1]}),
        ("flash.uploaded", {"n": 10**400}),
    ]
    for packed in wrong:
        assert 'class="flash"' not in flashed(*packed)
    for text in ("[" * 5000, "x", "[" * 5, '["flash.welcome", {"name": ' + "[" * 4000):
        cookie = base64.urlsafe_b64encode(text.encode()).decode()[:7000]
        assert server.ask(cookies={"transcribed_flash": cookie}).status == 200


# A socket file.


def ask_file(path: Path, *headers: str) -> bytes:
    """The answer to a question for a page over the socket *path*."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall("\r\n".join(["GET /page HTTP/1.1", *headers, "Connection: close", "", ""]).encode())
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
        return answer


def test_a_socket_file_is_this_machine_or_the_web_server_in_front(tmp_path: Path, start: Start) -> None:
    """Without a login for who reaches it by a local name; with one, whom the web server behind it names."""

    def served(**policy: Any) -> tuple[Path, Serving]:
        server = start(**policy)
        path = tmp_path / f"{server.port}.sock"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        sock.listen()
        serving = Serving(server.front, [sock], (), Patient.made_for(("socket",), 1024))
        serving.start()
        return path, serving

    path, serving = served()
    assert ask_file(path, "Host: localhost").startswith(b"HTTP/1.1 200")
    assert ask_file(path, "Host: texts.example.org").startswith(b"HTTP/1.1 421")
    assert ask_file(path, "Host: localhost", "X-Forwarded-For: 10.0.0.1").startswith(b"HTTP/1.1 403")
    serving.close()
    path, serving = served(proxy=True, proxy_from=("socket",), hosts=("texts.example.org",), https=True)
    assert ask_file(path, "Host: texts.example.org").startswith(b"HTTP/1.1 401")
    answer = ask_file(path, "Host: texts.example.org", "X-Remote-User: anna", "X-Forwarded-For: 6.6.6.6, 10.0.0.1")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"anna" in answer
    serving.close()
