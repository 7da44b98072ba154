"""Names that people could give to a recording to do harm on a page, a page full of them, and what a page is made of."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from html.parser import HTMLParser

from daemon.folderpage.state import Awaiting, Failure, Finished, Running, State
from storage.records import Told

AT = datetime(2026, 3, 4, 13, 5, tzinfo=UTC)

HOSTILE = [
    b"<script>document.title='x'</script>.wav",
    b'"><img src=x onerror="document.title=1">.mp3',
    b"--></title></style><script>alert(1)</script>.wav",
    b"javascript:alert(1).wav",
    b"two\nlines\r\n# heading.wav",
    "invoice\u202egnp.3pm\u2066.wav".encode(),
    b"caf\xe9 \xff\xfe.mp3",
    b"a" * 251 + b".wav",
    ("e" + "\u0301" * 60 + ".wav").encode(),
    b"{{ 7 * 7 }}{% raw %}{0}{view}.wav",
    b"..%2f%00&lt;&amp;.wav",
    b"' onclick='alert(1)'.wav",
    b"\x1b[31mred\x07.wav",
]


def hostile_state() -> State:
    """A page on which each hostile name is wherever a name can be."""
    return State(
        folder=HOSTILE[0],
        running=tuple(Running(name, "engine", 5, 60.0) for name in HOSTILE),
        n_running=len(HOSTILE),
        waiting=tuple(Awaiting(b"sub/" + name, None, f"cannot open /srv/{os.fsdecode(name)}") for name in HOSTILE),
        n_waiting=len(HOSTILE),
        failed=tuple(Failure(name + b"/" + name, AT, 1, Told("other"), os.fsdecode(name)) for name in HOSTILE),
        n_failed=len(HOSTILE),
        done=tuple(Finished(name, AT, 1.0, 1.0, "ok", False, (("txt", name + b".txt"),)) for name in HOSTILE),
        trouble=os.fsdecode(HOSTILE[1]),
    )


class Elements(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(content.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As `HTMLParser` calls it."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        """As `HTMLParser` calls it."""
        self.text += data
