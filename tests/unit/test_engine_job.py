import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from daemon.engine.assembly import DecodedSegment, DecodedWindow
from daemon.engine.decoding import Decoder, WindowRequest
from daemon.engine.job import Spool, Tools, run_job
from daemon.engine.protocol import Job, LanguageFound, ServerSettings, WindowDone
from daemon.engine.server import is_out_of_memory, threads_per_slot
from daemon.errors import ConfigError, JobCancelled
from daemon.options import JobOptions
from daemon.transcript import SAMPLE_RATE_HZ, Span

Emitted = list[LanguageFound | WindowDone]


class Listener:
    """A decoder that hears the second at which a window starts: each sample of the spool file is its own second."""

    languages = frozenset({"en", "de"})

    def __init__(self) -> None:
        self.heard: list[tuple[float, float, bool]] = []
        self.probabilities: Iterator[dict[str, float]] = iter([])
        self.covers_s: Callable[[float, float], float] = lambda _start_s, length_s: length_s

    def prompt(self, hotwords: str | None, initial_prompt: str | None) -> tuple[int, ...]:
        """Nothing."""
        return ()

    def encode(self, samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> object:
        """Something to recognise."""
        return "encoded"

    def language_probabilities(self, encoded: object) -> dict[str, float]:
        """The next of those prepared."""
        return next(self.probabilities)

    def decode(self, batch: Sequence[WindowRequest]) -> list[DecodedWindow]:
        """One line for each window, as long as *covers_s* says."""
        return [self.decoded(item) for item in batch]

    def decoded(self, item: WindowRequest) -> DecodedWindow:
        """One line that says where it was heard."""
        start_s, length_s = round(float(item.samples[0]) * 32768), len(item.samples) / SAMPLE_RATE_HZ
        self.heard.append((start_s, length_s, item.encoded is not None))
        covered_s = self.covers_s(start_s, length_s)
        line = DecodedSegment(0.0, covered_s, f"{item.language} {start_s}")
        return DecodedWindow((line,), covered_s, -0.1, 1.0, 0.0, 0.0)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    np.repeat(np.arange(120, dtype="<i2"), SAMPLE_RATE_HZ).tofile(path)
    return path


def job(spool: Path, *times_s: tuple[int, int], language: str | None = "en", next_s: int = 0) -> Job:
    spans = tuple(Span(start * SAMPLE_RATE_HZ, end * SAMPLE_RATE_HZ) for start, end in times_s)
    options = JobOptions(language=language)
    return Job(1, str(spool), 120 * SAMPLE_RATE_HZ, spans, options, next_s * SAMPLE_RATE_HZ)


def run(listener: Listener, wanted: Job, cancelled: threading.Event | None = None) -> Emitted:
    emitted: Emitted = []
    with ThreadPoolExecutor(2) as lanes:
        tools = Tools(cast("Decoder", listener), lanes, n_ahead=2)
        run_job(wanted, tools, emitted.append, cancelled or threading.Event())
    return emitted


def texts(emitted: Emitted) -> list[str]:
    return [segment.text for report in emitted if isinstance(report, WindowDone) for segment in report.segments]


def test_windows_come_in_order_after_the_language(listener: Listener, spool: Path) -> None:
    """Each says how far the job is; times are those of the recording."""
    emitted = run(listener, job(spool, (1, 20), (40, 60), (80, 100)))
    assert emitted[0] == LanguageFound(1, "en", 1.0)
    assert texts(emitted) == ["en 1", "en 40", "en 80"]
    windows = [report for report in emitted if isinstance(report, WindowDone)]
    assert [report.done_s for report in windows] == [20.0, 60.0, 100.0]
    assert windows[1].segments[0].start_s == 40.0


def test_finished_windows_are_not_heard_again(listener: Listener, spool: Path) -> None:
    """A job resumes after the last window that was sent."""
    assert texts(run(listener, job(spool, (1, 20), (40, 60), (80, 100), next_s=60))) == ["en 80"]


def test_speech_after_the_last_timestamp_is_heard_again(listener: Listener, spool: Path) -> None:
    """From there to the end of the window, until no second of speech is left; less than that is padding."""
    listener.covers_s = lambda _start_s, length_s: min(length_s, 8.0)
    assert texts(run(listener, job(spool, (0, 20)))) == ["en 0", "en 8", "en 16"]
    listener.covers_s = lambda _start_s, length_s: length_s - 0.5
    assert texts(run(listener, job(spool, (0, 20)))) == ["en 0"]


def test_a_window_is_not_heard_for_ever(listener: Listener, spool: Path) -> None:
    """However little the model covers each time."""
    listener.covers_s = lambda _start_s, _length_s: 1.0
    assert texts(run(listener, job(spool, (0, 20)))) == ["en 0", "en 1", "en 2", "en 3"]


def test_a_sure_language_needs_one_window(listener: Listener, spool: Path) -> None:
    """What was encoded to find it is not encoded again."""
    listener.probabilities = iter([{"de": 0.95, "en": 0.05}])
    emitted = run(listener, job(spool, (1, 20), (40, 60), language=None))
    assert emitted[0] == LanguageFound(1, "de", 0.95)
    assert sorted(listener.heard) == [(1, 19.0, True), (40, 20.0, False)]


def test_a_doubtful_language_is_the_mean_of_three_windows(listener: Listener, spool: Path) -> None:
    """Music or a foreign name at the start does not decide alone."""
    listener.probabilities = iter([{"de": 0.6, "en": 0.4}, {"en": 0.8, "de": 0.2}, {"en": 0.7, "de": 0.3}])
    emitted = run(listener, job(spool, (1, 20), (30, 50), (60, 80), (90, 110), language=None))
    found = emitted[0]
    assert isinstance(found, LanguageFound)
    assert found.language == "en"
    assert found.probability == pytest.approx(1.9 / 3)


def test_a_cancelled_job_stops_between_windows(listener: Listener, spool: Path) -> None:
    """Nothing is emitted after that."""
    cancelled = threading.Event()
    emitted: Emitted = []

    def emit(report: LanguageFound | WindowDone) -> None:
        emitted.append(report)
        if isinstance(report, WindowDone):
            cancelled.set()

    with ThreadPoolExecutor(2) as lanes, pytest.raises(JobCancelled):
        run_job(job(spool, (1, 20), (40, 60), (80, 100)), Tools(cast("Decoder", listener), lanes, 2), emit, cancelled)
    assert texts(emitted) == ["en 1"]


def test_an_unknown_language_is_refused_before_any_work(listener: Listener, spool: Path) -> None:
    """The message names the known ones."""
    with pytest.raises(ConfigError, match="'xx'; it knows de, en"):
        run(listener, job(spool, (1, 20), language="xx"))
    assert listener.heard == []


def test_a_spool_file_that_is_too_short_is_an_error(spool: Path) -> None:
    """Never silence instead of samples that are not there."""
    reader = Spool(str(spool))
    with pytest.raises(OSError, match="the spool file ends before sample"):
        reader.read(119 * SAMPLE_RATE_HZ, 121 * SAMPLE_RATE_HZ)
    reader.close()


def test_the_quietest_moment_is_found(tmp_path: Path) -> None:
    """A forced cut falls into the shortest of pauses rather than into a word."""
    loud = np.full(10 * SAMPLE_RATE_HZ, 1000, "<i2")
    loud[7 * SAMPLE_RATE_HZ : 7 * SAMPLE_RATE_HZ + SAMPLE_RATE_HZ // 5] = 3
    loud.tofile(tmp_path / "spool")
    reader = Spool(str(tmp_path / "spool"))
    cut_s = reader.quietest(2 * SAMPLE_RATE_HZ, 10 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    reader.close()
    assert 7.0 <= cut_s <= 7.2


def test_slots_share_the_cores() -> None:
    """Together they use each core once; a slot has at least one thread."""
    settings = ServerSettings("base", "cpu", "auto", 2, 8, "/models", allow_download=False)
    assert threads_per_slot(settings) == 4
    assert threads_per_slot(ServerSettings("base", "cpu", "auto", 4, 2, "/models", allow_download=False)) == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA failed with error out of memory", True),
        ("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED", True),
        ("CUDA failed with error an illegal memory access was encountered", False),
    ],
)
def test_a_full_device_is_told_from_a_broken_one(message: str, expected: bool) -> None:
    """The first passes, the second does not."""
    assert is_out_of_memory(RuntimeError(message)) is expected
