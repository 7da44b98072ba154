import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.engine.batching import BatchLimit
from daemon.engine.board import Board
from daemon.engine.decoding import Decoder
from daemon.engine.job import run_job
from daemon.engine.lanes import Lanes
from daemon.engine.protocol import Job, LanguageFound, WindowDone
from daemon.errors import ConfigError, JobCancelled
from daemon.options import JobOptions
from daemon.transcript import SAMPLE_RATE_HZ, Span
from tests.unit.whisper_fake import (
    LANGUAGE_TOKENS,
    NO_TIMESTAMPS,
    SOT,
    TRANSLATE,
    Call,
    FakeWhisper,
    Said,
    decoder_of,
    said,
    timed,
)

Emitted = list[LanguageFound | WindowDone]

LENGTH_S = 120
NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()
FIVE = ((1, 6), (10, 15), (20, 25), (30, 35), (40, 45))
"""Stretches of speech far enough apart to be a window each."""


def item_at(second: int) -> float:
    """What every sample of a second of the recording is: it tells the fake model where a window begins."""
    return (second + 1) * 200 / 32768


def second_of(item: float) -> int:
    return round(item * 32768 / 200) - 1


def tell(item: float, duration_s: float, _prompt: tuple[int, ...]) -> Said:
    """The second at which the window begins, and enough words for its speech."""
    return said(" ".join([f"at {second_of(item)}", *NUMBERS[: round(1.2 * duration_s)]]))


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    np.repeat(np.arange(1, LENGTH_S + 1) * 200, SAMPLE_RATE_HZ).astype("<i2").tofile(path)
    return path


class Engine:
    """One lane on a fake model."""

    def __init__(self) -> None:
        self.whisper = FakeWhisper(answer=tell)
        self.decoder = decoder_of(self.whisper)
        limit = BatchLimit(4)
        self.board = Board(limit, 100_000)
        self.lanes = Lanes(self.decoder, self.board, limit, n_lanes=1)

    def run(
        self,
        job: Job,
        cancelled: threading.Event | None = None,
        emit: Callable[[LanguageFound | WindowDone], None] | None = None,
    ) -> Emitted:
        """What is emitted for *job*."""
        emitted: Emitted = []
        run_job(job, self.lanes, self.decoder, emit or emitted.append, cancelled or threading.Event())
        return emitted


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.board.close()


def job_for(spool: Path, *times_s: tuple[int, int], next_sample: int = 0, **options: Any) -> Job:
    spans = tuple(Span(start * SAMPLE_RATE_HZ, end * SAMPLE_RATE_HZ) for start, end in times_s)
    options.setdefault("language", "en")
    return Job(1, str(spool), LENGTH_S * SAMPLE_RATE_HZ, spans, JobOptions(**options), next_sample)


def done(emitted: Emitted) -> list[WindowDone]:
    return [report for report in emitted if isinstance(report, WindowDone)]


def starts(emitted: Emitted) -> list[str]:
    """The first two words of each window: where the model heard it begin."""
    return [" ".join(segment.text.split()[:2]) for report in done(emitted) for segment in report.segments]


def test_windows_come_in_order_after_the_language(engine: Engine, spool: Path) -> None:
    """Each says how far the job is; times are those of the recording."""
    emitted = engine.run(job_for(spool, *FIVE))
    assert emitted[0] == LanguageFound(1, "en", 1.0)
    assert starts(emitted) == ["at 1", "at 10", "at 20", "at 30", "at 40"]
    assert [report.done_s for report in done(emitted)] == [6, 15, 25, 35, 45]
    assert [report.next_sample for report in done(emitted)] == [n * SAMPLE_RATE_HZ for n in (6, 15, 25, 35, 45)]
    assert [(line.start_s, line.end_s) for report in done(emitted) for line in report.segments] == list(FIVE)


def test_order_does_not_depend_on_who_is_answered_first(engine: Engine, spool: Path) -> None:
    """A window that is asked three times holds up the reports of those behind it, not their work."""

    def answer(item: float, duration_s: float, prompt: tuple[int, ...]) -> Said:
        told = tell(item, duration_s, prompt)
        n_asked = sum(item in call.items for call in engine.whisper.calls)
        return replace(told, scores=[-1.5 if second_of(item) == 1 and n_asked < 3 else -0.1])

    engine.whisper.answer = answer
    assert starts(engine.run(job_for(spool, *FIVE))) == ["at 1", "at 10", "at 20", "at 30", "at 40"]
    assert sum(item_at(1) in call.items for call in engine.whisper.calls) == 3


def test_more_windows_than_are_asked_for_ahead(engine: Engine, spool: Path) -> None:
    """A long recording goes through a few at a time."""
    times_s = [(3 * n, 3 * n + 3) for n in range(40)]
    spans = tuple(Span(start * SAMPLE_RATE_HZ, end * SAMPLE_RATE_HZ) for start, end in times_s)
    job = replace(job_for(spool), spans=spans)
    reports = done(engine.run(job))
    assert reports[-1].done_s == LENGTH_S
    assert [report.next_sample for report in reports] == sorted({report.next_sample for report in reports})


@pytest.mark.parametrize("quality", ["fast", "faithful"])
def test_a_job_resumes_after_any_window(engine: Engine, spool: Path, quality: str) -> None:
    """What is finished is not heard again; the rest is what it would have been."""
    if quality == "faithful":
        engine.whisper.answer = lambda item, s, prompt: timed((0.0, f" at {second_of(item)} one two three four", s))
    spans = ((0, 7), (8, 20), (21, 40), (50, 55))
    whole = done(engine.run(job_for(spool, *spans, quality=quality)))
    assert len(whole) >= 3
    for n, report in enumerate(whole):
        engine.whisper.calls.clear()
        rest = engine.run(job_for(spool, *spans, quality=quality, next_sample=report.next_sample))
        assert done(rest) == whole[n + 1 :]
        heard = {second_of(item) for call in engine.whisper.calls for item in call.items}
        assert all(second >= report.next_sample // SAMPLE_RATE_HZ for second in heard)


def test_a_recording_without_speech_is_finished_at_once(engine: Engine, spool: Path) -> None:
    """With no language, unless one was given."""
    assert engine.run(job_for(spool, language=None)) == [LanguageFound(1, "", 0.0)]
    assert engine.run(job_for(spool, language="de")) == [LanguageFound(1, "de", 1.0)]
    assert engine.whisper.encoded == []


def test_the_language_is_the_vote_of_the_first_windows(engine: Engine, spool: Path) -> None:
    """Music or a foreign name at the start does not decide alone; the probability is the mean of three."""
    engine.whisper.languages = {
        item_at(1): {"de": 0.6, "en": 0.4},
        item_at(10): {"en": 0.8, "de": 0.2},
        item_at(20): {"en": 0.7, "fr": 0.3},
        item_at(30): {"fr": 1.0},
    }
    found = engine.run(job_for(spool, *FIVE, language=None))[0]
    assert isinstance(found, LanguageFound)
    assert found.language == "en"
    assert found.probability == pytest.approx(1.9 / 3)
    assert engine.whisper.asked_language == [item_at(second) for second in (1, 10, 20)]
    assert {prompt[1] for call in engine.whisper.calls for prompt in call.prompts} == {LANGUAGE_TOKENS["en"]}
    assert len(engine.whisper.encoded) == 5


def test_a_language_that_was_found_before_is_not_asked_again(engine: Engine, spool: Path) -> None:
    """A job that resumes goes on in it."""
    job = replace(job_for(spool, *FIVE, language=None, next_sample=15 * SAMPLE_RATE_HZ), language="fr")
    assert engine.run(job)[0] == LanguageFound(1, "fr", 1.0)
    assert engine.whisper.asked_language == []
    assert {prompt[1] for call in engine.whisper.calls for prompt in call.prompts} == {LANGUAGE_TOKENS["fr"]}


@pytest.mark.parametrize("found_before", [None, "fr"])
def test_a_multilingual_recording_has_a_language_for_each_window(
    engine: Engine, spool: Path, found_before: str | None
) -> None:
    """Also after it was resumed: what the first windows voted for is for the transcript alone."""
    engine.whisper.languages = {item_at(1): {"en": 1.0}, item_at(10): {"fr": 1.0}}
    job = replace(job_for(spool, *FIVE, language=None, multilingual=True), language=found_before)
    found = engine.run(job)[0]
    assert isinstance(found, LanguageFound)
    assert found.language == (found_before or "en")
    spoken = {
        second_of(item): prompt[1]
        for call in engine.whisper.calls
        for item, prompt in zip(call.items, call.prompts, strict=True)
    }
    assert spoken == {
        1: LANGUAGE_TOKENS["en"],
        10: LANGUAGE_TOKENS["fr"],
        **dict.fromkeys((20, 30, 40), LANGUAGE_TOKENS["de"]),
    }
    assert len(engine.whisper.encoded) == 5


def test_a_language_that_was_given_is_that_of_every_window(engine: Engine, spool: Path) -> None:
    """Multilingual or not."""
    engine.run(job_for(spool, *FIVE, language="fr", multilingual=True))
    assert engine.whisper.asked_language == []
    assert {prompt[1] for call in engine.whisper.calls for prompt in call.prompts} == {LANGUAGE_TOKENS["fr"]}


def test_an_unknown_language_is_refused_before_any_work(engine: Engine, spool: Path) -> None:
    """The message names the known ones."""
    with pytest.raises(ConfigError, match="'xx'; it knows de, en, fr, hi, zh"):
        engine.run(job_for(spool, (1, 20), language="xx"))
    assert engine.whisper.encoded == []


def test_a_cancelled_job_stops_between_windows(engine: Engine, spool: Path) -> None:
    """Nothing is emitted after that, and nothing of it waits any more."""
    cancelled = threading.Event()
    emitted: Emitted = []

    def emit(report: LanguageFound | WindowDone) -> None:
        emitted.append(report)
        if isinstance(report, WindowDone):
            cancelled.set()

    with pytest.raises(JobCancelled):
        engine.run(job_for(spool, *FIVE), cancelled, emit)
    assert starts(emitted) == ["at 1"]


@pytest.mark.parametrize("quality", ["fast", "faithful"])
def test_a_job_is_cancelled_while_it_waits_for_the_model(engine: Engine, spool: Path, quality: str) -> None:
    """It does not wait for the batch to end."""
    inside, may_go_on, cancelled = threading.Event(), threading.Event(), threading.Event()

    def trouble(_call: Call) -> None:
        inside.set()
        assert may_go_on.wait(5)

    engine.whisper.trouble = trouble
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(engine.run, job_for(spool, *FIVE, quality=quality), cancelled)
        assert inside.wait(5)
        cancelled.set()
        with pytest.raises(JobCancelled):
            running.result(5)
        may_go_on.set()


def test_an_error_of_the_model_is_the_job_s(engine: Engine, spool: Path) -> None:
    """The windows before it were emitted; the next job goes well."""

    def trouble(call: Call) -> None:
        if item_at(30) in call.items:
            raise ZeroDivisionError("a bug")

    engine.whisper.trouble = trouble
    with pytest.raises(ZeroDivisionError):
        engine.run(job_for(spool, *FIVE))
    assert starts(engine.run(job_for(spool, (60, 65)))) == ["at 60"]


def test_hotwords_and_prompt_go_with_every_window(engine: Engine, spool: Path) -> None:
    """Before the text of which they are no part."""
    engine.run(job_for(spool, *FIVE, hotwords="Kafka", initial_prompt="Notes."))
    assert {text for call in engine.whisper.calls for text in call.previous} == {" Kafka Notes."}


def test_faithful_windows_are_asked_one_after_the_other(engine: Engine, spool: Path) -> None:
    """From where the text ended, with its end as prompt."""

    def answer(item: float, duration_s: float, _prompt: tuple[int, ...]) -> Said:
        text = f" at {second_of(item)} " + " ".join(NUMBERS)
        return timed((0.0, text, min(duration_s, 20.0)), (min(duration_s, 20.0), " and so on", min(duration_s, 25.0)))

    engine.whisper.answer = answer
    emitted = engine.run(job_for(spool, (0, 60), quality="faithful"))
    assert [call.items for call in engine.whisper.calls] == [(item_at(second),) for second in (0, 25, 50)]
    assert [report.done_s for report in done(emitted)] == [25, 50, 60]
    assert [len(call.previous[0]) for call in engine.whisper.calls] == [0, 64, 128]
    assert engine.whisper.calls[1].previous[0].endswith(" eleven twelve and so on")
    assert {call.n_frames for call in engine.whisper.calls} == {3000}


def test_the_prompt_and_the_text_before_fit_the_model_together(engine: Engine, spool: Path) -> None:
    """What a person wrote stays; the text before has what is left of 223 tokens."""
    engine.whisper.answer = lambda item, s, prompt: timed((0.0, " " + " ".join(NUMBERS) + f" {second_of(item)}", s))
    engine.run(job_for(spool, *((20 * n, 20 * n + 10) for n in range(6)), quality="faithful", initial_prompt="p" * 150))
    previous = [text for call in engine.whisper.calls for text in call.previous]
    assert [len(text) for text in previous] == [151, 151 + 64, 223, 223, 223, 223]
    assert all(text.startswith(" " + "p" * 150) for text in previous)
    assert previous[-1].endswith(" twelve 80")
    assert max(prompt.index(SOT) for call in engine.whisper.calls for prompt in call.prompts) == 224


def forgetful(engine: Engine, lost: Said | None) -> None:
    """The model passes over all but the first words of a long window; *lost* is what it says to those alone."""

    def answer(item: float, duration_s: float, prompt: tuple[int, ...]) -> Said:
        if duration_s > 12:
            return said("at 1 a b c d e f g h")
        return tell(item, duration_s, prompt) if lost is None or second_of(item) == 1 else lost

    engine.whisper.answer = answer


def heard_seconds(engine: Engine) -> list[int]:
    return [second_of(item) for call in engine.whisper.calls for item in call.items]


@pytest.mark.parametrize("quality", ["fast", "careful"])
def test_speech_that_a_text_leaves_out_is_asked_for_by_itself(engine: Engine, spool: Path, quality: str) -> None:
    """What was left out first, then the rest of the window; they are reported as one window."""
    forgetful(engine, None)
    (report,) = done(engine.run(job_for(spool, (1, 15), quality=quality)))
    assert [line.text[:8] for line in report.segments if line.text.startswith("at")] == ["at 1 one", "at 4 one"]
    assert heard_seconds(engine) == [1, 4, 1]
    assert report.next_sample == 15 * SAMPLE_RATE_HZ


@pytest.mark.parametrize(
    ("lost", "n_asked"), [(said("no " * 20), 2), (said("uh", -2.0, no_speech_prob=0.9), 1), (said("Meanwhile"), 2)]
)
def test_what_was_left_out_and_is_no_speech_changes_nothing(
    engine: Engine, spool: Path, lost: Said, n_asked: int
) -> None:
    """Music that was taken for speech costs two questions at the most, not the rest of the window."""
    forgetful(engine, lost)
    (report,) = done(engine.run(job_for(spool, (1, 15))))
    assert " ".join(line.text for line in report.segments) == "at 1 a b c d e f g h"
    assert heard_seconds(engine) == [1, *[4] * n_asked]


def test_a_part_is_not_cut_again(engine: Engine, spool: Path) -> None:
    """However much it leaves out itself."""
    forgetful(engine, said("we went home and then we slept"))
    run = done(engine.run(job_for(spool, (1, 15))))
    assert "slept" in " ".join(line.text for line in run[0].segments)
    assert heard_seconds(engine) == [1, 4, 1]


def test_the_original_algorithm_hears_on_from_where_its_text_ends(engine: Engine, spool: Path) -> None:
    """It is as it is: nothing is cut for it."""
    engine.whisper.answer = lambda item, _s, _prompt: timed((0.0, " we went home and then we slept for long", 14.0))
    engine.run(job_for(spool, (1, 15), quality="faithful"))
    assert heard_seconds(engine) == [1]


def in_both(item: float, duration_s: float, prompt: tuple[int, ...]) -> Said:
    """As `tell`, in two languages, with times where they are asked for."""
    place = "heard" if TRANSLATE in prompt else "at"
    text = " ".join([f"{place} {second_of(item)}", *NUMBERS[: round(1.2 * duration_s)]])
    return said(text) if NO_TIMESTAMPS in prompt else timed((0.0, " " + text, duration_s))


def english(emitted: Emitted) -> list[str]:
    """The first two words of each line of the translation."""
    return [" ".join(line.text.split()[:2]) for report in done(emitted) for line in report.translation]


@pytest.mark.parametrize("quality", ["fast", "careful", "faithful"])
def test_both_come_window_by_window(engine: Engine, spool: Path, quality: str) -> None:
    """The text as if it were alone, and its translation at the same times."""
    engine.whisper.answer = in_both
    text = done(engine.run(job_for(spool, *FIVE, language="de", quality=quality)))
    both = done(engine.run(job_for(spool, *FIVE, language="de", quality=quality, task="both")))
    assert [replace(report, translation=()) for report in both] == text
    assert english([*both]) == ["heard 1", "heard 10", "heard 20", "heard 30", "heard 40"]
    times = [[(line.start_s, line.end_s) for line in report.segments] for report in both]
    assert [[(line.start_s, line.end_s) for line in report.translation] for report in both] == times


@pytest.mark.parametrize("quality", ["fast", "faithful"])
def test_a_job_for_both_resumes_after_any_window(engine: Engine, spool: Path, quality: str) -> None:
    """Text and translation are finished together."""
    engine.whisper.answer = in_both
    wanted: dict[str, Any] = {"language": "de", "task": "both", "quality": quality}
    whole = done(engine.run(job_for(spool, *FIVE, **wanted)))
    for n, report in enumerate(whole):
        assert done(engine.run(job_for(spool, *FIVE, next_sample=report.next_sample, **wanted))) == whole[n + 1 :]


def test_the_translation_of_a_faithful_text_is_of_the_stretch_that_it_covers(engine: Engine, spool: Path) -> None:
    """Else what comes after its last time would be translated twice."""

    def answer(item: float, duration_s: float, prompt: tuple[int, ...]) -> Said:
        if NO_TIMESTAMPS in prompt:
            return in_both(item, duration_s, prompt)
        text, reach_s = f" at {second_of(item)} " + " ".join(NUMBERS), min(duration_s, 20.0)
        return timed((0.0, text, reach_s), (reach_s, " and so on", min(duration_s, 25.0)))

    engine.whisper.answer = answer
    engine.run(job_for(spool, (0, 60), quality="faithful", language="de", task="both"))
    heard = [second_of(call.items[0]) for call in engine.whisper.calls if TRANSLATE not in call.prompts[0]]
    translated = {second_of(call.items[0]) for call in engine.whisper.calls if TRANSLATE in call.prompts[0]}
    assert (heard, translated) == ([0, 25, 50], {0, 25, 50})


def test_windows_in_english_are_their_own_translation(engine: Engine, spool: Path) -> None:
    """Of a recording in two languages only the other windows are asked for twice."""
    engine.whisper.answer = in_both
    engine.whisper.languages = {item_at(1): {"en": 1.0}, item_at(20): {"en": 1.0}}
    emitted = engine.run(job_for(spool, *FIVE, language=None, multilingual=True, task="both"))
    assert english(emitted) == ["at 1", "heard 10", "at 20", "heard 30", "heard 40"]
    assert starts(emitted) == ["at 1", "at 10", "at 20", "at 30", "at 40"]


def test_speech_that_a_text_leaves_out_is_translated_too(engine: Engine, spool: Path) -> None:
    """The parts that are kept have their own translations."""

    def answer(item: float, duration_s: float, prompt: tuple[int, ...]) -> Said:
        return in_both(item, duration_s, prompt) if duration_s <= 12 else said("at 1 a b c d e f g h")

    engine.whisper.answer = answer
    emitted = engine.run(job_for(spool, (1, 15), language="de", task="both"))
    assert [place for place in english(emitted) if place.startswith("heard")] == ["heard 1", "heard 4"]


def test_a_model_for_english_alone_does_not_translate(engine: Engine, spool: Path) -> None:
    """It is said before any work; a recording that is known to be in English needs no translation."""
    engine.decoder = replace_languages(engine, "en")
    for task in ("translate", "both"):
        with pytest.raises(ConfigError, match="cannot translate: choose one without"):
            engine.run(job_for(spool, (1, 6), language=None, task=task))
    assert engine.whisper.encoded == []
    emitted = engine.run(job_for(spool, (1, 6), language="en", task="both"))
    assert starts(emitted) == english(emitted) == ["at 1"]


def replace_languages(engine: Engine, *codes: str) -> Decoder:
    """A decoder for a model that knows only these."""
    model = engine.decoder._model  # pyright: ignore[reportPrivateUsage]  # the fake one
    return Decoder(replace(model, languages=frozenset(codes)))
