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
from daemon.after.tidying import Tidying
from daemon.clock import monotonic_s
from daemon.config import InboxConfig
from daemon.folderpage.keeping import FolderPages
from daemon.intake.inbox import Inbox
from daemon.joints import write_due
from daemon.locks import Owner
from daemon.recovery import Unsettled
from daemon.rewriting import Rewriting
from daemon.shares import Shares, Touch
from daemon.sidecars import Sidecars
from daemon.versions import VersionFiles
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
        sidecars: Sidecars | None = None,
        versions: VersionFiles | None = None,
    ) -> None:
        """*on_new* is called when there are jobs to claim. *unsettled* is ended by the thread of its inbox.

        *pages* makes what people see in the folder of an inbox. *sidecars* follow recordings that go elsewhere,
        *versions* files that are made of corrections.
        """
        self._sidecars = sidecars
        self._versions = versions
        self._pages = pages
        self._store = store
        self._owner = owner
        self._pulse = pulse
        self._shares = shares
        self._unsettled = unsettled
        self._on_new = on_new
        self._max_attempts = 0
        self._threads: dict[bytes, ActorThread] = {}
        self._tidying: dict[bytes, ActorThread] = {}
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

    def ended(self, inbox: bytes) -> None:
        """A job of *inbox* ended: its recording may be to go elsewhere."""
        if (thread := self._tidying.get(inbox)) is not None:
            thread.wake()

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
            settle=lambda touch: self._settle(path, touch),
            pages=self._pages(config),
        )
        inbox.open(self._owner)
        self.by_path[path] = inbox
        thread = self._threads[path] = ActorThread(f"inbox {config.path}", inbox, self._pulse)
        thread.start()
        inbox.start_watching(thread.wake, thread.beat, thread.away)
        if config.done_path is not None:
            self._tidy(config, inbox)
        return inbox

    def corrected(self, inbox: bytes) -> None:
        """A transcript of a recording of *inbox* was corrected: its files are to be written."""
        if (found := self.by_path.get(inbox)) is not None:
            found.scan_now()
        self.ended(inbox)

    def _settle(self, path: bytes, touch: Touch) -> None:
        """What an earlier daemon was publishing there, corrections, transcripts of several tracks."""
        self._unsettled.settle(path)
        Rewriting(self._store, path, path, self._versions).write_due(touch.aside)
        write_due(self._store, path, touch.aside)

    def _tidy(self, config: InboxConfig, inbox: Inbox) -> None:
        tidying = Tidying(config, self._store, inbox, self._sidecars, self._versions)
        thread = self._tidying[inbox.path] = ActorThread(f"done of {config.path}", tidying, self._pulse)
        tidying.start_watching(thread.beat, thread.away)
        thread.start()

    def _end(self, inboxes: Sequence[Inbox]) -> None:
        """Their threads end and give the folders back. One that hangs in a share does so whenever it can."""
        closing: list[threading.Thread] = []
        for inbox in inboxes:
            thread, tidying = self._threads.pop(inbox.path), self._tidying.pop(inbox.path, None)
            del self.by_path[inbox.path]
            ending = [thread] if tidying is None else [tidying, thread]
            for one in ending:
                one.ask_to_stop()
            closing.append(threading.Thread(target=_end_one, args=(inbox, ending), name="closing", daemon=True))
            closing[-1].start()
        until = monotonic_s() + ENDED_S
        for waits in closing:
            waits.join(max(0.0, until - monotonic_s()))


def _end_one(inbox: Inbox, threads: Sequence[ActorThread]) -> None:
    for thread in threads:
        thread.join(None)
    inbox.close()
