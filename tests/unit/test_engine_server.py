import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from daemon.channel import Channel, ChannelClosed
from daemon.engine.protocol import (
    Cancel,
    Done,
    Failed,
    Failure,
    Job,
    LanguageFound,
    ServerSettings,
    WindowDone,
    parse_report,
    to_message,
)
from daemon.engine.server import Server, open_lanes, resolve_lanes, resolve_max_batch, threads_per_lane
from daemon.options import JobOptions
from daemon.transcript import SAMPLE_RATE_HZ, Span
from tests.unit.whisper_fake import Call, FakeWhisper, decoder_of, said

CHOOSE = ServerSettings("base", "auto", "auto", 0, 0, 0, "balanced", "/models", allow_download=False)
N_CORES = len(os.sched_getaffinity(0))


def test_the_lanes_are_chosen_from_the_device() -> None:
    """A CPU has one for each core up to four, a GPU two: one encodes while the other decodes."""
    assert resolve_lanes(CHOOSE, "cpu") == min(4, N_CORES)
    assert resolve_lanes(replace(CHOOSE, threads=2), "cpu") == 2
    assert resolve_lanes(replace(CHOOSE, threads=16), "cpu") == 4
    assert resolve_lanes(CHOOSE, "cuda:1") == 2
    assert resolve_lanes(replace(CHOOSE, profile="low"), "cuda") == 1
    assert resolve_lanes(replace(CHOOSE, profile="low", lanes=3), "cpu") == 3


def test_lanes_share_the_cores() -> None:
    """Together they use each core once; a lane has at least one thread."""
    assert threads_per_lane(replace(CHOOSE, lanes=2, threads=8), "cpu") == 4
    assert threads_per_lane(replace(CHOOSE, lanes=4, threads=2), "cpu") == 1
    assert threads_per_lane(replace(CHOOSE, lanes=1), "cpu") == N_CORES


def test_the_batch_is_chosen_from_device_and_profile() -> None:
    """Unless it is given."""
    assert [resolve_max_batch(replace(CHOOSE, profile=profile), "cuda:0") for profile in ("low", "throughput")] == [
        4,
        64,
    ]
    assert resolve_max_batch(CHOOSE, "cpu") == 8
    assert resolve_max_batch(replace(CHOOSE, max_batch=3), "cpu") == 3


class Engine:
    """A server on a fake model, and the daemon's end of its channel."""

    def __init__(self, tmp_path: Path) -> None:
        self.spool = tmp_path / "spool"
        np.full(60 * SAMPLE_RATE_HZ, 8000, "<i2").tofile(self.spool)
        self.whisper = FakeWhisper(answer=lambda _item, _s, _prompt: said("hello my friends"))
        decoder = decoder_of(self.whisper)
        self.channel, theirs = Channel.pair()
        self.theirs = Channel(theirs)
        server = Server(self.theirs, decoder, open_lanes(decoder, replace(CHOOSE, lanes=1), "cpu"))
        self.thread = threading.Thread(target=self._serve, args=(server,))
        self.thread.start()

    def _serve(self, server: Server) -> None:
        with pytest.raises(ChannelClosed):
            server.serve()

    def ask(self, id_: int, *starts_s: int, spool: str = "", **options: str) -> None:
        """Send a job with three seconds of speech at each of *starts_s*."""
        spans = tuple(Span(start * SAMPLE_RATE_HZ, (start + 3) * SAMPLE_RATE_HZ) for start in starts_s)
        chosen = JobOptions.from_dict({"language": "en", **options})
        self.channel.send(to_message(Job(id_, spool or str(self.spool), 60 * SAMPLE_RATE_HZ, spans, chosen)))

    def next(self) -> object:
        """The next report."""
        return parse_report(self.channel.receive(5).message)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    def end(_code: int) -> NoReturn:
        raise SystemExit

    monkeypatch.setattr(os, "_exit", end)  # a job that cannot report ends its process, which is ours here
    made = Engine(tmp_path)
    yield made
    made.channel.close()
    made.thread.join(5)
    made.theirs.close()


def test_a_job_is_reported_window_by_window(engine: Engine) -> None:
    """Language first, then each window, then the end."""
    engine.ask(7, 0, 10)
    assert engine.next() == LanguageFound(7, "en", 1.0)
    reports = [engine.next(), engine.next()]
    assert [report.done_s for report in reports if isinstance(report, WindowDone)] == [3.0, 13.0]
    assert engine.next() == Done(7)


def test_a_failure_says_who_can_mend_it(engine: Engine) -> None:
    """The operator, more memory, or whoever wrote this; the next job goes well."""
    engine.ask(1, 0, language="xx")
    failed = engine.next()
    assert isinstance(failed, Failed)
    assert (failed.id, failed.kind) == (1, Failure.CONFIG)

    def trouble(_call: Call) -> None:
        raise RuntimeError("CUDA failed with error out of memory")

    engine.whisper.trouble = trouble
    engine.ask(2, 0)
    engine.next()
    failed = engine.next()
    assert isinstance(failed, Failed)
    assert failed.kind == Failure.OUT_OF_MEMORY
    engine.whisper.trouble = lambda _call: None
    engine.ask(3, 0, spool="/nowhere")
    failed = engine.next()
    assert isinstance(failed, Failed)
    assert failed.kind == Failure.BUG
    assert "No such file" in failed.message
    engine.ask(4, 0)
    assert [type(engine.next()) for _ in range(3)] == [LanguageFound, WindowDone, Done]


def test_a_job_is_cancelled_and_the_others_are_not(engine: Engine) -> None:
    """A cancel that comes too late is none."""
    inside, may_go_on = threading.Event(), threading.Event()

    def trouble(_call: Call) -> None:
        inside.set()
        assert may_go_on.wait(5)

    engine.whisper.trouble = trouble
    engine.ask(1, 0)
    assert engine.next() == LanguageFound(1, "en", 1.0)
    assert inside.wait(5)
    engine.channel.send(to_message(Cancel(1)))
    cancelled = engine.next()
    assert isinstance(cancelled, Failed)
    assert (cancelled.id, cancelled.kind) == (1, Failure.CANCELLED)
    may_go_on.set()
    engine.channel.send(to_message(Cancel(1)))
    engine.ask(2, 0)
    assert [type(engine.next()) for _ in range(3)] == [LanguageFound, WindowDone, Done]
