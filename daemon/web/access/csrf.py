"""That a request which changes something comes from a page of ours: it carries what only such a page can know."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from starlette.types import Message, Receive

FIELD: Final = "csrf"
HEADER: Final = b"x-csrf-token"

MAX_PEEK_BYTES: Final = 64 * 1024
"""The field must be within the first of them, and is, as forms begin with it."""

_MAX_PART_HEAD: Final = 2048
"""The first part of a form with files begins with so few bytes of headers at most."""

_MAX_FIELDS: Final = 1000

_NAME: Final = re.compile(rb';[ \t]*name="?csrf"?[ \t]*(?:;|\Z)')
_FIRST: Final = re.compile(rb"\Acsrf=([0-9A-Za-z]{1,200})&")


class Csrf:
    """Makes and checks tokens. They hold for one visitor, and as long as the process lives."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def token(self, key: str) -> str:
        """What the pages of the visitor with *key* send."""
        return hmac.new(self._secret, key.encode(), hashlib.sha256).hexdigest()


def same(token: str, right: str) -> bool:
    """Whether *token* is the *right* one, found in a time that tells nothing about it."""
    return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), right.encode())


def simple(headers: Mapping[bytes, bytes], method: str) -> bool:
    """Whether any page anywhere could have had a browser send this without asking first (Fetch standard, "simple")."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    plain = kind in (b"", b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain")
    return method == "POST" and plain and b"authorization" not in headers


async def peek(headers: Mapping[bytes, bytes], receive: Receive) -> tuple[str, Receive]:
    """The field ``csrf`` of a form, empty where there is none near its beginning; and the body from its beginning."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind not in (b"application/x-www-form-urlencoded", b"multipart/form-data"):
        return "", receive
    seen, body, found = list[Message](), b"", ""
    while True:
        message = await receive()
        seen.append(message)
        body += message.get("body", b"")
        ended = message["type"] != "http.request" or not message.get("more_body", False)
        known = _in_parts(body) if kind == b"multipart/form-data" else _in_query(body, ended=ended)
        found = known or ""
        if known is not None or ended or len(body) > MAX_PEEK_BYTES:
            break

    async def again() -> Message:
        return seen.pop(0) if seen else await receive()

    return found, again


# Anybody may have these read, and on the thread that answers everybody: each looks at every byte a few times at most.


def _in_parts(body: bytes) -> str | None:
    """The value of the first part of a form if that is the token, else empty; None: too little of it is there yet."""
    end = body.find(b"\r\n\r\n", 0, _MAX_PART_HEAD)
    if end < 0:
        return None if len(body) < _MAX_PART_HEAD else ""
    if not body.startswith(b"--") or not any(_NAME.search(line) for line in body[:end].split(b"\r\n")[1:]):
        return ""
    value = body[end + 4 : end + 4 + 202]
    if b"\r\n" in value:
        return value.partition(b"\r\n")[0].decode("latin-1")
    return None if len(value) < 202 else ""


def _in_query(body: bytes, *, ended: bool) -> str | None:
    """The same of a form without files, which may have it anywhere, but is then to be whole."""
    if (match := _FIRST.match(body)) is not None:
        return match[1].decode("latin-1")
    if not ended:
        return None
    try:
        return (parse_qs(body.decode("latin-1"), max_num_fields=_MAX_FIELDS).get(FIELD) or [""])[0]
    except ValueError:
        return ""
