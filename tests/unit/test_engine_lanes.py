import random
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from daemon.engine.assembly import DecodedWindow
from daemon.engine.batching import BatchLimit, Flow
from daemon.engine.board import Board
from daemon.engine.decoding import Decoder, WindowRequest
from daemon.engine.guards import Check
from daemon.engine.lanes import Lanes, is_out_of_memory
from daemon.engine.passes import FIRST_BEAM, Pass, passes_of, translation_passes
from daemon.options import Quality
from tests.unit.whisper_fake import (
    LANGUAGE_TOKENS,
    TRANSLATE,
    Call,
    FakeWhisper,
    Said,
    decoder_of,
    said,
    timed,
    window,
)

Way = tuple[int, int, float]
"""Beam, frames that the encoder sees, temperature."""


def way_of(one: Pass, length_s: float = 2.0) -> Way:
    """How the model is asked for a window of *length_s* in a pass."""
    return one.beam_size, one.n_frames(round(100 * length_s), 100), one.temperature


LADDER = [way_of(one) for one in passes_of("fast", 5)]
"""Every way to ask for the text of a window of two seconds."""

FIRST, WIDER, WHOLE, WARM, HOT = LADDER

GOOD = "hello my friends"
LOOP = "no " * 20
CUT = "counterrevolutionaries " * 2 + "incomprehensibilities"  # 67 letters; the limit of 400 frames is 44, of 800 72
UNSURE = -0.8  # a score that the whole 30 s are believed at, and less is not
NOTES = "Kafka Zookeeper Flink Hadoop"


class Desk:
    """Windows are put on the board first and worked off then, in this thread: which go together is no accident."""

    def __init__(self, whisper: FakeWhisper, most: int = 8) -> None:
        self.whisper = whisper
        self.decoder: Decoder = decoder_of(whisper)
        self.limit = BatchLimit(most)
        self.board = Board(self.limit, max_frames=100_000)
        self.lanes = Lanes(self.decoder, self.board, self.limit, n_lanes=0)

    def ask(self, *requests: WindowRequest) -> list[Future[DecodedWindow]]:
        """Each window of a recording of its own."""
        return [self.lanes.decode(request, Flow()) for request in requests]

    def work(self) -> None:
        """Work all off."""
        self.board.close()
        self.lanes.run()


def answers(whisper: FakeWhisper, *requests: WindowRequest, most: int = 8) -> list[DecodedWindow]:
    desk = Desk(whisper, most)
    asked = desk.ask(*requests)
    desk.work()
    return [future.result(timeout=0) for future in asked]


def text_of(decoded: DecodedWindow) -> str:
    return " ".join(segment.text.strip() for segment in decoded.segments)


def ways(whisper: FakeWhisper) -> list[Way]:
    return [call.way for call in whisper.calls]


def test_a_credible_first_text_is_taken_at_once() -> None:
    """One call, one encoder run, no doubt."""
    whisper = FakeWhisper({1.0: [said(GOOD)]})
    (decoded,) = answers(whisper, window())
    assert (text_of(decoded), decoded.suspect, decoded.temperature) == (GOOD, (), 0.0)
    assert ways(whisper) == [FIRST]
    assert whisper.encoded == [(1.0, FIRST[1])]


BAD = [
    (Check.REPETITION, said(LOOP)),
    (Check.LOW_CONFIDENCE, said(GOOD, -1.5)),
    (Check.WRONG_SCRIPT, said("\u043f\u0440\u0438\u0432\u0435\u0442")),
    (Check.SURPLUS, said(" ".join("abcdefghijklmnopqr"))),
    (Check.PHANTOM, said("Subtitles by the Amara.org community", -0.1, no_speech_prob=0.1)),
    (Check.CUT_OFF, said(CUT)),
]


@pytest.mark.parametrize(("check", "bad"), BAD)
def test_a_doubtful_text_is_asked_again(check: Check, bad: Said) -> None:
    """With the whole beam and more padding next; a credible text ends it and carries no doubt."""
    whisper = FakeWhisper({1.0: [bad, said(GOOD)]})
    (decoded,) = answers(whisper, window())
    assert (text_of(decoded), decoded.suspect) == (GOOD, ())
    assert ways(whisper) == [FIRST, WIDER]


def test_a_collapse_is_asked_again() -> None:
    """One word for six seconds of speech, however sure the model is."""
    whisper = FakeWhisper({1.0: [said("Meanwhile.", -0.01), said("we all went down to the harbour")]})
    (decoded,) = answers(whisper, window(length_s=6.0))
    assert text_of(decoded) == "we all went down to the harbour"
    (kept,) = answers(FakeWhisper({1.0: [said("Meanwhile.", -0.01)] * len(LADDER)}), window(length_s=6.0))
    assert (text_of(kept), kept.suspect) == ("Meanwhile.", ("collapse",))


@pytest.mark.fault(37, "a model that loops")
@pytest.mark.parametrize(("check", "bad"), BAD[:4])
def test_the_ladder_has_an_end_and_the_text_that_is_kept_then_is_marked(check: Check, bad: Said) -> None:
    """A narrow beam, the whole one, all of the 30 s, two temperatures: each once, then the doubt goes with the text."""
    whisper = FakeWhisper({1.0: [bad] * len(LADDER)})
    (decoded,) = answers(whisper, window())
    assert ways(whisper) == LADDER
    assert decoded.segments
    assert check in decoded.suspect


def test_a_text_that_hits_a_tight_limit_is_asked_again_with_a_wider_one() -> None:
    """The limit goes with the window that the encoder sees: what is cut off at first has room in the end."""
    whisper = FakeWhisper({1.0: [said(CUT), said(CUT)]})
    (decoded,) = answers(whisper, window())
    assert ways(whisper) == [FIRST, WIDER]
    assert [call.options["max_length"] // 2 for call in whisper.calls] == [44, 72]
    assert (text_of(decoded), decoded.suspect) == (CUT, ())


def test_hot_passes_draw_samples() -> None:
    """CTranslate2 takes the best token at any temperature unless sampling_topk is 0."""
    whisper = FakeWhisper({1.0: [said(LOOP)] * len(LADDER)})
    answers(whisper, window())
    drawn = [temperature > 0 for _, _, temperature in LADDER]
    assert [call.options.get("sampling_topk") for call in whisper.calls] == [0 if hot else None for hot in drawn]
    assert [call.options.get("num_hypotheses") for call in whisper.calls] == [5 if hot else None for hot in drawn]


def test_the_best_of_bad_texts_is_kept() -> None:
    """An unlikely text is better than a loop that is sure of itself; of equals the likelier."""
    tries = [said(LOOP, -0.01), said(GOOD, -2.5), said("in the end", -1.8), said(GOOD, -3.0), said(LOOP)]
    whisper = FakeWhisper({1.0: tries})
    (decoded,) = answers(whisper, window())
    assert ways(whisper) == LADDER
    assert (text_of(decoded), decoded.suspect) == ("in the end", ("low_confidence",))


def test_a_last_resort_is_taken_by_a_lower_standard() -> None:
    """What the whole window gives is believed at a probability that the first passes may not have."""
    whisper = FakeWhisper({1.0: [said(GOOD, UNSURE)] * len(LADDER)})
    (decoded,) = answers(whisper, window())
    assert (ways(whisper), decoded.suspect) == ([FIRST, WIDER, WHOLE], ())


def test_a_window_that_is_as_long_as_its_padding_is_not_asked_the_same_twice() -> None:
    """A window that fills the encoder has no wider pass; nor has a beam of one a wider beam."""
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    whisper = FakeWhisper({1.0: [said(words, -1.5)] * 4})
    answers(whisper, window(length_s=29.0))
    assert ways(whisper) == [(FIRST_BEAM, 3000, 0.0), WHOLE, WARM, HOT]
    assert whisper.encoded == [(1.0, 3000)]
    whisper = FakeWhisper({1.0: [said(words, -1.5)] * 3})
    answers(whisper, window(length_s=29.0, beam_size=1))
    assert ways(whisper) == [(1, 3000, 0.0), WARM, HOT]


def test_a_text_doubted_by_one_pass_is_believed_by_the_next_that_would_ask_the_same() -> None:
    """The wider passes are one call here, and the lowest of their standards counts."""
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    whisper = FakeWhisper({1.0: [said(words, UNSURE)] * 2})
    (decoded,) = answers(whisper, window(length_s=29.0))
    assert ways(whisper) == [(FIRST_BEAM, 3000, 0.0), WHOLE]
    assert decoded.suspect == ()


def test_the_encoder_runs_again_only_for_another_window_length() -> None:
    """The passes on the whole 30 s share its output."""
    whisper = FakeWhisper({1.0: [said(LOOP)] * len(LADDER)})
    answers(whisper, window())
    assert len(whisper.calls) == len(LADDER)
    assert whisper.encoded == [(1.0, n_frames) for _, n_frames, _ in (FIRST, WIDER, WHOLE)]


def test_silence_gives_no_words() -> None:
    """What the model says over what it takes for silence, and does not believe, is dropped without another try."""
    whisper = FakeWhisper({1.0: [said("Thanks for watching!", -3.0, no_speech_prob=0.9)]})
    (decoded,) = answers(whisper, window())
    assert (decoded.segments, decoded.covered_s, decoded.suspect, decoded.tokens) == ((), 2.0, (), ())
    assert ways(whisper) == [FIRST]


def test_a_loop_is_not_excused_by_silence() -> None:
    """There may be speech behind it; if there is none, the loop is dropped in the end."""
    whisper = FakeWhisper({1.0: [said(LOOP, -3.0, no_speech_prob=0.9), said(GOOD)]})
    assert text_of(answers(whisper, window())[0]) == GOOD
    whisper = FakeWhisper({1.0: [said(LOOP, -3.0, no_speech_prob=0.9)] * len(LADDER)})
    (decoded,) = answers(whisper, window())
    assert (decoded.segments, decoded.suspect) == ((), ())
    assert ways(whisper) == LADDER


@pytest.mark.fault(37, "a model that repeats its prompt")
def test_a_prompt_that_comes_back_is_taken_away() -> None:
    """The same pass again without it; what is said again then was spoken."""
    whisper = FakeWhisper({1.0: [said(NOTES), said(GOOD)]})
    (decoded,) = answers(whisper, window(prompt=NOTES))
    assert (text_of(decoded), decoded.suspect) == (GOOD, ())
    assert [call.previous for call in whisper.calls] == [[NOTES], [""]]
    assert ways(whisper) == [FIRST, FIRST]
    assert whisper.encoded == [(1.0, FIRST[1])]
    (spoken,) = answers(FakeWhisper({1.0: [said(NOTES)] * 2}), window(prompt=NOTES))
    assert (text_of(spoken), spoken.suspect) == (NOTES, ())


def test_only_the_doubtful_windows_of_a_batch_are_asked_again() -> None:
    """Each answer goes to whom it belongs; those that are asked again go together."""
    script = {1.0: [said("one")], 2.0: [said(LOOP), said("two")], 3.0: [said("three")], 4.0: [said(LOOP), said("four")]}
    whisper = FakeWhisper(script)
    decoded = answers(whisper, *(window(item) for item in (1.0, 2.0, 3.0, 4.0)))
    assert [text_of(one) for one in decoded] == ["one", "two", "three", "four"]
    assert [call.items for call in whisper.calls] == [(1.0, 2.0, 3.0, 4.0), (2.0, 4.0)]


class Memory:
    """A device that holds so many rows at once."""

    def __init__(self, n_rows: int, with_beam: bool = False) -> None:
        self.n_rows = n_rows
        self.with_beam = with_beam
        self.n_failed = 0

    def __call__(self, call: Call) -> None:
        """Fail a call that is too large."""
        n_rows = len(call.items) * (call.options["beam_size"] if self.with_beam else 1)
        if n_rows > self.n_rows:
            self.n_failed += 1
            raise RuntimeError("CUDA failed with error out of memory")


@pytest.mark.fault(45, "out of memory for a batch")
def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    """All windows get their text; what was encoded is kept; the limit stays low."""
    whisper = FakeWhisper({n: [said(f"text {n}")] for n in map(float, range(1, 9))}, trouble=Memory(3))
    desk = Desk(whisper)
    asked = desk.ask(*(window(float(n)) for n in range(1, 9)))
    desk.work()
    assert [text_of(future.result(0)) for future in asked] == [f"text {float(n)}" for n in range(1, 9)]
    assert [len(call.items) for call in whisper.calls] == [2, 2, 2, 2]
    assert len(whisper.encoded) == 8
    assert desk.limit.n == 2


def test_the_limit_grows_again() -> None:
    """One more window after each twenty clean batches: the memory may have been somebody else's."""
    memory = Memory(2)
    whisper = FakeWhisper(answer=lambda _item, _s, _prompt: said(GOOD), trouble=memory)
    desk = Desk(whisper)
    asked = desk.ask(*(window(float(n)) for n in range(1, 100)))
    memory_is_back = iter(range(1000))

    def trouble(call: Call) -> None:
        if next(memory_is_back) < 3:
            memory(call)

    whisper.trouble = trouble
    desk.work()
    assert all(future.result(0).segments for future in asked)
    sizes = [len(call.items) for call in whisper.calls]
    assert sizes[:20] == [2] * 20
    assert sizes[20] == 3


@pytest.mark.fault(45, "out of memory for one window")
def test_a_window_that_does_not_fit_alone_is_asked_with_a_beam_of_one() -> None:
    """The beam is what can be saved."""
    whisper = FakeWhisper({1.0: [said(GOOD)]}, trouble=Memory(4, with_beam=True))
    (decoded,) = answers(whisper, window(quality="careful"))
    assert text_of(decoded) == GOOD
    assert ways(whisper) == [(1, *way_of(passes_of("careful", 5)[0])[1:])]


@pytest.mark.fault(45, "out of memory always")
def test_a_window_that_never_fits_fails_alone() -> None:
    """As a MemoryError, which the daemon may answer with another device; the lane goes on."""

    def trouble(call: Call) -> None:
        if 2.0 in call.items:
            raise RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED")

    desk = Desk(FakeWhisper(answer=lambda _item, _s, _prompt: said(GOOD), trouble=trouble))
    first, second, third = desk.ask(window(1.0), window(2.0), window(3.0))
    desk.work()
    assert isinstance(second.exception(0), MemoryError)
    assert text_of(first.result(0)) == text_of(third.result(0)) == GOOD


def test_a_bug_costs_the_windows_of_its_batch_and_nothing_more() -> None:
    """The lane lives, and so do the other batches."""

    def trouble(call: Call) -> None:
        if 2.0 in call.items:
            raise ZeroDivisionError("a bug")

    desk = Desk(FakeWhisper(answer=lambda _item, _s, _prompt: said(GOOD), trouble=trouble))
    asked = desk.ask(window(1.0, 5.0), window(2.0, 2.0), window(3.0, 5.0), window(4.0, 2.0))
    desk.work()
    assert [type(future.exception(0)) for future in asked] == [
        type(None),
        ZeroDivisionError,
        type(None),
        ZeroDivisionError,
    ]


def test_memory_that_runs_out_while_words_are_timed_loses_no_window() -> None:
    """All of the batch is asked again, in parts; no answer is given twice."""

    class Narrow(FakeWhisper):
        def align(
            self,
            features: object,
            start: Sequence[int],
            texts: Sequence[Sequence[int]],
            num_frames: int | Sequence[int],
        ) -> list[Any]:
            """Two texts at most."""
            if len(texts) > 2:
                raise MemoryError("more than two")
            return super().align(features, start, texts, num_frames)

    def answer(item: float, _duration_s: float, _prompt: tuple[int, ...]) -> Said:
        return said(f"text {item:.0f}")

    whisper = Narrow(answer=answer)
    decoded = answers(whisper, *(window(float(n), words=True) for n in range(1, 5)))
    assert [text_of(one) for one in decoded] == [f"text {n}" for n in range(1, 5)]


@pytest.mark.parametrize("quality", ["fast", "careful", "faithful"])
def test_asking_for_the_language_leaves_the_encoder_s_work_behind(quality: Quality) -> None:
    """The text is asked for from the same output: the encoder sees what the first pass wants."""
    text = timed((0.0, GOOD, 2.0)) if quality == "faithful" else said(GOOD)
    whisper = FakeWhisper({1.0: [text]}, languages={1.0: {"fr": 0.9, "en": 0.1}})
    desk = Desk(whisper)
    flow = Flow()
    listened = desk.lanes.listen(window(language="", quality=quality), flow)
    desk.work()
    probabilities, encoded = listened.result(0)
    assert probabilities == {"fr": 0.9, "en": 0.1}
    decoded = desk.lanes.decode(window(language="fr", quality=quality), flow, encoded)
    desk.work()
    first = way_of(passes_of(quality, 5)[0])
    assert (whisper.encoded, ways(whisper)) == ([(1.0, first[1])], [first])
    assert text_of(decoded.result(0)) == GOOD


@pytest.mark.parametrize("quality", ["fast", "careful"])
def test_a_doubtful_language_is_asked_for_again_with_the_whole_window(quality: Quality) -> None:
    """Once, and the answer counts whatever it is; the text is then asked for as ever."""
    whisper = FakeWhisper({1.0: [said(GOOD)]}, languages={1.0: {"fr": 0.4, "de": 0.3}})
    desk = Desk(whisper)
    languages, decoded = desk.lanes.hear(window(quality=quality), Flow())
    desk.work()
    first = way_of(passes_of(quality, 5)[0])
    assert languages.result(0)[0] == {"fr": 0.4, "de": 0.3}
    assert whisper.encoded == [(1.0, first[1]), (1.0, 3000), (1.0, first[1])]
    assert (ways(whisper), text_of(decoded.result(0))) == ([first], GOOD)


def test_what_was_encoded_with_another_padding_is_not_used() -> None:
    """A faithful pass sees the whole 30 s; the language was asked of less, for a fast one."""
    whisper = FakeWhisper({1.0: [timed((0.0, GOOD, 2.0))]})
    desk = Desk(whisper)
    flow = Flow()
    listened = desk.lanes.listen(window(language=""), flow)
    desk.work()
    desk.lanes.decode(window(quality="faithful"), flow, listened.result(0)[1])
    desk.work()
    assert whisper.encoded == [(1.0, FIRST[1]), (1.0, 3000)]


def test_windows_without_a_language_get_one_each() -> None:
    """The likeliest of each window; it is asked once and encoded once."""
    whisper = FakeWhisper(answer=lambda _item, _s, _prompt: said(GOOD), languages={1.0: {"en": 0.7, "de": 0.3}})
    decoded = answers(whisper, window(1.0, language=""), window(2.0, language=""))
    assert [text_of(one) for one in decoded] == [GOOD, GOOD]
    (call,) = whisper.calls
    assert [prompt[1] for prompt in call.prompts] == [LANGUAGE_TOKENS["en"], LANGUAGE_TOKENS["de"]]
    assert (whisper.asked_language, len(whisper.encoded)) == ([1.0, 2.0], 2)


def test_languages_and_tasks_share_a_batch_and_prompts_of_one_length_do() -> None:
    """What CTranslate2 wants equal is equal, and no more: each item has its own prompt."""
    whisper = FakeWhisper(answer=lambda item, _s, _prompt: said("\u4f60\u597d" if item == 8 else GOOD))
    answers(
        whisper,
        window(1.0, language="de", quality="careful"),
        window(2.0, language="fr", task="translate"),
        window(3.0, prompt="abc"),
        window(4.0, prompt="xyz"),
        window(5.0, prompt="wxyz"),
        window(6.0, quality="careful"),
        window(7.0, length_s=4.0),
        window(8.0, language="zh"),
    )
    assert sorted(call.items for call in whisper.calls) == [(1.0, 2.0, 6.0), (3.0, 4.0), (5.0,), (7.0,), (8.0,)]
    by_item = {call.items: call for call in whisper.calls}
    assert [prompt[1:3] for prompt in by_item[1.0, 2.0, 6.0].prompts][1] == (LANGUAGE_TOKENS["fr"], TRANSLATE)
    assert by_item[3.0, 4.0].previous == ["abc", "xyz"]


def test_faithful_recordings_share_batches() -> None:
    """Where the text before their windows was cut to one length."""
    whisper = FakeWhisper(answer=lambda _item, _s, _prompt: timed((0.0, GOOD, 2.0)))
    lengths = [32, 64, 32, 32, 64]
    requests = [window(float(n), quality="faithful", prompt="x" * length) for n, length in enumerate(lengths, 1)]
    answers(whisper, *requests)
    assert sorted(call.items for call in whisper.calls) == [(1.0, 3.0, 4.0), (2.0, 5.0)]


def test_words_are_timed_together_by_language() -> None:
    """One call of the aligner for each start sequence in a batch; each window has its own words."""
    whisper = FakeWhisper(answer=lambda item, _s, _prompt: said(f" {'one two' if item < 3 else 'drei'}"))
    requests = [window(1.0, words=True), window(2.0, words=True), window(3.0, language="de", words=True), window(4.0)]
    decoded = answers(whisper, *requests)
    assert sorted(n for _, n in whisper.aligned) == [1, 2]
    assert [[word.text for line in one.segments for word in line.words] for one in decoded] == [
        [" one", " two"],
        [" one", " two"],
        [" drei"],
        [],
    ]


def test_a_crowd_changes_no_text() -> None:
    """A window's calls see the same frames, the same prompt and the same limit whoever is in the batch."""

    def seen(whisper: FakeWhisper) -> set[tuple[object, ...]]:
        return {
            (call.way, call.options["max_length"], call.prompts[n])
            for call in whisper.calls
            for n, item in enumerate(call.items)
            if item == 1.0
        }

    def answer(item: float, _duration_s: float, prompt: tuple[int, ...]) -> Said:
        return said(GOOD, UNSURE if item % 2 else -0.1)

    alone, crowd = FakeWhisper(answer=answer), FakeWhisper(answer=answer)
    chance = random.Random(7)
    others = [
        window(float(n), chance.uniform(0.5, 29), chance.choice(["en", "zh", "hi"]), prompt=chance.choice(["", "ab"]))
        for n in range(2, 42)
    ]
    (one,) = answers(alone, window(1.0))
    assert answers(crowd, *others[:20], window(1.0), *others[20:])[20] == one
    assert seen(crowd) == seen(alone)
    assert ways(alone) == [FIRST, WIDER, WHOLE]


def test_lanes_work_side_by_side() -> None:
    """Several threads on one board: every window is answered once, with its own text, though all are asked again."""
    decoder = decoder_of(FakeWhisper(answer=lambda item, _s, _prompt: said(f"text {item}", UNSURE)))
    limit = BatchLimit(4)
    board = Board(limit, max_frames=100_000)
    lanes = Lanes(decoder, board, limit, n_lanes=3)
    asked = [lanes.decode(window(float(n)), Flow()) for n in range(1, 40)]
    assert [text_of(future.result(10)) for future in asked] == [f"text {float(n)}" for n in range(1, 40)]
    board.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA failed with error out of memory"), True),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA failed with error an illegal memory access was encountered"), False),
    ],
)
def test_a_full_device_is_told_from_a_broken_one(error: Exception, expected: bool) -> None:
    """The first passes, the second does not."""
    assert is_out_of_memory(error) is expected


def test_what_was_done_is_counted() -> None:
    """Windows, the places in their batches, those asked again, and those whose text is not believed in the end."""
    whisper = FakeWhisper({1.0: [said(GOOD)], 2.0: [said(LOOP)] * len(LADDER)})
    desk = Desk(whisper, most=4)
    desk.ask(window(1.0), window(2.0))
    desk.work()
    counts = desk.lanes.counts
    assert counts.n_windows == 1 + len(LADDER)
    assert counts.n_places == 4 * desk.lanes.n_batches
    assert counts.n_retries == len(LADDER) - 1
    assert counts.n_flags == 1


def test_a_batch_has_no_more_places_than_its_frames_allow() -> None:
    """Long windows fill one by few; one that is alone as large as all fills it."""
    whisper = FakeWhisper({1.0: [said(GOOD)], 2.0: [said(GOOD)]})
    decoder = decoder_of(whisper)
    limit = BatchLimit(8)
    lanes = Lanes(decoder, board := Board(limit, max_frames=100), limit, n_lanes=0)
    lanes.decode(window(1.0), Flow())
    board.close()
    lanes.run()
    assert (lanes.counts.n_windows, lanes.counts.n_places) == (1, 1)


SPOKEN, ENGLISH = "guten Morgen meine Freunde", "good morning my friends"


def in_both(item: float, _duration_s: float, prompt: tuple[int, ...]) -> Said:
    """What each window says, and what it says in English."""
    return said(ENGLISH if TRANSLATE in prompt else SPOKEN)


def test_both_are_asked_of_what_the_encoder_made_once() -> None:
    """The text is that of a window that is only transcribed; the translation comes with it."""
    alone, both = FakeWhisper(answer=in_both), FakeWhisper(answer=in_both)
    (text,) = answers(alone, window(language="de"))
    (decoded,) = answers(both, window(language="de", task="both"))
    assert replace(decoded, translation=None) == text
    assert decoded.translation is not None
    assert [line.text for line in decoded.translation.segments] == [ENGLISH]
    assert both.encoded == alone.encoded == [(1.0, FIRST[1])]
    assert ways(both) == [FIRST, (5, FIRST[1], 0.0)]


@pytest.mark.parametrize("silent", [said(""), said("Untertitel im Auftrag des ZDF", no_speech_prob=0.9)])
def test_nothing_is_translated_where_nobody_spoke(silent: Said) -> None:
    """Nor where a text is thrown away."""
    whisper = FakeWhisper(answer=lambda _item, _s, _prompt: silent)
    (decoded,) = answers(whisper, window(language="de", task="both"))
    assert decoded.translation is not None
    assert decoded.segments == decoded.translation.segments == ()
    assert not any(TRANSLATE in prompt for call in whisper.calls for prompt in call.prompts)


def test_a_text_in_english_is_its_own_translation() -> None:
    """Nothing more is asked; also where the language of the window was only heard."""
    whisper = FakeWhisper(answer=in_both, languages={2.0: {"en": 1.0}, 3.0: {"de": 1.0}})
    known, heard, other = answers(
        whisper, *(window(float(n), language="en" if n == 1 else "", task="both") for n in (1, 2, 3))
    )
    assert known.translation is not None
    assert known.translation.segments == known.segments
    assert heard.translation is not None
    assert heard.translation.segments == heard.segments
    assert other.translation is not None
    assert text_of(other.translation) == ENGLISH
    assert sum(TRANSLATE in prompt for call in whisper.calls for prompt in call.prompts) == 1


def test_the_translation_begins_with_the_padding_that_the_text_needed() -> None:
    """What was too narrow for the text is not tried again."""

    def answer(item: float, _duration_s: float, prompt: tuple[int, ...]) -> Said:
        if TRANSLATE in prompt:
            return said(ENGLISH)
        return said(SPOKEN, UNSURE)

    whisper = FakeWhisper(answer=answer)
    answers(whisper, window(language="de", task="both"))
    assert ways(whisper) == [FIRST, WIDER, WHOLE, (5, 3000, 0.0)]
    assert len(whisper.encoded) == 3


def test_a_translation_is_asked_again_where_it_is_doubtful_itself() -> None:
    """From what the encoder made for the text up to the last resort; the text stays as it is."""
    whisper = FakeWhisper(answer=lambda _item, _s, prompt: said(LOOP if TRANSLATE in prompt else SPOKEN))
    (decoded,) = answers(whisper, window(language="de", task="both"))
    assert (text_of(decoded), decoded.suspect) == (SPOKEN, ())
    assert decoded.translation is not None
    assert decoded.translation.suspect == (Check.REPETITION, Check.SURPLUS)
    assert ways(whisper)[:2] == [FIRST, (5, FIRST[1], 0.0)]
    assert ways(whisper)[2:] == [way_of(one) for one in translation_passes("fast", 5)[1:]]


@pytest.mark.parametrize(("score", "n_asked"), [(-1.1, 1), (-1.3, 2), (-1.6, 5)])
def test_a_translation_may_be_less_probable_than_a_text(score: float, n_asked: int) -> None:
    """It can be worded in many ways; more is asked of one that is hardly believed."""
    whisper = FakeWhisper(
        answer=lambda _item, _s, prompt: said(ENGLISH, score) if TRANSLATE in prompt else said(SPOKEN)
    )
    answers(whisper, window(language="de", task="both"))
    assert len(whisper.calls) == 1 + n_asked


def test_a_model_that_does_not_translate_is_found_out_and_not_asked_again() -> None:
    """Its translation is the text in the language spoken; some models never learned more."""
    text = "der Zug nach Berlin hat heute eine Stunde Verspaetung"
    whisper = FakeWhisper(answer=lambda _item, _s, _prompt: said(text))
    (decoded,) = answers(whisper, window(language="de", length_s=5.0, task="both"))
    assert decoded.translation is not None
    assert decoded.translation.suspect == (Check.UNTRANSLATED,)
    assert (decoded.suspect, len(whisper.calls)) == ((), 2)


def test_memory_that_runs_out_over_translations_loses_neither() -> None:
    """They are asked again, fewer at a time; the texts that are there are not."""

    def trouble(call: Call) -> None:
        if len(call.items) > 1 and all(TRANSLATE in prompt for prompt in call.prompts):
            raise RuntimeError("CUDA failed with error out of memory")

    whisper = FakeWhisper(answer=in_both, trouble=trouble)
    decoded = answers(whisper, *(window(float(n), language="de", task="both") for n in range(1, 5)))
    assert [text_of(one) for one in decoded] == [SPOKEN] * 4
    assert [text_of(one.translation) for one in decoded if one.translation] == [ENGLISH] * 4
    assert sum(len(call.items) for call in whisper.calls) == 8


def test_a_translation_counts_as_no_retry() -> None:
    """But as work that was done."""
    desk = Desk(FakeWhisper(answer=in_both))
    desk.ask(window(language="de", task="both"))
    desk.work()
    assert (desk.lanes.counts.n_windows, desk.lanes.counts.n_retries) == (2, 0)
