"""``transcribed retry``, ``cancel`` and ``redo``: through the daemon when it runs, else under its lock."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from daemon.cli import exits
from daemon.cli.common import loaded, reader, writer
from daemon.clock import utc_now
from daemon.config import Config
from daemon.control import NoDaemon, ask
from daemon.errors import TranscribedError
from daemon.fairness import RANKS
from daemon.options import Priority
from daemon.redo import Wish
from daemon.redo import redo as daemon_redo
from storage.conditions import BadCondition

_N_AT_ONCE: Final = 500
"""Jobs in one request: the daemon answers within its time, and writes in between."""

_N_SHOWN: Final = 20

Change = Literal["retry", "cancel"]


def retry(file: Path | None, job_ids: Sequence[int]) -> int:
    """Queue the jobs again; the exit code."""
    return _report(
        "queued again",
        "cannot be retried in its state, or its recording has a newer job",
        job_ids,
        _change(file, "retry", job_ids),
    )


def cancel(file: Path | None, job_ids: Sequence[int]) -> int:
    """Cancel the jobs; the exit code."""
    return _report("cancelled", "is not waiting, queued or running", job_ids, _change(file, "cancel", job_ids))


def prioritize(file: Path | None, priority: Priority, job_ids: Sequence[int]) -> int:
    """Put the jobs before all others, or after them; the exit code."""
    config = loaded(file).config
    try:
        changed: list[int] = ask(config.state_dir, "priority", jobs=list(job_ids), priority=priority)
    except NoDaemon:
        with writer(config) as store:
            changed = store.prioritize(job_ids, RANKS[priority], utc_now())
    return _report(f"priority {priority}", "is not in the queue, or has that priority", job_ids, changed)


def redo(
    file: Path | None,
    job_ids: Sequence[int],
    where: str | None,
    *,
    yes: bool,
    dry_run: bool,
    over_corrections: bool = False,
) -> int:
    """Transcribe the recordings of these jobs again, or of those that *where* is true of; the exit code."""
    if bool(job_ids) == (where is not None):
        raise TranscribedError("redo: give either numbers of jobs, or --where with a condition")
    config = loaded(file).config
    wanted = list(dict.fromkeys(job_ids)) if where is None else _matching(config, where)
    what = f"{len(wanted)} recording{'' if len(wanted) == 1 else 's'}"
    if dry_run:
        print(f"{what} would be transcribed again" + (f": jobs {_numbers(wanted)}" if wanted else ""))
        return exits.OK
    if not wanted:
        print("no recording that is not in the queue already has such a job")
        return exits.OK
    if where is not None and not yes and not _agreed(f"Transcribe {what} again?"):
        print("Nothing was changed", file=sys.stderr)
        return exits.FAILED
    made = _redo(config, wanted, over_corrections=over_corrections)
    for job_id, new_id in made.items():
        if new_id is not None:
            print(f"job {job_id}: done again as job {new_id}")
    return _refuse(
        [job_id for job_id in wanted if made.get(job_id) is None],
        "there is none, or its recording is in the queue already, or a person corrected its text "
        "(--over-corrections takes the machine's all the same)",
    )


def _matching(config: Config, where: str) -> list[int]:
    with reader(config) as history:
        try:
            return history.matching(where)
        except BadCondition as error:
            raise TranscribedError(f"--where: {error}; docs/sql.md has the columns") from error


def _numbers(job_ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, job_ids[:_N_SHOWN]))
    return shown + (f" and {len(job_ids) - _N_SHOWN} more" if len(job_ids) > _N_SHOWN else "")


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise TranscribedError("there is no terminal to ask on; --yes goes ahead, --dry-run only counts")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _redo(config: Config, job_ids: Sequence[int], *, over_corrections: bool) -> dict[int, int | None]:
    wish = Wish(over_corrections=over_corrections)
    made: dict[int, int | None] = {}
    for start in range(0, len(job_ids), _N_AT_ONCE):
        some = list(job_ids[start : start + _N_AT_ONCE])
        try:
            answer: dict[str, int | None] = ask(config.state_dir, "redo", jobs=some, over_corrections=over_corrections)
        except NoDaemon:
            with writer(config) as store:
                made |= daemon_redo(store, job_ids[start:], config.inbox, config.max_attempts, utc_now(), wish)
            break
        made |= {int(job_id): new_id for job_id, new_id in answer.items()}
    return made


def _change(file: Path | None, change: Change, job_ids: Sequence[int]) -> list[int]:
    config = loaded(file).config
    try:
        changed: list[int] = ask(config.state_dir, change, jobs=list(job_ids))
    except NoDaemon:
        return _change_directly(config, change, job_ids)
    return changed


def _change_directly(config: Config, change: Change, job_ids: Sequence[int]) -> list[int]:
    with writer(config) as store:
        return store.retry(job_ids, utc_now()) if change == "retry" else store.cancel(job_ids, utc_now())


def _report(did: str, could_not: str, asked: Sequence[int], changed: Sequence[int]) -> int:
    for job_id in changed:
        print(f"job {job_id}: {did}")
    refused = [job_id for job_id in dict.fromkeys(asked) if job_id not in changed]
    return _refuse(refused, f"there is none, or it {could_not}")


def _refuse(refused: Sequence[int], why: str) -> int:
    for job_id in refused:
        print(f"transcribed: job {job_id}: {why}; see `transcribed job {job_id}`", file=sys.stderr)
    return exits.FAILED if refused else exits.OK
