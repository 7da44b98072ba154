"""People and programs around an inbox in a soak: they drop, replace, rename, touch and delete recordings, all at once.

Each does so by a script, a generator that yields the seconds until its next move. Knows nothing of the daemon.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.soak.contents import Content, Fate, Studio

Script = Generator[float, None, None]

_STEMS: Final[Sequence[bytes]] = (
    b"memo",
    b"with some spaces",
    "Sitzung über Größe".encode(),
    "会議の録音".encode(),
    "\N{PARTY POPPER} party".encode(),
    b"not \xff\xfe utf-8 \xe9",
    b"new\nline",
    b"tab\tand \x1b[31m colour",
    b"-rf --help",
    b"$(reboot) `id` 'quoted\"",
    b"100% %s {0} [brackets] *",
    b"dots.in.the.name",
    b"trailing space ",
    b"x" * 200,
    "ä".encode() * 100,
)

_FOLDERS: Final[Sequence[bytes]] = (b"", b"", b"", b"monday", b"deep/er/still", b"non-\xff-utf8", b"with space")

_CHUNK_BYTES: Final = 4096


@dataclass(eq=False)
class Recording:
    """A file that people put there, as it is now; *story* is what they did to it."""

    path: bytes
    content: Content
    story: list[str] = field(default_factory=list[str])
    gone: bool = False

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(self.content.data).hexdigest()


class People:
    """Everybody who uses the inbox. The same *random* makes the same scripts."""

    def __init__(self, inbox: Path, staging: Path, studio: Studio, random: Random) -> None:
        """*staging* is a folder on the same disk where files are made that are moved in whole."""
        self._inbox = os.fsencode(inbox)
        self._staging = os.fsencode(staging)
        self._studio = studio
        self._random = random
        self._numbers = itertools.count(1)
        self._scripts: list[tuple[float, int, Script]] = []
        self._serial = itertools.count()
        self._paths: set[bytes] = set()
        self.recordings: list[Recording] = []
        """All that ever were there whole, those that are gone too."""
        self.counts: dict[str, int] = {}
        """How often they did what."""

    @property
    def busy(self) -> bool:
        """Whether a script is not at its end."""
        return bool(self._scripts)

    @property
    def present(self) -> list[Recording]:
        """The recordings that are there, the empty ones too."""
        return [recording for recording in self.recordings if not recording.gone]

    def arrive(self, now: float) -> None:
        """Somebody comes with a recording, or with a folder of them."""
        script = self._move_folder_in() if self._random.random() < 0.06 else self._bring()
        self._begin(script, now)

    def step(self, now: float) -> None:
        """Everybody whose time has come makes a move."""
        while self._scripts and self._scripts[0][0] <= now:
            _, _, script = heapq.heappop(self._scripts)
            self._begin(script, now)

    def _begin(self, script: Script, now: float) -> None:
        wait_s = next(script, None)
        if wait_s is not None:
            heapq.heappush(self._scripts, (now + wait_s, next(self._serial), script))

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # Scripts.

    def _bring(self) -> Script:
        content = self._studio.any()
        path = self._twin_of(content) or self._new_path(content)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        yield from self._put(path, content)
        recording = self._landed(path, content)
        yield from self._afterwards(recording)

    def _move_folder_in(self) -> Script:
        self._count("moved in as a folder")
        name = b"folder-%d" % next(self._numbers)
        folder = os.path.join(self._staging, name)
        os.makedirs(folder)
        contents = [self._studio.speech() for _ in range(self._random.randint(2, 4))]
        names = [os.path.basename(self._new_path(content)) for content in contents]
        for base, content in zip(names, contents, strict=True):
            _write(os.path.join(folder, base), content.data)
        os.rename(folder, os.path.join(self._inbox, name))
        for base, content in zip(names, contents, strict=True):
            self._landed(os.path.join(self._inbox, name, base), content)
        yield 0.0

    def _put(self, path: bytes, content: Content) -> Script:
        ways = (self._by_rename, self._from_elsewhere, self._slowly, self._in_pieces, self._size_first)
        (way,) = self._random.choices(ways, (35, 20, 15, 15, 15))
        self._count(way.__name__.strip("_").replace("_", " "))
        yield from way(path, content.data)

    def _by_rename(self, path: bytes, data: bytes) -> Script:
        folder, name = os.path.split(path)
        hidden = os.path.join(folder, b"." + name[:200] + b".copying")
        _write(hidden, data)
        yield self._random.uniform(0.0, 4.0)
        os.rename(hidden, path)

    def _from_elsewhere(self, path: bytes, data: bytes) -> Script:
        whole = os.path.join(self._staging, b"%d" % next(self._numbers))
        _write(whole, data)
        os.utime(whole, (1_600_000_000, 1_600_000_000))  # as rsync -t and unpacked archives have it
        yield 0.0
        os.rename(whole, path)

    def _slowly(self, path: bytes, data: bytes) -> Script:
        """Held open all the while, with pauses that are longer than the settle time."""
        with open(path, "wb", buffering=0) as file:
            for piece in _pieces(data, self._random.randint(2, 5)):
                file.write(piece)
                yield self._random.uniform(0.3, 5.0)

    def _in_pieces(self, path: bytes, data: bytes) -> Script:
        """Opened and closed for each piece: only stillness tells that it is whole."""
        _write(path, b"")
        for piece in _pieces(data, self._random.randint(2, 5)):
            with open(path, "ab", buffering=0) as file:
                file.write(piece)
            yield self._random.uniform(0.1, 2.0)

    def _size_first(self, path: bytes, data: bytes) -> Script:
        """As Windows copies: all of its length at once, then the bytes, then the time of the original."""
        with open(path, "wb", buffering=0) as file:
            file.truncate(len(data))
            for at in range(0, len(data), max(_CHUNK_BYTES, len(data) // 4)):
                yield self._random.uniform(0.1, 2.0)
                file.seek(at)
                file.write(data[at : at + max(_CHUNK_BYTES, len(data) // 4)])
        os.utime(path, (1_500_000_000, 1_500_000_000))

    def _afterwards(self, recording: Recording) -> Script:
        """One in three is not left alone: while it settles, waits, is transcribed, or after that."""
        changes = (None, self._replace, self._rename, self._delete, self._touch)
        (change,) = self._random.choices(changes, (66, 12, 8, 8, 6))
        if recording.content.fate is Fate.EMPTY:
            change = self._random.choice((self._replace, self._delete, None))
        if change is not None:
            yield self._random.uniform(0.5, 40.0)
            yield from change(recording)

    def _replace(self, recording: Recording) -> Script:
        self._count("replaced")
        content = self._studio.speech()
        if self._random.random() < 0.5:
            yield from self._by_rename(recording.path, content.data)
        else:
            _write(recording.path, content.data)
            yield 0.0
        recording.content = content
        recording.story.append("replaced")

    def _rename(self, recording: Recording) -> Script:
        self._count("renamed")
        path = self._new_path(recording.content)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(recording.path, path)
        recording.gone = True
        recording.story.append("renamed away")
        self._landed(path, recording.content, "renamed from another")
        yield 0.0

    def _delete(self, recording: Recording) -> Script:
        self._count("deleted")
        os.unlink(recording.path)
        recording.gone = True
        recording.story.append("deleted")
        yield 0.0

    def _touch(self, recording: Recording) -> Script:
        self._count("touched")
        os.utime(recording.path)
        os.chmod(recording.path, 0o640)
        recording.story.append("touched")
        yield 0.0

    # Names.

    def _new_path(self, content: Content) -> bytes:
        random, extension = self._random, content.extension.encode()
        stem = b"%04d %s" % (next(self._numbers), random.choice(_STEMS))
        folder = random.choice(_FOLDERS)
        path = os.path.join(self._inbox, folder, stem[:200] + b"." + extension)
        self._paths.add(path.lower())
        return path

    def _twin_of(self, content: Content) -> bytes | None:
        """Now and then, the name of another recording with another ending: their transcripts must not meet."""
        if self._random.random() > 0.05 or not self.present:
            return None
        stem = os.path.splitext(self._random.choice(self.present).path)[0]
        path = stem + b"." + content.extension.encode()
        if path.lower() in self._paths:
            return None
        self._paths.add(path.lower())
        self._count("of the same stem")
        return path

    def _landed(self, path: bytes, content: Content, story: str = "dropped") -> Recording:
        self._count("dropped" if story == "dropped" else "under a new name")
        self._paths.add(path.lower())
        recording = Recording(path, content, [story])
        self.recordings.append(recording)
        return recording


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _pieces(data: bytes, n_pieces: int) -> list[bytes]:
    size = max(1, -(-len(data) // n_pieces))
    return [data[at : at + size] for at in range(0, len(data), size)]
