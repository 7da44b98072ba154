"""The names of the files beside a recording. Pure: the folder's content comes in.

``stem.txt`` where the recording is the only one in its folder with that stem (players look for ``stem.srt``), else
``name.ext.txt``; then ``name.ext.r2.txt`` and so on where a file that is not ours is in the way. A new version takes
the names of the one before, whatever has come beside it since: there is to be one set.

With a suffix, which is the language, ``stem.en.txt``, as Plex and Jellyfin read it. A name that says another language
would lie, so a new version in another one takes other names.
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
    suffix: str = "",
) -> dict[Format, str]:
    """The names of the outputs of recording *name*, all with the same base.

    *folder* lists the names in its folder; *usable* tells whether an output may be written under a name: nothing is
    there, or a file of ours that nobody has changed. *max_bytes* is the longest name that the folder takes. *ours*
    tells whether an earlier version of this recording's output has a name. *suffix* is empty or ``.en``.
    """
    room = max_bytes - max(len(f".{format}") for format in formats)

    def named(base: str, suffix: str) -> dict[Format, str]:
        return {format: f"{_fit(base, room - len(suffix))}{suffix}.{format}" for format in formats}

    # An earlier version may be from before the suffix was configured.
    possible = [named(base, ending) for ending in dict.fromkeys((suffix, "")) for base in (_stem(name), name)]
    before = [names for names in possible if any(ours(output) for output in names.values())]
    for names in itertools.chain(before, (named(base, suffix) for base in _bases(name, folder, suffix))):
        if all(usable(output) for output in names.values()):
            return names
    raise AssertionError("unreachable: there is always a next base")


def _bases(name: str, folder: Collection[str], suffix: str) -> Iterator[str]:
    if not _stem_is_shared(name, folder, suffix):
        yield _stem(name)
    yield name
    for revision in itertools.count(2):
        yield f"{name}.r{revision}"


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _stem_is_shared(name: str, folder: Collection[str], suffix: str) -> bool:
    # Case is folded: on many shares A.txt and a.txt are one file. talk.en.mp4 would take talk.en.srt for its own.
    stems = {_stem(name).casefold(), f"{_stem(name)}{suffix}".casefold()}
    return any(other != name and _stem(other).casefold() in stems and judge_file(other).recording for other in folder)


def _fit(base: str, room: int) -> str:
    """*base* in at most *room* bytes; where it had to be cut it carries a hash of the whole."""
    encoded = base.encode("utf-8", "surrogateescape")
    if len(encoded) <= room:
        return base
    mark = "~" + hashlib.sha256(encoded).hexdigest()[:8]
    # "ignore" drops the pieces of a character that the cut went through.
    return encoded[: room - len(mark)].decode("utf-8", "ignore") + mark
