"""Very many recordings: 100,000 dropped at once, and a history of a million jobs.

    python -m benchmarks.scale [--files 100000] [--jobs 1000000] [--transcripts 10000] [--folder FOLDER]

The first part is a daemon of its own whose engine does nothing (`benchmarks.noop_daemon`), the second the history alone
(`benchmarks.long_history`). Needs about 4 GB in FOLDER, which should be on a local disk. Exit status 1 if a limit is
missed; questions about all of the history, such as sums over all days, have none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import long_history, machine, noop_daemon, results
from benchmarks.match import clean_environment
from benchmarks.processes import peak_rss_mb
from daemon.control import NoDaemon, ask
from storage.claims import Open
from storage.jobs import JobStore
from storage.records import Fingerprint, NewJob

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "sql.md"

DAEMON: Final = "the daemon"
COMMANDS: Final = "whole commands"
HISTORY: Final = "the history"
QUESTIONS: Final = "docs/sql.md"
TABLES: Final = "views"

OVER_ALL: Final = (
    "Which reasons come up most?",
    "Its jobs, by a part of its name:",
    "Recordings that were never transcribed:",
    "Words spoken, by month and language:",
    "Words per minute of speech, the fastest talkers first:",
    "Hours of audio per day:",
    "By folder:",
    "By language:",
    "The slowest recordings of a minute and more:",
    "From the drop in the inbox to the transcript, on average, per day:",
    "Recordings with the same content:",
    "Lines to check by ear, the least certain first:",
    "Which recordings speak of it most?",
)
"""Questions of the cookbook that no index answers: each looks at all jobs, or at all lines that match."""

VIEWS: Final = (
    ("v_jobs, the newest 50", "SELECT * FROM v_jobs ORDER BY job_id DESC LIMIT 50", 50.0),
    ("v_history, the newest 50", "SELECT * FROM v_history ORDER BY finished_at DESC LIMIT 50", 50.0),
    ("v_history of a recording", "SELECT * FROM v_history WHERE path = '/srv/inbox/anna/interview.wav'", 50.0),
    ("v_failures, the newest 50", "SELECT * FROM v_failures ORDER BY finished_at DESC LIMIT 50", 50.0),
    ("v_events, the newest 50", "SELECT * FROM v_events ORDER BY event_id DESC LIMIT 50", 50.0),
    ("v_outputs of a recording", "SELECT * FROM v_outputs WHERE recording = '/srv/inbox/anna/interview.wav'", 50.0),
    ("v_files, the newest 50", "SELECT * FROM v_files ORDER BY file_id DESC LIMIT 50", 50.0),
    ("v_segments, the newest 50", "SELECT * FROM v_segments ORDER BY segment_id DESC LIMIT 50", 50.0),
    ("v_segments of a recording", "SELECT * FROM v_segments WHERE path = '/srv/inbox/anna/interview.wav'", 50.0),
    ("v_suspects, the newest 50", "SELECT * FROM v_suspects ORDER BY suspect_id DESC LIMIT 50", 50.0),
    ("v_throughput_daily, all days", "SELECT * FROM v_throughput_daily ORDER BY day", None),
)
"""Each view as programs ask it: what, the query, the limit in ms."""

_N_TIMES: Final = 5
_POLL_S: Final = 0.5
_PERSONS: Final = 10_000
_DEAD: Final = 0.1  # jobs in the queue of an inbox that is offline, for each job of history


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured, in the *unit* s, ms or MB: the middle of some tries, and the most. *limit* is for the middle.

    None where there is no limit.
    """

    group: str
    what: str
    value: float
    most: float
    unit: str
    limit: float | None = None

    @property
    def missed(self) -> bool:
        """Whether it is over its limit."""
        return self.limit is not None and self.value > self.limit


def figure(group: str, what: str, values: Sequence[float], unit: str, limit: float | None = None) -> Figure:
    """The figure of some tries."""
    return Figure(group, what, statistics.median(values), max(values), unit, limit)


def timed(call: Callable[[], object], n_times: int = _N_TIMES) -> list[float]:
    """The milliseconds that each of some calls takes."""
    taken: list[float] = []
    for _ in range(n_times):
        began = time.perf_counter()
        call()
        taken.append(1000.0 * (time.perf_counter() - began))
    return taken


# The daemon.


def make_files(folder: Path, n_files: int) -> None:
    """*n_files* small files with names of recordings, no two alike."""
    folder.mkdir()
    for number in range(n_files):
        (folder / f"recording {number:06d}.wav").write_bytes(f"{number:06d}".encode())


class Crowd:
    """A daemon that does nothing with its recordings, on folders of its own."""

    def __init__(self, root: Path, more: Mapping[str, str] | None = None) -> None:
        """*more* are settings besides its own."""
        self.root = root
        self.inbox, self.state_dir, self.times = root / "inbox", root / "state", root / "times.jsonl"
        self.inbox.mkdir(exist_ok=True)
        settings = {
            "INBOX": str(self.inbox),
            "STATE_DIR": str(self.state_dir),
            "LOG_LEVEL": "warning",
            "OPTIONS_FORMATS": "txt",
            **(more or {}),
        }
        self.environment = clean_environment(os.environ) | {
            f"TRANSCRIBED_{key}": value for key, value in settings.items()
        }
        self.hold = noop_daemon.hold_of(self.times)
        self.times.write_text("")
        began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.noop_daemon", str(self.times)],
            env=self.environment | {"PYTHONPATH": str(Path(__file__).parent.parent)},
            cwd=root,
        )
        self._wait_until_ready()
        self.start_s = time.monotonic() - began

    def _wait_until_ready(self) -> None:
        while self._process.poll() is None:
            try:
                ask(self.state_dir, "status")
            except NoDaemon:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"the daemon ended with {self._process.returncode}")

    def count(self, where: str = "1") -> int:
        """The jobs for which *where* holds."""
        address = f"file:{self.state_dir / 'transcribed.db'}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as database:
            (n_jobs,) = database.execute(f"SELECT count(*) FROM job WHERE {where}").fetchone()  # noqa: S608  # ours
        return int(n_jobs)

    def notes(self, what: str) -> list[dict[str, Any]]:
        """What the inbox did so far."""
        found: list[dict[str, Any]] = [json.loads(line) for line in self.times.read_text("ascii").splitlines()]
        return [note for note in found if note["what"] == what]

    def scans(self, n_files: int) -> list[dict[str, Any]]:
        """The scans that found all files."""
        return [note for note in self.notes("scan") if note["n_found"] >= n_files]

    def has_scans(self, n_files: int, n_scans: int) -> bool:
        """Whether so many scans found all files."""
        return len(self.scans(n_files)) >= n_scans

    def wait(self, done: Callable[[], bool], limit_s: float = 900.0) -> None:
        """Raises RuntimeError if it is not *done* in time."""
        until = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > until or self._process.poll() is not None:
                raise RuntimeError("the daemon ended, or took too long")
            time.sleep(_POLL_S)

    def peak_mb(self) -> float:
        """The most that it has had in memory."""
        return peak_rss_mb(self._process.pid)

    def command(self, *words: str) -> None:
        """A whole command, as a person types it."""
        program = str(Path(sys.executable).with_name("transcribed"))
        subprocess.run([program, *words], env=self.environment, cwd=self.root, check=True, stdout=subprocess.DEVNULL)

    def close(self) -> None:
        """The daemon has ended."""
        self._process.terminate()
        self._process.wait(180.0)


def crowd(root: Path, n_files: int) -> Iterator[Figure]:
    """Drop all files at once, look at the daemon at rest and at work, start it again."""
    make_files(root / "drop", n_files)
    with closing(Crowd(root)) as daemon:
        daemon.hold.touch()
        dropped = time.monotonic()
        (root / "drop").rename(daemon.inbox / "drop")
        daemon.wait(lambda: bool(daemon.scans(n_files)))
        first = daemon.scans(n_files)[0]
        yield figure(DAEMON, "first scan", [first["took_s"]], "s", 5.0)
        yield figure(DAEMON, "from the drop to the end of the first scan", [first["ended"] - dropped], "s", 5.0)
        daemon.wait(lambda: daemon.count() >= n_files)
        yield figure(DAEMON, "from the drop to a job for each (3 s to settle)", [time.monotonic() - dropped], "s")
        yield figure(DAEMON, "jobs made, in all", [sum(note["took_s"] for note in daemon.notes("batch"))], "s")
        yield figure(DAEMON, "rescan", rescans(daemon, n_files), "s", 0.5)
        yield from commands(daemon, "")
        yield figure(DAEMON, "memory, the most so far", [daemon.peak_mb()], "MB", 250.0)
        daemon.hold.unlink()
        daemon.wait(lambda: daemon.count("state = 'done'") > 0)
        n_done, began = daemon.count("state = 'done'"), time.monotonic()
        yield figure(DAEMON, "rescan, at work", rescans(daemon, n_files), "s")
        yield from commands(daemon, ", at work")
        a_second = (daemon.count("state = 'done'") - n_done) / (time.monotonic() - began)
        yield figure(DAEMON, "recordings done in a second meanwhile", [a_second], "")
        yield figure(DAEMON, "memory, the most of all", [daemon.peak_mb()], "MB", 250.0)
    with closing(Crowd(root)) as daemon:
        yield figure(DAEMON, "start with all of them known", [daemon.start_s], "s")
        daemon.wait(lambda: bool(daemon.scans(n_files)))
        yield figure(DAEMON, "its first scan", [daemon.scans(n_files)[0]["took_s"]], "s", 5.0)
        yield figure(DAEMON, "its memory", [daemon.peak_mb()], "MB", 250.0)


def rescans(daemon: Crowd, n_files: int) -> list[float]:
    """The seconds of some scans that find nothing new; a file that is no recording calls for each."""
    n_before = len(daemon.scans(n_files))
    for number in range(1, _N_TIMES + 1):
        (daemon.inbox / f"note {number}.txt").write_text("")
        daemon.wait(partial(daemon.has_scans, n_files, n_before + number))
    return [note["took_s"] for note in daemon.scans(n_files)[n_before:]]


def commands(daemon: Crowd, when: str) -> Iterator[Figure]:
    """What a person types meanwhile."""
    told = (["status"], ["jobs"], ["jobs", "--state", "queued"])
    searches = (["search", noop_daemon.WORD, "was said"],) if when else ()
    for words in (*told, *searches):
        taken_s = [value / 1000.0 for value in timed(partial(daemon.command, *words))]
        yield figure(COMMANDS, " ".join(["transcribed", *words]) + when, taken_s, "s", None if when else 0.5)


# The history.


def history(root: Path, n_jobs: int, n_transcripts: int, n_lines: int) -> Iterator[Figure]:
    """Questions to a history of *n_jobs*, then changes to it."""
    path = root / "transcribed.db"
    long_history.write(path, n_jobs, n_transcripts, n_lines)
    yield figure(HISTORY, "size", [path.stat().st_size / 1e6], "MB")
    yield from questions(path)
    opened: list[JobStore] = []
    yield figure(HISTORY, "opened", timed(lambda: opened.append(JobStore.open(path, "me")), 1), "ms")
    with closing(opened[0]) as store:
        yield from reads(store)
        yield from claims(store, int(_DEAD * n_jobs))
    yield from searches(root, n_transcripts)


def reads(store: JobStore) -> Iterator[Figure]:
    """What the daemon asks."""
    n_known = len(store.known_files(b"/srv/inbox"))
    known = timed(lambda: store.known_files(b"/srv/inbox"), 3)
    yield figure(HISTORY, f"at the start: what is known of an inbox ({n_known} recordings)", known, "ms")
    interview = long_history.INTERVIEW.encode()
    some = [long_history.path_of(number).encode() for number in range(1, 501)]
    before = datetime.now(UTC) - timedelta(days=365)
    inboxes = {long_history.inbox_of(number) for number in range(long_history.N_INBOXES)}
    limited: dict[str, Callable[[], object]] = {
        "newest jobs": store.jobs,
        "outputs of a recording": lambda: store.written(interview),
        "newest job of a recording": lambda: store.newest(interview),
        "newest transcript of a recording": lambda: store.last_done(interview),
        "transcripts of the same content": lambda: store.transcript_of("0" * 64, 1_000_100, "d"),
        "the job that waits the longest": lambda: store.oldest_queued(inboxes, datetime.now(UTC)),
        "what ended in a day": lambda: store.ended_since(datetime.now(UTC) - timedelta(days=1), 500),
        "a step of retention: events": lambda: store.old_events(before, 500),
        "a step of retention: jobs": lambda: store.old_jobs(before, 0, 20),
    }
    for what, call in limited.items():
        yield figure(HISTORY, what, timed(call), "ms", 50.0)
    yield figure(HISTORY, "newest jobs of 500 recordings at once", timed(lambda: store.newest_of(some)), "ms")
    yield figure(HISTORY, "jobs by state, for status", timed(store.counts), "ms")
    yield figure(HISTORY, "a step of retention: texts", timed(lambda: store.old_texts(3, 0, 5), 3), "ms")


def _new(name: str, inbox: bytes) -> NewJob:
    return NewJob(inbox + b"/" + name.encode(), inbox, Fingerprint(1, 2, 3, 4, 5), {"model": "base"}, "d")


def _of_person(number: int) -> NewJob:
    job = _new(f"of {number}.wav", b"/srv/inbox")
    return replace(job, person=b"person %d" % number, expected_s=30.0 + number % 1000)


def claims(store: JobStore, n_dead: int) -> Iterator[Figure]:
    """What the daemon changes, also behind very many jobs of an inbox that is gone."""
    at = datetime.now(UTC)
    store.enqueue([_new(f"new {number}.wav", b"/srv/inbox") for number in range(50)], at)
    yield figure(HISTORY, "claim", timed(lambda: store.claim(at), 25), "ms", 50.0)
    dead = long_history.DEAD_INBOX
    for first in range(0, n_dead, 500):
        store.enqueue([_new(f"dead {number}.wav", dead) for number in range(first, min(first + 500, n_dead))], at)
    store.enqueue([_new(f"behind {number}.wav", b"/srv/inbox") for number in range(50)], at)
    while (job := store.claim(at, [dead])) is not None and b"new" in job.path:
        pass  # those from before
    taken = timed(lambda: store.claim(at, [dead]), 25)
    yield figure(HISTORY, f"claim behind {n_dead} jobs of an inbox that is offline", taken, "ms", 50.0)
    for first in range(0, _PERSONS, 500):
        store.enqueue([_of_person(number) for number in range(first, first + 500)], at)
    taken = timed(lambda: store.claim(at, [dead]), 25)
    yield figure(HISTORY, f"claim where {_PERSONS} persons wait", taken, "ms", 50.0)
    full = Open([dead], [b"person 1"], [b"person %d" % number for number in range(5)])
    taken = timed(lambda: store.claim(at, full), 25)
    yield figure(HISTORY, "the same, some of whom may not begin", taken, "ms", 50.0)
    (last,) = store.enqueue([replace(_new("last.wav", b"/srv/inbox"), expected_s=5000.0)], at)
    yield figure(HISTORY, "where a job stands among them", timed(lambda: store.standing(last)), "ms", 50.0)


def questions(path: Path) -> Iterator[Figure]:
    """Every query of the cookbook, as any program may ask it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        for title, query, limit in VIEWS:
            yield figure(TABLES, title, timed(partial(_rows, database, query), 3), "ms", limit)
        for title, query in cookbook(DOCUMENT.read_text("utf-8")):
            limit = None if title in OVER_ALL else 50.0
            n_times = 1 if title in OVER_ALL else _N_TIMES
            taken = timed(partial(_rows, database, query), n_times)
            yield figure(QUESTIONS, title, taken, "ms", limit)


def _rows(database: sqlite3.Connection, query: str) -> list[Any]:
    return database.execute(query).fetchall()


def cookbook(text: str) -> list[tuple[str, str]]:
    """Each query about the job history, with the paragraph before it."""
    history = text.partition("\n## metrics.db\n")[0]
    found: list[tuple[str, str]] = re.findall(r"((?:[^\n]+\n)+)\n```sql\n(.*?)```", history, re.DOTALL)
    return [(" ".join(title.split()), query) for title, query in found]


def searches(root: Path, n_transcripts: int) -> Iterator[Figure]:
    """The phrase that is in many transcripts, by the command; and without what a process costs."""
    phrase = f'"{long_history.PHRASE[0]}"'
    with closing(JobStore.open(root / "transcribed.db", "me")) as store:
        taken = timed(lambda: store.search([phrase]))
        yield figure(HISTORY, f"a phrase in {n_transcripts} transcripts", taken, "ms", 100.0)
    (root / "nothing").mkdir()
    environment = os.environ | {"TRANSCRIBED_STATE_DIR": str(root), "TRANSCRIBED_INBOX": str(root / "nothing")}
    program = str(Path(sys.executable).with_name("transcribed"))
    for words in (["search", phrase], ["jobs"]):
        command = [program, *words]
        taken = timed(partial(subprocess.run, command, env=environment, check=True, capture_output=True))
        yield figure(COMMANDS, f"transcribed {words[0]}, long history", [value / 1000.0 for value in taken], "s", 0.5)


@contextmanager
def scratch(parent: Path | None) -> Generator[Path]:
    """A folder for a while."""
    with tempfile.TemporaryDirectory(prefix="transcribed-scale-", dir=parent) as name:
        yield Path(name)


def measured(arguments: argparse.Namespace) -> Iterator[Figure]:
    """All figures, as they come."""
    if arguments.files:
        with scratch(arguments.folder) as root:
            yield from crowd(root, arguments.files)
    if arguments.jobs:
        with scratch(arguments.folder) as root:
            yield from history(root, arguments.jobs, arguments.transcripts, arguments.lines)


def shown(found: Figure) -> Figure:
    """*found*, printed."""
    limit = f"{found.limit:g}" if found.limit is not None else "-"
    verdict = "MISSED" if found.missed else ""
    print(
        f"{found.what[:70]:70} {found.value:10.2f} {found.most:10.2f} {limit:>6} {found.unit:2} {verdict}", flush=True
    )
    return found


def data_of(found: Sequence[Figure], sizes: Mapping[str, int]) -> dict[str, Any]:
    """What is written of the figures."""
    data: dict[str, Any] = {"benchmark": "scale", "at": results.now(), "device": "cpu", **sizes}
    return data | {"machine": machine.describe("cpu"), "figures": [asdict(one) for one in found]}


def main() -> int:
    """Measure, print, write; 1 if a limit was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--files", type=int, default=100_000, help="files dropped at once; 0: leave that part out")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs of history; 0: leave that part out")
    parser.add_argument("--transcripts", type=int, default=10_000, help="the newest of them that have a text")
    parser.add_argument("--lines", type=int, default=40, help="lines of each text")
    parser.add_argument("--folder", type=Path, help="where the files and the history lie meanwhile")
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="where the JSON goes")
    arguments = parser.parse_args()
    print(f"{'':70} {'median':>10} {'most':>10} {'limit':>6}")
    found = [shown(one) for one in measured(arguments)]
    sizes = {key: getattr(arguments, key) for key in ("files", "jobs", "transcripts", "lines")}
    results.save(data_of(found, sizes), arguments.results / "scale-cpu.json")
    missed = [one.what for one in found if one.missed]
    print(f"\n{len(missed)} limits missed" + (f": {'; '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
