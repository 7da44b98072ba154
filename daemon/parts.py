"""What the daemon is built of: begun in an order in which each part finds what it relies on, ended in the reverse one.

Knows no signal and no systemd (`daemon.service`).
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemon import canary, recovery, requests
from daemon.actor import Actor, ActorThread, Pulse
from daemon.after.names import goes
from daemon.answers import Answers, Live
from daemon.canary import Canary
from daemon.clock import iso, monotonic_s, utc_now
from daemon.config import Config, InboxConfig
from daemon.config.schema import DATABASE_NAME, METRICS_NAME, OWN_FOLDERS
from daemon.control import Command, ControlServer
from daemon.dispatch import Dispatcher
from daemon.ends import End
from daemon.errors import ConfigError, EngineUnavailable
from daemon.figures import ServiceFigures, Sources
from daemon.folderpage.keeping import FolderPages
from daemon.folderpage.live import LiveSource
from daemon.health import HistoryHealth
from daemon.history import RESERVE_NAME, close_history, open_history
from daemon.inboxes import Inboxes
from daemon.intake.inbox import Inbox
from daemon.keeper import Keeper
from daemon.locks import STATE_LOCK, Lock, Owner
from daemon.monitoring import Monitoring
from daemon.opening import Pages, open_pages
from daemon.outputs.kept import KeptDocuments
from daemon.processes import make_ahead, make_decode_pool, make_engine, n_in_hand
from daemon.requests import Requests
from daemon.retention import Gone, Presence, Retention
from daemon.shares import NoAnswer, Shares, within
from daemon.sidecars import adopt
from daemon.silence import Silence
from daemon.version import VERSION
from daemon.versions import Versions
from daemon.versions import adopt as adopt_versions
from daemon.vitals import Vitals
from daemon.workshop import Activity, Patiently, Workshop
from storage.errors import StorageDamaged, StorageError
from storage.records import Job, JobState, Outcome
from storage.reserve import Reserve

if TYPE_CHECKING:
    from daemon.web.site import Site
    from daemon.web.uploads.receiving import Uploads

log = logging.getLogger(__name__)

SHARE_S: Final = 5.0
"""How long the start waits for the share of a folder that is no inbox any more."""

ENDED_S: Final = 5.0
"""How long a stop waits for all loops together."""

DEVICES: Final = Path("/dev")
"""Where a GPU that this process may use has its node."""

CROWD: Final = 10
"""With so many recordings in the queue the canary waits: it would only tell how long the queue is."""


class Parts:
    """All parts of a daemon. `start`, `apply` and `stop` are for one thread."""

    def __init__(self, config: Config, environment: Mapping[str, str], pulse: Pulse) -> None:
        self._config = config
        self._environment = environment
        self._pulse = pulse
        self._started_at = utc_now()
        self._threads: dict[str, ActorThread] = {}
        self._shares = Shares()
        self._undo: list[tuple[str, Callable[[], None]]] = []
        self._canary: Canary | None = None
        self._dispatcher: Dispatcher | None = None
        self._web: Pages | None = None
        self._hidden = canary.inbox_of(config)

    # Start: from what others rely on to what relies on others; each step leaves its undoing on a pile.

    def start(self) -> None:
        """All parts work when this returns. Raises ConfigError; what was begun is then for `stop` to end."""
        self._make_folders()
        self._take_state_folder()
        self._open_history()
        self._make_monitoring()
        self._take_up_the_last_run()
        self._begin_inboxes()
        self._begin_engine()
        self._begin_jobs()
        self._begin_watching()
        self._begin_canary()
        self._begin_answers()
        self._undo.append(("inboxes", self._inboxes.close))  # once more: nothing new comes in
        self._undo.append(("pages", self._say_stopping))  # first of all
        self.vitals.phase = ""

    def _make_folders(self) -> None:
        state_dir = self._config.state_dir
        try:
            state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
            for name in OWN_FOLDERS:
                (state_dir / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"state_dir = {str(state_dir)!r}: cannot be used: {error.strerror}") from error

    def _take_state_folder(self) -> None:
        """Nothing may be touched before it is certain that we are alone."""
        state_dir = self._config.state_dir
        self._owner = Owner.this_process(uuid.uuid4().hex, state_dir, iso(self._started_at))
        lock = Lock.take(state_dir / STATE_LOCK, self._owner, f"the state folder {state_dir}")
        self._undo.append(("state lock", lock.release))

    def _open_history(self) -> None:
        """Every other part reads or writes it."""
        config, owner = self._config, self._owner
        self.health = health = HistoryHealth(Reserve(config.state_dir / RESERVE_NAME, config.database.reserve_bytes))
        self._history = history = open_history(config.state_dir, owner.uuid)
        self._store = store = history.store
        self._undo.append(("history", lambda: close_history(history, health)))
        store.note("daemon_started", {"pid": owner.pid, "version": VERSION}, self._started_at)
        self._undo.append(("last event", lambda: store.note("daemon_stopped", {"pid": owner.pid}, utc_now())))

    def _make_monitoring(self) -> None:
        """Early: what is wrong with its rules and addresses shows at once, and its pages say that the rest begins."""
        self._figures = ServiceFigures(
            Sources(
                self._store,
                KeptDocuments(self._config.state_dir / "kept"),
                self.health,
                self._pulse,
                engine_status=lambda: self._engine.status(),
                activities=self._activities,
                inboxes=self._people,
                hidden=os.fsencode(self._hidden.path) if self._hidden else b"",
                beside=lambda: self._canary.figures() if self._canary is not None else ({}, {}),
                on_gpu=lambda: any(DEVICES.glob("nvidia[0-9]*")),
            )
        )
        self._monitoring = Monitoring(self._config, self._environment, self._figures, self._processes)
        self._undo.append(("monitoring", self._monitoring.close))
        self.vitals = Vitals(self._figures, self._monitoring, self.health, self._pulse, lambda: self._engine.status())
        if isinstance(self._environment, MutableMapping):
            vitals = self.vitals
            self._web = open_pages(self._config, self._environment, self._monitoring, vitals.sick, vitals.not_ready)
            if self._web is not None:
                self._undo.append(("pages", self._web.close))

    def _take_up_the_last_run(self) -> None:
        """What the last daemon left. In an inbox the thread of that ends it, before any job of it may begin."""
        config, store = self._config, self._store
        canary.clear(config.state_dir / canary.FOLDER, store, self._history.sidecars)
        requests.clear(config.state_dir / requests.FOLDER, store, self._history.sidecars)
        kept = KeptDocuments(config.state_dir / "kept")
        adopt(self._history.sidecars, store, kept)
        if self._history.versions is not None:
            adopt_versions(self._history.versions, store)
        self._versions = Versions(store, self._history.versions)
        self._versions.on_new = lambda inbox: self._inboxes.corrected(inbox)
        self._unsettled = recovery.recover(store, config.state_dir / "spool", kept, self._goes)
        self._settle_elsewhere()

    def _settle_elsewhere(self) -> None:
        """What the last daemon was publishing in folders that are no inbox any more."""
        for folder in self._unsettled.inboxes() - {os.fsencode(config.path) for config in self._config.inbox}:
            try:
                within(SHARE_S, "recovery", partial(self._unsettled.settle, folder))
            except (NoAnswer, StorageError) as error:
                log.warning("%s: %s", os.fsdecode(folder), error, extra={"event": "not_recovered"})

    def _begin_inboxes(self) -> None:
        self._inboxes = inboxes = Inboxes(
            self._store,
            self._owner,
            self._pulse,
            self._shares,
            self._unsettled,
            self._wake_dispatcher,
            self._pages,
            self._history.sidecars,
            self._history.versions,
        )
        silence = Silence(self._store, inboxes.by_path, lambda: self._dispatcher, self._wake_dispatcher)
        self._shares.on_silent, self._shares.on_answer = silence.begins, silence.ends
        shares = self._launch("shares", self._shares)
        self._undo.append(("shares", shares.ask_to_stop))
        self._undo.append(("inboxes", inboxes.close))
        inboxes.begin(self._watched(self._config), self._config.max_attempts)

    def _pages(self, config: InboxConfig) -> FolderPages | None:
        """What people see in the folder of an inbox; of the canary's there are none to see it."""
        if self._hidden is not None and config.path == self._hidden.path:
            return None
        live = LiveSource(
            self._store,
            self._figures,
            self.health,
            self._activities,
            engine_status=lambda: self._engine.status(),
            begun=lambda: self._dispatcher is not None,
        )
        return FolderPages(config, self._store, partial(live.of, os.fsencode(config.path)))

    def _begin_engine(self) -> None:
        """Before the queue: a wrong model or device is the operator's to mend, and shows at once."""
        self._decode = make_decode_pool(self._config, _log_output)
        self._undo.append(("decode processes", lambda: self._decode.close(1.0)))
        self._engine = make_engine(self._config, _log_output)
        self._undo.append(("engine", lambda: self._engine.close(5.0)))
        models = dict.fromkeys(inbox.model for inbox in self._config.inbox)
        try:
            self._engine.start(next(iter(models)))
        except EngineUnavailable as error:
            log.warning("The engine did not start; it is tried again: %s", error, extra={"event": "engine_down"})

    def _begin_jobs(self) -> None:
        self._dispatcher = Dispatcher(
            self._make_shop,
            n_in_hand=n_in_hand(self._config),
            look_again=self._inboxes.look_again,
            watches=lambda path: self._inboxes.of(path) is not None,
            wake=self._wake_dispatcher,
            not_ready=self._inboxes.not_ready,
            blocked=self._inboxes.blocked,
            health=self.health,
            on_end=self._job_ended,
            most_each=lambda: {os.fsencode(one.path): one.max_in_hand_each for one in self._config.inbox},
        )
        self._undo.append(("jobs", self._drain))
        self.vitals.spool_trouble = self._dispatcher.spool_trouble
        self._launch("dispatcher", self._dispatcher)

    def _begin_watching(self) -> None:
        """Workers first, then who watches all."""
        self._monitoring.start()
        # With a pulse of its own: whatever holds it up, the daemon is not ended for it (`Vitals.sick` tells).
        self._launch("monitor", self._monitoring.actor, Pulse())
        keeper = Keeper(self._history, self.health, self._config.database, started=monotonic_s())
        self._undo.append(("history keeper", keeper.close))
        self._launch("history", keeper)
        self._launch("retention", Retention(self._store, lambda: self._config.history, self._presence))

    def _begin_canary(self) -> None:
        if self._hidden is None:
            return
        self._canary = Canary(
            self._config.canary,
            self._hidden.path,
            self._store,
            self._history.sidecars,
            started=monotonic_s(),
            hindrance=self._no_time_for_canary,
            in_hand=lambda: {activity.job.id for activity in self._activities()},
            on_drop=self._scan_canary,
            on_forget=self._dispatcher.forget if self._dispatcher is not None else lambda _job_id: None,
        )
        self._launch("canary", self._canary)

    def _begin_answers(self) -> None:
        """Last: whoever gets an answer gets a true one."""
        assert self._dispatcher is not None
        answers = Answers(
            self._store,
            self._engine,
            self._dispatcher,
            self._inboxes.by_path,
            self._pulse,
            self._started_at,
            lambda: self._config,
            Live(self._figures, self._monitoring, self.health, self._canary),
            self._versions,
        )
        commands = answers.commands()
        control = ControlServer(self._config.state_dir, commands)
        control.start()
        self._undo.append(("control socket", control.close))
        if self._web is not None and self._web.with_site:
            self._web.open(self._site(commands))

    def _site(self, commands: Mapping[str, Command]) -> Site:
        from daemon.web.access.access import Access  # only now: some 20 MB
        from daemon.web.access.policy import Policy
        from daemon.web.site import Site

        state_dir = self._config.state_dir
        return Site(
            VERSION,
            config=lambda: self._config,
            database=state_dir / DATABASE_NAME,
            metrics=state_dir / METRICS_NAME,
            store=self._store,
            commands=commands,
            latest=lambda: self._monitoring.latest,
            open_alerts=lambda: self._monitoring.open_alerts,
            inboxes=lambda: [inbox.config for inbox in self._people()],
            mistakes=lambda path: inbox.mistakes if (inbox := self._inboxes.by_path.get(path)) is not None else {},
            shows=self._shows,
            scan=self._scan,
            clock=utc_now,
            access=Access(Policy.of(self._config), self._store.note),
            uploads=self._begin_uploads(commands),
            requests=self._begin_requests(),
        )

    def _begin_uploads(self, commands: Mapping[str, Command]) -> Uploads:
        from daemon.web.uploads.receiving import Surroundings, Uploads

        def take(path: bytes, options: Mapping[str, object], by: str) -> int | None:
            job_id: int | None = commands["take"]({"path": os.fsdecode(path), "options": options, "by": by})
            return job_id

        def offline(inbox: bytes) -> str:
            return str(commands["offline"]({"inbox": os.fsdecode(inbox)}))

        around = Surroundings(
            inboxes=lambda: [inbox.config for inbox in self._people()],
            offline=offline,
            take=take,
            max_bytes=lambda: self._config.decode.max_source_bytes,
            clock=utc_now,
        )
        uploads = Uploads(self._config.state_dir / "uploads", around)
        self._launch("uploads", uploads, Pulse())  # it touches shares: whatever holds it up, the daemon goes on
        return uploads

    def _begin_requests(self) -> Requests:
        assert self._dispatcher is not None
        dispatcher = self._dispatcher
        made = Requests(
            self._config.state_dir / requests.FOLDER,
            self._store,
            self._history.sidecars,
            in_hand=lambda: {activity.job.id for activity in self._activities()},
            cancel=lambda job_id: dispatcher.cancel(job_id) or self._store.cancel([job_id], utc_now()),
            on_new=self._wake_dispatcher,
            on_forget=dispatcher.forget,
        )
        made.wake = self._launch("requests", made).wake
        return made

    def _shows(self, inbox: bytes) -> bool:
        """Whether people know of an inbox: not of the canary's, nor of where programs send recordings to."""
        hidden = self._hidden is not None and inbox == os.fsencode(self._hidden.path)
        return not hidden and inbox != os.fsencode(self._config.state_dir / requests.FOLDER)

    def _launch(self, name: str, actor: Actor, pulse: Pulse | None = None) -> ActorThread:
        thread = self._threads[name] = ActorThread(name, actor, pulse or self._pulse)
        thread.start()
        return thread

    def _make_shop(self, patiently: Patiently) -> Workshop:
        state_dir = self._config.state_dir
        return Workshop(
            self._store,
            self._decode,
            make_ahead(self._config),
            self._engine,
            KeptDocuments(state_dir / "kept"),
            state_dir / "spool",
            patiently,
            self._shares,
            self._config.decode.incomplete_wait_s,
            self._history.sidecars,
            lambda: self._config.history.reuse,
            goes=self._goes,
            may_grow=self._shows,  # what a program sends is all there is
        )

    # Work: what parts ask of each other.

    def _wake_dispatcher(self) -> None:
        if (thread := self._threads.get("dispatcher")) is not None:
            thread.wake()

    def _presence(self) -> Gone:
        return Presence(silent=lambda inbox: bool(self._shares.of(inbox).silence())).gone

    def _activities(self) -> Sequence[Activity]:
        return self._dispatcher.activities() if self._dispatcher is not None else ()

    def _people(self) -> list[Inbox]:
        """The inboxes that people know of."""
        hidden = self._hidden.path if self._hidden is not None else None
        return [inbox for inbox in list(self._inboxes.by_path.values()) if inbox.config.path != hidden]

    def _watched(self, config: Config) -> tuple[InboxConfig, ...]:
        return config.inbox if self._hidden is None else (*config.inbox, self._hidden)

    def _goes(self, job: Job, outcome: Outcome) -> bool:
        return goes(self._config.inbox, job.path, job.inbox, outcome)

    def _job_ended(self, end: End) -> None:
        self._inboxes.ended(end.job.inbox)
        if end.job.options.get("tracks"):
            self._scan(end.job.inbox)  # where transcripts of several tracks are written
        if self._hidden is None or end.job.inbox != os.fsencode(self._hidden.path):
            self._monitoring.ended(end)
        elif (thread := self._threads.get("canary")) is not None:
            thread.wake()

    def _no_time_for_canary(self) -> str:
        n_queued = self._store.count_of(JobState.QUEUED)
        if n_queued >= CROWD:
            return f"{n_queued} recordings are queued"
        if self._config.engine.idle_unload_s and self._engine.status().state == "unloaded":
            return "the model is not loaded"
        return "" if self.health.may_claim else "no job begins"

    def _scan_canary(self) -> None:
        assert self._hidden is not None
        self._scan(os.fsencode(self._hidden.path))

    def _scan(self, path: bytes) -> None:
        if (inbox := self._inboxes.by_path.get(path)) is not None:
            inbox.scan_now()

    def _processes(self) -> dict[str, int]:
        found = {"daemon": os.getpid()}
        pids = [seat.pid for seat in self._engine.status().seats if seat.pid is not None]
        found |= {f"engine-{index}" if index > 1 else "engine": pid for index, pid in enumerate(pids, start=1)}
        return found | {f"decoder-{index}": pid for index, pid in enumerate(self._decode.pids(), start=1)}

    def _say_stopping(self) -> None:
        self.vitals.phase = "stopping"
        self._monitoring.rest()

    # What is asked from outside.

    def hurry(self) -> None:
        """The grace of jobs in hand is over. Takes no lock: signal handlers call it."""
        if self._dispatcher is not None:
            self._dispatcher.hurry()

    def apply(self, config: Config) -> None:
        """What can change under running jobs is as in *config* from now on. Raises ConfigError; then nothing is.

        A history that does not answer now holds up the inboxes that are new; one that is damaged is lost.
        """
        self._monitoring.apply(config, self._environment)
        self._config = config
        if self._hidden is not None:
            self._hidden = canary.inbox_of(config)
        try:
            self._inboxes.apply(self._watched(config), config.max_attempts)
        except StorageDamaged as error:
            self.health.lose(str(error))

    # Stop: nothing new comes in, what is in hand ends or goes back, then the parts in reverse order.

    def stop(self) -> None:
        """All parts have ended, as far as they had begun."""
        while self._undo:
            name, undo = self._undo.pop()
            try:
                undo()
            except Exception:
                log.exception("stopping the %s failed", name, extra={"event": "bug"})

    def _drain(self) -> None:
        assert self._dispatcher is not None
        for thread in self._threads.values():
            thread.ask_to_stop()
        if not self._dispatcher.drain(self._config.stop_grace_s):
            log.error("a job would not end; the next start does it again", extra={"event": "drain_failed"})
        until = monotonic_s() + ENDED_S
        for thread in self._threads.values():
            thread.join(max(0.0, until - monotonic_s()))


def _log_output(name: str, line: str) -> None:
    log.info("%s: %s", name, line, extra={"event": "child_output", "child": name})
