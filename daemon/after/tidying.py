"""The actor that takes recordings out of an inbox when they are done.

It does what the history says is to go, so a crash, a dead share or a stop forget nothing. Its thread is apart from that
of the inbox: a copy of gigabytes to a slow archive must not keep anybody from dropping a memo.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from daemon.after.carrying import Changed, Errand, Gone, Place, Taken, carry, may_be
from daemon.after.names import place_of
from daemon.after.plan import Item, Plan, planned, unpacked
from daemon.clock import monotonic_s, utc_now
from daemon.config import InboxConfig
from daemon.failpoints import reached
from daemon.rewriting import Rewriting
from daemon.sidecars import Sidecars
from daemon.versions import VersionFiles
from storage.errors import StorageError
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, Move, MoveState

log = logging.getLogger(__name__)

RETRY_S: Final = 60.0
"""How long after a failure it is tried again."""

IDLE_S: Final = 30.0
_AT_ONCE: Final = 50
_WORK_S: Final = 5.0  # a step ends after about this much work: a loop must show that it is alive
_SHORT_S: Final = 0.05
_MOST_NAMES: Final = 1000


class Watched(Protocol):
    """What it needs of the inbox."""

    def stands(self) -> bool:
        """Whether its folder is there and ours."""
        ...


@dataclass(frozen=True, slots=True)
class _Where:
    """*done* is where recordings go, *root* the folder on the way there that must exist."""

    inbox: bytes
    done: bytes
    root: bytes


class Tidying:
    """One inbox whose recordings go. `step` is for a thread of its own, which may hang with a share."""

    def __init__(
        self,
        config: InboxConfig,
        store: JobStore,
        inbox: Watched,
        sidecars: Sidecars | None = None,
        versions: VersionFiles | None = None,
    ) -> None:
        """*config* says where to; *sidecars* follow what moves, *versions* what is made of corrections there."""
        assert config.done_path is not None
        path, done = os.fsencode(config.path), os.fsencode(config.done_path)
        self._where = _Where(path, done, path if done.startswith(path + b"/") else done)
        self._both = config.after_success == "move_both"
        outside = self._where.root == self._where.done
        self._rewriting = Rewriting(store, path, done, versions) if outside else None
        self._store = store
        self._inbox = inbox
        self._sidecars = sidecars
        self._versions = versions
        self._not_before: dict[int, float] = {}
        self._after = 0
        self._trouble = ""
        self._away: Callable[[], None] = lambda: None
        self._alive: Callable[[], None] = lambda: None

    def start_watching(self, alive: Callable[[], None], away: Callable[[], None]) -> None:
        """*away* is called before what a dead share may hold up for hours, *alive* after it."""
        self._alive, self._away = alive, away

    def step(self, now: float) -> float:
        """What is to go goes, as far as a step has time."""
        try:
            return self._step(now)
        except StorageError as error:  # a history that is lost is told by others
            log.warning("%s; tried again", error, extra={"event": "storage_trouble"})
            return IDLE_S

    def _step(self, now: float) -> float:
        self._rewrite()
        found = self._store.moves_waiting(self._where.inbox, _AT_ONCE, self._after)
        if not found:
            self._after, begun_at = 0, self._after
            return IDLE_S if not begun_at and not self._not_before else RETRY_S / 4
        until = monotonic_s() + _WORK_S
        with self._touching():
            if not self._is_open():
                return RETRY_S
            for move in found:
                self._after = move.job_id
                if now >= self._not_before.get(move.job_id, now):
                    self._go(move, now)
                if monotonic_s() > until:
                    break
        return _SHORT_S

    def _rewrite(self) -> None:
        """Corrected transcripts in a folder outside of the inbox are written."""
        if self._rewriting is not None and self._store.rewrites_due(self._where.inbox):
            with self._touching():
                if self._is_open():
                    self._rewriting.write_due()

    @contextmanager
    def _touching(self) -> Generator[None]:
        """Inside the block a share may hang; nothing of ours but this thread may wait for it."""
        self._away()
        try:
            yield
        finally:
            self._alive()

    def _is_open(self) -> bool:
        """Whether both folders are there. A folder elsewhere must exist, and not look like one whose disk is away."""
        if not self._inbox.stands():
            return False
        where, trouble = self._where, ""
        if where.root != where.inbox:
            try:
                empty = not os.listdir(where.root)
            except OSError as error:
                trouble = f"it cannot be reached ({error.strerror}); make it, or mount what it is on"
            else:
                if empty and self._store.has_moved_to(where.done):
                    trouble = "it is empty, and recordings were put there; is what it is on mounted?"
        if trouble and trouble != self._trouble:
            words = "%s: recordings of %s stay where they are: %s"
            names = os.fsdecode(where.done), os.fsdecode(where.inbox)
            log.warning(words, *names, trouble, extra={"event": "done_folder_away"})
        self._trouble = trouble
        return not trouble

    def _go(self, move: Move, now: float) -> None:
        try:
            self._take(move)
        except _Over as over:
            self._not_before.pop(move.job_id, None)
            self._store.give_up_move(move.job_id, str(over), utc_now())
            log.info("job %d: not moved: %s", move.job_id, over, extra={"event": "not_moved", "job_id": move.job_id})
        except OSError as error:
            self._put_off(move, f"cannot be moved to {os.fsdecode(self._where.done)}: {error.strerror or error}", now)
        else:
            self._not_before.pop(move.job_id, None)
            reached("move.done")

    def _put_off(self, move: Move, reason: str, now: float) -> None:
        self._not_before[move.job_id] = now + RETRY_S
        if reason != move.reason:
            self._store.put_off_move(move.job_id, reason, utc_now())
            log.warning(
                *("job %d: %s; tried again", move.job_id, reason),
                extra={"event": "move_waits", "job_id": move.job_id},
            )

    def _take(self, move: Move) -> None:
        """All files of one recording go. Raises _Over where it is to stay, OSError where it is to be tried again."""
        job = self._store.job(move.job_id)
        if job is None:
            return
        resumed = move.state is MoveState.BEGUN
        if resumed:
            plan = unpacked(move.plan)
        else:
            plan, resumed = self._first_plan(move, job)
        while True:
            try:
                plan = self._carried(plan, resumed=resumed)
                break
            except _NameTaken as taken:
                plan = self._other_names(taken.plan)
            except Changed as error:
                raise _Over(str(error)) from error
            except Gone:
                raise _Over("the recording is not there any more") from None
            resumed = False
            self._begin(move, plan)
        places = {item.origin: item.target for item in plan.items}
        expected = plan.recording.expected
        assert expected is not None  # it was carried, and that says what it is
        if self._sidecars is not None:
            self._sidecars.relocate(move.job_id, places)
        if self._versions is not None:
            self._versions.relocate(move.job_id, places)
        reached("move.sidecar")
        self._store.end_move(move, places, expected, utc_now())
        log.info(
            *("job %d: %s went to %s", move.job_id, os.fsdecode(move.source), os.fsdecode(plan.recording.target)),
            extra={"event": "moved", "job_id": move.job_id, "n_files": len(places)},
        )

    def _first_plan(self, move: Move, job: Job) -> tuple[Plan, bool]:
        """The plan, which is in the history now, and whether some of it is done."""
        if not self._store.may_move(job.id):
            raise _Over("a later job is for this recording")
        target = place_of(job.path, self._where.inbox, self._where.done)
        # So it is where the history that knew of it was lost.
        went = not _is_file(job.path) and _is_file(target) and _was_there(target, job.fingerprint)
        files = [Item(job.path, job.path, b"", b"", job.fingerprint)]
        transcripts = self._transcripts(job) if self._both else []
        files += [Item(path, path, b"", b"") for path in transcripts if went or _is_file(path)]
        folder = os.path.dirname(target)
        root = self._where.root
        plan = planned(tuple(files), folder, 1, root) if went else self._free(tuple(files), folder, 1, root)
        self._begin(move, plan)
        return plan, went

    def _transcripts(self, job: Job) -> list[bytes]:
        """Those beside the recording."""
        paths = [output.path for output in self._store.transcripts_of(job.id)]
        return [path for path in paths if os.path.dirname(path) == os.path.dirname(job.path)]

    def _other_names(self, plan: Plan) -> Plan:
        return self._free(plan.items, os.path.dirname(plan.recording.target), plan.number + 1, plan.root)

    def _free(self, items: tuple[Item, ...], folder: bytes, number: int, root: bytes) -> Plan:
        """The first plan from *number* on whose names nobody has."""
        for tried in range(number, number + _MOST_NAMES):
            plan = planned(items, folder, tried, root)
            if not any(os.path.lexists(item.target) for item in plan.items):
                return plan
        raise _Over(f"all names are taken in {os.fsdecode(folder)}")

    def _begin(self, move: Move, plan: Plan) -> None:
        self._store.begin_move(move.job_id, plan.recording.target, plan.packed())
        reached("move.begun")

    def _carried(self, plan: Plan, *, resumed: bool) -> Plan:
        """*plan*, done: all its files are where they go. Raises _NameTaken with how far it came."""
        done: list[Item] = []
        for index, item in enumerate(plan.items):
            target = Place(plan.root, item.target)
            errand = Errand(self._source(item, plan.root), target, item.temporary, item.expected)
            try:
                found = carry(errand, resumed=resumed)
            except Taken:
                raise _NameTaken(replace(plan, items=(*done, *plan.items[index:]))) from None
            except Gone:
                if index == 0:
                    raise
                continue  # a transcript that somebody took away
            except Changed:
                if index == 0:
                    raise
                continue  # nor is what is there now ours to take
            done.append(replace(item, now=item.target, expected=found if index == 0 else None))
            reached("move.carried")
        return replace(plan, items=tuple(done))

    def _source(self, item: Item, root: bytes) -> Place:
        """Its place now: in the inbox, or already in the folder in *root* where it goes, by a name that was taken."""
        return Place(self._where.inbox if item.now.startswith(self._where.inbox + b"/") else root, item.now)


class _Over(Exception):
    """Raised where a recording is to stay for good, with the reason."""


class _NameTaken(Exception):
    """Raised where a name was taken meanwhile, with the plan as far as it was done."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


def _is_file(path: bytes) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _was_there(path: bytes, fingerprint: Fingerprint) -> bool:
    """Whether the file at *path* is what had *fingerprint* elsewhere."""
    return may_be(os.lstat(path), fingerprint)
