"""The names of the files beside a recording. Pure: the folder's content comes in.

``stem.txt`` where the recording is the only one in its folder with that stem (players look for ``stem.srt``), else
``name.ext.txt``; then ``name.ext.r2.txt`` and so on where a file that is not ours is in the way. A new version takes
the names of the one before, whatever has come beside it since: there is to be one set.

With a suffix, which is the language, ``stem.en.txt``, as Plex and Jellyfin read it. A name that says another language
would lie, so a new version in another one takes other names. A translation beside the text has one whatever is
configured: its kind is ``txt.en``.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Final, TypeVar

from daemon.intake.rules import judge_file

Kind = TypeVar("Kind", bound=str)
"""A format, ``txt``; or one in another language than that of the text, ``txt.en``."""

NAME_MAX_BYTES: Final = 255
"""The longest name on ext4, XFS, Btrfs, NTFS and SMB; on eCryptfs it is 143."""


def choose_names(
    name: str,
    kinds: Collection[Kind],
    folder: Collection[str],
    usable: Callable[[str], bool],
    max_bytes: int = NAME_MAX_BYTES,
    ours: Callable[[str], bool] = lambda _output: False,
    suffix: str = "",
) -> dict[Kind, str]:
    """The names of the outputs of recording *name*, all with the same base.

    *folder* lists the names in its folder; *usable* tells whether an output may be written under a name: nothing is
    there, or a file of ours that nobody has changed. *max_bytes* is the longest name that the folder takes. *ours*
    tells whether an earlier version of this recording's output has a name. *suffix* is empty or ``.en``.
    """

    def named(base: str, suffix: str) -> dict[Kind, str]:
        endings = {kind: ending_of(kind, suffix) for kind in kinds}
        room = max_bytes - max(map(len, endings.values()))
        return {kind: f"{_fit(base, room)}{ending}" for kind, ending in endings.items()}

    # An earlier version may be from before the suffix was configured.
    possible = [named(base, ending) for ending in dict.fromkeys((suffix, "")) for base in (_stem(name), name)]
    before = [names for names in possible if any(ours(output) for output in names.values())]
    suffixes = suffixes_of(kinds, suffix)
    for names in itertools.chain(before, (named(base, suffix) for base in _bases(name, folder, suffixes))):
        if all(usable(output) for output in names.values()):
            return names
    raise AssertionError("unreachable: there is always a next base")


def ending_of(kind: str, suffix: str) -> str:
    """What comes after the base: ``.txt``, ``.de.txt`` with the suffix of the text, ``.en.txt`` of a translation."""
    format, _, language = kind.partition(".")
    return f".{language}.{format}" if language else f"{suffix}.{format}"


def suffixes_of(kinds: Collection[str], suffix: str) -> tuple[str, ...]:
    """What stands before the extensions of any of *kinds*; also nothing, whatever they are."""
    endings = [ending_of(kind, suffix).rpartition(".")[0] for kind in kinds]
    return tuple(dict.fromkeys(("", *endings)))


def _bases(name: str, folder: Collection[str], suffixes: Collection[str]) -> Iterator[str]:
    if not _stem_is_shared(name, folder, suffixes):
        yield _stem(name)
    yield name
    for revision in itertools.count(2):
        yield f"{name}.r{revision}"


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _stem_is_shared(name: str, folder: Collection[str], suffixes: Collection[str]) -> bool:
    # Case is folded: on many shares A.txt and a.txt are one file. talk.en.mp4 would take talk.en.srt for its own.
    stems = {f"{_stem(name)}{suffix}".casefold() for suffix in suffixes}
    return any(other != name and _stem(other).casefold() in stems and judge_file(other).recording for other in folder)


def _fit(base: str, room: int) -> str:
    """*base* in at most *room* bytes; where it had to be cut it carries a hash of the whole."""
    encoded = base.encode("utf-8", "surrogateescape")
    if len(encoded) <= room:
        return base
    mark = "~" + hashlib.sha256(encoded).hexdigest()[:8]
    # "ignore" drops the pieces of a character that the cut went through.
    return encoded[: room - len(mark)].decode("utf-8", "ignore") + mark
