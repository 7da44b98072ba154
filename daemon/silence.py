"""What is done when the share of an inbox falls silent, and when it answers again. Touches no share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from daemon.clock import utc_now
from daemon.dispatch import Dispatcher
from daemon.intake.inbox import Inbox
from storage.errors import StorageError
from storage.jobs import JobStore

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Silence:
    """*inboxes* by folder; *dispatcher* gives what has jobs in hand, None before there is one."""

    store: JobStore
    inboxes: Mapping[bytes, Inbox]
    dispatcher: Callable[[], Dispatcher | None]
    wake: Callable[[], None]

    def begins(self, folder: bytes, silence: str) -> None:
        """Its jobs take no decoder from others."""
        if (dispatcher := self.dispatcher()) is not None:
            dispatcher.desert(folder, f"the inbox {os.fsdecode(folder)} is {silence}")
        self._note("share_silent", folder)

    def ends(self, folder: bytes) -> None:
        """Its jobs go on at once."""
        self._note("share_answers", folder)
        if (inbox := self.inboxes.get(folder)) is not None:
            inbox.scan_now()
        self.wake()

    def _note(self, event: str, folder: bytes) -> None:
        try:
            self.store.note(event, {"inbox": folder.decode("utf-8", "backslashreplace")}, utc_now())
            if event == "share_answers":
                self.store.hasten(folder, utc_now())
        except StorageError as error:
            log.warning("not noted: %s: %s", event, error, extra={"event": "storage_trouble"})
