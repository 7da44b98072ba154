"""The watch of one inbox: begins it, notices when it is blind or dead, and falls back to polling. Searches nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from daemon.config import InboxConfig
from daemon.intake.mounts import filesystem_of
from daemon.intake.watcher import Watcher
from daemon.intake.watching import POLL_SCAN_S, Watching, choose_watching

log = logging.getLogger(__name__)

PROBE_S: Final = 5.0
"""How long events may take to prove themselves before the folder is polled."""


class Watch:
    """How an inbox is watched at present (`how`), and what does it. For the thread of the inbox alone."""

    def __init__(self, config: InboxConfig, on_event: Callable[[], None]) -> None:
        """*on_event* is called from a thread of the watcher."""
        self._config = config
        self._on_event = on_event
        self._watcher: Watcher | None = None
        self._began = 0.0
        # The share may hang: until the thread of the inbox calls `choose_anew`, the path is taken as it is written.
        self.degraded = ""
        """Why the folder is polled although its filesystem has events; empty where that is not so."""
        self.how: Watching = choose_watching(config, filesystem_of(config.path, follow=False))

    def check(self, now: float) -> bool:
        """Whether the watch begins now, so that the folder has to be searched for what came while nobody watched."""
        if not self.how.events:
            return False
        watcher = self._watcher
        if watcher is None:
            self._begin(now)
            return True
        if not watcher.working():
            log.info("watch of %s is begun anew", self._config.path, extra={"event": "watch_restarted"})
            self.end()
            self._begin(now)
            return True
        if now - self._began > PROBE_S:
            watcher.end_probe()
            if not watcher.proved and self._config.watch == "auto":
                self._poll_instead(f"no event came within {PROBE_S:.0f} s")
        return False

    @property
    def probe(self) -> bytes:
        """The probe file that is waited for; empty without one."""
        return os.fsencode(self._watcher.probe) if self._watcher is not None else b""

    def end(self) -> None:
        """Stop watching; the next check begins anew."""
        if self._watcher is not None:
            self._watcher.close()
        self._watcher = None

    def choose_anew(self) -> None:
        """Another folder is there, maybe on another filesystem."""
        self.end()
        self.degraded = ""
        self.how = choose_watching(self._config, filesystem_of(self._config.path))

    def _begin(self, now: float) -> None:
        watcher = Watcher(self._config.path, recursive=self._config.recursive, wake=self._on_event)
        try:
            begun = watcher.start()
        except OSError:
            return  # the folder is gone: the scan says so, and this is tried again once it is back
        if begun:
            self._watcher = watcher
            self._began = now
        else:
            self._poll_instead("the system refuses to watch it")

    def _poll_instead(self, reason: str) -> None:
        self.end()
        self.degraded = reason
        interval_s = self._config.scan_interval_s or POLL_SCAN_S
        self.how = replace(self.how, events=False, reason=reason, scan_interval_s=interval_s)
        log.info("inbox %s is polled: %s", self._config.path, reason, extra={"event": "inbox_polled"})
