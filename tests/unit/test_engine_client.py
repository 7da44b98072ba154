import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.engine.client import (
    Checkpoint,
    Engine,
    EngineSettings,
    Limits,
    Request,
    RestartLimits,
    company_after,
    devices_of,
)
from daemon.errors import (
    ConfigError,
    DeviceFull,
    EngineDied,
    EngineUnavailable,
    JobCancelled,
    RecordingError,
    TranscribedError,
)
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

    def make(limits: Limits | None = None, max_deaths: int = 5, backoff_s: float = 0.01, **settings: Any) -> Engine:
        engine = Engine(
            EngineSettings(models_dir=tmp_path, **settings),
            lambda _name, line: output.append(line),
            module="engine_fake",
            limits=limits,
            restart_limits=RestartLimits(
                first_s=backoff_s, longest_s=60.0 if backoff_s > 1 else 0.1, max_deaths=max_deaths
            ),
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
    company: int | None = None,
) -> Transcript:
    return engine.transcribe(
        wanted,
        checkpoint or Checkpoint(),
        progress=lambda _done_s, _total_s: None,
        cancelled=cancelled or threading.Event(),
        company=company,
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
    """Stopped, ready with what it runs on, unloaded after a death that met no job, stopped again."""
    engine = build()
    assert engine.status().state == "stopped"
    engine.start("base")
    status = engine.status()
    assert (status.state, status.model, status.device, status.compute_type) == ("ready", "base", "fake", "int1")
    assert status.pid is not None
    os.kill(status.pid, 9)
    wait_until(lambda: engine.status().state == "unloaded")
    assert engine.status().last_error == "killed by SIGKILL"
    run(engine, request())
    assert (engine.status().state, engine.status().n_restarts) == ("ready", 1)
    engine.close(1.0)
    assert engine.status().state == "stopped"
    with pytest.raises(EngineUnavailable, match="stopped"):
        run(engine, request())


@pytest.mark.fault(43, "SIGKILL between two windows")
def test_a_death_costs_no_finished_window(build: Build) -> None:
    """The checkpoint keeps what was done; the next call goes on after it in a new process."""
    engine = build()
    checkpoint = Checkpoint()
    with pytest.raises(EngineDied, match="job 1: killed by SIGKILL") as died:
        run(engine, request("die:2"), checkpoint)
    assert died.value.alone
    assert died.value.by_others
    assert (len(checkpoint.segments), checkpoint.next_sample) == (2, 2 * SAMPLE_RATE_HZ)
    transcript = run(engine, request("die:2"), checkpoint)
    assert [segment.start_s for segment in transcript.segments] == [0.0, 1.0, 2.0]
    assert len(set(pids(transcript))) == 2
    assert transcript.language_probability == 0.75


def test_a_translation_survives_a_death_with_its_text(build: Build) -> None:
    """The checkpoint has both of a window, or neither."""
    engine = build()
    asked = request("die:2")
    asked, checkpoint = replace(asked, options=replace(asked.options, task="both")), Checkpoint()
    with pytest.raises(EngineDied):
        run(engine, asked, checkpoint)
    assert (len(checkpoint.segments), len(checkpoint.translation)) == (2, 2)
    transcript = run(engine, asked, checkpoint)
    assert [line.text for line in transcript.translation] == ["English 0", "English 1", "English 2"]
    assert [line.start_s for line in transcript.translation] == [line.start_s for line in transcript.segments]


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


@pytest.mark.fault(43, "an engine that always dies")
def test_an_engine_that_keeps_dying_is_left_alone(build: Build) -> None:
    """After so many deaths a job is told at once that there is no engine."""
    engine = build(max_deaths=2)
    for _ in range(2):
        with pytest.raises(EngineDied):
            run(engine, request("die-always"))
    with pytest.raises(EngineUnavailable, match="died 2 times"):
        run(engine, request())


def test_an_engine_that_dies_again_and_again_is_down(build: Build) -> None:
    """Once or twice is nobody's business while no job is inside: the next one starts it. Three times in a row is."""
    engine = build()
    states: list[str] = []
    for _ in range(3):
        with pytest.raises(EngineDied):
            run(engine, request("die-always"))
        states.append(engine.status().state)
    assert states == ["unloaded", "unloaded", "down"]


@pytest.mark.fault(42, "SIGSTOP of the engine")
def test_a_silent_engine_is_killed(build: Build) -> None:
    """A process without a heartbeat is taken for dead: it may hang in a driver for ever."""
    engine = build(limits=Limits(silence_s=0.5))
    with pytest.raises(EngineDied, match="no sign of life"):
        run(engine, request("freeze"))
    assert engine.status().state == "unloaded"


@pytest.mark.fault(42, "an engine that lives and does nothing")
def test_an_engine_that_finishes_no_window_is_killed(build: Build) -> None:
    """A heart may beat in a process that does no work any more."""
    engine = build(limits=Limits(window_s=0.5))
    with pytest.raises(EngineDied, match="no window finished"):
        run(engine, request("mute"))


def test_an_engine_that_works_without_reports_is_not_killed(build: Build, tmp_path: Path) -> None:
    """Windows are reported in order: a job whose first one is late may be at work on others."""
    engine = build(limits=Limits(window_s=0.6, job_s=60))
    gate = tmp_path / "gate"
    threading.Timer(2.0, gate.touch).start()
    assert len(run(engine, request(f"unreported:{gate}")).segments) == 3


def test_waiting_for_the_windows_of_others_is_no_fault(build: Build, tmp_path: Path) -> None:
    """The limit for windows is one for all jobs; a job alone has a longer one."""
    engine = build(limits=Limits(window_s=0.6, job_s=60, job_factor=0.0), max_open=4)
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(run, engine, request(f"hold:{gate}"))
        wait_until(lambda: engine.status().n_jobs == 1)
        began = time.monotonic()
        while time.monotonic() - began < 2.0:
            run(engine, request(job_id=2))
        gate.touch()
        assert len(held.result(20).segments) == 3
    assert engine.status().n_restarts == 0


def test_a_starving_job_is_found(build: Build) -> None:
    """Others get their windows, one gets none: the engine is not well, and starts again."""
    engine = build(limits=Limits(window_s=60, job_s=1.0, job_factor=0.0), max_open=4)
    with ThreadPoolExecutor(1) as pool:
        starving = pool.submit(run, engine, request("mute"))
        wait_until(lambda: engine.status().n_jobs == 1)
        while not starving.done():
            try:
                run(engine, request(job_id=2))
            except EngineDied:
                break
        with pytest.raises(EngineDied, match="had no window finished for 1 s while others had"):
            starving.result(20)


def test_at_most_so_many_jobs_are_in_the_engine(build: Build) -> None:
    """Whatever the number of callers."""
    engine = build(max_open=2)
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(run, engine, request(n_windows=20, job_id=n)) for n in range(16)]
        texts = [segment.text for one in done for segment in one.result(30).segments]
    assert len(texts) == 16 * 20
    assert {text.split(" with ")[1].split()[0] for text in texts} <= {"1", "2"}


def test_a_job_may_be_alone(build: Build, tmp_path: Path) -> None:
    """It waits until the engine is empty, and nobody enters while it runs."""
    engine = build(max_open=4)
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(run, engine, request(f"hold:{gate}"))
        wait_until(lambda: engine.status().n_jobs == 1)
        lone = pool.submit(run, engine, request(job_id=2), company=1)
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


def test_two_models_can_be_held(build: Build, tmp_path: Path) -> None:
    """As many as configured, each in a process of its own; the third ends the one that was used least recently."""
    engine = build(max_models=2)
    for model in ("one", "two", "one", "two"):
        assert run(engine, request(model=model)).model == model
    first, second = engine.status().seats
    assert (first.model, second.model, first.state, second.state) == ("one", "two", "ready", "ready")
    assert first.pid != second.pid
    run(engine, request(model="three"))
    assert [seat.model for seat in engine.status().seats] == ["three", "two"]
    assert not Path(f"/proc/{first.pid}").exists()


def test_every_device_has_an_engine(build: Build) -> None:
    """All load the first model at the start, and each has its own process."""
    engine = build(device="cuda:0,1", max_open=4)
    engine.start("base")
    seats = engine.status().seats
    assert [(seat.state, seat.device, seat.model) for seat in seats] == [
        ("ready", "cuda:0", "base"),
        ("ready", "cuda:1", "base"),
    ]
    assert len({seat.pid for seat in seats}) == 2


@pytest.mark.fault(48, "one device that cannot load")
def test_a_broken_device_does_not_stop_the_others(build: Build) -> None:
    """The start goes on with the rest; a model that none can run is the operator's."""
    engine = build(device="cuda:0,1")
    engine.start("only-cuda:1")
    assert [seat.state for seat in engine.status().seats] == ["down", "ready"]
    assert engine.status().state == "ready"
    assert engine.status().last_error == "cuda:0 is broken"
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(run, engine, request(model="only-cuda:1", job_id=n)) for n in range(4)]
        assert {one.result(20).device for one in done} == {"cuda:1"}
    with pytest.raises(ConfigError, match="is broken"):
        engine.start("only-cuda:7")


def test_a_job_that_meets_a_broken_device_goes_to_the_next(build: Build) -> None:
    """Whatever was tried first."""
    engine = build(device="cuda:0,1")
    assert run(engine, request(model="only-cuda:1")).device == "cuda:1"
    assert run(engine, request(model="only-cuda:0")).device == "cuda:0"
    with pytest.raises(ConfigError, match="is broken"):
        run(engine, request(model="only-cuda:7"))
    assert len(run(engine, request()).segments) == 3


@pytest.mark.fault(47, "one device whose engine always dies")
def test_a_dead_device_gives_its_jobs_to_the_others(build: Build) -> None:
    """While it waits to be started again."""
    engine = build(device="cuda:0,1", backoff_s=60.0)
    engine.start("base")
    with pytest.raises(EngineDied):
        run(engine, request("die:0"))
    (alive,) = (seat.device for seat in engine.status().seats if seat.state == "ready")
    assert run(engine, request("die:9")).device == alive


def test_the_cpu_goes_on_where_the_gpu_has_no_memory_left(build: Build) -> None:
    """If it was named as the spare; the model is loaded there only then, and what was finished is not done again."""
    engine = build(device="cuda,cpu")
    engine.start("base")
    assert [seat.state for seat in engine.status().seats] == ["ready", "stopped"]
    assert run(engine, request()).device == "cuda"
    checkpoint = Checkpoint()
    moved = run(engine, request("full-after-2:cuda"), checkpoint)
    assert moved.device == "cpu"
    pids = [segment.text.split()[4] for segment in moved.segments]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 1]
    assert run(engine, request()).device == "cpu"  # for the next minute, so does everybody


def test_a_full_gpu_without_a_spare_is_tried_again_later(build: Build) -> None:
    """The job is told why."""
    engine = build(device="cuda:0,1")
    with pytest.raises(DeviceFull, match="out of memory"):
        run(engine, request("out_of_memory"))


def test_the_spare_device_starts_where_no_other_can(build: Build) -> None:
    """A model that no device can run is the operator's."""
    engine = build(device="cuda:0,cpu")
    engine.start("only-cpu")
    assert [seat.state for seat in engine.status().seats] == ["down", "ready"]
    with pytest.raises(ConfigError, match="is broken"):
        engine.start("only-cuda:7")


def test_an_idle_model_is_given_up_and_comes_back(build: Build, tmp_path: Path) -> None:
    """Its process ends; the next job starts another. One with a job inside is left alone."""
    engine = build()
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(run, engine, request(f"hold:{gate}"))
        wait_until(lambda: engine.status().state == "ready")
        assert engine.unload_idle(0.0) == 0
        gate.touch()
        held.result(20)
    pid = engine.status().pid
    assert engine.unload_idle(60.0) == 0
    assert engine.unload_idle(0.0) == 1
    assert engine.unload_idle(0.0) == 0
    assert not Path(f"/proc/{pid}").exists()
    assert (engine.status().state, engine.status().pid, engine.status().last_error) == ("unloaded", None, None)
    assert len(run(engine, request()).segments) == 3
    assert (engine.status().state, engine.status().n_restarts) == ("ready", 0)


def test_jobs_that_come_while_a_model_is_given_up_are_done(build: Build) -> None:
    """However the two fall together: nobody is sent into a process that is about to end."""
    engine = build(idle_unload_s=0.02)
    for n in range(12):
        assert len(run(engine, request(job_id=n, n_windows=2)).segments) == 2
        engine.unload_idle(0.0) if n % 2 else time.sleep(0.01 * (n % 4))
    wait_until(lambda: engine.status().state == "unloaded")
    assert engine.status().n_restarts == 0


def test_a_cancelled_start_goes_on_for_the_others(build: Build) -> None:
    """The job that wanted the model first is gone, the model is loaded all the same."""
    engine = build()
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run, engine, request(model="slow"), cancelled=cancelled)
        wait_until(lambda: engine.status().state == "starting")
        pid = engine.status().pid
        cancelled.set()
        with pytest.raises(JobCancelled):
            waiting.result(20)
    assert (engine.status().state, engine.status().pid) == ("starting", pid)


def in_a_crowd(engine: Engine, jobs: Sequence[Request]) -> tuple[dict[int, Transcript], list[int], int]:
    """All *jobs* at once, asked again as the daemon does: the transcripts, who is to blame, and how many deaths."""
    deaths: Counter[int] = Counter()
    blamed: list[int] = []

    def persist(job: Request) -> Transcript | None:
        checkpoint, company = Checkpoint(), None
        while True:
            try:
                return run(engine, job, checkpoint, company=company)
            except EngineDied as error:
                deaths[job.job_id] += 1
                if error.alone and deaths[job.job_id] > 1:
                    blamed.append(job.job_id)
                    return None
                company = company_after(error, deaths[job.job_id])

    with ThreadPoolExecutor(len(jobs)) as pool:
        results = {job.job_id: pool.submit(persist, job) for job in jobs}
        found = {job_id: transcript for job_id, future in results.items() if (transcript := future.result(60))}
    return found, blamed, max(deaths.values())


@pytest.mark.fault(43, "one killer among many")
@pytest.mark.fault(44, "SIGKILL with many recordings inside")
@pytest.mark.parametrize("n_killers", [1, 2])
def test_a_killer_is_found_in_a_crowd(build: Build, tmp_path: Path, n_killers: int) -> None:
    """It alone is blamed, after few deaths; everyone else gets a transcript, most of them never alone."""
    engine = build(max_open=32, max_deaths=50)
    engine.start("base")
    gate = tmp_path / "gate"
    killers = [request(f"hold-die:{gate}", job_id=n) for n in range(n_killers)]
    others = [request(f"hold:{gate}", job_id=n) for n in range(n_killers, 32)]

    def let_them_go() -> None:
        wait_until(lambda: engine.status().n_jobs == 32)
        gate.touch()

    threading.Thread(target=let_them_go, daemon=True).start()
    found, blamed, n_deaths = in_a_crowd(engine, [*others[:16], *killers, *others[16:]])
    assert sorted(blamed) == list(range(n_killers))
    assert sorted(found) == [job.job_id for job in others]
    assert n_deaths <= 2 + 2 * n_killers


def test_a_suspect_is_cleared_when_it_has_passed_the_place(build: Build, tmp_path: Path) -> None:
    """A long recording that was there at a death need not be alone to its end."""
    engine = build(max_open=4)
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(run, engine, request(f"hold-after-700:{gate}", n_windows=800), company=1)
        wait_until(lambda: engine.status().n_jobs == 1)
        assert len(run(engine, request(job_id=2)).segments) == 3
        assert not long.done()
        gate.touch()
        assert len(long.result(20).segments) == 800


def test_after_a_death_the_company_gets_smaller() -> None:
    """The root of the number at first, alone from the second death on."""
    after = [company_after(EngineDied("", n_inside=n), 1) for n in (1, 2, 3, 4, 9, 32)]
    assert after == [1, 1, 1, 2, 3, 5]
    assert company_after(EngineDied("", n_inside=32), 2) == 1


def test_devices_are_told_apart() -> None:
    """One setting may name several."""
    assert devices_of("auto") == ("auto",)
    assert devices_of("cuda:1") == ("cuda:1",)
    assert devices_of("cuda:0,2") == ("cuda:0", "cuda:2")
    assert devices_of("cuda,cpu") == ("cuda", "cpu")
    assert devices_of("cuda:0,2,cpu") == ("cuda:0", "cuda:2", "cpu")


def test_a_cancelled_job_ends_soon(build: Build, tmp_path: Path) -> None:
    """The process lives on, and the slot is free."""
    engine = build(max_open=1)
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


@pytest.mark.fault(48, "an engine that ends while it loads")
def test_a_crash_while_loading_is_no_verdict(build: Build, output: list[str]) -> None:
    """It may work later; the last words of the process are in the log."""
    engine = build()
    with pytest.raises(EngineUnavailable, match="while it loaded 'crash': exit status 3"):
        engine.start("crash")
    wait_until(lambda: "about to crash" in output)


@pytest.mark.fault(48, "an engine that ends once while it loads")
def test_a_job_outlasts_a_crash_while_loading(build: Build) -> None:
    """The next process has the model a second later: no reason for everybody in hand to wait for minutes."""
    engine = build()
    assert len(run(engine, request(model="crash-once")).segments) == 3
    assert engine.status().n_restarts == 1


def test_a_job_does_not_wait_for_ever_for_an_engine_that_crashes_while_loading(build: Build) -> None:
    """When the process is left alone for a while, the job is for later."""
    engine = build(max_deaths=3)
    with pytest.raises(EngineUnavailable, match="died 3 times"):
        run(engine, request(model="crash"))


@pytest.mark.fault(45, "a model that does not fit")
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
    engine = build(max_open=1)
    with ThreadPoolExecutor(2) as pool:
        inside = pool.submit(run, engine, request(f"hold:{tmp_path / 'never'}"))
        wait_until(lambda: engine.status().state == "ready")
        outside = pool.submit(run, engine, request())
        engine.close(1.0)
        for one in (inside, outside):
            with pytest.raises(EngineUnavailable):
                one.result(20)


def test_work_and_deaths_are_counted_beyond_the_process(build: Build) -> None:
    """What a process did still counts when the next one works; deaths count until a job ends well."""
    engine = build()
    run(engine, request())
    (seat,) = engine.status().seats
    wait_until(lambda: engine.status().seats[0].work.n_windows >= 3)
    assert seat.n_deaths == 0
    with pytest.raises(EngineDied):
        run(engine, request("die-always"))
    assert engine.status().seats[0].n_deaths == 1
    assert engine.status().seats[0].work.n_windows >= 3
    run(engine, request())
    (seat,) = engine.status().seats
    assert (seat.n_deaths, seat.n_restarts) == (0, 1)
    wait_until(lambda: engine.status().seats[0].work.n_windows >= 6)
