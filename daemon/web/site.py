"""What pages and the API may know of the daemon, and what they may ask it to do. The seam between the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from daemon.config import Config, InboxConfig
from daemon.control import Command
from daemon.intake.settings_mistakes import Mistake
from daemon.requests import Requests
from daemon.web.access.access import Access
from daemon.web.uploads.receiving import Uploads
from monitor.alert import Alert
from monitor.figures import Sample
from storage.jobs import JobStore


@dataclass(frozen=True, slots=True)
class Site:
    """The daemon, as it is seen from a page. Every callable may be called from any thread and gives what holds now.

    *commands* are those of the control socket. *database* and *metrics* are files to be read by who opens a reader of
    its own; *store* is the one writer, whose reads are allowed too. *inboxes* are those that people know of.
    *mistakes* are what is wrong with the settings in the folders of an inbox, by folder; nothing is touched for it.
    *shows* is false for a path of an inbox that people do not know of.
    """

    version: str
    config: Callable[[], Config]
    database: Path
    metrics: Path
    store: JobStore
    commands: Mapping[str, Command]
    latest: Callable[[], Sample | None]
    open_alerts: Callable[[], Sequence[Alert]]
    inboxes: Callable[[], Sequence[InboxConfig]]
    mistakes: Callable[[bytes], Mapping[bytes, Sequence[Mistake]]]
    shows: Callable[[bytes], bool]
    scan: Callable[[bytes], None]
    clock: Callable[[], datetime]
    access: Access
    uploads: Uploads
    requests: Requests

    def ask(self, command: str, **arguments: object) -> Any:
        """What the daemon answers to *command* (`daemon.answers`). Raises TranscribedError, StorageError."""
        return self.commands[command](arguments)

    def status(self) -> dict[str, Any]:
        """The answer to ``status``."""
        return cast("dict[str, Any]", self.ask("status"))
