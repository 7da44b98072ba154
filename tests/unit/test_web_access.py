"""Who is let in to the pages: the parts that need no server. Who is kept out is in test_web_gate.py."""

from __future__ import annotations

import asyncio
import os
import stat
import string
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from daemon.cli.app import app
from daemon.config import load
from daemon.errors import ConfigError
from daemon.web.access import hosts, people, secret_file
from daemon.web.access.csrf import peek, simple
from daemon.web.access.people import Person
from daemon.web.access.secret_file import UnsafeFile, Watched
from daemon.web.access.sessions import IDLE_S, LONGEST_S, MAX_EACH, Sessions
from daemon.web.access.throttle import Throttle
from daemon.web.access.visitor import Role
from daemon.web.pages.look import own
from daemon.web.rendering import shown
from daemon.web.wording import LANGUAGES, chosen, words

# What the configuration refuses.


def config(tmp_path: Path, web: str) -> Path:
    file = tmp_path / "transcribed.toml"
    file.write_text(f'state_dir = "state"\n[web]\n{web}\n', encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("web", "why"),
    [
        ('listen = "0.0.0.0:8765"', "other machines can reach 0.0.0.0:8765, and nobody would have to log in"),
        ('listen = "[::]:8765"', "other machines can reach"),
        ('listen = "192.168.1.5:80"', "set web.login"),
        ('hosts = ["texts.example.org"]', "web.hosts: texts.example.org lets others come in"),
        ('login = ["proxy"]\nproxy_from = []', "must name the web server in front"),
        ('login = ["proxy"]\nproxy_from = ["0.0.0.0/0"]', "is everybody"),
        ('login = ["proxy"]\nproxy_from = ["example.org"]', "neither"),
        ('login = ["password"]\nhosts = ["https://x.org"]', "without https://"),
        ('login = ["none"]', "'password' or 'proxy'"),
        ('proxy_header = "X Remote"', "proxy_header"),
    ],
)
def test_what_would_let_anybody_in_stops_the_start(tmp_path: Path, web: str, why: str) -> None:
    """The pages are never open to a network without a login; the message says what to set."""
    with pytest.raises(ConfigError, match=why):
        load(config(tmp_path, web), {})


@pytest.mark.parametrize(
    "web",
    [
        'listen = "127.0.0.1:8765"',
        'listen = "/run/transcribed/web.sock"',
        'listen = "0.0.0.0:8765"\nlogin = ["password"]',
        'listen = "/run/web.sock"\nlogin = ["proxy"]\nhosts = ["texts.example.org"]\nhttps = true',
        'login = ["proxy", "password"]\nproxy_from = ["10.0.0.7", "10.1.0.0/24", "socket"]',
    ],
)
def test_this_machine_and_what_has_a_login_is_taken(tmp_path: Path, web: str) -> None:
    """Loopback and sockets as they are, everything else with a login."""
    assert load(config(tmp_path, web), {}).config.web.pages


# Passwords and tokens.


def test_a_password_is_known_again_and_no_other() -> None:
    """What is written holds no password, and differs each time."""
    anna = Person("anna", Role.ACT, people.hashed_password("correct horse"))
    assert "correct" not in anna.secret
    assert anna.secret != people.hashed_password("correct horse")
    assert people.is_password("correct horse", anna)
    assert not people.is_password("correct horsf", anna)
    assert not people.is_password("correct horse", None)
    assert not people.is_password("correct horse", Person("anna", Role.ACT, "no hash"))


def test_who_is_not_there_takes_as_long_as_a_wrong_password() -> None:
    """The time of an answer does not tell which names there are."""
    anna = Person("anna", Role.ACT, people.hashed_password("correct horse"))
    people.is_password("x", None)  # once, so that there is a hash of nobody

    def took(person: Person | None) -> float:
        times: list[float] = []
        for _ in range(5):
            begun = time.perf_counter()
            people.is_password("wrong one", person)
            times.append(time.perf_counter() - begun)
        return min(times)

    assert 0.5 < took(None) / took(anna) < 2.0


def test_a_token_is_known_again_and_is_nowhere_written() -> None:
    """The file has hashes; half a token, or its hash, is none."""
    token = people.new_token()
    known = people.parse(f"archive:read:{people.hashed_token(token)}\n")
    assert len(token) > 40
    assert token not in people.written(known, "about")
    assert people.by_token(token, known) == known["archive"]
    assert people.by_token(token[:-1], known) is None
    assert people.by_token(people.hashed_token(token), known) is None
    assert people.by_token("", known) is None


@given(st.text(max_size=200))
def test_no_text_makes_anybody_who_was_not_written(text: str) -> None:
    """A broken file lets nobody in, and never ends anything."""
    assert all(person.secret and people.valid_name(name) for name, person in people.parse(text).items())


def test_what_was_written_is_read_again() -> None:
    """Names, roles and hashes."""
    known = {name: Person(name, role, f"$argon2id${name}") for name, role in (("anna", Role.ACT), ("b@x.y", Role.READ))}
    assert people.parse(people.written(known, "about")) == known


# The files.


def test_a_file_of_secrets_is_for_its_owner_alone(tmp_path: Path) -> None:
    """As it is written; what others can read, what is a link and what is no file is refused with the remedy."""
    path = tmp_path / "web-users"
    assert secret_file.read(path) == ""
    secret_file.write(path, "anna:act:x\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret_file.read(path) == "anna:act:x\n"
    path.chmod(0o640)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        secret_file.read(path)
    path.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(UnsafeFile, match="cannot be read"):
        secret_file.read(link)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(UnsafeFile, match="is no file"):
        secret_file.read(tmp_path / "pipe")
    assert [name.name for name in tmp_path.iterdir() if name.name.startswith(".")] == []


def test_a_change_counts_at_once_and_an_unsafe_file_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once in the log, not with each request."""
    path = tmp_path / "web-users"
    watched = Watched(path, people.parse)
    assert watched.value() == {}
    secret_file.write(path, "anna:act:x\n")
    assert list(watched.value()) == ["anna"]
    path.chmod(0o644)
    assert watched.value() == {}
    assert watched.value() == {}
    assert len(caplog.records) == 1
    path.chmod(0o600)
    assert list(watched.value()) == ["anna"]


# Sessions.


def test_a_session_ends_by_idling_by_age_and_by_hand() -> None:
    """Each time it is used it lives on, but not for ever."""
    sessions = Sessions()
    token = sessions.begin("anna", "seal", 0.0)
    assert sessions.find(token, IDLE_S) is not None
    assert sessions.find(token, 2 * IDLE_S + 1) is None
    token, now = sessions.begin("anna", "seal", 0.0), 0.0
    while now < LONGEST_S:
        assert sessions.find(token, now) is not None
        now += IDLE_S / 2
    assert sessions.find(token, LONGEST_S + 1) is None
    token = sessions.begin("anna", "seal", 0.0)
    sessions.end(token)
    assert sessions.find(token, 1.0) is None
    assert sessions.find("", 1.0) is None


def test_somebody_has_only_so_many_sessions() -> None:
    """One more ends their oldest, and nobody else's."""
    sessions = Sessions()
    other = sessions.begin("ben", "seal", 0.0)
    tokens = [sessions.begin("anna", "seal", float(number)) for number in range(MAX_EACH + 1)]
    assert sessions.find(tokens[0], 50.0) is None
    assert all(sessions.find(token, 50.0) is not None for token in (*tokens[1:], other))
    assert len(set(tokens)) == len(tokens)


# How often.


def test_a_throttle_lets_some_through_at_once_then_one_by_one() -> None:
    """Each key has its own; who waits as told may."""
    throttle = Throttle(burst=3, every_s=10.0)
    assert [throttle.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    wait_s = throttle.take("a", 0.0)
    assert wait_s == pytest.approx(10.0)
    assert throttle.take("b", 0.0) == 0.0
    assert throttle.wait_s("a", 4.0) == pytest.approx(6.0)
    assert throttle.take("a", wait_s) == 0.0
    throttle.forgive("a")
    assert throttle.take("a", wait_s) == 0.0


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from("ab")), max_size=200), st.integers(1, 5))
def test_a_throttle_never_lets_more_through_than_it_says(steps: list[tuple[float, str]], burst: int) -> None:
    """In any time: the burst, and one for each that has passed."""
    throttle, now = Throttle(burst, 1.0), 0.0
    passed: dict[str, list[float]] = {"a": [], "b": []}
    for step, key in steps:
        now += step
        if throttle.take(key, now) == 0.0:
            passed[key].append(now)
    for times in passed.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + (times[last] - times[first]) + 1.0


def test_a_throttle_forgets_who_was_quiet_the_longest() -> None:
    """A crowd of addresses takes no more memory than that."""
    throttle = Throttle(burst=1, every_s=1000.0, max_keys=10)
    for number in range(100):
        throttle.take(str(number), 0.0)
    assert throttle.take("0", 0.0) == 0.0
    assert throttle.take("99", 0.0) > 0


# Names of the machine.


@pytest.mark.parametrize(
    ("host", "server", "ours"),
    [
        ("localhost", "127.0.0.1", True),
        ("localhost:8765", "127.0.0.1", True),
        ("LOCALHOST.:80", "", True),
        ("127.0.0.1:8765", "127.0.0.1", True),
        ("[::1]:8765", "::1", True),
        ("texts.example.org", "", True),
        ("texts.example.org:443", "10.0.0.1", True),
        ("10.0.0.1:8765", "10.0.0.1", True),
        ("10.0.0.2:8765", "10.0.0.1", False),
        ("evil.example", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("texts.example.org.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("127.0.0.1@evil.example", "127.0.0.1", False),
        ("evil.example#localhost", "127.0.0.1", False),
        ("", "127.0.0.1", False),
    ],
)
def test_only_names_of_this_machine_are_answered(host: str, server: str, ours: bool) -> None:
    """A name that somebody else gave it (DNS rebinding) is not."""
    assert hosts.is_ours(host, server, ("texts.example.org",)) is ours


def test_what_a_browser_says_of_foreign_pages_is_heard() -> None:
    """A link on another site may lead here; a form, an image or a script there gets nothing."""
    link = {b"sec-fetch-site": b"cross-site", b"sec-fetch-mode": b"navigate", b"sec-fetch-dest": b"document"}
    assert hosts.may_look(link)
    assert hosts.may_look({})
    assert not hosts.may_look({**link, b"sec-fetch-dest": b"iframe"})
    assert not hosts.may_look({b"sec-fetch-site": b"same-site", b"sec-fetch-mode": b"no-cors"})
    assert hosts.same_origin({b"origin": b"http://localhost:1"}, "LocalHost:1")
    assert not hosts.same_origin({b"origin": b"http://localhost:2"}, "localhost:1")
    assert not hosts.same_origin({b"origin": b"null"}, "localhost:1")
    assert not hosts.same_origin({b"sec-fetch-site": b"same-site"}, "localhost:1")


def test_only_the_web_server_in_front_is_believed_about_who_asks() -> None:
    """The last address that it added counts: those before come from whoever asks."""
    told = {b"x-forwarded-for": b"6.6.6.6, 10.9.9.9"}
    assert hosts.client_of("10.0.0.7", told, ("10.0.0.0/24",)) == "10.9.9.9"
    assert hosts.client_of("10.0.1.7", told, ("10.0.0.0/24",)) == "10.0.1.7"
    assert hosts.client_of("socket", told, ("socket",)) == "10.9.9.9"
    assert hosts.client_of("socket", told, ()) == "socket"
    assert hosts.client_of("socket", {b"x-forwarded-for": b"<script>"}, ("socket",)) == "socket"


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_text_is_more_than_a_name(host: str, other: str) -> None:
    """Whatever is sent as a name or an address: an answer, never an error."""
    hosts.is_ours(host, other, ("a",))
    hosts.is_trusted(host, ("10.0.0.0/8", "socket"))
    hosts.same_origin({b"origin": host.encode("utf-8", "replace")}, other)
    assert own(host).startswith("/")
    assert own(host)[1:2] not in ("/", "\\")


# Forms.


async def token_of(kind: bytes, *parts: bytes) -> tuple[str, bytes]:
    """The token that is found in a body that comes in *parts*, and the body that is read after that."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    token, again = await peek({b"content-type": kind}, receive)
    body = b""
    while True:
        message = await again()
        body += message["body"]
        if not message["more_body"]:
            return token, body


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_token_of_a_form_is_found_and_the_body_stays_whole(size: int) -> None:
    """However the body comes in; a multipart form is not read to its end for it."""

    def parts(body: bytes) -> list[bytes]:
        return [body[place : place + size] for place in range(0, len(body), size)]

    plain = b"a=1&csrf=abc&b=%20"
    assert asyncio.run(token_of(b"application/x-www-form-urlencoded", *parts(plain))) == ("abc", plain)
    multipart = (
        b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\nabc\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsound\r\n--x--\r\n'
    )
    assert asyncio.run(token_of(b"multipart/form-data; boundary=x", *parts(multipart))) == ("abc", multipart)
    later = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nname="csrf"\r\n\r\nabc\r\n--x--\r\n'
    assert asyncio.run(token_of(b"multipart/form-data; boundary=x", *parts(later))) == ("", later)


@pytest.mark.parametrize(
    "line", [b"name=csrf", b'; name="csrf"', b";", b"; \t", b'; name="csrf"\r\n', b"a\r\n", b"csrf=", b"&", b"%"]
)
@pytest.mark.parametrize("kind", [b"multipart/form-data; boundary=B", b"application/x-www-form-urlencoded"])
def test_no_form_keeps_the_thread_that_answers_everybody(kind: bytes, line: bytes) -> None:
    """The form is read before it is known who asks: however it is written, that takes next to no time."""
    body = (b"--B\r\n" if kind.startswith(b"multi") else b"") + line * (64_000 // len(line))
    pieces = [body[place : place + 200] for place in range(0, len(body), 200)]
    began = time.process_time()
    assert asyncio.run(token_of(kind, *pieces))[1] == body
    assert time.process_time() - began < 0.5


def test_a_long_form_is_let_through_by_the_token_in_front() -> None:
    """A transcript that was corrected is longer than what is looked through for a token."""
    body = b"csrf=abc&t0=" + b"%D0%B0" * 100_000
    pieces = [body[place : place + 60_000] for place in range(0, len(body), 60_000)]
    assert asyncio.run(token_of(b"application/x-www-form-urlencoded", *pieces)) == ("abc", body)


def test_what_any_page_could_send_is_told_apart() -> None:
    """Forms of other sites have three types of content and no header of ours."""
    assert simple({b"content-type": b"multipart/form-data; boundary=x"}, "POST")
    assert simple({}, "POST")
    assert not simple({b"content-type": b"application/json"}, "POST")
    assert not simple({b"authorization": b"Bearer x"}, "POST")
    assert not simple({}, "PATCH")


# The frame.


@pytest.mark.parametrize(
    ("wish", "accepted", "language"),
    [
        ("", "", "en"),
        ("de", "zh", "de"),
        ("xx", "zh-TW,zh;q=0.9", "zh"),
        ("", "fr-FR,fr;q=0.9,de;q=0.5,en;q=0.4", "de"),
        ("", "en;q=0.1, de;q=0.9", "de"),
        ("", "de;q=0, en", "en"),
        ("", "de;q=x,,;;;,zh", "zh"),
    ],
)
def test_the_best_language_is_chosen(wish: str, accepted: str, language: str) -> None:
    """The visitor's wish, what their browser says, English."""
    assert chosen(wish, accepted) == language


def test_each_language_has_the_same_sentences() -> None:
    """With the same figures in them."""

    def figures(sentence: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}

    of = {language: words(language).sentences for language in LANGUAGES}
    for language in LANGUAGES:
        assert set(of[language]) == set(of["en"]), language
        assert {key: figures(text) for key, text in of[language].items()} == {
            key: figures(text) for key, text in of["en"].items()
        }, language


@given(st.one_of(st.binary(max_size=40), st.text(max_size=40)))
def test_any_name_can_be_shown(name: bytes | str) -> None:
    """As text that has no character that turns or hides what stands around it."""
    text = shown(name)
    text.encode()
    assert not set(text) & set("\u202e\u2066\u200b\x00\n\r")


# The command line.


def test_people_and_programs_are_let_in_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name, a role, a password from a pipe; a token that is shown once; each can be listed and taken away."""
    monkeypatch.chdir(tmp_path)
    file = str(config(tmp_path, 'login = ["password"]'))
    (tmp_path / "state").mkdir()
    runner = CliRunner()

    def run(*words: str, given: str = "") -> str:
        result = runner.invoke(app, [words[0], words[1], *words[2:], "--config", file], input=given)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    run("web-user", "add", "anna", "--role", "act", given="a long password\n")
    run("web-user", "add", "ben", given="another password\n")
    assert run("web-user", "list").split() == ["act", "anna", "read", "ben"]
    users = people.parse(secret_file.read(tmp_path / "state" / "web-users"))
    assert people.is_password("a long password", users["anna"])
    run("web-user", "remove", "ben")
    assert run("web-user", "list").split() == ["act", "anna"]
    token = run("web-token", "add", "archive").strip()
    tokens = people.parse(secret_file.read(tmp_path / "state" / "web-tokens"))
    assert people.by_token(token, tokens) == tokens["archive"]
    run("web-token", "remove", "archive")
    assert run("web-token", "list") == ""


@pytest.mark.parametrize(
    ("words", "given", "why"),
    [
        (("web-user", "add", "a:b"), "a long password\n", "a name is made of"),
        (("web-user", "add", "anna"), "short\n", "10 to 1000 characters"),
        (("web-user", "remove", "anna"), "", "not in"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], given: str, why: str
) -> None:
    """In one line; the file is as it was."""
    monkeypatch.chdir(tmp_path)
    file = str(config(tmp_path, ""))
    (tmp_path / "state").mkdir()
    result = CliRunner().invoke(app, [*words, "--config", file], input=given)
    assert result.exit_code != 0
    assert why in str(result.exception)
    assert not (tmp_path / "state" / "web-users").exists()
