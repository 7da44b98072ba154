import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon.engine.client import (
    Checkpoint,
    Engine,
    EngineSettings,
    Limits,
    Request,
    RestartLimits,
)
from daemon.errors import ConfigError, EngineDied, EngineUnavailable, JobCancelled, RecordingError, TranscribedError
from daemon.options import JobOptions
from daemon.transcript import SAMPLE_RATE_HZ, Span, Transcript

Build = Callable[..., Engine]


@pytest.fixture
def output() -> list[str]:
    return []


@pytest.fixture
def build(tmp_path: Path, output: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Engines on the fake server; closed at the end."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the child finds engine_fake
    engines: list[Engine] = []

    def make(slots: int = 2, limits: Limits | None = None, max_deaths: int = 5) -> Engine:
        engine = Engine(
            EngineSettings(models_dir=tmp_path, slots=slots),
            lambda _name, line: output.append(line),
            module="engine_fake",
            limits=limits,
            restart_limits=RestartLimits(first_s=0.01, max_deaths=max_deaths),
        )
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close(1.0)


def request(script: str | None = None, *, n_windows: int = 3, model: str = "base", job_id: int = 1) -> Request:
    spans = tuple(Span(n * SAMPLE_RATE_HZ, (n + 1) * SAMPLE_RATE_HZ) for n in range(n_windows))
    return Request(
        job_id, Path("/nowhere"), n_windows * SAMPLE_RATE_HZ, spans, JobOptions(model=model, hotwords=script)
    )


def run(
    engine: Engine,
    wanted: Request,
    checkpoint: Checkpoint | None = None,
    *,
    cancelled: threading.Event | None = None,
    alone: bool = False,
) -> Transcript:
    return engine.transcribe(
        wanted,
        checkpoint or Checkpoint(),
        progress=lambda _done_s, _total_s: None,
        cancelled=cancelled or threading.Event(),
        alone=alone,
    )


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def pids(transcript: Transcript) -> list[str]:
    return [segment.text.split()[4] for segment in transcript.segments]


def test_a_job_becomes_a_transcript(build: Build) -> None:
    """Segments in order, what they were made with, and progress in seconds up to the end."""
    engine = build()
    seen: list[tuple[float, float]] = []
    checkpoint = Checkpoint()

    def progress(done_s: float, total_s: float) -> None:
        seen.append((done_s, total_s))

    transcript = engine.transcribe(request(), checkpoint, progress=progress, cancelled=threading.Event())
    assert [segment.start_s for segment in transcript.segments] == [0.0, 1.0, 2.0]
    assert (transcript.language, transcript.language_probability) == ("en", 0.75)
    assert (transcript.model, transcript.device, transcript.compute_type) == ("base", "fake", "int1")
    assert seen == [(1.0, 3.0), (2.0, 3.0), (3.0, 3.0), (3.0, 3.0)]
    assert checkpoint.next_sample == 3 * SAMPLE_RATE_HZ


def test_no_speech_needs_no_engine(build: Build) -> None:
    """Without spans the model is not even started."""
    engine = build()
    silent = Request(1, Path("/nowhere"), 100, (), JobOptions(language="de"))
    transcript = run(engine, silent)
    assert (transcript.segments, transcript.language, transcript.language_probability) == ((), "de", 1.0)
    assert engine.status().state == "stopped"


def test_the_status_follows_the_engine(build: Build) -> None:
    """Stopped, ready with what it runs on, down after a death, stopped again."""
    engine = build()
    assert engine.status().state == "stopped"
    engine.start("base")
    status = engine.status()
    assert (status.state, status.model, status.device, status.compute_type) == ("ready", "base", "fake", "int1")
    assert status.pid is not None
    os.kill(status.pid, 9)
    wait_until(lambda: engine.status().state == "down")
    assert engine.status().last_error == "killed by SIGKILL"
    run(engine, request())
    assert (engine.status().state, engine.status().n_restarts) == ("ready", 1)
    engine.close(1.0)
    assert engine.status().state == "stopped"
    with pytest.raises(EngineUnavailable, match="stopped"):
        run(engine, request())


def test_a_death_costs_no_finished_window(build: Build) -> None:
    """The checkpoint keeps what was done; the next call goes on after it in a new process."""
    engine = build()
    checkpoint = Checkpoint()
    with pytest.raises(EngineDied, match="job 1: killed by SIGKILL") as died:
        run(engine, request("die:2"), checkpoint)
    assert died.value.alone
    assert (len(checkpoint.segments), checkpoint.next_sample) == (2, 2 * SAMPLE_RATE_HZ)
    transcript = run(engine, request("die:2"), checkpoint)
    assert [segment.start_s for segment in transcript.segments] == [0.0, 1.0, 2.0]
    assert len(set(pids(transcript))) == 2
    assert transcript.language_probability == 0.75


def test_two_jobs_in_a_dying_engine_are_both_suspects(build: Build, tmp_path: Path) -> None:
    """Neither is alone, so neither is blamed for certain."""
    engine = build()
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(run, engine, request(f"hold:{tmp_path / 'never'}"))
        wait_until(lambda: engine.status().n_jobs == 1 and engine.status().state == "ready")
        with pytest.raises(EngineDied) as guilty:
            run(engine, request("die:0", job_id=2))
        with pytest.raises(EngineDied) as innocent:
            held.result(20)
    assert not guilty.value.alone
    assert not innocent.value.alone


def test_an_engine_that_keeps_dying_is_left_alone(build: Build) -> None:
    """After so many deaths a job is told at once that there is no engine."""
    engine = build(max_deaths=2)
    for _ in range(2):
        with pytest.raises(EngineDied):
            run(engine, request("die-always"))
    with pytest.raises(EngineUnavailable, match="died 2 times"):
        run(engine, request())


def test_a_silent_engine_is_killed(build: Build) -> None:
    """A process without a heartbeat is taken for dead: it may hang in a driver for ever."""
    engine = build(limits=Limits(silence_s=0.5))
    with pytest.raises(EngineDied, match="no sign of life"):
        run(engine, request("freeze"))
    assert engine.status().state == "down"


def test_an_engine_that_finishes_no_window_is_killed(build: Build) -> None:
    """A heart may beat in a process that does no work any more."""
    engine = build(limits=Limits(window_s=0.5))
    with pytest.raises(EngineDied, match="no window finished"):
        run(engine, request("mute"))


def test_at_most_so_many_jobs_are_in_the_engine(build: Build) -> None:
    """Whatever the number of callers."""
    engine = build(slots=2)
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(run, engine, request(n_windows=20, job_id=n)) for n in range(16)]
        texts = [segment.text for one in done for segment in one.result(30).segments]
    assert len(texts) == 16 * 20
    assert {text.split(" with ")[1].split()[0] for text in texts} <= {"1", "2"}


def test_a_job_may_be_alone(build: Build, tmp_path: Path) -> None:
    """It waits until the engine is empty, and nobody enters while it runs."""
    engine = build(slots=4)
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(run, engine, request(f"hold:{gate}"))
        wait_until(lambda: engine.status().n_jobs == 1)
        lone = pool.submit(run, engine, request(job_id=2), alone=True)
        after = pool.submit(run, engine, request(job_id=3))
        assert not lone.done()
        gate.touch()
        for one in (first, lone, after):
            one.result(20)
    assert all("with 1 running" in segment.text for segment in lone.result().segments)


def test_another_model_replaces_the_process(build: Build, tmp_path: Path) -> None:
    """Not before the jobs with the first model are done; the old process is gone, and with it its memory."""
    engine = build()
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(run, engine, request(f"hold:{gate}"))
        wait_until(lambda: engine.status().state == "ready")
        old = engine.status().pid
        other = pool.submit(run, engine, request(model="other"))
        back = pool.submit(run, engine, request())
        gate.touch()
        results: list[Future[Transcript]] = [first, other, back]
        models = [one.result(20).model for one in results]
    assert models == ["base", "other", "base"]
    assert old is not None
    assert not Path(f"/proc/{old}").exists()
    assert engine.status().n_restarts == 0


def test_a_cancelled_job_ends_soon(build: Build, tmp_path: Path) -> None:
    """The process lives on, and the slot is free."""
    engine = build(slots=1)
    cancelled = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(run, engine, request(f"hold:{tmp_path / 'never'}"), cancelled=cancelled)
        waiting_cancelled = threading.Event()
        wait_until(lambda: engine.status().state == "ready")
        waiting = pool.submit(run, engine, request(), cancelled=waiting_cancelled)
        waiting_cancelled.set()
        with pytest.raises(JobCancelled, match="waiting"):
            waiting.result(20)
        cancelled.set()
        with pytest.raises(JobCancelled):
            held.result(20)
    assert len(run(engine, request()).segments) == 3
    assert engine.status().n_restarts == 0


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("recording", RecordingError),
        ("config", ConfigError),
        ("out_of_memory", EngineUnavailable),
        ("bug", RuntimeError),
    ],
)
def test_a_failed_job_leaves_the_engine_running(build: Build, script: str, error: type[Exception]) -> None:
    """The kind of the failure decides who hears of it; a bug is none of our own errors."""
    engine = build()
    with pytest.raises(error, match=f"it was a {script}") as raised:
        run(engine, request(script))
    assert isinstance(raised.value, TranscribedError) == (script != "bug")
    assert len(run(engine, request()).segments) == 3
    assert engine.status().n_restarts == 0


def test_a_model_that_cannot_be_loaded_is_the_operators(build: Build) -> None:
    """The message of the process reaches the operator, and another model still works."""
    engine = build()
    with pytest.raises(ConfigError, match="'missing' is not there"):
        engine.start("missing")
    assert len(run(engine, request()).segments) == 3


def test_a_crash_while_loading_is_no_verdict(build: Build, output: list[str]) -> None:
    """It may work later; the last words of the process are in the log."""
    engine = build()
    with pytest.raises(EngineUnavailable, match="while it loaded 'crash': exit status 3"):
        engine.start("crash")
    wait_until(lambda: "about to crash" in output)


def test_a_full_device_passes(build: Build) -> None:
    """Somebody else's memory for the moment: nothing for the operator to mend."""
    engine = build()
    with pytest.raises(EngineUnavailable, match="'huge' does not fit"):
        engine.start("huge")
    assert len(run(engine, request()).segments) == 3


def test_loading_has_an_end(build: Build) -> None:
    """A driver may hang while the heart beats."""
    engine = build(limits=Limits(load_s=0.5))
    with pytest.raises(EngineUnavailable, match="the model was not loaded"):
        engine.start("slow")


def test_closing_releases_the_waiting(build: Build, tmp_path: Path) -> None:
    """Jobs inside and outside end as unavailable: they are not to blame."""
    engine = build(slots=1)
    with ThreadPoolExecutor(2) as pool:
        inside = pool.submit(run, engine, request(f"hold:{tmp_path / 'never'}"))
        wait_until(lambda: engine.status().state == "ready")
        outside = pool.submit(run, engine, request())
        engine.close(1.0)
        for one in (inside, outside):
            with pytest.raises(EngineUnavailable):
                one.result(20)
