"""By which names and from where the pages may be asked. Pure.

A page in somebody's browser can have a name of its own lead here (DNS rebinding); what it asks then has that name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

SOCKET: Final = "socket"
"""What is written for the other side of a socket file, instead of an address."""

_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?")

_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")
"""What a web server in front adds."""

Headers = Mapping[bytes, bytes]


def name_of(host: str) -> str:
    """The name in a Host header, in small letters; empty where it is none."""
    match = _HOST.fullmatch(host.strip().lower())
    return match["name"].removeprefix("[").removesuffix("]").rstrip(".") if match is not None else ""


def is_ours(host: str, server: str, allowed: Collection[str]) -> bool:
    """Whether *host* is a name of this machine: loopback, the *server* that was reached, or one *allowed*."""
    name = name_of(host)
    if not name:
        return False
    if name == "localhost" or name in allowed:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or str(address) == server


def is_local(name: str) -> bool:
    """Whether *name* means this machine alone."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def same_origin(headers: Headers, host: str) -> bool:
    """Whether a request that changes something came from a page of ours, as far as the browser says."""
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        return False
    origin = headers.get(b"origin")
    return origin is None or urlsplit(origin.decode("latin-1").lower()).netloc == host.strip().lower()


def may_look(headers: Headers) -> bool:
    """Whether a request that changes nothing may be answered: what a foreign page embeds is not, a link there is."""
    if headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin"):
        return True
    return headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"


def is_trusted(peer: str, trusted: Collection[str]) -> bool:
    """Whether *peer*, an address or SOCKET, is one of *trusted*, which may be networks."""
    if peer in trusted:
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(one, strict=False) for one in trusted if one != SOCKET)


def is_forwarded(headers: Headers) -> bool:
    """Whether a web server in front handed it on."""
    return any(name in headers for name in _FORWARDED)


def client_of(peer: str, headers: Headers, trusted: Collection[str]) -> str:
    """Who asks: what a trusted web server in front says, else *peer*."""
    if is_trusted(peer, trusted):
        last = headers.get(b"x-forwarded-for", b"").decode("latin-1").rpartition(",")[2].strip()
        try:
            return str(ipaddress.ip_address(last))
        except ValueError:
            return peer
    return peer
