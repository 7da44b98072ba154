"""When a file is finished. Pure: fingerprints and the time come in, nothing is read here.

A file is still once its size, times and inode have not changed for *settle_s*. Size alone is not enough: Windows
Explorer and Samba set the final size before the first byte. A file is never given up: each change starts the wait anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from storage.records import Fingerprint


@dataclass(frozen=True, slots=True)
class Watched:
    """A file that is not finished yet; times are monotonic seconds.

    *fingerprint* is what it was at *changed_at*. It is looked at again from *resume_at* on. *reason* is why it was
    put off, in words, and *key* the same for `daemon.words`; both are empty while it is simply settling.
    """

    fingerprint: Fingerprint
    first_seen: float
    changed_at: float
    resume_at: float
    reason: str = ""
    key: str = ""


class Settling:
    """The files of one inbox that are not finished yet."""

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._files: dict[bytes, Watched] = {}

    def observe(self, path: bytes, fingerprint: Fingerprint, now: float) -> None:
        """Take note of *path*; its wait starts anew if anything about it changed."""
        watched = self._files.get(path)
        if watched is None:
            self._files[path] = Watched(fingerprint, now, now, now)
        elif watched.fingerprint != fingerprint:
            self._files[path] = Watched(fingerprint, watched.first_seen, now, now)

    def postpone(self, path: bytes, until: float, reason: str, key: str = "") -> None:
        """Leave *path* alone until then, for *reason*, which is *key* for `daemon.words`, unless it changes before."""
        self._files[path] = replace(self._files[path], resume_at=until, reason=reason, key=key)

    def forget(self, path: bytes) -> None:
        """*path* is finished or gone."""
        self._files.pop(path, None)

    def watched(self, path: bytes) -> Watched | None:
        """What is known of *path*, if it is not finished."""
        return self._files.get(path)

    def paths(self) -> set[bytes]:
        """Every file that is not finished, by its path."""
        return set(self._files)

    def items(self) -> list[tuple[bytes, Watched]]:
        """Every file that is not finished."""
        return list(self._files.items())

    def active(self, now: float) -> list[bytes]:
        """The files to look at now: all but those that were put off."""
        return [path for path, watched in self._files.items() if watched.resume_at <= now]

    def still(self, now: float) -> list[bytes]:
        """The active files that have not changed for long enough."""
        return [path for path in self.active(now) if now - self._files[path].changed_at >= self.settle_s]
