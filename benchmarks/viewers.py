"""What the pages cost: transcription with and without people who look at them, and a daemon at rest with and without.

    python -m benchmarks.viewers [CORPUS] [--pairs 6] [--minutes 10] [--viewers 5] [--idle-minutes 3] [--folder FOLDER]

A real daemon with the real model and a long history (`benchmarks.long_history`) transcribes the same recordings round
by round, every second round while people look: each has the page of what happens open, by server-sent events, and opens
a page every three seconds. The speed is that of the history: from the first start to the last end of a job. Then three
daemons rest at the same time: one that serves nothing, one without the extra ``web``, one with it. The people are
programs on the same machine, and their processor time is told; a pair during which other programs were busy is made
once more.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import corpus, machine, pages, results, stage
from benchmarks.corpus import Clip
from benchmarks.day import Day
from benchmarks.processes import usage
from benchmarks.scale import scratch
from daemon.config.schema import DATABASE_NAME

GOAL_RATIO: Final = 0.02
EVERY_S: Final = 3.0
PAGES: Final = (
    "/",
    "/history",
    "/jobs/{last}",
    "/search?q=budget",
    "/history?state=failed",
    "/jobs/1",
    "/health",
    "/history?folder=/srv/inbox-3",
    "/folders",
    "/search?q=%22annual+budget%22&days=31",
)
"""What people open, in turn, each from another one on. ``{last}`` has an hour of text."""

IDLE: Final = ("nothing served", "without the extra", "with the extra")
_WITHOUT: Final = """
import sys
sys.modules.update(dict.fromkeys(("argon2", "fastapi", "python_multipart", "multipart")))
from daemon.cli import main
main()
"""
_AT_REST: Final = "127.0.0.1:8953"
_IDLE_S: Final = 60.0
_POLL_S: Final = 0.5
_LIMIT_S: Final = 900.0
_HZ: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Round:
    """The recordings, once. *others_cores*: how many cores other programs kept busy, neither ours nor the people's."""

    looked: bool
    speed: float
    wall_s: float
    daemon_cpu_s: float
    engine_cpu_s: float
    people_cpu_s: float
    others_cores: float
    n_pages: int = 0
    page_ms: float = 0.0
    page_p95_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Idle:
    """A daemon at rest, the process that serves alone. *after* is what it needs once every page was opened."""

    what: str
    pss_mb: float
    core_percent: float
    after_mb: float | None = None
    after_core_percent: float | None = None


def own_cpu_s(pid: int) -> float:
    """The processor time of one process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _HZ


def machine_cpu_s() -> float:
    """The processor time of everything on this machine since it was started, with what its host took away."""
    user, nice, system, _idle, _wait, irq, soft, steal, *_ = map(
        int, Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + soft + steal) / _HZ


def pss_mb(pid: int) -> float:
    """The memory of one process; what it shares with others is divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


class People:
    """So many who look: a stream of news each, and a page every `EVERY_S`."""

    def __init__(self, n_people: int, n_jobs: int) -> None:
        self._over = threading.Event()
        self._paths = [pattern.format(last=n_jobs) for pattern in PAGES]
        self.taken_ms: list[float] = []
        self._streams: list[http.client.HTTPConnection] = []
        self._threads = [
            threading.Thread(target=work, args=(number, n_people), daemon=True)
            for number in range(n_people)
            for work in (self._open_pages, self._listen)
        ]

    def start(self) -> None:
        """They begin to look."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """They look no more."""
        self._over.set()
        for stream in self._streams:
            with contextlib.suppress(OSError, AttributeError):
                stream.sock.shutdown(2)
        for thread in self._threads:
            thread.join()

    def _open_pages(self, number: int, n_people: int) -> None:
        wait_s = EVERY_S * number / n_people
        for path in itertools.islice(itertools.cycle(self._paths), 2 * number, None):
            if self._over.wait(wait_s):
                return
            began = time.monotonic()
            pages.get(path)
            self.taken_ms.append(1000.0 * (time.monotonic() - began))
            wait_s = max(0.0, EVERY_S - (time.monotonic() - began))

    def _listen(self, number: int, n_people: int) -> None:
        del n_people
        if self._over.wait(0.3 * number):
            return
        while not self._over.is_set():
            host, _, port = pages.ADDRESS.partition(":")
            stream = http.client.HTTPConnection(host, int(port), timeout=60.0)
            self._streams.append(stream)
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                stream.request("GET", "/now/events", headers={"Accept": "text/event-stream"})
                answer = stream.getresponse()
                while answer.readline() and not self._over.is_set():
                    pass


@contextmanager
def looking(n_people: int, n_jobs: int) -> Generator[People]:
    """Inside the block people look, if there are any."""
    people = People(n_people, n_jobs)
    people.start()
    try:
        yield people
    finally:
        people.close()


class Office:
    """A daemon and the recordings that it gets again and again."""

    def __init__(self, day: Day, root: Path, clips: Sequence[Clip], audio_s: float, n_jobs: int) -> None:
        self._day = day
        self._database = root / "state" / DATABASE_NAME
        self._n_jobs = n_jobs
        self._clips: list[Clip] = []
        for clip in itertools.cycle(clips):
            if sum(one.audio_s for one in self._clips) >= audio_s:
                break
            self._clips.append(clip)
        self._numbers = itertools.count(1)

    @property
    def audio_s(self) -> float:
        """Of one round."""
        return sum(clip.audio_s for clip in self._clips)

    def round(self, n_people: int) -> Round:
        """All recordings, while so many people look."""
        number = next(self._numbers)
        people_before = time.process_time()
        before, own, all_s, began = usage(self._day.pid), own_cpu_s(self._day.pid), machine_cpu_s(), time.monotonic()
        with looking(n_people, self._n_jobs) as people:
            for place, clip in enumerate(self._clips):
                self._day.drop(f"round {number} {place:04d}.wav", clip)
            self._wait(number)
        wall_s = time.monotonic() - began
        after, daemon_s = usage(self._day.pid), own_cpu_s(self._day.pid) - own
        people_s, tree_s = time.process_time() - people_before, after.cpu_s - before.cpu_s
        taken = sorted(people.taken_ms)
        return Round(
            looked=n_people > 0,
            speed=self._speed(number),
            wall_s=wall_s,
            daemon_cpu_s=daemon_s,
            engine_cpu_s=tree_s - daemon_s,
            people_cpu_s=people_s,
            others_cores=max(0.0, machine_cpu_s() - all_s - tree_s - people_s) / wall_s,
            n_pages=len(taken),
            page_ms=statistics.median(taken) if taken else 0.0,
            page_p95_ms=taken[int(0.95 * (len(taken) - 1))] if taken else 0.0,
        )

    def _wait(self, number: int) -> None:
        last = f"round {number} {len(self._clips) - 1:04d}.wav"
        names = [f"round {number} {place:04d}.wav" for place in range(len(self._clips))]
        until = time.monotonic() + _LIMIT_S
        while names := [name for name in names if self._day.text_at_ns(name) is None]:
            if time.monotonic() > until:
                raise RuntimeError(f"{len(names)} recordings of the round of {last} got no text")
            time.sleep(_POLL_S)
        time.sleep(1.0)  # the last job is written down

    def _speed(self, number: int) -> float:
        address = f"file:{self._database}?mode=ro"
        query = (
            "SELECT min(started_at), max(finished_at) FROM job JOIN file ON file.id = job.file_id"
            " WHERE job.id > ? AND file.name_text LIKE ?"
        )
        with closing(sqlite3.connect(address, uri=True)) as database:
            first, last = database.execute(query, (self._n_jobs, f"round {number} %")).fetchone()
        return self.audio_s / (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def pairs(office: Office, n_pairs: int, n_people: int, most_others: float) -> Iterator[tuple[Round, Round]]:
    """Rounds without and with people, the one or the other first in turn; those that were disturbed are not counted.

    Where the machine does not become quiet, the last ones are counted all the same: some are better than none.
    """
    n_left, n_tries = n_pairs, 2 * n_pairs
    for number in range(n_tries):
        one, other = (office.round(n) for n in ((0, n_people) if number % 2 else (n_people, 0)))
        disturbed = max(one.others_cores, other.others_cores) > most_others and n_tries - number > n_left
        for found in (one, other):
            print(told(found) + ("  disturbed" if disturbed else ""), flush=True)
        if not disturbed:
            n_left -= 1
            yield (other, one) if one.looked else (one, other)
        if not n_left:
            return


def told(found: Round) -> str:
    """A round in a line."""
    return (
        f"{'looked at' if found.looked else 'alone':10} {found.speed:6.2f} x  {found.wall_s:6.1f} s  daemon "
        f"{found.daemon_cpu_s:5.2f} s  engine {found.engine_cpu_s:6.1f} s  people {found.people_cpu_s:5.2f} s  others "
        f"{found.others_cores:4.2f}  {found.n_pages} pages {found.page_ms:.0f} ms, 95 % {found.page_p95_ms:.0f} ms"
    )


def idle(root: Path, settings: dict[str, str], n_windows: int) -> Iterator[Idle]:
    """Three daemons that rest at the same time."""
    programs = {what: [sys.executable, "-P", "-c", _WITHOUT] if what == IDLE[1] else () for what in IDLE}
    with contextlib.ExitStack() as stack:
        days: dict[str, Day] = {}
        for what, program in programs.items():
            place = root / what.replace(" ", "-")
            place.mkdir()
            listen = {IDLE[0]: "", IDLE[1]: "127.0.0.1:8952", IDLE[2]: _AT_REST}[what]
            days[what] = stack.enter_context(
                closing(Day(place, settings | {"TRANSCRIBED_WEB_LISTEN": listen}, program))
            )
        for day in days.values():
            day.wait_ready(120.0)
        time.sleep(20.0)
        found = rested(days, n_windows)
        opened = days[IDLE[2]]
        for path in (*pages.PAGES[:21], "/upload", "/health", "/folders", "/api/v1/status", "/api/v1/jobs"):
            with contextlib.suppress(OSError):
                pages.get(path.format(middle=1, last=1), _AT_REST)
        later = rested({IDLE[2]: opened}, 1)[IDLE[2]]
    for what, (memory_mb, core_percent) in found.items():
        after = later if what == IDLE[2] else (None, None)
        yield Idle(what, memory_mb, core_percent, *after)


def rested(days: dict[str, Day], n_windows: int) -> dict[str, tuple[float, float]]:
    """Of the daemon's own process: its memory, and its processor time in percent of a core, the middle of minutes."""
    percents: dict[str, list[float]] = {what: [] for what in days}
    for _ in range(n_windows):
        before = {what: own_cpu_s(day.pid) for what, day in days.items()}
        time.sleep(_IDLE_S)
        for what, day in days.items():
            percents[what].append(100.0 * (own_cpu_s(day.pid) - before[what]) / _IDLE_S)
    return {what: (pss_mb(day.pid), statistics.median(percents[what])) for what, day in days.items()}


def data_of(found: Sequence[tuple[Round, Round]], rested: Sequence[Idle], more: dict[str, Any]) -> dict[str, Any]:
    """What is written."""
    data: dict[str, Any] = {"benchmark": "viewers", "at": results.now(), **more}
    data["machine"] = machine.describe(more["device"])
    data["pairs"] = [{"alone": asdict(alone), "looked_at": asdict(looked)} for alone, looked in found]
    return data | {"idle": [asdict(one) for one in rested]}


def slowdown(found: Sequence[tuple[Round, Round]]) -> float:
    """The middle of what the people took of the speed, pair by pair."""
    return 1.0 - statistics.median(looked.speed / alone.speed for alone, looked in found)


def main() -> int:
    """Measure, print, write; 1 if the people cost more than they may."""
    parser = stage.parser(__doc__)
    pages.add_arguments(parser)
    parser.add_argument("--pairs", type=int, default=6, help="rounds with people, and as many without (default: 6)")
    parser.add_argument("--viewers", type=int, default=5, help="people who look (default: 5)")
    parser.add_argument("--idle-minutes", type=int, default=3, help="of daemons at rest; 0: leave that part out")
    parser.add_argument("--most-others", type=float, default=0.15, help="cores that other programs may use (0.15)")
    parser.set_defaults(minutes=10.0)
    arguments = parser.parse_args()
    with stage.staged(arguments) as ready, scratch(arguments.folder) as root:
        settings = pages.settings_of(ready)
        found: list[tuple[Round, Round]] = []
        more = {"device": ready.plan.setup.device, "model": Path(ready.plan.model).name, "viewers": arguments.viewers}
        more |= {key: getattr(arguments, key) for key in ("jobs", "transcripts")} | {"every_s": EVERY_S}
        if arguments.pairs:
            pages.history_in(root / "state", arguments)
            with closing(Day(root, settings)) as day:
                day.wait_ready(300.0)
                office = Office(day, root, corpus.memos(ready.clips), 60.0 * arguments.minutes, arguments.jobs)
                more["audio_s"] = office.audio_s
                office.round(1)  # warm
                found = list(pairs(office, arguments.pairs, arguments.viewers, arguments.most_others))
        quiet = list(idle(root, settings, arguments.idle_minutes)) if arguments.idle_minutes else []
    for one in quiet:
        print(f"{one.what:20} {one.pss_mb:7.1f} MB {one.core_percent:6.2f} %  {one.after_mb} {one.after_core_percent}")
    path = arguments.results / results.file_name("viewers", more["device"], more["model"])
    results.save(data_of(found, quiet, more), path)
    if found:
        ratios = sorted(looked.speed / alone.speed for alone, looked in found)
        print(f"\nspeed while looked at: {ratios[0]:.3f} to {ratios[-1]:.3f}; slower by {slowdown(found):.2%}")
    return 1 if found and slowdown(found) > GOAL_RATIO else 0


if __name__ == "__main__":
    sys.exit(main())
