"""The real engine process with the real model, on the project's own clips."""

import contextlib
import itertools
import os
import signal
import threading
import time
import wave
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.engine.client import Checkpoint, Engine, EngineSettings, Limits, Request
from daemon.errors import ConfigError, EngineDied
from daemon.options import JobOptions
from daemon.transcript import SAMPLE_RATE_HZ, Span, Transcript

MEMO = Path(__file__).parent.parent / "data" / "memo.wav"
PAUSE_S = 4


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@contextlib.contextmanager
def running(
    models_dir: Path, limits: Limits | None = None, *, one_by_one: bool = False
) -> Generator[Engine, None, None]:
    """An engine with the real model; *one_by_one*: it finishes one window before it begins with the next."""
    settings = EngineSettings(models_dir=models_dir, device="cpu")
    if one_by_one:
        settings = replace(settings, lanes=1, max_batch=1)
    engine = Engine(settings, lambda _name, _line: None, limits=limits)
    try:
        yield engine
    finally:
        engine.close(5.0)


@pytest.fixture(scope="module")
def engine(models_dir: Path) -> Iterator[Engine]:
    with running(models_dir) as started:
        started.start("base")
        yield started


def memo(folder: Path, n_times: int, options: JobOptions) -> Request:
    """The memo said *n_times* with pauses between: as many windows."""
    with wave.open(str(MEMO), "rb") as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLE_RATE_HZ, 1, 2)
        samples = file.readframes(file.getnframes())
    pause = bytes(2 * PAUSE_S * SAMPLE_RATE_HZ)
    spool = folder / f"memo-{n_times}.s16"
    spool.write_bytes((samples + pause) * n_times)
    step, length = (len(samples) + len(pause)) // 2, len(samples) // 2
    spans = tuple(Span(n * step, n * step + length) for n in range(n_times))
    return Request(1, spool, n_times * step, spans, options)


def run(engine: Engine, request: Request, checkpoint: Checkpoint | None = None) -> Transcript:
    return engine.transcribe(
        request,
        checkpoint or Checkpoint(),
        progress=lambda _done_s, _total_s: None,
        cancelled=threading.Event(),
    )


def test_speech_becomes_words_with_times(engine: Engine, tmp_path: Path) -> None:
    """The language is found, the words are right, words lie inside their segments in order of time."""
    transcript = run(engine, memo(tmp_path, 1, JobOptions(word_timestamps=True)))
    text = " ".join(segment.text for segment in transcript.segments)
    assert "garden is full of flowers" in text
    assert "birds are singing in the trees" in text
    assert transcript.language == "en"
    assert transcript.language_probability > 0.5
    assert (transcript.model, transcript.device) == ("base", "cpu")
    assert transcript.compute_type.startswith("int8")
    for segment in transcript.segments:
        assert segment.words
        times = [time_s for word in segment.words for time_s in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert segment.start_s <= times[0]
        assert times[-1] <= segment.end_s
        assert " ".join(word.text for word in segment.words) == segment.text


def test_two_recordings_at_once_do_not_mix(engine: Engine, tmp_path: Path) -> None:
    """What a recording gives does not depend on what else is in the engine."""
    alone = run(engine, memo(tmp_path, 2, JobOptions(language="en")))
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run, engine, memo(tmp_path, n, JobOptions(language="en"))) for n in (2, 3)]
        short, long = (one.result() for one in both)
    assert short.segments == alone.segments
    assert long.segments[: len(short.segments)] == short.segments
    assert all(left.end_s <= right.start_s for left, right in itertools.pairwise(long.segments))


def test_options_that_the_model_cannot_do_are_the_operators(engine: Engine, tmp_path: Path) -> None:
    """An unknown language names the known ones."""
    with pytest.raises(ConfigError, match=r"does not know the language 'xx'; it knows .*\bde\b"):
        run(engine, memo(tmp_path, 1, JobOptions(language="xx")))


def test_an_unsupported_compute_type_names_the_supported(models_dir: Path) -> None:
    """Before anything is loaded."""
    wanted = EngineSettings(models_dir=models_dir, device="cpu", compute_type="int4")
    engine = Engine(wanted, lambda _name, _line: None)
    try:
        with pytest.raises(ConfigError, match=r"'int4' is not supported on cpu; supported there: .*int8"):
            engine.start("base")
    finally:
        engine.close(5.0)


@pytest.fixture(scope="module")
def undisturbed(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """Eight memos in one go."""
    return run(engine, memo(tmp_path_factory.mktemp("undisturbed"), 8, JobOptions(language="en")))


@pytest.mark.parametrize(("sent", "reason"), [(signal.SIGKILL, "killed by SIGKILL"), (signal.SIGSTOP, "no sign")])
def test_a_death_in_the_middle_costs_no_finished_window(
    models_dir: Path, undisturbed: Transcript, tmp_path: Path, sent: signal.Signals, reason: str
) -> None:
    """Killed or frozen after its first window: the rest is done by a new process, and the text is the same."""
    request = memo(tmp_path, 8, JobOptions(language="en"))
    with running(models_dir, Limits(silence_s=8.0), one_by_one=True) as doomed:
        checkpoint = Checkpoint()

        def strike(_done_s: float, _total_s: float) -> None:
            pid = doomed.status().pid
            assert pid is not None
            os.kill(pid, sent)

        with pytest.raises(EngineDied, match=reason) as died:
            doomed.transcribe(request, checkpoint, progress=strike, cancelled=threading.Event())
        assert died.value.alone
        assert died.value.by_others == (sent is signal.SIGKILL)  # the other one was ended by us
        assert 0 < checkpoint.next_sample < request.n_samples
        first_pid = doomed.status().pid
        resumed = run(doomed, request, checkpoint)
        assert doomed.status().pid != first_pid
        assert doomed.status().n_restarts == 1
    assert resumed.segments == undisturbed.segments


def test_the_process_ends_with_its_engine(models_dir: Path) -> None:
    """Closing gives the memory back at once."""
    with running(models_dir) as engine:
        engine.start("base")
        pid = engine.status().pid
        started = time.monotonic()
    assert not Path(f"/proc/{pid}").exists()
    assert time.monotonic() - started < 5
