"""The composition root: what the daemon is built of, started and stopped in which order, and why."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from daemon import recovery
from daemon.actor import Actor, ActorThread, Pulse
from daemon.answers import Answers
from daemon.clock import iso, monotonic_s, utc_now
from daemon.config import Config, Loaded, load
from daemon.config.schema import OWN_FOLDERS
from daemon.control import ControlServer
from daemon.dispatch import Dispatcher
from daemon.errors import ConfigError, EngineUnavailable, HistoryLost
from daemon.health import HistoryHealth
from daemon.history import DATABASE_NAME as DATABASE_NAME
from daemon.history import RESERVE_NAME, close_history, open_history
from daemon.inboxes import Inboxes
from daemon.keeper import Keeper
from daemon.locks import STATE_LOCK, Lock, Owner
from daemon.notify import Notifier
from daemon.outputs.kept import KeptDocuments
from daemon.processes import make_ahead, make_decode_pool, make_engine, n_in_hand
from daemon.retention import Gone, Presence, Retention
from daemon.shares import NoAnswer, Shares, within
from daemon.sidecars import adopt
from daemon.signals import Signals
from daemon.version import VERSION
from daemon.workshop import Patiently, Workshop
from monitor.thread import Monitor
from storage.errors import StorageError
from storage.reserve import Reserve

log = logging.getLogger(__name__)

TICK_S: Final = 2.0
"""How often systemd is told that all loops are alive, at the least."""

SHARE_S: Final = 5.0
"""How long the start waits for the share of a folder that is no inbox any more."""

STATUS_S: Final = 10.0
"""How often the status line is renewed: it counts the jobs, which takes a while in a long history."""


class Service:
    """A whole daemon. `run` returns when it was told to stop."""

    def __init__(self, loaded: Loaded, environment: Mapping[str, str]) -> None:
        self._loaded = loaded
        self._environment = environment
        self._config = loaded.config
        self._notifier = Notifier(environment)
        self._pulse = Pulse()
        self._started_at = utc_now()
        self._threads: dict[str, ActorThread] = {}
        self._shares = Shares()
        self._undo: list[tuple[str, Callable[[], None]]] = []
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

    # Start: from what others rely on to what relies on others; each step leaves its undoing on a pile.

    def _start(self) -> None:
        config = self._config
        log.info("Starting transcribed %s", VERSION, extra={"event": "starting", "config": _shown(config)})
        self._make_folders()
        owner = Owner.this_process(uuid.uuid4().hex, config.state_dir, iso(self._started_at))
        # 1. The locks: nothing may be touched before it is certain that we are alone.
        lock = Lock.take(config.state_dir / STATE_LOCK, owner, f"the state folder {config.state_dir}")
        self._undo.append(("state lock", lock.release))
        # 2. The history: every other part reads or writes it.
        self._health = HistoryHealth(Reserve(config.state_dir / RESERVE_NAME, config.database.reserve_bytes))
        self._history = history = open_history(config.state_dir, owner.uuid)
        self._store = store = history.store
        self._undo.append(("history", lambda: close_history(history, self._health)))
        store.note("daemon_started", {"pid": owner.pid, "version": VERSION}, self._started_at)
        self._undo.append(("last event", lambda: store.note("daemon_stopped", {"pid": owner.pid}, utc_now())))
        self._owner = owner
        # 3. What the last daemon left. In an inbox the thread of that ends it, before any job of it may begin.
        kept = KeptDocuments(config.state_dir / "kept")
        adopt(history.sidecars, store, kept)
        self._unsettled = recovery.recover(store, config.state_dir / "spool", kept)
        self._settle_elsewhere()
        self._inboxes = inboxes = Inboxes(
            store, owner, self._pulse, self._shares, self._unsettled, self._wake_dispatcher
        )
        self._shares.on_silent, self._shares.on_answer = self._share_silent, self._share_answers
        shares = self._launch("shares", self._shares)
        self._undo.append(("shares", shares.ask_to_stop))
        self._undo.append(("inboxes", inboxes.close))
        inboxes.begin(config.inbox, config.max_attempts)
        # 4. The engine before the queue: a wrong model or device is the operator's to mend, and shows at once.
        self._decode = make_decode_pool(config, _log_output)
        self._undo.append(("decode processes", lambda: self._decode.close(1.0)))
        self._engine = make_engine(config, _log_output)
        self._undo.append(("engine", lambda: self._engine.close(5.0)))
        self._start_engine()
        # 5. The other loops: workers, then who watches all.
        self._dispatcher = Dispatcher(
            self._make_shop,
            n_in_hand=n_in_hand(config),
            look_again=inboxes.look_again,
            watches=lambda path: inboxes.of(path) is not None,
            wake=self._wake_dispatcher,
            not_ready=inboxes.not_ready,
            blocked=inboxes.blocked,
            health=self._health,
        )
        self._undo.append(("jobs", self._drain))
        self._launch("dispatcher", self._dispatcher)
        self._monitor = Monitor(
            interval_s=config.monitor.interval_s,
            processes=self._processes,
            queue=lambda: {state.value: count for state, count in store.counts().items()},
            folders=[config.state_dir],
        )
        self._undo.append(("monitor", self._monitor.close))
        self._launch("monitor", self._monitor)
        keeper = Keeper(history, self._health, config.database, started=monotonic_s())
        self._undo.append(("history keeper", keeper.close))
        self._launch("history", keeper)
        self._launch("retention", Retention(store, lambda: self._config.history, self._presence))
        # 6. The control socket last: whoever gets an answer gets a true one.
        answers = Answers(
            store, self._engine, self._dispatcher, inboxes.by_path, self._pulse, self._started_at, self._now_configured
        )
        control = ControlServer(config.state_dir, answers.commands())
        control.start()
        self._undo.append(("control socket", control.close))
        self._undo.append(("inboxes", inboxes.close))  # once more, as the first of all: nothing new comes in

    def _now_configured(self) -> Config:
        return self._config

    def _make_folders(self) -> None:
        state_dir = self._config.state_dir
        try:
            state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
            for name in OWN_FOLDERS:
                (state_dir / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"state_dir = {str(state_dir)!r}: cannot be used: {error.strerror}") from error

    def _settle_elsewhere(self) -> None:
        """What the last daemon was publishing in folders that are no inbox any more."""
        for folder in self._unsettled.inboxes() - {os.fsencode(config.path) for config in self._config.inbox}:
            try:
                within(SHARE_S, "recovery", partial(self._unsettled.settle, folder))
            except (NoAnswer, StorageError) as error:
                log.warning("%s: %s", os.fsdecode(folder), error, extra={"event": "not_recovered"})

    def _share_silent(self, folder: bytes, silence: str) -> None:
        if self._ready:
            self._dispatcher.desert(folder, f"the inbox {os.fsdecode(folder)} is {silence}")
        self._note_share("share_silent", folder)

    def _share_answers(self, folder: bytes) -> None:
        self._note_share("share_answers", folder)
        if (inbox := self._inboxes.by_path.get(folder)) is not None:
            inbox.scan_now()
        self._wake_dispatcher()

    def _note_share(self, event: str, folder: bytes) -> None:
        try:
            self._store.note(event, {"inbox": folder.decode("utf-8", "backslashreplace")}, utc_now())
            if event == "share_answers":
                self._store.hasten(folder, utc_now())
        except StorageError as error:
            log.warning("not noted: %s: %s", event, error, extra={"event": "storage_trouble"})

    def _presence(self) -> Gone:
        return Presence(silent=lambda inbox: bool(self._shares.of(inbox).silence())).gone

    def _launch(self, name: str, actor: Actor) -> ActorThread:
        thread = self._threads[name] = ActorThread(name, actor, self._pulse)
        thread.start()
        return thread

    def _start_engine(self) -> None:
        models = dict.fromkeys(inbox.model for inbox in self._config.inbox)
        try:
            self._engine.start(next(iter(models)))
        except EngineUnavailable as error:
            log.warning("The engine did not start; it is tried again: %s", error, extra={"event": "engine_down"})

    def _make_shop(self, patiently: Patiently) -> Workshop:
        state_dir = self._config.state_dir
        kept = KeptDocuments(state_dir / "kept")
        return Workshop(
            self._store,
            self._decode,
            make_ahead(self._config),
            self._engine,
            kept,
            state_dir / "spool",
            patiently,
            self._shares,
            self._config.decode.incomplete_wait_s,
            self._history.sidecars,
            lambda: self._config.history.reuse,
        )

    def _wake_dispatcher(self) -> None:
        if (thread := self._threads.get("dispatcher")) is not None:
            thread.wake()

    # Work: the main thread only listens to signals and feeds the watchdog.

    def _hurry(self) -> None:
        if self._ready:
            self._dispatcher.hurry()

    def _watch(self, signals: Signals) -> None:
        tick_s = min(TICK_S, (self._notifier.watchdog_s or TICK_S * 2) / 2)
        stuck: list[str] = []
        status_due = monotonic_s()
        while True:
            signals.wait(tick_s)
            if signals.stop:
                return
            if self._health.lost:
                raise HistoryLost(f"{self._health.lost}; the next start rebuilds it and transcribes nothing twice")
            if signals.take_reload():
                self._reload()
            before, stuck = stuck, self._pulse.stale(monotonic_s())
            if not stuck:
                self._notifier.watchdog()
            elif stuck != before:
                log.error("Stuck: %s", ", ".join(stuck), extra={"event": "stuck", "loops": stuck})
            if self._notifier.heard and monotonic_s() >= status_due:
                self._notifier.status(self._status_line())
                status_due = monotonic_s() + STATUS_S

    def _status_line(self) -> str:
        try:
            counts = self._store.counts()
        except StorageError as error:
            return f"the history cannot be read: {error}"
        in_hand = ", ".join(f"{state} {count}" for state, count in counts.items() if count)
        return f"engine {self._engine.status().state}; jobs: {in_hand or 'none yet'}"

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
        fixed = ("state_dir", "log_format", "engine", "decode", "database", "monitor", "canary", "web")
        for key in fixed:
            if getattr(old, key) != getattr(new, key):
                log.warning("%s changed: restart the service for that", key, extra={"event": "reload_partial"})
        kept = {key: getattr(old, key) for key in fixed}
        self._loaded, self._config = loaded, new.model_copy(update=kept)
        logging.getLogger().setLevel(new.log_level.upper())
        self._inboxes.apply(new.inbox, new.max_attempts)
        log.info("Reloaded", extra={"event": "reloaded", "config": _shown(self._config)})

    # Stop: nothing new comes in, what is in hand ends or goes back, then the parts in reverse order.

    def _stop(self) -> None:
        self._notifier.stopping()
        log.info("Stopping", extra={"event": "stopping"})
        while self._undo:
            name, undo = self._undo.pop()
            try:
                undo()
            except Exception:
                log.exception("stopping the %s failed", name, extra={"event": "bug"})
        log.info("Stopped", extra={"event": "stopped"})

    def _drain(self) -> None:
        for thread in self._threads.values():
            thread.ask_to_stop()
        if not self._dispatcher.drain(self._config.stop_grace_s):
            log.error("a job would not end; the next start does it again", extra={"event": "drain_failed"})
        for thread in self._threads.values():
            thread.join(5.0)

    def _processes(self) -> dict[str, int]:
        found = {"daemon": os.getpid()}
        pids = [seat.pid for seat in self._engine.status().seats if seat.pid is not None]
        found |= {f"engine-{index}" if index > 1 else "engine": pid for index, pid in enumerate(pids, start=1)}
        return found | {f"decoder-{index}": pid for index, pid in enumerate(self._decode.pids(), start=1)}

    def _folders(self) -> str:
        return ", ".join(str(inbox.path) for inbox in self._config.inbox)


def _log_output(name: str, line: str) -> None:
    log.info("%s: %s", name, line, extra={"event": "child_output", "child": name})


def _shown(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json")
