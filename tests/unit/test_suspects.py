"""Where to listen: what of a transcript and of the speech is doubtful, in order of time, the worst ten."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

from daemon.engine.guards import Check
from daemon.suspects import MAX_LISTED, Reason, Suspect, in_words, suspects_of
from daemon.transcript import SAMPLE_RATE_HZ, Segment, Span, Transcript, Word


def line(start_s: float, end_s: float, text: str = "as it was said", **known: object) -> Segment:
    """A line to be believed, but for what is *known*."""
    return replace(Segment(start_s, end_s, text, -0.2, 1.2, 0.05, 0.0), **known)  # type: ignore[arg-type]


def found(lines: list[Segment], *speech_s: tuple[float, float]) -> tuple[Suspect, ...]:
    """What is listed of *lines* in speech from and to, by default all of the time from the first to the last."""
    spoken = speech_s or ((lines[0].start_s, lines[-1].end_s),)
    spans = [Span(round(a * SAMPLE_RATE_HZ), round(b * SAMPLE_RATE_HZ)) for a, b in spoken]
    return suspects_of(Transcript(tuple(lines), "en", 1.0, "base", "cpu", "int8"), spans)


def test_nothing_is_listed_where_every_line_is_believed() -> None:
    """Pauses of a second or two between lines are usual."""
    assert found([line(0.0, 4.0), line(5.5, 8.0), line(9.0, 14.0)]) == ()


@pytest.mark.parametrize("check", Check)
def test_every_check_of_the_engine_is_a_reason(check: Check) -> None:
    """None is lost on the way to the list, and each has words for people."""
    lines = [line(0.0, 4.0), line(10.0, 14.0, suspect=(check.value,)), line(20.0, 24.0)]
    (suspect,) = found(lines, (0, 4), (10, 14), (20, 24))
    assert (suspect.start_s, suspect.end_s) == (10.0, 14.0)
    (reason,) = suspect.reasons
    assert reason in set(Reason)
    assert in_words([reason]) != reason


def test_a_reason_of_a_later_version_is_shown_as_it_is() -> None:
    """The history may be read by an older program."""
    assert in_words(["loop", "two_voices"]) == "the text repeats itself; two voices"


def test_an_unsure_line_is_listed_with_its_figures() -> None:
    """By its words where they are known, else by the window that it is of."""
    words = tuple(Word(n, n + 1.0, "word", probability) for n, probability in enumerate((0.9, 0.4, 0.5)))
    sure = tuple(replace(word, probability=0.9) for word in words)
    lines = [
        line(0, 3, "murmured", words=words),
        line(10, 13, avg_logprob=-0.6),
        line(20, 23, avg_logprob=-0.6, words=sure),
    ]
    first, second = found(lines, (0, 3), (10, 13), (20, 23))
    assert (first.reasons, first.text, first.avg_logprob) == (("low_confidence",), "murmured", -0.2)
    assert (second.start_s, second.avg_logprob, second.no_speech_prob, second.speech_s) == (10.0, -0.6, 0.05, 3.0)


def test_a_line_of_which_the_model_gave_no_number_is_unsure() -> None:
    """Its figures are left out, not made up."""
    (suspect,) = found([line(0.0, 3.0, avg_logprob=math.nan, compression_ratio=math.inf)])
    assert (suspect.reasons, suspect.avg_logprob, suspect.compression_ratio) == (("low_confidence",), None, None)


def test_speech_without_a_line_is_listed_before_between_and_after_lines() -> None:
    """Three seconds of it; what is cut by pauses counts together."""
    lines = [line(5.0, 9.0), line(20.0, 24.0)]
    suspects = found(lines, (1.0, 9.4), (12.0, 13.6), (15.0, 16.6), (19.6, 24.3), (30.0, 34.0), (40.0, 40.5))
    assert [(suspect.start_s, suspect.end_s, suspect.reasons) for suspect in suspects] == [
        (1.0, 5.0, ("speech_without_text",)),
        (9.0, 20.0, ("speech_without_text",)),
        (24.0, 40.5, ("speech_without_text",)),
    ]
    assert [suspect.speech_s for suspect in suspects] == [4.0, 4.0, 4.8]
    assert all((suspect.text, suspect.avg_logprob) == ("", None) for suspect in suspects)


def test_speech_that_gave_no_text_at_all_is_listed() -> None:
    """A recording of which nothing was written down is one place to listen to."""
    (suspect,) = suspects_of(Transcript((), "", 0.0, "base", "cpu", "int8"), [Span(0, 10 * SAMPLE_RATE_HZ)])
    assert (suspect.start_s, suspect.end_s, suspect.reasons) == (0.0, 10.0, ("speech_without_text",))
    assert suspects_of(Transcript((), "", 0.0, "base", "cpu", "int8"), []) == ()


def test_text_over_silence_is_listed() -> None:
    """By the speech in the line; or by the model's own word, if it is not sure of the text either."""
    (suspect,) = found([line(0, 4), line(10, 14)], (0, 4), (13.5, 14))
    assert (suspect.start_s, suspect.reasons) == (10.0, ("text_over_silence",))
    (suspect,) = found(
        [line(0, 4, no_speech_prob=0.7, avg_logprob=-0.7), line(10, 14, no_speech_prob=0.7)], (0, 4), (10, 14)
    )
    assert (suspect.start_s, suspect.reasons) == (0.0, ("text_over_silence", "low_confidence"))


def test_a_language_that_is_heard_once_and_not_again_is_listed() -> None:
    """One to which the speakers come back is theirs; so is one that is spoken for long."""
    spoken = [line(10.0 * n, 10.0 * n + 8, language="en") for n in range(9)]
    flipped = [*spoken[:4], replace(spoken[4], end_s=43.0, language="cy"), *spoken[5:]]
    speech = [(one.start_s, one.end_s) for one in flipped]
    (suspect,) = found(flipped, *speech)
    assert (suspect.start_s, suspect.end_s, suspect.reasons) == (40.0, 43.0, ("language_flip",))
    twice = [*flipped[:6], replace(flipped[6], end_s=63.0, language="cy"), *flipped[7:]]
    assert found(twice, *[(one.start_s, one.end_s) for one in twice]) == ()
    long = [*spoken[:4], *(replace(one, language="cy") for one in spoken[4:])]
    assert found(long, *[(one.start_s, one.end_s) for one in long]) == ()


def test_places_that_follow_each_other_are_one_with_all_reasons() -> None:
    """Heard in one go, the worst reason first, figures of the worst line; never longer than half a minute for that."""
    lines = [
        line(0, 4, "so so so", suspect=("repetition",), compression_ratio=3.5),
        line(4.5, 8, "hardly", suspect=("low_confidence",), avg_logprob=-1.4),
        line(8.5, 12, "fine"),
    ]
    (suspect,) = found(lines)
    assert (suspect.start_s, suspect.end_s) == (0.0, 8.0)
    assert suspect.reasons == ("loop", "low_confidence")
    assert (suspect.text, suspect.avg_logprob, suspect.compression_ratio) == ("so so so hardly", -1.4, 3.5)
    unsure = [line(5.0 * n, 5.0 * n + 5, "x" * 99, avg_logprob=-0.7) for n in range(20)]
    suspects = found(unsure)
    assert max(suspect.end_s - suspect.start_s for suspect in suspects) == 30.0
    assert max(len(suspect.text) for suspect in suspects) == 160


def test_the_worst_ten_are_listed_in_order_of_time() -> None:
    """Ranked by what is wrong, then by their length."""
    unsure = [line(20.0 * n, 20.0 * n + 2 + n / 10, avg_logprob=-0.7) for n in range(15)]
    unsure[3] = replace(unsure[3], suspect=("repetition",))
    suspects = found(unsure, *[(one.start_s, one.end_s) for one in unsure])
    assert len(suspects) == MAX_LISTED
    assert [suspect.start_s for suspect in suspects] == [60.0, *(20.0 * n for n in range(6, 15))]
    assert [suspect.rank for suspect in suspects] == [1, *range(10, 1, -1)]


def test_half_a_day_of_speech_takes_no_time() -> None:
    """Twelve hours, a line every four seconds; the bound is generous, for a busy machine."""
    lines = [line(4.0 * n, 4.0 * n + 3, avg_logprob=-0.7 + n % 3) for n in range(10_800)]
    begin = time.perf_counter()
    assert len(found(lines, *[(one.start_s, one.end_s) for one in lines])) == MAX_LISTED
    assert time.perf_counter() - begin < 2.0
