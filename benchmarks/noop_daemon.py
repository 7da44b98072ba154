"""A whole daemon whose decoders and engine do nothing, for measuring all the rest of it.

    python -m benchmarks.noop_daemon TIMES

Configured as any other (``TRANSCRIBED_*``). Each recording stays in the engine for two seconds and has one line of text
then; while there is a file TIMES.hold, all stay. What its inbox does, and for how long, is appended to the file TIMES,
one line of JSON each.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from daemon import log, parts, service
from daemon.config import Config, load
from daemon.decode.pool import Decoded
from daemon.engine.client import Checkpoint, EngineStatus, Request
from daemon.engine.seat import SeatStatus
from daemon.intake.admission import Admission
from daemon.intake.inbox import Inbox
from daemon.intake.scanner import Scan
from daemon.transcript import Segment, Span, Transcript

WORD: Final = "nothing"
"""What is said in every transcript."""

HOLD_S: Final = 2.0
"""How long a recording is in the engine: with the 34 in hand 17 a second, as memos of 10 s at 170 times real time."""

_MODEL: Final = ("base", "cpu", "int8")


class NoDecode:
    """In place of `daemon.decode.pool.DecodePool`: a second of nothing for each recording."""

    def decode(self, recording_fd: int, spool_fd: int, *, progress: Callable[[float], None], **_: Any) -> Decoded:
        """As `DecodePool.decode`."""
        os.write(spool_fd, bytes(32_000))
        progress(1.0)
        return Decoded(
            source_sha256=self.digest(recording_fd),
            n_samples=16_000,
            decoded_s=1.0,
            declared_s=1.0,
            sample_rate_hz=16_000,
            channels=1,
            codec="pcm",
            reader="none",
            n_damaged=0,
            spans=(Span(0, 16_000),),
        )

    def digest(self, fd: int, *_: object) -> str:
        """As `DecodePool.digest`."""
        return hashlib.sha256(os.pread(fd, 1 << 20, 0)).hexdigest()

    def pids(self) -> list[int]:
        """There are no processes."""
        return []

    def close(self, grace_s: float) -> None:
        """There is nothing to close."""


class NoEngine:
    """In place of `daemon.engine.client.Engine`: one line for each recording, after `HOLD_S`."""

    def __init__(self, hold: Path) -> None:
        self._hold = hold

    def start(self, model: str) -> None:
        """There is nothing to start."""

    def transcribe(
        self, request: Request, checkpoint: Checkpoint, *, cancelled: threading.Event, **_: Any
    ) -> Transcript:
        """As `Engine.transcribe`."""
        del checkpoint
        while not cancelled.wait(HOLD_S) and self._hold.exists():
            pass
        line = Segment(0.0, 1.0, f"{WORD} was said in recording {request.job_id}", -0.1, 1.0, 0.0, 0.0)
        return Transcript((line,), "en", 1.0, *_MODEL)

    def status(self) -> EngineStatus:
        """As `Engine.status`."""
        seat = SeatStatus("ready", "cpu", None, *_MODEL, n_jobs=0, n_restarts=0, last_error=None)
        return EngineStatus("ready", None, *_MODEL, n_jobs=0, n_waiting=0, n_restarts=0, last_error=None, seats=(seat,))

    def close(self, grace_s: float) -> None:
        """There is nothing to close."""


class Times:
    """What the inbox did, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._n_found = 0

    def install(self) -> None:
        """Take note of every scan and of every batch of jobs from now on."""
        scan, compare, admit = Inbox.__dict__["_scan"], Admission.compare, Admission.__dict__["_admit_batch"]

        def noted_compare(admission: Admission, found: Scan, *others: Any) -> bool:
            self._n_found = len(found.recordings)
            return compare(admission, found, *others)

        setattr(Admission, "compare", noted_compare)  # noqa: B010
        setattr(Inbox, "_scan", self._noted("scan", scan))  # noqa: B010  # it is not ours to call
        setattr(Admission, "_admit_batch", self._noted("batch", admit))  # noqa: B010

    def _noted(self, what: str, step: Callable[..., None]) -> Callable[..., None]:
        def noted(*arguments: Any) -> None:
            began = time.monotonic()
            step(*arguments)
            ended = time.monotonic()
            note = {"what": what, "ended": ended, "took_s": ended - began, "n_found": self._n_found}
            with self._path.open("a", encoding="ascii") as file:
                file.write(json.dumps(note) + "\n")

        return noted


def hold_of(times: Path) -> Path:
    """The file that keeps all recordings in the engine."""
    return times.with_suffix(".hold")


def _no_decode(config: Config, on_output: object) -> NoDecode:
    del config, on_output
    return NoDecode()


def main() -> None:
    """Be a daemon."""
    times = Path(sys.argv[1])
    Times(times).install()

    def no_engine(config: Config, on_output: object) -> NoEngine:
        del config, on_output
        return NoEngine(hold_of(times))

    parts.__dict__.update(make_decode_pool=_no_decode, make_engine=no_engine)
    os.environ["TRANSCRIBED_CANARY_INTERVAL_S"] = "0"  # its inbox would be counted with the others
    loaded = load(None, os.environ, require_inbox=True)
    log.set_up(loaded.config.log_format, loaded.config.log_level)
    service.Service(loaded, os.environ).run()


if __name__ == "__main__":
    main()
