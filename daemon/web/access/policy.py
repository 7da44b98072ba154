"""What the configuration says about who may come in. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from daemon.config import Config

ANYBODY = "*"


@dataclass(frozen=True, slots=True)
class Policy:
    """How visitors are told apart; see ``[web]`` in docs/configuration.md for each."""

    users_file: Path
    tokens_file: Path
    passwords: bool = False
    proxy: bool = False
    proxy_header: bytes = b"x-remote-user"
    proxy_from: tuple[str, ...] = ()
    proxy_actors: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    https: bool = False
    max_upload_bytes: int = 8 * 1024**3

    @classmethod
    def of(cls, config: Config) -> Self:
        """What *config* says."""
        web = config.web
        return cls(
            users_file=config.users_file,
            tokens_file=config.tokens_file,
            passwords="password" in web.login,
            proxy="proxy" in web.login,
            proxy_header=web.proxy_header.lower().encode(),
            proxy_from=web.proxy_from,
            proxy_actors=web.proxy_actors,
            hosts=tuple(host.lower() for host in web.hosts),
            https=web.https,
            max_upload_bytes=config.decode.max_source_bytes,
        )

    @property
    def login(self) -> bool:
        """Whether anybody has to log in."""
        return self.passwords or self.proxy

    @property
    def trusted(self) -> tuple[str, ...]:
        """Who is believed about where a request came from; without a login nothing may be in front at all."""
        return self.proxy_from if self.login else ()

    @property
    def cookie(self) -> str:
        """The name of the cookie of a session; the prefix has browsers hold others off it (RFC 6265bis, 4.1.3.2)."""
        return "__Host-transcribed" if self.https else "transcribed"
