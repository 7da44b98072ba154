"""What every request passes before a page sees it: where it came from and by which name, who asks, whether they may.

In this order: names, speed, foreign pages, who, role, tokens against forgery, size. What is let through carries
``visitor``, ``csrf`` and ``login`` in its scope; every answer carries the headers that hold browsers to our rules.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from anyio import to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.web.access import hosts
from daemon.web.access.access import BEFORE, Access, BadToken, TooOften, cookies, new_before
from daemon.web.access.csrf import HEADER, peek, same, simple
from daemon.web.access.throttle import Throttle
from daemon.web.access.visitor import Role, Visitor
from daemon.web.answering import answer, for_programs
from daemon.web.errors import Declined

log = logging.getLogger(__name__)

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # not less: with "no-referrer" browsers send no Origin, which is checked
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}

LOOKS: Final = ("GET", "HEAD")
WITHOUT_LOGIN: Final = ("/login", "/look")
"""What anybody may have who reaches the socket by a name of ours; and what the pages look like."""

STATIC: Final = "/static/"

WITHOUT_ROLE: Final = ("/login", "/logout", "/look")
"""What changes nothing but for the browser that asks."""

LARGE: Final = ("/api/v1/uploads", "/upload", "/v1/audio/")
"""Where recordings come in."""

MAX_BODY_BYTES: Final = 1 << 20
"""Everywhere else."""

BURST: Final = 400
EVERY_S: Final = 1 / 40
"""Requests of one client: a page is ten of them, and a player asks for a part of a recording now and then."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, as far as the gate looks at it."""

    path: str
    method: str
    host: str
    peer: str
    server: str
    headers: Mapping[bytes, bytes]

    @property
    def looks(self) -> bool:
        return self.method in LOOKS


class Gate:
    """An application behind all checks."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._speed = Throttle(BURST, EVERY_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, or say why not."""
        if scope["type"] != "http":
            return
        asked = _asked(scope)
        policy = self._access.policy
        began, cookie = False, ""

        async def framed(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if cookie:
                    headers.append("Set-Cookie", cookie)
            await send(message)

        scope["login"] = policy.login
        try:
            refusal = await self._who(asked, scope)
            if scope.get("visitor") is None:
                cookie = self._before(asked, scope)
            else:
                scope["csrf"] = self._access.csrf.token(scope["visitor"].key)
            if refusal is None and not asked.looks:
                refusal, receive = await self._may_change(asked, scope, receive)
            if refusal is None:
                refusal, receive = _sized(asked, scope, receive, policy.max_upload_bytes)
            await (refusal or self._app)(scope, receive, framed)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("%s %s failed", asked.method, asked.path, extra={"event": "bug"})
            if not began:
                await answer(Request(scope), 500, "bug")(scope, receive, framed)

    async def _who(self, asked: _Asked, scope: Scope) -> ASGIApp | None:
        """Who asks is in *scope*; or why they are not let in at all."""
        policy, request = self._access.policy, Request(scope)
        scope["visitor"] = None
        client = hosts.client_of(asked.peer, asked.headers, policy.trusted)
        scope["from"] = client
        if b"transfer-encoding" in asked.headers and b"content-length" in asked.headers:
            return _ambiguous(request)
        if not hosts.is_ours(asked.host, asked.server, policy.hosts):
            return answer(request, 421, "host")
        if not policy.login and hosts.is_forwarded(asked.headers):
            return answer(request, 403, "forwarded")
        if (wait_s := self._speed.take(client, self._access.now())) > 0:
            return _later(request, wait_s)
        if asked.looks and not hosts.may_look(asked.headers):
            return answer(request, 403, "foreign")
        try:
            scope["visitor"] = self._access.visitor(asked.peer, asked.headers)
        except TooOften as error:
            return _later(request, error.wait_s)
        except BadToken:
            await to_thread.run_sync(self._access.refused, "web_token_refused", {"from": client})
            return _log_in(request, asked, passwords=False)
        if scope["visitor"] is None and asked.path not in WITHOUT_LOGIN and not asked.path.startswith(STATIC):
            return _log_in(request, asked, passwords=policy.passwords)
        return None

    def _before(self, asked: _Asked, scope: Scope) -> str:
        """The header that gives a browser without a session something to bind the form for logging in to."""
        known = cookies(asked.headers).get(BEFORE, "")
        value = known if 10 < len(known) < 100 else new_before()
        scope["csrf"] = self._access.csrf.token(f"before:{value}")
        if value == known or not asked.looks or asked.path.startswith(STATIC):
            return ""
        return f"{BEFORE}={value}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if self._access.policy.https else ''}"

    async def _may_change(self, asked: _Asked, scope: Scope, receive: Receive) -> tuple[ASGIApp | None, Receive]:
        visitor: Visitor | None = scope["visitor"]
        request = Request(scope)
        if not hosts.same_origin(asked.headers, asked.host):
            return await self._refuse(request, "foreign", asked), receive
        if visitor is not None and visitor.role is not Role.ACT and asked.path not in WITHOUT_ROLE:
            return await self._refuse(request, "refused", asked), receive
        if visitor is not None and (visitor.way == "token" or _from_program(asked, visitor)):
            return None, receive
        token = asked.headers.get(HEADER, b"").decode("latin-1")
        if not token:
            token, receive = await peek(asked.headers, receive)
        if token and same(token, str(scope["csrf"])):
            return None, receive
        return await self._refuse(request, "stale", asked), receive

    async def _refuse(self, request: Request, key: str, asked: _Asked) -> Response:
        visitor: Visitor | None = request.scope["visitor"]
        detail = {
            "by": visitor.name if visitor is not None else "",
            "from": request.scope["from"],
            "asked": f"{asked.method} {asked.path}"[:200],
            "because": key,
        }
        await to_thread.run_sync(self._access.refused, "web_refused", detail)
        return answer(request, 403, key)


def from_elsewhere(scope: Scope) -> bool:
    """Whether a request may come from another machine, by way of a web server in front too."""
    asked = _asked(scope)
    here = asked.peer == hosts.SOCKET or hosts.is_local(asked.peer)
    return not here or hosts.is_forwarded(asked.headers) or not hosts.is_local(hosts.name_of(asked.host))


def _asked(scope: Scope) -> _Asked:
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        # Twice the same: neither is believed, but for what HTTP lets be split.
        if name == b"cookie" and name in headers:
            headers[name] += b"; " + value
        else:
            headers[name] = b"" if name in headers else value
    client: tuple[str, int] | None = scope.get("client")
    server: tuple[str, int | None] | None = scope.get("server")
    over_tcp = server is not None and server[1] is not None
    return _Asked(
        path=scope["path"],
        method=scope["method"],
        host=headers.get(b"host", b"").decode("latin-1"),
        peer=client[0] if over_tcp and client is not None else hosts.SOCKET,
        server=server[0] if over_tcp and server is not None else "",
        headers=headers,
    )


def _from_program(asked: _Asked, visitor: Visitor) -> bool:
    """Whether no page could have sent it without leave: only then does a program without a login need no token."""
    return visitor.way == "local" and for_programs(asked.path) and not simple(asked.headers, asked.method)


def _log_in(request: Request, asked: _Asked, *, passwords: bool) -> Response:
    if passwords and asked.looks and not for_programs(asked.path) and "json" not in request.headers.get("accept", ""):
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/login?next={quote(asked.path + query, safe='/')}", 303)
    response = answer(request, 401, "login")
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _ambiguous(request: Request) -> Response:
    """A web server in front may see another end of such a body: what follows it is not read (RFC 9112, 6.1)."""
    response = answer(request, 400, "bad")
    response.headers["Connection"] = "close"
    return response


def _later(request: Request, wait_s: float) -> Response:
    response = answer(request, 429, "often")
    response.headers["Retry-After"] = str(int(wait_s) + 1)
    return response


def _sized(asked: _Asked, scope: Scope, receive: Receive, max_upload: int) -> tuple[ASGIApp | None, Receive]:
    """Why a body is not read, or what reads it and no more than may be."""
    limit = max_upload + MAX_BODY_BYTES if asked.path.startswith(LARGE) else MAX_BODY_BYTES
    told = asked.headers.get(b"content-length", b"0")
    if not told.isdigit() or int(told) > limit:
        return answer(Request(scope), 413, "large"), receive
    n_bytes = 0

    async def counted() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > limit:
            raise Declined(413)
        return message

    return None, counted
