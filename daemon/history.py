"""The history at the start and at the end of a daemon: mended where it must be, rescued where it lost its name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from daemon.clock import utc_now
from daemon.config.schema import DATABASE_NAME as DATABASE_NAME
from daemon.errors import ConfigError
from daemon.health import HistoryHealth
from daemon.intake.mounts import filesystem_of, is_network
from daemon.keeper import KeptHistory
from daemon.sidecars import Sidecars
from daemon.versions import VersionFiles
from storage.errors import NewerSchema, StorageDamaged, StorageError
from storage.jobs import JobStore
from storage.mending import Identity, Mended, mend, set_aside, set_aside_log

log = logging.getLogger(__name__)

RESERVE_NAME: Final = "reserve"


def open_history(state_dir: Path, owner: str) -> KeptHistory:
    """The history in *state_dir*, sound and of the present schema. Raises ConfigError, StorageError.

    A damaged one is set aside, and what a snapshot knows is in its place; `daemon.sidecars.adopt` and
    `daemon.versions.adopt` add the rest.
    """
    refuse_network(state_dir)
    path, sidecars = state_dir / DATABASE_NAME, Sidecars(state_dir / "sidecars")
    versions = VersionFiles(state_dir / "sidecars")
    mended = mend(path, expected=bool(sidecars.job_ids()) or any(versions.all()))
    if mended is not None:
        _log_mended(path, mended)
    try:
        store = JobStore.open(path, owner)
    except (NewerSchema, StorageDamaged) as error:
        raise ConfigError(str(error)) from error
    if mended is not None:
        store.note("history_mended", _detail(mended), utc_now())
    return KeptHistory(store, path, Identity.of(path), sidecars, versions)


def close_history(history: KeptHistory, health: HistoryHealth) -> None:
    """It is closed; one that was lost is copied first, where that is possible, for the next start to begin with."""
    is_given_up = False
    if health.lost:
        try:
            copy = history.store.rescue()
            is_given_up = True
            log.warning("The lost history was saved as %s", copy, extra={"event": "history_rescued"})
        except StorageError as error:
            is_given_up = isinstance(error, StorageDamaged)
            log.critical("The lost history cannot be saved: %s", error, extra={"event": "rescue_failed"})
    history.store.close()
    if health.lost and Identity.of(history.path).database != history.identity.database:
        set_aside_log(history.path, history.identity)
    elif is_given_up:  # what was found in use may be hidden from the check at the start, again and again
        set_aside(history.path)


def refuse_network(state_dir: Path) -> None:
    """Raises ConfigError where *state_dir* is on a filesystem whose locks another machine keeps."""
    filesystem = filesystem_of(state_dir)
    if is_network(filesystem):
        raise ConfigError(
            f"state_dir = {str(state_dir)!r}: it is on a network filesystem ({filesystem}), where SQLite's locks "
            "and its log do not work: set state_dir to a folder on a local disk; the inboxes may stay where they are"
        )


def _detail(mended: Mended) -> dict[str, object]:
    return {
        "reason": mended.problem,
        "set_aside": str(mended.set_aside or ""),
        "snapshot": str(mended.snapshot.path if mended.snapshot else ""),
    }


def _log_mended(path: Path, mended: Mended) -> None:
    log.critical(
        "The history %s had to be rebuilt: %s. %s; %s, and sidecars know the rest",
        path,
        mended.problem,
        f"It was set aside as {mended.set_aside}" if mended.set_aside else "Nothing was there to set aside",
        f"the snapshot {mended.snapshot.path} took its place" if mended.snapshot else "there was no sound snapshot",
        extra={"event": "history_mended", **_detail(mended)},
    )
