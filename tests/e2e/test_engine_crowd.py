"""The central promise of the real engine: neighbours cost a recording neither its words nor its turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import pytest

from daemon.engine.client import Engine, EngineSettings, Request
from daemon.errors import JobCancelled
from daemon.options import JobOptions
from daemon.transcript import SAMPLE_RATE_HZ, Span, Transcript
from tests.recordings import Clip, Sound, Told, ask, ask_all, faster, joined, noisy, request, running, silence

N_CROWD: Final = 41
MEETING_H: Final = 3
MEETING_STEP_S: Final = 16.0
N_ARCHIVE: Final = 28
N_BATCH: Final = 7
"""Windows of the meeting in a batch at the most: 90 s in all, 12.2 s each without the padding."""

PLAIN: Final = JobOptions()
ASKED: Final = (
    PLAIN,
    replace(PLAIN, task="translate"),
    replace(PLAIN, multilingual=True),
    replace(PLAIN, quality="careful"),
    replace(PLAIN, word_timestamps=True),
    replace(PLAIN, initial_prompt="A talk about the weather in spring."),
    replace(PLAIN, hotwords="railway, Berlin"),
    replace(PLAIN, beam_size=1),
    replace(PLAIN, quality="careful", beam_size=3),
    replace(PLAIN, quality="faithful"),
    replace(PLAIN, word_timestamps=True, task="translate"),
    replace(PLAIN, task="both"),
    replace(PLAIN, task="both", quality="faithful"),
)


def worse(sound: Sound, n: int, other: Sound) -> Sound:
    """*sound* as it is, fast, noisy, with its start or its end cut off, or slow and followed by *other*."""
    match n % 6:
        case 1:
            return faster(sound, 1.1)
        case 2:
            return noisy(sound, 0.1, n)
        case 3:
            return sound[len(sound) // 7 :]
        case 4:
            return sound[: 3 * len(sound) // 4]
        case 5:
            return joined(faster(sound, 0.93), silence(0.7), other)
        case _:
            return sound


def crowd(clips: Mapping[str, Clip], folder: Path) -> dict[str, Request]:
    """Recordings of three languages, many lengths and all kinds of options, no two alike."""
    lecture = clips["lecture"]
    shorter = {**clips, "lecture": replace(lecture, sound=lecture.sound[: 20 * SAMPLE_RATE_HZ])}
    wanted: dict[str, Request] = {}
    for n, (name, options) in enumerate(islice(zip(cycle(shorter), cycle(ASKED), strict=False), N_CROWD)):
        clip = shorter[name]
        other = shorter[list(shorter)[n % 8]].sound
        asked = replace(options, language=None if n % 3 == 0 else clip.language)
        label = f"{n}-{name}"
        wanted[label] = request(folder, label, worse(clip.sound, n, other), asked)
    return wanted


@pytest.fixture(scope="module")
def wanted(clips: Mapping[str, Clip], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Request]:
    return crowd(clips, tmp_path_factory.mktemp("crowd"))


@pytest.fixture(scope="module")
def alone(models_dir: Path, wanted: Mapping[str, Request]) -> dict[str, Transcript]:
    """The text of each, one after the other, each window by itself."""
    with running(EngineSettings(models_dir, device="cpu", lanes=1, max_batch=1)) as engine:
        told = {name: ask(engine, one, company=1) for name, one in wanted.items()}
    return transcripts(told)


def transcripts(told: Mapping[str, Told]) -> dict[str, Transcript]:
    errors = {name: one.error for name, one in told.items() if one.transcript is None}
    assert not errors
    return {name: one.transcript for name, one in told.items() if one.transcript is not None}


def sampled(transcript: Transcript) -> bool:
    """Whether chance had a hand in it."""
    return any(segment.temperature > 0 for segment in (*transcript.segments, *transcript.translation))


@pytest.mark.parametrize(("max_batch", "lanes"), [(8, 2), (3, 1)])
def test_a_text_does_not_depend_on_its_neighbours(
    models_dir: Path, wanted: Mapping[str, Request], alone: Mapping[str, Transcript], max_batch: int, lanes: int
) -> None:
    """Words, times, probabilities and language are the very same alone and among forty others, whatever the batch."""
    with running(EngineSettings(models_dir, device="cpu", lanes=lanes, max_batch=max_batch, max_open=64)) as engine:
        engine.start("base")
        crowded = transcripts(ask_all(engine, wanted))
    settled = [name for name in wanted if not (sampled(alone[name]) or sampled(crowded[name]))]
    assert len(settled) > 0.9 * N_CROWD
    assert {name: crowded[name] for name in settled} == {name: alone[name] for name in settled}


@dataclass
class Meeting:
    """A meeting of three hours, as far as it is done; nobody waits for its end."""

    wanted: Request
    cancelled: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    n_windows: int = 0

    def run(self, engine: Engine) -> Told:
        """Its end; blocks until it is cancelled."""
        return ask(engine, self.wanted, progress=self._advance, cancelled=self.cancelled)

    def _advance(self, done_s: float, _total_s: float) -> None:
        with self.changed:
            self.n_windows = round(done_s / MEETING_STEP_S + 0.5)
            self.changed.notify_all()

    def wait(self, n_windows: int) -> None:
        """Until so many windows are done."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.n_windows >= n_windows, timeout=120)


@pytest.fixture
def meeting(clips: Mapping[str, Clip], tmp_path: Path) -> Meeting:
    """The first half of the lecture over and over; only the first half hour is written, the rest is a hole."""
    lecture = clips["lecture"]
    first = lecture.sound[: lecture.spans[0].end]
    step = round(MEETING_STEP_S * SAMPLE_RATE_HZ)
    n_times = round(MEETING_H * 3600 / MEETING_STEP_S)
    part = joined(first, silence(MEETING_STEP_S))[:step]
    wanted = request(tmp_path, "meeting", joined(*[part] * (n_times // 6)), replace(PLAIN, language="en"))
    with wanted.spool_path.open("r+b") as file:
        file.truncate(2 * step * n_times)
    spans = tuple(Span(n * step, n * step + len(first)) for n in range(n_times))
    return Meeting(replace(wanted, n_samples=n_times * step, spans=spans))


@pytest.fixture(scope="module")
def one_lane(models_dir: Path) -> Iterator[Engine]:
    with running(EngineSettings(models_dir, device="cpu", lanes=1, max_batch=8)) as engine:
        engine.start("base")
        yield engine


def test_a_memo_does_not_wait_for_a_meeting(
    one_lane: Engine, meeting: Meeting, clips: Mapping[str, Clip], tmp_path: Path
) -> None:
    """It is finished after the batch that it found in the model, and at most one more; so are three at once."""
    memos = {name: request(tmp_path, name, clips[name].sound, PLAIN) for name in ("memo", "greeting", "studio")}
    undisturbed = {name: ask(one_lane, one) for name, one in memos.items()}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(meeting.run, one_lane)
        try:
            n_between: list[int] = []
            for company in ([name] for name in memos):
                meeting.wait(meeting.n_windows + 1)
                before = meeting.n_windows
                told = ask_all(one_lane, {name: memos[name] for name in company})
                n_between.append(meeting.n_windows - before)
                assert all(told[name] == undisturbed[name] for name in company)
            meeting.wait(meeting.n_windows + 1)
            before = meeting.n_windows
            assert ask_all(one_lane, memos) == undisturbed
            n_between.append(meeting.n_windows - before)
        finally:
            meeting.cancelled.set()
        assert isinstance(asked.result().error, JobCancelled)
    assert max(n_between[:-1]) <= 2 * N_BATCH, n_between
    assert n_between[-1] <= 3 * N_BATCH, n_between


@dataclass
class Archive:
    """Recordings of one person, all open at once; nobody waits for their end."""

    wanted: Request
    cancelled: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    n_windows: int = 0

    def run(self, engine: Engine) -> Told:
        """The end of one of them; blocks until it is cancelled."""
        return ask(engine, self.wanted, progress=self._advance, cancelled=self.cancelled)

    def _advance(self, _done_s: float, _total_s: float) -> None:
        with self.changed:
            self.n_windows += 1
            self.changed.notify_all()

    def wait(self, n_more: int) -> int:
        """Until so many more windows are done; how many there are then."""
        with self.changed:
            before = self.n_windows
            assert self.changed.wait_for(lambda: self.n_windows >= before + n_more, timeout=120)
            return self.n_windows


def test_an_archive_of_one_person_does_not_hold_up_the_memo_of_another(
    one_lane: Engine, clips: Mapping[str, Clip], tmp_path: Path
) -> None:
    """Though 28 of its recordings are open: for its language and for its text the memo lets one batch pass each."""
    memo = replace(request(tmp_path, "memo", clips["memo"].sound, PLAIN), person="/in/Ben")
    undisturbed = ask(one_lane, memo)
    part = clips["lecture"].sound[: 6 * SAMPLE_RATE_HZ]
    sound, step = joined(*[joined(part, silence(4.0))] * 30), 10 * SAMPLE_RATE_HZ
    spans = [Span(n * step, n * step + len(part)) for n in range(30)]
    asked = replace(request(tmp_path, "archive", sound, replace(PLAIN, language="en"), spans), person="/in/archive")
    archive = Archive(asked)
    with ThreadPoolExecutor(N_ARCHIVE) as pool:
        asked_all = [pool.submit(archive.run, one_lane) for _ in range(N_ARCHIVE)]
        try:
            before = archive.wait(N_BATCH)
            told = ask(one_lane, memo)
            n_between = archive.n_windows - before
        finally:
            archive.cancelled.set()
        assert all(isinstance(one.result().error, JobCancelled) for one in asked_all)
    assert told == undisturbed
    assert n_between <= 4 * N_BATCH, n_between


def test_a_cancelled_meeting_ends_between_batches_and_harms_nobody(
    one_lane: Engine, meeting: Meeting, clips: Mapping[str, Clip], tmp_path: Path
) -> None:
    """Of three hours only what was in the model is still done; those beside it have their words."""
    others = {name: request(tmp_path, name, clips[name].sound, PLAIN) for name in ("interview", "greeting")}
    undisturbed = {name: ask(one_lane, one) for name, one in others.items()}
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(meeting.run, one_lane)
        meeting.wait(1)
        beside = pool.submit(ask_all, one_lane, others)
        before = meeting.n_windows
        meeting.cancelled.set()
        assert isinstance(asked.result(timeout=60).error, JobCancelled)
        assert meeting.n_windows - before <= 3 * N_BATCH
        assert beside.result() == undisturbed
    assert one_lane.status().n_jobs == 0
    assert one_lane.status().n_restarts == 0
