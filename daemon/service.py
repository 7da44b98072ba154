"""The life of the daemon: started, told by signals what to do, watched by systemd, stopped. Knows no part of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from daemon.actor import Pulse
from daemon.clock import monotonic_s
from daemon.config import Config, Loaded, load
from daemon.errors import ConfigError, HistoryLost
from daemon.history import DATABASE_NAME as DATABASE_NAME
from daemon.notify import Notifier
from daemon.parts import Parts
from daemon.signals import Signals
from daemon.version import VERSION
from monitor.notices.addresses import hidden

log = logging.getLogger(__name__)

TICK_S: Final = 2.0
"""How often systemd is told that all loops are alive, at the least."""

STATUS_S: Final = 10.0
"""How often the status line is renewed."""

_FIXED: Final = ("state_dir", "log_format", "engine", "decode", "database", "monitor", "canary", "web")


class Service:
    """A whole daemon. `run` returns when it was told to stop."""

    def __init__(self, loaded: Loaded, environment: Mapping[str, str]) -> None:
        self._loaded = loaded
        self._environment = environment
        self._config = loaded.config
        self._notifier = Notifier(environment)
        self._pulse = Pulse()
        self._parts = Parts(loaded.config, environment, self._pulse)
        self._ready = False

    def run(self) -> None:
        """Start, work until SIGTERM or SIGINT, stop. Raises ConfigError where the operator has to act first."""
        signals = Signals(on_second_stop=self._hurry)
        try:
            self._start()
            self._ready = True
            if not signals.stop:
                self._notifier.ready()
                log.info("Ready: drop recordings in %s", self._folders(), extra={"event": "ready", "version": VERSION})
                self._watch(signals)
        finally:
            self._stop()

    def _start(self) -> None:
        log.info("Starting transcribed %s", VERSION, extra={"event": "starting", "config": _shown(self._config)})
        self._parts.start()

    def _hurry(self) -> None:
        if self._ready:
            self._parts.hurry()

    # Work: the main thread only listens to signals and feeds the watchdog.

    def _watch(self, signals: Signals) -> None:
        tick_s = min(TICK_S, (self._notifier.watchdog_s or TICK_S * 2) / 2)
        stuck: list[str] = []
        status_due = monotonic_s()
        while True:
            signals.wait(tick_s)
            if signals.stop:
                return
            if lost := self._parts.health.lost:
                raise HistoryLost(f"{lost}; the next start rebuilds it and transcribes nothing twice")
            if signals.take_reload():
                self._reload()
            before, stuck = stuck, self._pulse.stale(monotonic_s())
            if not stuck:
                self._notifier.watchdog()
            elif stuck != before:
                log.error("Stuck: %s", ", ".join(stuck), extra={"event": "stuck", "loops": stuck})
            if self._notifier.heard and monotonic_s() >= status_due:
                self._notifier.status(self._parts.vitals.line())
                status_due = monotonic_s() + STATUS_S

    # Reload: what can change under running jobs does, the rest is named.

    def _reload(self) -> None:
        self._notifier.reloading(monotonic_s())
        try:
            loaded = load(self._loaded.file, self._environment, require_inbox=True)
            self._apply(loaded)
        except ConfigError as error:
            log.warning("Not reloaded, the old configuration stays: %s", error, extra={"event": "reload_refused"})
        self._notifier.ready()

    def _apply(self, loaded: Loaded) -> None:
        old, new = self._config, loaded.config
        config = new.model_copy(update={key: getattr(old, key) for key in _FIXED})
        self._parts.apply(config)
        for key in _FIXED:
            if getattr(old, key) != getattr(new, key):
                log.warning("%s changed: restart the service for that", key, extra={"event": "reload_partial"})
        self._loaded, self._config = loaded, config
        logging.getLogger().setLevel(new.log_level.upper())
        log.info("Reloaded", extra={"event": "reloaded", "config": _shown(self._config)})

    def _stop(self) -> None:
        self._notifier.stopping()
        log.info("Stopping", extra={"event": "stopping"})
        self._parts.stop()
        log.info("Stopped", extra={"event": "stopped"})

    def _folders(self) -> str:
        return ", ".join(str(inbox.path) for inbox in self._config.inbox)


def _shown(config: Config) -> dict[str, Any]:
    shown: dict[str, Any] = hidden(config.model_dump(mode="json"))
    return shown
