import numpy as np
import pytest

from daemon.engine.assembly import DecodedSegment
from daemon.engine.edges import line_in, tightened, words_in
from daemon.engine.runtime import Samples
from daemon.transcript import SAMPLE_RATE_HZ, Span, Word

TWO = [(1.0, 3.0), (4.0, 6.0)]


def sound(*parts: tuple[float, float]) -> Samples:
    """Noise of so many seconds and such a level, one after the other."""
    chance = np.random.default_rng(0)
    pieces = [chance.normal(0.0, level, round(seconds * SAMPLE_RATE_HZ)) for seconds, level in parts]
    return np.concatenate(pieces).astype(np.float32)


def whole(samples: Samples) -> list[Span]:
    return [Span(0, len(samples))]


@pytest.mark.parametrize("hush", [0.0, 0.002])
def test_the_quiet_at_both_ends_of_a_span_is_not_speech(hush: float) -> None:
    """Digital silence or a faint hiss, to a few hundredths of a second."""
    samples = sound((0.4, hush), (2.0, 0.1), (0.3, hush))
    assert tightened(samples, whole(samples)) == [pytest.approx((0.4, 2.4), abs=0.03)]


def test_no_more_than_half_a_second_is_taken_away() -> None:
    """Somebody may have begun with a whisper."""
    samples = sound((1.5, 0.0), (2.0, 0.1), (1.5, 0.0))
    assert tightened(samples, whole(samples)) == [(0.5, 4.5)]


def test_a_click_is_no_beginning() -> None:
    """Speech goes on for more than a few hundredths of a second."""
    samples = sound((0.1, 0.0), (0.01, 0.3), (0.3, 0.0), (2.0, 0.1))
    assert tightened(samples, whole(samples))[0][0] == pytest.approx(0.41, abs=0.03)


@pytest.mark.parametrize("samples", [sound((2.0, 0.05)), sound((0.02, 0.1)), sound((2.0, 0.0))])
def test_where_levels_say_nothing_a_span_stays(samples: Samples) -> None:
    """Even noise, a sliver, nothing at all."""
    assert tightened(samples, whole(samples)) == [(0.0, len(samples) / SAMPLE_RATE_HZ)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ((0.5, 3.5), (1.0, 3.0)),
        ((3.2, 6.5), (4.0, 6.0)),
        ((2.9, 5.5), (4.0, 5.5)),  # a tenth of the first stretch is there by mistake
        ((1.5, 4.1), (1.5, 3.0)),
        ((0.0, 9.0), (1.0, 6.0)),
        ((3.2, 3.8), (3.2, 3.8)),
    ],
)
def test_a_line_is_as_long_as_the_speech_in_it(given: tuple[float, float], kept: tuple[float, float]) -> None:
    """It loses the pauses beside it; one wholly in a pause stays as it is."""
    line = line_in(DecodedSegment(*given, "text"), TWO)
    assert (line.start_s, line.end_s, line.text) == (*kept, "text")


def test_words_stay_in_order_and_out_of_the_pauses() -> None:
    """Each goes to the stretch that has most of it, or to the nearest."""
    given = [(0.7, 1.2), (1.2, 3.7), (3.7, 3.8), (3.9, 4.5), (4.5, 6.4)]
    words = words_in([Word(*times, "x", 1.0) for times in given], TWO)
    assert [(word.start_s, word.end_s) for word in words] == [
        (1.0, 1.2),
        (1.2, 3.0),
        (4.0, 4.0),
        (4.0, 4.5),
        (4.5, 6.0),
    ]


def test_without_stretches_nothing_moves() -> None:
    """Nobody looked where speech is."""
    word = Word(0.0, 1.0, "x", 1.0)
    assert words_in([word], []) == (word,)
