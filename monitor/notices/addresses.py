"""Who is told: addresses as Apprise writes them, with their passwords and tokens, and what keeps those to themselves.

Knows nothing of Apprise. An address is shown by its service and where it was found, never by what is in it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, quote_plus, unquote

CREDENTIAL_NAME: Final = "alerts"
"""The credential of that name (systemd.exec(5), LoadCredential=) is read like a file of addresses."""

_MOST_BYTES: Final = 64 * 1024
_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+.-]{0,30})://\S(.*\S)?", re.IGNORECASE)
_SHORT: Final = 8  # a part so short is common in other words too, and is hidden only where it stands alone


class AddressError(ValueError):
    """Raised when an address, or a file of them, is not what it must be; the message holds no secret."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message goes, and where that is written down: ``alerts.to[0]``, ``/etc/x line 2``."""

    url: str = field(repr=False)
    origin: str

    @property
    def name(self) -> str:
        """The service and the origin, for people and logs: ``slack (alerts.to[0])``."""
        return f"{self.url.partition('://')[0].lower()} ({self.origin})"


def addresses_of(urls: Iterable[str], key: str) -> tuple[Address, ...]:
    """The addresses in the configuration key *key*. Raises AddressError for one that is none."""
    return tuple(_address(url, f"{key}[{index}]") for index, url in enumerate(urls))


def read_addresses(path: Path) -> tuple[Address, ...]:
    """The addresses in a file, one a line; empty lines and those that begin with ``#`` are left out.

    Raises AddressError if it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would be waited for
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise AddressError(f"{path}: not a regular file; put one address on each line of a file")
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise AddressError(f"{path}: cannot be read: {error.strerror}; is it there, and ours to read?") from None
    if len(content) > _MOST_BYTES:
        raise AddressError(f"{path}: larger than {_MOST_BYTES} bytes; is it a file of addresses, one a line?")
    lines = content.decode("utf-8-sig", "surrogateescape").splitlines()
    return tuple(
        _address(line.strip(), f"{path} line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    )


def credential(environment: Mapping[str, str]) -> Path | None:
    """The file that systemd passed on as the credential ``alerts``; None where there is none."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / CREDENTIAL_NAME if folder else None
    return path if path is not None and path.exists() else None


def others_can_read(path: Path) -> bool:
    """Whether anyone but its owner and our own group may read *path*. Raises OSError where that cannot be told."""
    found = path.stat()
    return bool(found.st_mode & stat.S_IROTH or (found.st_mode & stat.S_IRGRP and found.st_gid != os.getegid()))


def distinct(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """*addresses* without those that are there already: nobody is told twice."""
    found: dict[str, Address] = {}
    for address in addresses:
        found.setdefault(address.url, address)
    return tuple(found.values())


def _address(url: str, origin: str) -> Address:
    if not _ADDRESS.fullmatch(url):
        raise AddressError(
            f"{origin}: not an address; write it as Apprise does, such as mailto://user:password@example.org "
            "or ntfys://ntfy.sh/topic"
        )
    return Address(url, origin)


def hidden(value: object) -> Any:
    """*value*, JSON types, with all that follows the service in each address as ``***``: ``slack://***``."""
    match value:
        case str():
            service, found, _ = value.partition("://")
            return f"{service}://***" if found else value
        case list() | tuple():
            return [hidden(item) for item in cast("Sequence[object]", value)]
        case dict():
            return {key: hidden(item) for key, item in cast("Mapping[object, object]", value).items()}
        case _:
            return value


def without_secrets(text: str, url: str) -> str:
    """*text* without anything that stands in *url*, but the name of the service: what a library says of an error."""
    for part in sorted(set(_parts(url)), key=len, reverse=True):
        pattern = re.escape(part) if len(part) >= _SHORT else rf"(?<!\w){re.escape(part)}(?!\w)"
        text = re.sub(pattern, "***", text, flags=re.IGNORECASE)
    return text


def _parts(url: str) -> Iterator[str]:
    rest = url.partition("://")[2]
    path, _, query = rest.partition("?")
    values = [pair.partition("=")[2] for pair in query.split("&")]
    for whole in (url, rest, query, *values, *re.split(r"[/:@]+", path), *re.split(r"[/:@,;+ ]+", path)):
        bare = unquote(whole)
        # As libraries write them too, when they complain of a URL that they made.
        yield from (
            form for form in (whole, bare, quote(bare), quote(bare, safe=""), quote_plus(bare)) if len(form) > 2
        )
