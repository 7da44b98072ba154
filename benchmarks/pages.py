"""Every page and every call that looks, over a very long history, as a browser gets it while the daemon transcribes.

    python -m benchmarks.pages [CORPUS] [--jobs 1000000] [--transcripts 100000] [--folder FOLDER]

A real daemon with the real model, which always has recordings to do, serves a history that was written beforehand
(`benchmarks.long_history`). Needs about 2 GB in FOLDER. Exit status 1 if a page is late.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import threading
import urllib.request
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import corpus, long_history, machine, results, stage
from benchmarks.corpus import Clip
from benchmarks.day import Day
from benchmarks.scale import Figure, figure, scratch, shown, timed
from benchmarks.stage import Stage
from daemon.config.schema import DATABASE_NAME
from daemon.options import JobOptions
from daemon.outputs.document import Document
from daemon.outputs.kept import Kept, packed
from daemon.transcript import Segment, Transcript, Word
from storage.records import Fingerprint

LIMIT_MS: Final = 200.0
ADDRESS: Final = "127.0.0.1:8951"

PAGES: Final = (
    "/",
    "/history",
    "/history?before={middle}",
    "/history?state=failed",
    "/history?state=busy",
    "/history?lang=fr",
    "/history?lang=zh",
    "/history?q=interview",
    "/history?folder=/srv/inbox-3",
    "/history?folder=/srv/inbox-3/folder-100",
    "/history?since=2025-03-01&until=2025-03-02",
    "/history?state=failed&folder=/srv/inbox-3&lang=fr&q=nothing",
    "/search?q=budget",
    "/search?q=the",
    "/search?q=the&folder=/srv/inbox-3/folder-100",
    "/search?q=%22annual+budget%22&days=31",
    "/search?q=nothing",
    "/jobs/{last}",
    "/jobs/1",
    "/jobs/{last}/versions",
    "/jobs/{last}/correct",
    "/upload",
    "/health",
    "/health?span=hour",
    "/health?span=month",
    "/folders",
)
"""``{last}`` has an hour of text."""

CALLS: Final = (
    "/api/v1/status",
    "/api/v1/jobs",
    "/api/v1/jobs?before={middle}&limit=200",
    "/api/v1/jobs?state=failed&folder=/srv/inbox-3&language=fr&text=nothing",
    "/api/v1/jobs/{last}",
    "/api/v1/jobs/{last}/versions",
    "/api/v1/jobs/{last}/events",
    "/api/v1/jobs/{last}/suspects",
    "/api/v1/suspects",
    "/api/v1/suspects?folder=/srv/inbox-3/folder-100",
    "/api/v1/search?q=budget",
    "/api/v1/search?q=the&folder=/srv/inbox-3/folder-100",
    "/api/v1/events",
    "/api/v1/alerts",
    "/api/v1/folders",
    "/v1/models",
    "/metrics",
    "/healthz",
)

FILES: Final = (
    "/jobs/{last}/download/txt",
    "/jobs/{last}/download/docx",
    "/api/v1/jobs/{last}/transcript?format=json",
    "/api/v1/jobs/{last}/transcript?format=vtt",
)
"""They are made when they are asked for."""

GROUPS: Final = {"pages": PAGES, "API": CALLS, "files of an hour": FILES}

TALK_S: Final = 3600.0
"""The length of the transcript that is opened."""

_N_TIMES: Final = 9
_N_WAITING: Final = 16
_LOOK_S: Final = 0.5


def get(path: str, address: str = ADDRESS) -> bytes:
    """The answer to a GET of *path*. Raises OSError."""
    request = urllib.request.Request(f"http://{address}{path}", headers={"Accept": "text/html"})  # ours
    with urllib.request.urlopen(request, timeout=30.0) as answer:  # noqa: S310  # ours
        content: bytes = answer.read()
        return content


def talk() -> Document:
    """An hour of text with the times of its words."""
    says = "We should look at the figures of the last quarter first.".split()
    segments = [
        Segment(
            *(start_s, start_s + 4.0, " ".join(says), -0.2, 1.2, 0.01, 0.0),
            words=tuple(
                Word(start_s + 0.36 * number, start_s + 0.36 * number + 0.3, f" {word}", 0.95)
                for number, word in enumerate(says)
            ),
        )
        for start_s in (4.0 * number for number in range(round(TALK_S / 4.0)))
    ]
    return Document(
        transcript=Transcript(tuple(segments), "en", 1.0, "base", "cpu", "int8"),
        options=JobOptions(),
        recording="talk.wav",
        source_sha256="0" * 64,
        audio_s=TALK_S,
        declared_s=TALK_S,
        outcome="ok",
        notice="",
        made_by="transcribed",
        made_at="2026-01-01T00:00:00Z",
    )


def add_talk(path: Path, job_id: int) -> None:
    """The text of the job *job_id* in the history at *path* is `talk`."""
    content = packed(Kept(talk(), Fingerprint(1, 1, 1, 1, 1), "d"))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("INSERT OR REPLACE INTO document (job_id, content) VALUES (?, ?)", (job_id, content))


def history_in(state: Path, arguments: argparse.Namespace) -> None:
    """A history as *arguments* want it, for a daemon whose state folder is *state*."""
    state.mkdir(mode=0o750, parents=True)
    path = state / DATABASE_NAME
    if not arguments.jobs:
        return
    if arguments.history is not None:
        with closing(sqlite3.connect(arguments.history)) as written, closing(sqlite3.connect(path)) as own:
            written.backup(own)
    else:
        long_history.write(path, arguments.jobs, arguments.transcripts, arguments.lines)
    add_talk(path, arguments.jobs)


def add_arguments(made: argparse.ArgumentParser) -> None:
    """What is asked of a history."""
    made.add_argument("--jobs", type=int, default=1_000_000, help="jobs of history")
    made.add_argument("--transcripts", type=int, default=100_000, help="the newest of them that have a text")
    made.add_argument("--lines", type=int, default=40, help="lines of each text")
    made.add_argument("--history", type=Path, help="a history of so many that was written before")
    made.add_argument("--folder", type=Path, help="where the history lies meanwhile")


def settings_of(ready: Stage) -> dict[str, str]:
    """How a daemon is told to work as *ready* wants it, and to transcribe again what it has transcribed."""
    setup = ready.plan.setup
    return {
        "TRANSCRIBED_ENGINE_MODELS_DIR": str(setup.weights.parent),
        "TRANSCRIBED_ENGINE_DEVICE": setup.device,
        "TRANSCRIBED_ENGINE_COMPUTE_TYPE": setup.compute_type,
        "TRANSCRIBED_OPTIONS_MODEL": ready.plan.model,
        "TRANSCRIBED_OPTIONS_FORMATS": "txt",
        "TRANSCRIBED_HISTORY_REUSE": "false",
        "TRANSCRIBED_CANARY_INTERVAL_S": "0",
        "TRANSCRIBED_WEB_LISTEN": ADDRESS,
    }


@contextmanager
def at_work(day: Day, clips: Sequence[Clip]) -> Generator[None]:
    """Inside the block the daemon transcribes, and always has more to do."""
    over = threading.Event()

    def feed() -> None:
        waiting: list[str] = []
        number = 0
        while not over.wait(_LOOK_S):
            waiting = [name for name in waiting if day.text_at_ns(name) is None]
            while len(waiting) < _N_WAITING:
                name = f"new-{number:05d}.wav"
                day.drop(name, clips[number % len(clips)])
                waiting.append(name)
                number += 1

    first = "first.wav"
    if day.wait_text(first, day.drop(first, clips[0]), 300.0) is None:
        raise RuntimeError("the daemon does not transcribe")
    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    over.wait(10.0)  # all are still, and the engine is full
    try:
        yield
    finally:
        over.set()
        thread.join()


def measured(day: Day, clips: Sequence[Clip], n_jobs: int) -> Iterator[Figure]:
    """The milliseconds of each page, the first time not counted: it finds nothing in the cache of the disk."""
    with at_work(day, clips):
        for group, paths in GROUPS.items():
            for pattern in paths:
                path = pattern.format(middle=n_jobs // 2, last=n_jobs)
                get(path)
                yield figure(group, path, timed(partial(get, path), _N_TIMES), "ms", LIMIT_MS)


def data_of(found: Sequence[Figure], sizes: Mapping[str, Any], load: float) -> dict[str, Any]:
    """What is written of the figures."""
    data: dict[str, Any] = {"benchmark": "pages", "at": results.now(), **sizes, "times": _N_TIMES, "load": load}
    return data | {"machine": machine.describe(sizes["device"]), "figures": [asdict(one) for one in found]}


def main() -> int:
    """Measure, print, write; 1 if a page was late."""
    parser = stage.parser(__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    load, _, _ = os.getloadavg()
    with stage.staged(arguments) as ready, scratch(arguments.folder) as root:
        history_in(root / "state", arguments)
        print(f"{'':70} {'median':>10} {'most':>10} {'limit':>6}")
        clips = corpus.memos(ready.clips)
        with closing(Day(root, settings_of(ready))) as day:
            day.wait_ready(300.0)
            found = [shown(one) for one in measured(day, clips, arguments.jobs)]
        sizes = {key: getattr(arguments, key) for key in ("jobs", "transcripts", "lines")}
        sizes |= {"device": ready.plan.setup.device, "model": Path(ready.plan.model).name}
    results.save(
        data_of(found, sizes, load), arguments.results / results.file_name("pages", sizes["device"], sizes["model"])
    )
    missed = [one.what for one in found if one.missed]
    print(f"\n{len(missed)} late" + (f": {'; '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
