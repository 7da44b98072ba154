"""Checks of an installation, each with what was found and what to do about it. Changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

from daemon import web
from daemon.alerting import setup_of
from daemon.clock import utc_now
from daemon.config import Config, InboxConfig
from daemon.control import NoDaemon, ask
from daemon.engine.client import devices_of
from daemon.errors import ConfigError, DecodeFailed
from daemon.intake.mounts import filesystem_of, is_network
from daemon.intake.watching import choose_watching
from daemon.locks import INBOX_MARKER, holder_of
from daemon.processes import make_decode_pool
from daemon.shares import NoAnswer, within
from monitor.notices.addresses import others_can_read
from storage.errors import StorageError
from storage.reading import JobReader
from storage.snapshots import Snapshots, check, schema_version

PROBE_TIMEOUT_S: Final = 120.0

SHARE_S: Final = 5.0

LOW_DISK_BYTES: Final = 3 * 1024**3
"""Beside decode.max_spool_bytes: a 12-hour recording that begins at that limit takes 1.4 GB more, with a voice on each
channel 2.8."""


OLD_SNAPSHOT_H: Final = 49.0
"""One is taken each night that the daemon runs."""


class Grade(StrEnum):
    """How bad a finding is; only BAD makes the doctor fail."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    grade: Grade
    finding: str


def examine(config: Config, database: Path) -> Iterator[Check]:
    """Every check, as it is done."""
    yield Check("python", Grade.GOOD, sys.version.split()[0])
    yield from _state(config.state_dir, config.decode.max_spool_bytes)
    yield from _inboxes(config)
    yield from _history(database)
    yield _snapshot(database)
    yield from _engine(config)
    yield _decoding(config)
    yield _ffmpeg()
    yield from who_is_told(config)
    yield _web(config)
    yield _daemon(config.state_dir)


def _state(folder: Path, max_spool_bytes: int) -> Iterator[Check]:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    writable = os.access(existing, os.W_OK | os.X_OK)
    filesystem = filesystem_of(existing)
    if not writable:
        yield Check("state folder", Grade.BAD, f"{existing} is not writable by uid {os.geteuid()}")
    elif is_network(filesystem):
        yield Check("state folder", Grade.BAD, f"{folder} is on {filesystem}: SQLite needs a local disk; set state_dir")
    else:
        yield Check("state folder", Grade.GOOD, f"{folder} on {filesystem}")
    free_bytes = shutil.disk_usage(existing).free
    grade = Grade.NOTE if free_bytes < LOW_DISK_BYTES + max_spool_bytes else Grade.GOOD
    yield Check("disk", grade, f"{free_bytes / 1024**3:.1f} GiB free for the database and work files")


def _inboxes(config: Config) -> Iterator[Check]:
    if not config.inbox:
        yield Check("inbox", Grade.BAD, "none is configured: add an [[inbox]], or set TRANSCRIBED_INBOX")
    for inbox in config.inbox:
        try:
            yield within(SHARE_S, "doctor", partial(_inbox, inbox))
            if inbox.done_path is not None:
                yield within(SHARE_S, "doctor", partial(_done_folder, inbox.path, inbox.done_path))
        except NoAnswer:
            yield Check(f"inbox {inbox.path}", Grade.BAD, f"it does not answer within {SHARE_S:g} s; is its server up?")


def _inbox(inbox: InboxConfig) -> Check:
    name = f"inbox {inbox.path}"
    if not inbox.path.is_dir():
        return Check(name, Grade.BAD, "no such folder")
    if not os.access(inbox.path, os.R_OK | os.W_OK | os.X_OK):
        return Check(name, Grade.BAD, f"uid {os.geteuid()} cannot read and write there: no transcript can appear")
    filesystem = filesystem_of(inbox.path)
    watching = choose_watching(inbox, filesystem)
    how = "events" if watching.events else f"polling every {watching.scan_interval_s:g} s"
    owner = holder_of(inbox.path / INBOX_MARKER)
    return Check(name, Grade.GOOD, f"{filesystem}, {how}" + (f"; in use by {owner}" if owner else ""))


def _done_folder(inbox: Path, done: Path) -> Check:
    """Where what is done goes: in an inbox it is made, elsewhere it must be there."""
    name = f"done folder {done}"
    if not done.is_dir():
        if inbox in done.parents:
            return Check(name, Grade.GOOD, "made when the first recording is done")
        return Check(name, Grade.BAD, "no such folder; make it, or mount what it is on: recordings stay until then")
    if not os.access(done, os.R_OK | os.W_OK | os.X_OK):
        return Check(name, Grade.BAD, f"uid {os.geteuid()} cannot write there: recordings stay where they are")
    copied = done.stat().st_dev != inbox.stat().st_dev
    return Check(name, Grade.GOOD, "on another filesystem: recordings are copied there" if copied else "recordings go")


def _history(database: Path) -> Iterator[Check]:
    version = sqlite3.sqlite_version_info
    # The WAL-reset bug (sqlite.org/wal.html#walresetbug) needs two connections that write; we have one.
    fixed = version >= (3, 51, 3) or (version[:2] == (3, 50) and version[2] >= 7)
    note = "" if fixed else "; has the WAL-reset bug: leave writing to the daemon, read with sqlite3 -readonly"
    yield Check("sqlite", Grade.GOOD if fixed else Grade.NOTE, f"{sqlite3.sqlite_version}{note}")
    if not database.exists():
        yield Check("history", Grade.GOOD, "none yet; made by the first run")
        return
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        reader = JobReader.open(database)
        n_jobs = sum(reader.counts().values())
        reader.close()
    except (sqlite3.Error, StorageError) as error:
        yield Check("history", Grade.BAD, f"{database}: {error}")
        return
    if verdict != "ok":
        yield Check("history", Grade.BAD, f"{database} is damaged: {verdict}")
    else:
        yield Check("history", Grade.GOOD, f"{n_jobs} jobs, {database.stat().st_size / 1e6:.1f} MB")


def _snapshot(database: Path) -> Check:
    """The newest one is opened and read through, as a rebuild would."""
    snapshots = Snapshots.beside(database).all()
    if not snapshots:
        return Check("snapshot", Grade.NOTE, "none yet; one is taken each night")
    newest = snapshots[0]
    age_h = (utc_now() - newest.at).total_seconds() / 3600
    try:
        n_jobs = check(newest.path)
        version = schema_version(newest.path)
    except StorageError as error:
        return Check("snapshot", Grade.BAD, f"{error}: a rebuild would take an older one; remove it")
    told = f"{newest.path.name} of {age_h:.0f} h ago can be restored: {n_jobs} jobs, schema {version}"
    grade = Grade.NOTE if age_h > OLD_SNAPSHOT_H else Grade.GOOD
    return Check("snapshot", grade, f"{told}; {len(snapshots)} in all")


def _engine(config: Config) -> Iterator[Check]:
    try:
        found = _probe()
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield Check("engine", Grade.BAD, f"the engine's libraries do not load: {error}")
        return
    yield Check("engine", Grade.GOOD, f"CTranslate2 {found['ctranslate2']}")
    for device, types in found["compute_types"].items():
        yield Check(f"device {device}", Grade.GOOD, ", ".join(types))
    for wanted in devices_of(config.engine.device):
        if wanted not in ("auto", "cuda", *found["devices"]) or (wanted == "cuda" and len(found["devices"]) == 1):
            yield Check("device", Grade.BAD, f"engine.device = {config.engine.device!r}: {wanted} is not found here")
    for model in dict.fromkeys([config.options.model, *(inbox.model for inbox in config.inbox)]):
        yield _model(model, found, config)


def _model(model: str, found: dict[str, Any], config: Config) -> Check:
    name = f"model {model}"
    if model == "base":
        embedded = found["embedded_model"]
        if embedded["verified"]:
            return Check(name, Grade.GOOD, "embedded, verified by hash")
        return Check(name, Grade.BAD, str(embedded["problem"]))
    if Path(model).is_dir():
        return Check(name, Grade.GOOD, "a local folder; verified when it is loaded")
    if model not in found["known_models"] and "/" not in model:
        return Check(name, Grade.BAD, f"no such model; known: {', '.join(found['known_models'])}")
    grade = Grade.GOOD if config.engine.allow_download else Grade.NOTE
    return Check(name, grade, "from the hub" + ("" if config.engine.allow_download else "; only if it is here already"))


def _probe() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "daemon.engine.probe"],
        capture_output=True,
        text=True,
        timeout=PROBE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _decoding(config: Config) -> Check:
    pool = make_decode_pool(config, lambda _name, _line: None)
    try:
        confinement = pool.confinement()
    except DecodeFailed as error:
        return Check("decoding", Grade.BAD, f"the libraries that read recordings do not load: {error}")
    finally:
        pool.close(0)
    return Check("decoding", Grade.NOTE if confinement.missing else Grade.GOOD, f"sandbox: {confinement.in_words()}")


def _ffmpeg() -> Check:
    path = shutil.which("ffmpeg")
    if path:
        return Check("ffmpeg", Grade.GOOD, f"{path}: the last resort for rare formats")
    return Check("ffmpeg", Grade.GOOD, "none; only rare formats would need it")


def who_is_told(config: Config) -> Iterator[Check]:
    """Who is told; an address holds a password or a token, so others may not read the files of them."""
    try:
        n_told = len(setup_of(config, os.environ).everybody())
        open_files = [str(path) for path in config.alerts.to_files if others_can_read(path)]
    except (ConfigError, OSError) as error:
        yield Check("alerts", Grade.BAD, str(error))
        return
    if not n_told:
        yield Check("alerts", Grade.NOTE, "nobody is told, only the log: set [alerts] to or to_files")
    elif open_files:
        told = f"others can read {', '.join(open_files)}, which hold secrets: chmod 600"
        yield Check("alerts", Grade.NOTE, told)
    else:
        yield Check("alerts", Grade.GOOD, f"{n_told} addresses are told; try them with `transcribed alerts test`")


def _web(config: Config) -> Check:
    """Where the pages are, and who may come in."""
    place = config.web.listen or "only where systemd opens a socket"
    if not config.web.pages:
        return Check("web", Grade.GOOD, f"/metrics, /healthz and /readyz {place}; no pages for people")
    if not web.installed():
        return Check("web", Grade.NOTE, f"{place}; no pages for people: transcribed[web] is not installed")
    from daemon.web.access import people, secret_file

    try:
        users = people.parse(secret_file.read(config.users_file))
        tokens = people.parse(secret_file.read(config.tokens_file))
    except secret_file.UnsafeFile as error:
        return Check("web", Grade.BAD, str(error))
    if not config.web.login:
        return Check("web", Grade.GOOD, f"{place}; whoever reaches it may look and act")
    if config.web.login == ("password",) and not users:
        return Check("web", Grade.BAD, f"{place}; nobody can log in: transcribed web-user add NAME")
    return Check(
        "web", Grade.GOOD, f"{place}; login by {', '.join(config.web.login)}; {len(users)} people, {len(tokens)} tokens"
    )


def _daemon(state_dir: Path) -> Check:
    try:
        status = ask(state_dir, "status")
    except NoDaemon:
        return Check("daemon", Grade.NOTE, "not running")
    return Check("daemon", Grade.GOOD, f"running, process {status['pid']}, engine {status['engine']['state']}")
