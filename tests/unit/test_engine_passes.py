import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.guards import Check, Evidence
from daemon.engine.passes import (
    AMPLE_S,
    CLOSE_S,
    FIRST_BEAM,
    WHOLE_FRAMES,
    WHOLE_S,
    WIDE_S,
    Attempt,
    Pass,
    best_of,
    passes_of,
)

EVIDENCE = Evidence(
    text="hello my friends",
    tokens=(1, 2, 3),
    language="en",
    task="transcribe",
    avg_logprob=-0.2,
    no_speech_prob=0.0,
    speech_s=2.0,
    duration_s=2.0,
    cut_off=False,
)


def attempt(avg_logprob: float = -0.2, text: str = EVIDENCE.text, way: Pass | None = None, **more: object) -> Attempt:
    evidence = replace(EVIDENCE, avg_logprob=avg_logprob, text=text, **more)  # type: ignore[arg-type]
    return Attempt(evidence, evidence.tokens, way or Pass(5, WHOLE_S))


def test_fast_begins_cheaper_than_careful() -> None:
    """The rest is the same: beam with more padding, the whole window, two temperatures."""
    careful = passes_of("careful", 5)
    assert [(way.beam_size, way.padding_s, way.temperature) for way in careful] == [
        (5, AMPLE_S, 0.0),
        (5, WIDE_S, 0.0),
        (5, WHOLE_S, 0.0),
        (1, WHOLE_S, 0.4),
        (1, WHOLE_S, 0.8),
    ]
    fast = passes_of("fast", 5)
    assert (fast[0].beam_size, fast[0].padding_s, fast[1:]) == (FIRST_BEAM, CLOSE_S, careful[1:])


def test_the_first_beam_is_never_wider_than_asked_for() -> None:
    """Who asks for greedy decoding gets it in every pass."""
    assert all(way.beam_size == 1 for way in passes_of("fast", 1))


def test_faithful_is_the_original_ladder() -> None:
    """With timestamps, on the whole window, at five temperatures after the beam."""
    ways = passes_of("faithful", 5)
    assert [way.temperature for way in ways] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert [way.beam_size for way in ways] == [5, 1, 1, 1, 1, 1]
    assert all(way.timestamps and way.padding_s == WHOLE_S for way in ways)


@pytest.mark.parametrize("quality", ["fast", "careful", "faithful"])
def test_standards_fall_from_pass_to_pass(quality: str) -> None:
    """A text that is good enough for one pass is good enough for the next: nothing is asked again for nothing."""
    ways = passes_of(quality, 5)  # type: ignore[arg-type]
    assert all(left.min_avg_logprob >= right.min_avg_logprob for left, right in itertools.pairwise(ways))
    assert all(left.padding_s <= right.padding_s for left, right in itertools.pairwise(ways))


@given(st.integers(1, WHOLE_FRAMES), st.sampled_from([CLOSE_S, AMPLE_S, WIDE_S, WHOLE_S]), st.sampled_from([100, 500]))
def test_the_encoder_sees_the_window_and_its_padding(n_own: int, padding_s: float, bucket: int) -> None:
    """In whole buckets, at most one of them too much, never less than 4 s, never more than 30 s."""
    n_frames = Pass(1, padding_s).n_frames(n_own, bucket)
    assert n_own <= n_frames <= WHOLE_FRAMES
    assert n_frames % bucket == 0
    assert n_frames >= 400
    if n_frames < WHOLE_FRAMES:
        assert 0 <= n_frames - max(400, n_own + round(100 * padding_s)) < bucket


def test_a_last_bucket_that_is_not_whole_ends_at_thirty_seconds() -> None:
    """3000 is a multiple of neither 700 nor 900."""
    assert Pass(1).n_frames(2800, 700) == WHOLE_FRAMES


@given(st.integers(1, WHOLE_FRAMES))
def test_passes_that_see_the_same_ask_the_same(n_own: int) -> None:
    """Of two passes with one beam the wider asks something new only if the encoder sees more."""
    close, wide = Pass(5, CLOSE_S), Pass(5, WIDE_S)
    same = close.n_frames(n_own, 100) == wide.n_frames(n_own, 100)
    assert close.asks_the_same(wide, n_own, 100) == same
    assert not Pass(1).asks_the_same(Pass(5), n_own, 100)
    assert not Pass(5, WHOLE_S).asks_the_same(Pass(5, WHOLE_S, timestamps=True), n_own, 100)


def test_samples_are_never_the_same() -> None:
    """Two draws at one temperature are two texts."""
    assert not Pass(1, WHOLE_S, 0.4).asks_the_same(Pass(1, WHOLE_S, 0.4), 500, 100)


def test_a_text_is_judged_by_the_standard_of_its_pass() -> None:
    """While the encoder can be shown more, more is asked of a text; of the whole 30 s it is believed."""
    close, wide, whole, *_ = passes_of("fast", 5)
    first = attempt(-0.8, way=close)
    assert first.failed == (Check.LOW_CONFIDENCE,)
    assert not first.credible
    assert not first.judged_by(wide).credible
    assert first.judged_by(whole).credible


def test_nothing_said_is_silence() -> None:
    """An empty text, and one that the model does not believe over what it takes for silence."""
    assert attempt(text="").silence
    assert attempt(-2.0, no_speech_prob=0.9).silence
    assert not attempt().silence


def test_the_last_attempt_is_kept_if_it_is_credible() -> None:
    """Though an earlier one was likelier: it failed a check."""
    loop = attempt(-0.01, "no " * 30)
    assert best_of([loop, attempt(-0.9)]).evidence.avg_logprob == -0.9


def test_the_best_is_kept_where_none_is_credible() -> None:
    """By one standard for all, whatever their passes asked for: cheap first passes are not the worse for theirs."""
    fair, poor = attempt(-1.1, way=passes_of("fast", 5)[0]), attempt(-1.5)
    loop = attempt(-0.01, "no " * 30)
    assert best_of([fair, loop, poor]) is fair
    assert best_of([loop, loop]).evidence.text == loop.evidence.text
