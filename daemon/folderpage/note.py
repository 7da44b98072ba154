"""The note beside a recording that failed: plain words, and what to do. Pure."""

from __future__ import annotations

from datetime import tzinfo

from daemon.folderpage.names import shown, shown_words
from daemon.folderpage.state import Failure
from daemon.folderpage.view import Writer
from daemon.words import Catalogue


def note(one: Failure, catalogue: Catalogue, zone: tzinfo | None = None) -> str:
    """The note on *one*, with times as they are in *zone* (None: here); the same whenever it is written."""
    writer, say = Writer(catalogue, one.at, zone), catalogue.say
    what, do = writer.reason(one.told, one.words)
    technical = say("note.technical", job=str(one.job_id), at=writer.moment(one.at), words=shown_words(one.words))
    lines = [
        say("note.headline"),
        shown(one.place.rpartition(b"/")[2]),
        "",
        f"{say('note.what')}:",
        what,
        "",
        f"{say('note.do')}:",
        *([do] if do else []),
        say("note.again"),
        "",
        say("note.gone"),
        technical,
    ]
    return "\n".join(lines) + "\n"
