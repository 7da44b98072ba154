"""Which recordings go when they are done, and under which names. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Final

from daemon.config import InboxConfig
from daemon.outputs.naming import NAME_MAX_BYTES
from storage.records import Outcome

SUCCESSES: Final = frozenset({Outcome.OK, Outcome.NO_SPEECH, Outcome.DUPLICATE})
"""One that is partial stays where people see it: its rest may come, or somebody has to look why it does not."""


def goes(configs: Collection[InboxConfig], path: bytes, inbox: bytes, outcome: Outcome | None) -> bool:
    """Whether the recording at *path*, done with *outcome*, is to go; one that is there already is not."""
    if outcome not in SUCCESSES:
        return False
    done = next((config.done_path for config in configs if os.fsencode(config.path) == inbox), None)
    return done is not None and path.startswith(inbox + b"/") and not path.startswith(os.fsencode(done) + b"/")


def place_of(path: bytes, inbox: bytes, done: bytes) -> bytes:
    """Where the recording at *path* in *inbox* lies in *done*: as it lay in the inbox."""
    return done + path[len(inbox) :]


def numbered(names: Sequence[bytes], number: int) -> list[bytes]:
    """*names* of a recording, which is the first, and its transcripts, when those before *number* are taken.

    ``talk.mp3`` and ``talk.en.srt`` become ``talk (2).mp3`` and ``talk (2).en.srt``: who looked for one by the name of
    the other still finds it. They stay within what a folder takes.
    """
    if number == 1:
        return list(names)
    stem = names[0].rpartition(b".")[0] or names[0]
    mark = b" (%d)" % number
    parts = [(stem, name[len(stem) :]) if name.startswith(stem) else _parts(name) for name in names]
    return [_cut(before, NAME_MAX_BYTES - len(mark) - len(rest)) + mark + rest for before, rest in parts]


def _parts(name: bytes) -> tuple[bytes, bytes]:
    before, dot, extension = name.rpartition(b".")
    return (before, dot + extension) if before else (name, b"")


def _cut(name: bytes, size: int) -> bytes:
    """The first *size* bytes of *name*, at most, without half a character at the end."""
    if len(name) <= size:
        return name
    while size > 0 and name[size] & 0xC0 == 0x80:
        size -= 1
    return name[:size]
