"""Who is who in the queue, how long a recording may be, and how many places one may take. Pure.

Whose turn it is, `storage.turns` decides; which window is next, `daemon.engine.batching`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from daemon.intake.rules import extension_of
from daemon.options import Priority
from storage.records import NewJob

FairBy = Literal["folder", "owner"]

RANKS: Final[Mapping[str, int]] = {"high": 1, "normal": 0, "low": -1}
"""The priorities as the history has them, by their words."""

WORDS: Final[Mapping[int, Priority]] = {1: "high", 0: "normal", -1: "low"}

_WEIGHTS: Final = {1: 4.0, 0: 1.0, -1: 0.25}

SHORT_ONLY: Final = 8
"""One place in so many is for short recordings alone, and for persons who have none yet."""

_BYTES_A_SECOND: Final = {
    extension: rate
    for rate, extensions in {
        1_600: "amr awb 3ga dss gsm",
        5_000: "opus spx",
        10_000: "ogg oga ogx",
        12_000: "m4a m4b m4r aac wma",
        40_000: "flac ape wv tta",
        60_000: "webm weba",
        96_000: "wav wave bwf rf64 w64 aif aiff aifc au snd caf sph nist",  # 48 kHz, 16 bits, mono
        150_000: "mp4 m4v mkv 3gp 3g2 flv f4v ogv",
        250_000: "mov qt avi wmv asf mpg mpeg vob",
        1_500_000: "mts m2ts",
    }.items()
    for extension in extensions.split()
}
"""What people's devices write of each kind, about: a guess that decides who goes first, and nothing else."""

_USUAL: Final = 16_000


def expected_s(path: bytes, size_bytes: int) -> float:
    """About how much audio a recording may have that nobody has looked into, in seconds."""
    extension = extension_of(os.path.basename(os.fsdecode(path)))
    return max(0, size_bytes) / _BYTES_A_SECOND.get(extension.lstrip(".").lower(), _USUAL)


def person_of(path: bytes, inbox: bytes, fair_by: FairBy = "folder", owner: int | None = None) -> bytes:
    """Whose recording *path* is: by the folder of the inbox that it is in, else by its *owner*, else the inbox's."""
    top, below, _name = path[len(inbox) :].lstrip(b"/").partition(b"/")
    if below and fair_by == "folder":
        return os.path.join(inbox, top)
    return b"owner:%d" % owner if owner is not None else inbox


def sender(name: str) -> bytes:
    """Whose recording it is that came over the web from *name*: its file belongs to the service."""
    return b"by:" + name.encode("utf-8", "replace")


def ranked(job: NewJob) -> NewJob:
    """*job* with the priority that its options ask for."""
    return replace(job, priority=RANKS.get(str(job.options.get("priority", "normal")), 0))


def weight_of(priority: int) -> float:
    """How many times the turn of a recording of normal priority one of this priority has in the engine."""
    return _WEIGHTS[priority]


@dataclass(frozen=True, slots=True)
class Place:
    """What a job in hand takes: of whom, in which inbox, and whether for long."""

    person: bytes
    inbox: bytes
    is_long: bool


@dataclass(frozen=True, slots=True)
class Room:
    """Who may begin nothing now, who no long recording, and whether anybody may begin a long one."""

    full: frozenset[bytes]
    full_of_long: frozenset[bytes]
    long_too: bool


def room(in_hand: Sequence[Place], n_places: int, most_each: Mapping[bytes, int]) -> Room:
    """What may begin beside what is *in_hand*, of *n_places*; *most_each* is what a person may have, by inbox.

    One person has fewer long recordings than there are places left (dynamic thresholds; Choudhury, Hahne 1998): one
    alone takes half, the second half of the rest, and there is always some for the next. Some places are for short
    recordings, which give them back soon, and no one person takes all. Who has no name is not limited.
    """
    kept = n_places // SHORT_ONLY
    n_left = n_places - len(in_hand)
    known = [place for place in in_hand if place.person]
    of_person = Counter(place.person for place in known)
    long_of_person = Counter(place.person for place in known if place.is_long)
    of_inbox = Counter((place.person, place.inbox) for place in known)
    full = {person for person, n in of_person.items() if n >= n_places - kept}
    full |= {person for (person, inbox), n in of_inbox.items() if 0 < most_each.get(inbox, 0) <= n}
    full_of_long = frozenset(person for person, n in long_of_person.items() if n >= n_left)
    return Room(frozenset(full), full_of_long, sum(place.is_long for place in in_hand) < n_places - kept)
