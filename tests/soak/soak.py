"""The soak itself: people, killers and a supervised daemon in one loop, then a quiet end, then the verdict."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.harness import Daemon
from tests.recordings import load_clips
from tests.soak.contents import Studio
from tests.soak.people import People
from tests.soak.processes import Killers, Supervised
from tests.soak.verdict import History, Place, ends, transcripts, unfinished, what_is_broken

TICK_S: Final = 0.05
LOOK_S: Final = 5.0
TELL_S: Final = 30.0
REST_S: Final = 10.0
"""So long nothing may be left to do before it counts as the end."""

SHOWN: Final = 60

_SETTINGS: Final = {
    "TRANSCRIBED_HISTORY_REUSE": "true",
    "TRANSCRIBED_STOP_GRACE_S": "10",
    "TRANSCRIBED_DECODE_INCOMPLETE_WAIT_S": "20",
}


@dataclass(frozen=True)
class Settings:
    """*for_s*: how long files arrive and processes are killed, each *kill_every_s* and *file_every_s* on average.

    No file comes while *most_unfinished* are not done with. All must have ended *quiet_s* after the last kill.
    """

    for_s: float
    seed: int
    kill_every_s: float = 5.0
    file_every_s: float = 5.0
    most_unfinished: int = 25
    quiet_s: float = 1200.0
    keep: bool = False


def soak(settings: Settings, say: Callable[[str], None]) -> list[str]:
    """What is broken, a line each."""
    root = Path(tempfile.mkdtemp(prefix="transcribed-soak-"))
    say(f"soak: {settings.for_s / 60:g} minutes, --seed {settings.seed}, in {root}")
    run = _Run(root, settings, say)
    try:
        broken = run.to_the_end()
    finally:
        run.leave_nothing_running()
    if broken or settings.keep:
        say(f"kept: {root} (log.jsonl, inbox, state)")
    else:
        shutil.rmtree(root)
    return broken


class _Run:
    def __init__(self, root: Path, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._began = time.monotonic()
        random = Random(settings.seed)
        (root / "staging").mkdir()
        self._daemon = daemon = Daemon(root, root / "models", _SETTINGS)
        self._place = Place(daemon.inbox, daemon.state_dir, daemon.log)
        studio = Studio(load_clips(), Random(random.random()))
        self._people = People(daemon.inbox, root / "staging", studio, Random(random.random()))
        self._supervised = Supervised(daemon, Random(random.random()))
        self._killers = Killers(self._supervised, Random(random.random()), settings.kill_every_s)
        self._arrivals = Random(random.random())
        self._left: list[str] = []
        self._looked_at = self._told_at = float("-inf")
        self._n_held_back = 0

    def to_the_end(self) -> list[str]:
        """All of it; what is broken."""
        self._trouble()
        waited_s = self._quiet()
        status = self._supervised.finish()
        broken = list(self._supervised.trouble)
        broken += [f"END: after {waited_s:.0f} s of quiet: {line}" for line in self._left]
        broken += what_is_broken(self._place, self._people.recordings, status)
        self._summary(broken, waited_s)
        return broken

    def leave_nothing_running(self) -> None:
        """Whatever happened, the daemon is gone."""
        self._killers.rest()
        self._supervised.kill(time.monotonic())

    def _trouble(self) -> None:
        until = time.monotonic() + self._settings.for_s
        next_file = time.monotonic()
        while (now := time.monotonic()) < until:
            self._supervised.step(now)
            self._killers.step(now)
            self._people.step(now)
            if now >= next_file:
                next_file = now + self._arrivals.expovariate(1 / self._settings.file_every_s)
                if len(self._left) < self._settings.most_unfinished:
                    self._people.arrive(now)
                else:
                    self._n_held_back += 1
            self._look(now)
            time.sleep(TICK_S)

    def _quiet(self) -> float:
        """No more kills or files; how long it took until all was done."""
        self._killers.rest()
        began = done_since = time.monotonic()
        while (now := time.monotonic()) < began + self._settings.quiet_s:
            self._supervised.step(now)
            self._people.step(now)
            self._look(now)
            if self._left or self._people.busy:
                done_since = now
            elif now - done_since > REST_S:
                break
            time.sleep(TICK_S)
        return done_since - began

    def _look(self, now: float) -> None:
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            left = unfinished(self._place.database, self._people.recordings)
            self._left = self._left if left is None else left
        if now - self._told_at >= TELL_S:
            self._told_at = now
            present = self._people.present
            self._say(
                f"{(now - self._began) / 60:5.1f} min: {len(present)} recordings there, {len(self._left)} unfinished, "
                f"{transcripts(self._place.inbox)} transcript files, {self._supervised.n_starts} starts, "
                + (", ".join(f"{what} {n}" for what, n in sorted(self._killers.counts.items())) or "nobody killed yet")
            )

    def _summary(self, broken: list[str], waited_s: float) -> None:
        history = History.read(self._place.database)
        table = Table("", "", title=f"Soak, seed {self._settings.seed}", title_justify="left", show_header=False)
        for title, counts in (
            ("what people did", self._people.counts),
            ("struck", self._killers.counts),
            *((f"ends of {fate}", counts) for fate, counts in ends(history, self._people.recordings).items()),
            ("jobs by state", Counter(f"{job['state']} {job['outcome'] or ''}".strip() for job in history.jobs)),
            ("jobs by engine deaths", Counter(str(job["engine_deaths"]) for job in history.jobs)),
            ("jobs by attempts", Counter(str(job["attempt"]) for job in history.jobs)),
            ("jobs by claims", Counter(str(job["lease"]) for job in history.jobs)),
        ):
            table.add_row(title, ", ".join(f"{what} {n}" for what, n in sorted(counts.items())))
        recordings = self._people.recordings
        present = self._people.present
        table.add_row("recordings", f"{len(recordings)} in all, {len(present)} there at the end")
        table.add_row("held back", f"{self._n_held_back} arrivals, for {self._settings.most_unfinished} unfinished")
        table.add_row("starts of the daemon", str(self._supervised.n_starts))
        table.add_row("transcript files", str(transcripts(self._place.inbox)))
        table.add_row("PRAGMA integrity_check", _integrity(self._place.database))
        table.add_row("wall", f"{(time.monotonic() - self._began) / 60:.1f} min, the last {waited_s:.0f} s of it quiet")
        table.add_row("broken", str(len(broken)) if broken else "nothing")
        console = Console(width=150)
        with console.capture() as captured:
            console.print(table)
        self._say(captured.get())
        for line in broken[:SHOWN]:
            self._say(f"BROKEN {line}")


def _integrity(database: Path) -> str:
    connection = sqlite3.connect(f"file:{os.fspath(database)}?mode=ro", uri=True)
    try:
        return "; ".join(str(row[0]) for row in connection.execute("PRAGMA integrity_check"))
    finally:
        connection.close()
