"""The page from which recordings are sent: where they may go, and what can be chosen for them. Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from daemon.config import InboxConfig
from daemon.folderpage.names import shown_words
from daemon.intake.rules import EXTENSIONS
from daemon.web.uploads.names import BadName, folders_of
from daemon.web.views.telling import Badge, Teller, recording
from storage.records import Job

MOST_PLACES: Final = 100

CHOICES: Final = ("language", "task")
"""The options that the page offers; empty is as the folder says."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that recordings may go to."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A recording that came, and how its job stands."""

    id: int
    name: str
    badge: Badge


@dataclass(frozen=True, slots=True)
class UploadPage:
    """The page. *trouble* is why something was not taken, by the name of the file; *words* are for its script."""

    places: tuple[Place, ...]
    chosen: str
    choices: Mapping[str, tuple[tuple[str, str], ...]]
    accept: str
    max_bytes: int
    sent: tuple[Sent, ...] = ()
    trouble: tuple[tuple[str, str], ...] = ()
    words: str = "{}"


def places_of(inboxes: Sequence[InboxConfig], folders: Iterable[bytes]) -> tuple[Place, ...]:
    """The inboxes, each with those of *folders* that are in it and may be written."""
    found: list[str] = []
    known = sorted({text for folder in folders if (text := _text(folder))})
    for inbox in inboxes:
        top = str(inbox.path)
        found.append(top)
        if inbox.recursive:
            found += [path for path in known if path.startswith(f"{top}/") and _may(path[len(top) + 1 :])]
    return tuple(Place(path, path) for path in found[:MOST_PLACES])


def place_of(path: str, inboxes: Sequence[InboxConfig]) -> tuple[bytes, str] | None:
    """The inbox that *path* is in, and the folder below it; None where it is in none."""
    for inbox in inboxes:
        top = str(inbox.path)
        if path == top or path.startswith(f"{top}/"):
            return os.fsencode(inbox.path), path[len(top) + 1 :]
    return None


def upload_page(
    places: tuple[Place, ...],
    chosen: str,
    max_bytes: int,
    teller: Teller,
    *,
    sent: Sequence[Job] = (),
    trouble: Sequence[tuple[str, str, str]] = (),
) -> UploadPage:
    """The page, with the folder *chosen* at first. *trouble*: of each file its name, the kind, and a message."""
    return UploadPage(
        places,
        chosen if any(place.path == chosen for place in places) else "",
        _choices(teller),
        ",".join(f".{extension}" for extension in sorted(EXTENSIONS)) + ",audio/*,video/*",
        max_bytes,
        tuple(Sent(job.id, recording(job.path).name, teller.badge(job)) for job in sent),
        tuple((shown_words(name), _trouble(kind, message, teller)) for name, kind, message in trouble),
        json.dumps({key[7:]: words for key, words in teller.words.sentences.items() if key.startswith("upload.")}),
    )


def _trouble(kind: str, message: str, teller: Teller) -> str:
    key = f"upload.trouble_{kind}"
    return teller.say(key) if teller.words.has(key) else shown_words(message)


def _choices(teller: Teller) -> dict[str, tuple[tuple[str, str], ...]]:
    say = teller.say
    spoken = [(key[5:], name) for key, name in teller.words.sentences.items() if key.startswith("lang.")]
    as_folder = ("", say("upload.as_folder"))
    return {
        "language": (as_folder, ("auto", say("job.detect")), *sorted(spoken, key=lambda pair: pair[1])),
        "task": (as_folder, *((task, say(f"task.{task}")) for task in ("transcribe", "translate", "both"))),
    }


def _text(folder: bytes) -> str:
    try:
        text = folder.decode("utf-8")
    except UnicodeDecodeError:
        return ""  # no form can name it
    return text if text.isprintable() else ""


def _may(folder: str) -> bool:
    try:
        return bool(folders_of(folder))
    except BadName:
        return False
