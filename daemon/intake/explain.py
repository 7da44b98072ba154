"""Why a path is treated as it is, in words. The same answer from the daemon and, as far as it goes, without one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from daemon.config import InboxConfig
from daemon.fairness import WORDS
from daemon.intake.folder_settings import (
    Effective,
    Said,
    around,
    of_inbox,
    resolve,
    told_settings,
)
from daemon.intake.rules import judge_path
from daemon.intake.settings_files import read_settings
from daemon.intake.settings_mistakes import FILE_NAME, Mistake, Mistaken
from daemon.shares import NoAnswer, within
from daemon.words import catalogue
from storage.reading import JobQueries
from storage.records import Job

_SHARE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rule that decided, and what led to it, a line each. *job_id* is the newest job of the path."""

    rule: str
    lines: tuple[str, ...]
    job_id: int | None


def explain(
    path: Path, inboxes: Sequence[InboxConfig], jobs: JobQueries | None, unfinished: Callable[[bytes], str | None]
) -> Explanation:
    """What is thought of *path*. *unfinished* says what the intake waits for, None for nothing."""
    found = _find(path, inboxes)
    if found is None:
        folders = ", ".join(str(inbox.path) for inbox in inboxes) or "none is configured"
        return Explanation("not in an inbox", (f"the inboxes are: {folders}",), None)
    inbox, place = found
    path = inbox.path / place
    where = f"in the inbox {inbox.path}"
    verdict = judge_path(place.parts, recursive=inbox.recursive)
    if not verdict.recording:
        return Explanation(verdict.rule, (where, verdict.rule), None)
    name = os.fsencode(path)
    done = inbox.done_path
    if done is not None and done in path.parents:
        job = jobs.newest(name) if jobs is not None else None
        rule = f"done: {done} is where recordings go after their success; nothing in it is transcribed"
        return Explanation(rule, (where, rule, *([_of_job(job)] if job is not None else [])), job.id if job else None)
    settings, mistakes = _settings(inbox, name, jobs)
    if settings.ignores(name):
        rule = f"ignored: so say the settings in {settings.origins['ignore']}"
        return Explanation(rule, (where, verdict.rule, rule, *mistakes), None)
    try:
        readable, on_disk = within(_SHARE_S, "explain", partial(_on_disk, inbox.path, place))
    except NoAnswer:
        readable, on_disk = False, f"on disk: the share does not answer within {_SHARE_S:g} s"
    told = told_settings(settings.options(), settings.told_origins())[: len(settings.told_origins())]
    lines = [where, verdict.rule, on_disk, *(f"setting: {line}" for line in told), *mistakes]
    waiting = unfinished(name)
    job = jobs.newest(name) if jobs is not None else None
    lines += [waiting] if waiting else []
    stands = jobs.standing(job.id) if jobs is not None and job is not None else None
    if job is not None and stands is not None:
        lines.append(f"in the queue: {stands.n_before} before it; priority {WORDS[job.priority]}")
    lines += [_of_job(job)] if job is not None else []
    move = jobs.moved_from(name) if jobs is not None and job is None else None
    if move is not None and move.target is not None:
        lines.append(f"job {move.job_id} was for a recording of this name, which went to {os.fsdecode(move.target)}")
        if not readable:
            return Explanation(lines[-1], tuple(lines), move.job_id)
    if readable and not waiting and job is None:
        lines.append("no job yet: the next scan finds it")
    rule = waiting or (f"job {job.id} is {job.state}" if job is not None else lines[-1] if readable else on_disk)
    return Explanation(rule, tuple(lines), job.id if job is not None else None)


def _settings(inbox: InboxConfig, path: bytes, jobs: JobQueries | None) -> tuple[Effective, list[str]]:
    """The settings for *path*, as the files are now, and what is wrong in those files, a line each."""
    root = os.fsencode(inbox.path)
    if not inbox.may_set:
        return of_inbox(inbox), []
    places = list(around(root, os.path.dirname(path)))
    kept = jobs.folder_settings(root) if jobs is not None else {}

    def read() -> dict[bytes, Said | Mistaken]:
        found = {place: read_settings(root, place) for place in places}
        return {place: said for place, said in found.items() if said is not None}

    try:
        files = within(_SHARE_S, "explain", read)
    except NoAnswer:
        files = {place: Said(kept[place]) for place in places if place in kept}

    def told(mistakes: Sequence[Mistake]) -> str:
        return "; ".join(mistake.told(catalogue("en")) for mistake in mistakes)

    resolved = resolve(inbox, files, kept)
    lines = [
        f"mistake in {os.fsdecode(os.path.join(folder, os.fsencode(FILE_NAME)))}: {told(mistakes)}"
        + ("; what it said before still counts" if folder in resolved.good else "")
        for folder, mistakes in resolved.mistakes.items()
    ]
    return resolved.settings.of_recording(path), lines


def _find(path: Path, inboxes: Sequence[InboxConfig]) -> tuple[InboxConfig, Path] | None:
    """The inbox that *path* is in, and *path* as seen from it, by whichever name the inbox goes."""
    for look in (_written_in, _really_in):
        for inbox in inboxes:
            place = look(inbox.path, path)
            if place is not None:
                return inbox, place
    return None


def _written_in(inbox: Path, path: Path) -> Path | None:
    """*path* as seen from *inbox*, if it is written as one in it."""
    path = Path(os.path.abspath(path))
    return path.relative_to(inbox) if inbox in path.parents else None


def _really_in(inbox: Path, path: Path) -> Path | None:
    """*path* as seen from *inbox*, if it is in there by another name; None too where a share does not answer."""

    def look() -> Path | None:
        real_path = Path(os.path.realpath(path.parent), path.name)
        real = Path(os.path.realpath(inbox))
        return real_path.relative_to(real) if real in real_path.parents else None

    try:
        return within(_SHARE_S, "explain", look)
    except NoAnswer:
        return None


def _on_disk(inbox: Path, place: Path) -> tuple[bool, str]:
    """Whether there is a file to read, and what there is in words."""
    for folder in [inbox / parent for parent in place.parents if parent.parts]:
        if folder.is_symlink():
            return False, f"on disk: {folder} is a symbolic link; links are not followed"
    try:
        status = (inbox / place).lstat()
    except OSError as error:
        return False, f"on disk: {error.strerror}"
    if stat.S_ISLNK(status.st_mode):
        return False, "on disk: a symbolic link; links are not followed"
    if not stat.S_ISREG(status.st_mode):
        return False, "on disk: not a regular file; only regular files are read"
    return True, f"on disk: {status.st_size} bytes"


def _of_job(job: Job) -> str:
    outcome = f" ({job.outcome})" if job.outcome else ""
    reason = f": {job.reason}" if job.reason else ""
    return f"job {job.id} is {job.state}{outcome}{reason}"
