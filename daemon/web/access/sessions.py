"""Who is logged in: in memory alone, so a restart of the service logs everybody out. Pure but for random numbers."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass
from typing import Final

IDLE_S: Final = 8 * 3600.0
"""A session that was not used for so long is over: a working day."""

LONGEST_S: Final = 7 * 86_400.0
"""Then it is over in any case."""

MAX_SESSIONS: Final = 2000
MAX_EACH: Final = 20
"""Of one person: as many browsers as somebody may have. One more ends the oldest."""


@dataclass(slots=True)
class Session:
    """One browser in which somebody logged in. *seal* is the hash of their password then: a new one ends it."""

    name: str
    seal: str
    key: str
    begun_s: float
    used_s: float


class Sessions:
    """All of them. Usable from many threads; *now* is monotonic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_hash: dict[bytes, Session] = {}

    def begin(self, name: str, seal: str, now: float) -> str:
        """A new one, as the random text that the browser keeps."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._drop(now)
            theirs = [key for key, session in self._by_hash.items() if session.name == name]
            for key in theirs[: len(theirs) - MAX_EACH + 1] if len(theirs) >= MAX_EACH else []:
                del self._by_hash[key]
            while len(self._by_hash) >= MAX_SESSIONS:
                del self._by_hash[min(self._by_hash, key=lambda key: self._by_hash[key].used_s)]
            self._by_hash[_hash(token)] = Session(name, seal, secrets.token_hex(16), now, now)
        return token

    def find(self, token: str, now: float) -> Session | None:
        """The one of *token*, which is used by this."""
        with self._lock:
            session = self._by_hash.get(_hash(token))
            if session is None:
                return None
            if _over(session, now):
                del self._by_hash[_hash(token)]
                return None
            session.used_s = now
            return session

    def end(self, token: str) -> None:
        """It is over."""
        with self._lock:
            self._by_hash.pop(_hash(token), None)

    def _drop(self, now: float) -> None:
        for key in [key for key, session in self._by_hash.items() if _over(session, now)]:
            del self._by_hash[key]


def _over(session: Session, now: float) -> bool:
    return now - session.used_s > IDLE_S or now - session.begun_s > LONGEST_S


def _hash(token: str) -> bytes:
    # What is looked up is not what was sent: the time that it takes tells nothing about what would be right.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
