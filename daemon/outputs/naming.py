"""The names of the files beside a recording. Pure: the folder's content comes in.

``stem.txt`` where the recording is the only one in its folder with that stem (players look for ``stem.srt``), else
``name.ext.txt``; then ``name.ext.r2.txt`` and so on where a file that is not ours is in the way. A new version takes
the names of the one before, whatever has come beside it since: there is to be one set.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Final

from daemon.intake.rules import judge_file
from daemon.options import Format

NAME_MAX_BYTES: Final = 255
"""The longest name on ext4, XFS, Btrfs, NTFS and SMB; on eCryptfs it is 143."""


def choose_names(
    name: str,
    formats: Collection[Format],
    folder: Collection[str],
    usable: Callable[[str], bool],
    max_bytes: int = NAME_MAX_BYTES,
    ours: Callable[[str], bool] = lambda _output: False,
) -> dict[Format, str]:
    """The names of the outputs of recording *name*, all with the same base.

    *folder* lists the names in its folder; *usable* tells whether an output may be written under a name: nothing is
    there, or a file of ours that nobody has changed. *max_bytes* is the longest name that the folder takes. *ours*
    tells whether an earlier version of this recording's output has a name.
    """
    room = max_bytes - max(len(f".{format}") for format in formats)

    def named(base: str) -> dict[Format, str]:
        return {format: f"{_fit(base, room)}.{format}" for format in formats}

    before = [base for base in (_stem(name), name) if any(ours(output) for output in named(base).values())]
    for base in itertools.chain(before, _bases(name, folder)):
        names = named(base)
        if all(usable(output) for output in names.values()):
            return names
    raise AssertionError("unreachable: there is always a next base")


def _bases(name: str, folder: Collection[str]) -> Iterator[str]:
    if not _stem_is_shared(name, folder):
        yield _stem(name)
    yield name
    for revision in itertools.count(2):
        yield f"{name}.r{revision}"


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _stem_is_shared(name: str, folder: Collection[str]) -> bool:
    # Case is folded: on many shares A.txt and a.txt are one file.
    stem = _stem(name).casefold()
    return any(other != name and _stem(other).casefold() == stem and judge_file(other).recording for other in folder)


def _fit(base: str, room: int) -> str:
    """*base* in at most *room* bytes; where it had to be cut it carries a hash of the whole."""
    encoded = base.encode("utf-8", "surrogateescape")
    if len(encoded) <= room:
        return base
    mark = "~" + hashlib.sha256(encoded).hexdigest()[:8]
    # "ignore" drops the pieces of a character that the cut went through.
    return encoded[: room - len(mark)].decode("utf-8", "ignore") + mark
