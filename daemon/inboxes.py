"""All inboxes of a daemon: begun, seen, found by path, ended. Knows nothing of how a job is done.

Any of their folders may be on a share that hangs, so nobody waits for one without a limit.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Final

from daemon.actor import ActorThread, Pulse
from daemon.clock import monotonic_s
from daemon.config import InboxConfig
from daemon.folderpage.keeping import FolderPages
from daemon.intake.inbox import Inbox
from daemon.locks import Owner
from daemon.recovery import Unsettled
from daemon.shares import Shares
from storage.jobs import JobStore

log = logging.getLogger(__name__)

SEEN_S: Final = 5.0
"""How long start and reload wait for the folders; then they go on without those that hang."""

ENDED_S: Final = 10.0
"""How long stop and reload wait until the folders are given back."""


class Inboxes:
    """Each with a thread of its own. `begin`, `apply` and `close` are for one thread, the rest is safe from any."""

    def __init__(
        self,
        store: JobStore,
        owner: Owner,
        pulse: Pulse,
        shares: Shares,
        unsettled: Unsettled,
        on_new: Callable[[], None],
        pages: Callable[[InboxConfig], FolderPages | None] = lambda _config: None,
    ) -> None:
        """*on_new* is called when there are jobs to claim. *unsettled* is ended by the thread of its inbox.

        *pages* makes what people see in the folder of an inbox.
        """
        self._pages = pages
        self._store = store
        self._owner = owner
        self._pulse = pulse
        self._shares = shares
        self._unsettled = unsettled
        self._on_new = on_new
        self._max_attempts = 0
        self._threads: dict[bytes, ActorThread] = {}
        self.by_path: Final[dict[bytes, Inbox]] = {}
        """By the folder; changed by `apply`."""

    def begin(self, configs: Sequence[InboxConfig], max_attempts: int) -> None:
        """They are watched. Raises AlreadyRunning where one is that of another daemon."""
        self._max_attempts = max_attempts
        for inbox in self._launch(configs):
            if inbox.refused is not None:
                raise inbox.refused

    def apply(self, configs: Sequence[InboxConfig], max_attempts: int) -> None:
        """*configs* are what is watched now; one that did not change goes on. That of another daemon is left out."""
        wanted = {os.fsencode(config.path): config for config in configs}
        all_anew = max_attempts != self._max_attempts
        self._max_attempts = max_attempts
        inboxes = list(self.by_path.values())
        self._end([inbox for inbox in inboxes if all_anew or wanted.get(inbox.path) != inbox.config])
        new = self._launch([config for path, config in wanted.items() if path not in self.by_path])
        refused = [inbox for inbox in new if inbox.refused is not None]
        for inbox in refused:
            path, reason = inbox.config.path, inbox.refused
            log.warning("inbox %s is left out: %s", path, reason, extra={"event": "reload_partial"})
        self._end(refused)

    def close(self) -> None:
        """Nothing is watched any more. Safe to call again."""
        self._end(list(self.by_path.values()))

    def of(self, path: bytes) -> Inbox | None:
        """The one that *path* is in."""
        inboxes = list(self.by_path.items())
        return next((inbox for folder, inbox in inboxes if path.startswith(folder + b"/")), None)

    def not_ready(self) -> list[bytes]:
        """The folders whose jobs may not begin now."""
        return [inbox.path for inbox in list(self.by_path.values()) if not inbox.ready]

    def look_again(self, path: bytes) -> None:
        """The recording at *path* is not what its job was made for."""
        if (inbox := self.of(path)) is not None:
            inbox.forget(path)

    def blocked(self, path: bytes) -> None:
        """No transcript could be written beside the recording at *path*."""
        if (inbox := self.of(path)) is not None:
            inbox.blocked(os.path.dirname(path))

    def _launch(self, configs: Sequence[InboxConfig]) -> list[Inbox]:
        """They are begun, and each is seen, or SEEN_S over for all."""
        inboxes = [self._launch_one(config) for config in configs]
        until = monotonic_s() + SEEN_S
        for inbox in inboxes:
            if not inbox.looked.wait(max(0.0, until - monotonic_s())):
                log.warning(
                    "inbox %s has not answered for %g s: all else goes on without it",
                    inbox.config.path,
                    SEEN_S,
                    extra={"event": "share_slow", "inbox": str(inbox.config.path)},
                )
        return inboxes

    def _launch_one(self, config: InboxConfig) -> Inbox:
        path = os.fsencode(config.path)
        inbox = Inbox(
            config,
            self._store,
            max_attempts=self._max_attempts,
            on_new=self._on_new,
            share=self._shares.of(path),
            settle=lambda: self._unsettled.settle(path),
            pages=self._pages(config),
        )
        inbox.open(self._owner)
        self.by_path[path] = inbox
        thread = self._threads[path] = ActorThread(f"inbox {config.path}", inbox, self._pulse)
        thread.start()
        inbox.start_watching(thread.wake, thread.beat, thread.away)
        return inbox

    def _end(self, inboxes: Sequence[Inbox]) -> None:
        """Their threads end and give the folders back. One that hangs in a share does so whenever it can."""
        closing: list[threading.Thread] = []
        for inbox in inboxes:
            thread = self._threads.pop(inbox.path)
            del self.by_path[inbox.path]
            thread.ask_to_stop()
            closing.append(threading.Thread(target=_end_one, args=(inbox, thread), name="closing", daemon=True))
            closing[-1].start()
        until = monotonic_s() + ENDED_S
        for waits in closing:
            waits.join(max(0.0, until - monotonic_s()))


def _end_one(inbox: Inbox, thread: ActorThread) -> None:
    thread.join(None)
    inbox.close()
