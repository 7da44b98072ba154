"""Who asks, and what they may: told from how a request came. One for the whole site; usable from many threads."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response

from daemon.clock import monotonic_s, utc_now
from daemon.web.access import hosts
from daemon.web.access.csrf import Csrf
from daemon.web.access.hosts import Headers
from daemon.web.access.people import by_token, is_password, parse
from daemon.web.access.policy import ANYBODY, Policy
from daemon.web.access.secret_file import Watched
from daemon.web.access.sessions import LONGEST_S, Sessions
from daemon.web.access.throttle import Throttle
from daemon.web.access.visitor import LOCAL, Role, Visitor
from storage.errors import StorageError

log = logging.getLogger(__name__)

BEFORE: Final = "transcribed_before"
"""The cookie that the token of the form for logging in is bound to."""

MAX_NAME: Final = 64


class Note(Protocol):
    """Writes an event into the history."""

    def __call__(self, kind: str, detail: Mapping[str, object], at: datetime, job_id: int | None = None, /) -> None:
        """Write it. Raises StorageError."""
        ...


class TooOften(Exception):
    """Raised where somebody tried too often; *wait_s* says when they may again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too often; again in {wait_s:.0f} s")
        self.wait_s = wait_s


class BadToken(Exception):
    """Raised where a token was shown that nobody has."""


class Access:
    """What the gate, the form for logging in, and whoever writes an event ask."""

    def __init__(self, policy: Policy, note: Note, now: Callable[[], float] = monotonic_s) -> None:
        self.policy: Final = policy
        self.csrf: Final = Csrf()
        self.now: Final = now
        self._note = note
        self._users = Watched(policy.users_file, parse)
        self._tokens = Watched(policy.tokens_file, parse)
        self._sessions = Sessions()
        self._tries_here = Throttle(burst=10, every_s=60.0)
        # Looser, as anybody could keep the owner of a name out by it; and so that trying costs no more than a little.
        self._tries_name = Throttle(burst=100, every_s=30.0)
        self._tries_all = Throttle(burst=200, every_s=1.0)
        self._bad_tokens = Throttle(burst=20, every_s=10.0)
        self._refusals = Throttle(burst=60, every_s=60.0)

    def visitor(self, peer: str, headers: Headers) -> Visitor | None:
        """Who asks; None: nobody that is known. Raises BadToken, TooOften."""
        kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() == "bearer" and token.strip():
            return self._by_token(token.strip(), hosts.client_of(peer, headers, self.policy.trusted))
        if not self.policy.login:
            return LOCAL
        return self._by_proxy(peer, headers) or self._by_session(headers)

    def _by_token(self, token: str, client: str) -> Visitor | None:
        person = by_token(token, self._tokens.value())
        if person is not None:
            return Visitor(person.name, person.role, "token", f"token:{person.secret}")
        if not self.policy.login:
            return LOCAL  # programs made for other services must send one
        if (wait_s := self._bad_tokens.take(client, self.now())) > 0:
            raise TooOften(wait_s)
        raise BadToken

    def _by_proxy(self, peer: str, headers: Headers) -> Visitor | None:
        if not self.policy.proxy or not hosts.is_trusted(peer, self.policy.proxy_from):
            return None
        try:
            name = headers.get(self.policy.proxy_header, b"").decode("utf-8").strip()
        except UnicodeDecodeError:
            return None
        if not name or len(name) > MAX_NAME or not name.isprintable():
            return None
        actors = self.policy.proxy_actors
        role = Role.ACT if ANYBODY in actors or name in actors else Role.READ
        return Visitor(name, role, "proxy", f"proxy:{name}")

    def _by_session(self, headers: Headers) -> Visitor | None:
        token = cookies(headers).get(self.policy.cookie, "")
        if not self.policy.passwords or not token:
            return None
        session = self._sessions.find(token, self.now())
        if session is None:
            return None
        person = self._users.value().get(session.name)
        if person is None or person.secret != session.seal:  # removed, or with a new password
            self._sessions.end(token)
            return None
        return Visitor(person.name, person.role, "session", f"session:{session.key}")

    def log_in(self, name: str, password: str, client: str) -> str | None:
        """The token of a new session, None where name or password is wrong. Raises TooOften. Blocks for some 50 ms."""
        now = self.now()
        for throttle, key in (
            (self._tries_here, client),
            (self._tries_name, name[:MAX_NAME]),
            (self._tries_all, ""),
        ):
            if (wait_s := throttle.take(key, now)) > 0:
                raise TooOften(wait_s)
        person = self._users.value().get(name)
        if not is_password(password, person) or person is None:
            # A name that is nobody's may be a password in the wrong field.
            self.refused("web_login_refused", {"by": person.name if person is not None else "", "from": client})
            return None
        self._tries_here.forgive(client)
        self._write("web_login", {"by": person.name, "from": client, "role": person.role.value})
        return self._sessions.begin(person.name, person.secret, now)

    def log_out(self, request: Request) -> None:
        """The session of *request* is over."""
        visitor: Visitor | None = request.scope.get("visitor")
        self._sessions.end(request.cookies.get(self.policy.cookie, ""))
        if visitor is not None:
            self._write("web_logout", {"by": visitor.name})

    def keep(self, response: Response, token: str) -> None:
        """Have the browser that gets *response* keep the session *token*; empty: forget it."""
        if not token:
            response.delete_cookie(
                self.policy.cookie, path="/", secure=self.policy.https, httponly=True, samesite="strict"
            )
            return
        response.set_cookie(
            self.policy.cookie,
            token,
            max_age=int(LONGEST_S),
            path="/",
            secure=self.policy.https,
            httponly=True,
            samesite="strict",
        )

    def note(self, request: Request, kind: str, detail: Mapping[str, object], job_id: int | None = None) -> None:
        """An event in the history, with who did it. Blocks; never raises: what was done is done."""
        visitor: Visitor | None = request.scope.get("visitor")
        who = {"by": visitor.name, "way": visitor.way} if visitor is not None else {}
        self._write(kind, {**who, **detail}, job_id)

    def refused(self, kind: str, detail: Mapping[str, object]) -> None:
        """An event about what was refused, and a line in the log; nobody fills either by being refused. Blocks."""
        if self._refusals.take(kind, self.now()) == 0:
            log.warning("Refused: %s, %s", kind, dict(detail), extra={"event": kind})
            self._write(kind, detail)

    def _write(self, kind: str, detail: Mapping[str, object], job_id: int | None = None) -> None:
        try:
            self._note(kind, detail, utc_now(), job_id)
        except StorageError as error:
            log.warning("%s is not in the history: %s", kind, error, extra={"event": "web_not_noted"})


def cookies(headers: Headers) -> Mapping[str, str]:
    """The cookies that were sent; none where they make no sense."""
    try:
        return {
            name: morsel.value for name, morsel in SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).items()
        }
    except CookieError:
        return {}


def new_before() -> str:
    """A value for the cookie BEFORE."""
    return secrets.token_urlsafe(18)
