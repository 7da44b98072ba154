import itertools

from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.windows import MAX_WINDOW_SAMPLES, Window, plan_windows, speech_s_after
from daemon.transcript import SAMPLE_RATE_HZ, Span

HOUR = 3600 * SAMPLE_RATE_HZ


def seconds(*times_s: tuple[float, float]) -> list[Span]:
    return [Span(round(start * SAMPLE_RATE_HZ), round(end * SAMPLE_RATE_HZ)) for start, end in times_s]


def bounds(windows: list[Window]) -> list[tuple[float, float]]:
    return [(window.start / SAMPLE_RATE_HZ, window.end / SAMPLE_RATE_HZ) for window in windows]


def test_no_speech_has_no_windows() -> None:
    """A recording without speech gives the model nothing to do."""
    assert plan_windows([], HOUR) == []


def test_close_spans_share_a_window_with_the_silence_between() -> None:
    """A window is continuous: from the start of its first span to the end of its last."""
    assert bounds(plan_windows(seconds((1, 4), (5, 9), (10, 12)), HOUR)) == [(1, 12)]


def test_a_long_silence_ends_a_window() -> None:
    """The model invents words in long silences, so they are in no window."""
    assert bounds(plan_windows(seconds((1, 4), (9, 12)), HOUR)) == [(1, 4), (9, 12)]


def test_a_full_window_is_cut_at_the_longest_silence_of_its_last_seconds() -> None:
    """Not at the last silence: the longest is the likeliest end of a sentence."""
    spans = seconds((0, 5), (7, 9), (10, 12), (12.5, 14), (14.2, 18))
    assert bounds(plan_windows(spans, HOUR)) == [(0, 9), (10, 18)]


def test_a_silence_before_the_cut_zone_is_no_place_to_cut() -> None:
    """Though it is the longest: a window is not to be cut in its first half. Without one, before what is too much."""
    assert bounds(plan_windows(seconds((0, 5), (7, 14), (14.5, 18)), HOUR)) == [(0, 14), (14.5, 18)]
    assert bounds(plan_windows(seconds((0, 5), (7, 18)), HOUR)) == [(0, 5), (7, 18)]


def test_spans_that_touch_may_be_cut_apart() -> None:
    """Padding makes two spans meet in the middle of the silence between them, which is still a pause."""
    assert bounds(plan_windows(seconds((0, 12), (12, 20)), HOUR)) == [(0, 12), (12, 20)]


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    """The place is asked for in the last 7 s of the 15, each time that there is too much."""
    asked: list[tuple[float, float]] = []

    def quietest(lowest: int, highest: int) -> int:
        asked.append((lowest / SAMPLE_RATE_HZ, highest / SAMPLE_RATE_HZ))
        return lowest + 3 * SAMPLE_RATE_HZ

    assert bounds(plan_windows(seconds((0, 30)), HOUR, quietest)) == [(0, 11), (11, 22), (22, 30)]
    assert asked == [(8, 15), (19, 26)]


def test_a_cut_outside_the_zone_is_pulled_into_it() -> None:
    """Whatever the listener says: no window is longer than the model is asked, and none is a sliver."""
    assert bounds(plan_windows(seconds((0, 20)), HOUR, lambda _low, _high: 0)) == [(0, 8), (8, 20)]
    assert bounds(plan_windows(seconds((0, 20)), HOUR, lambda _low, high: 2 * high)) == [(0, 15), (15, 20)]


def test_a_forced_cut_leaves_no_sliver() -> None:
    """Speech a little over 15 s is not cut into 15 s and a sliver on which the model would invent words."""
    assert bounds(plan_windows(seconds((0, 15.2)), HOUR)) == [(0, 14.2), (14.2, 15.2)]


def test_a_short_sound_gets_a_window_that_the_model_can_hear() -> None:
    """A window shorter than 0.3 s is widened, inside the recording."""
    assert bounds(plan_windows(seconds((5, 5.1)), HOUR)) == [(5, 5.3)]
    assert bounds(plan_windows(seconds((0.9, 1.0)), SAMPLE_RATE_HZ)) == [(0.7, 1.0)]


def test_spans_outside_the_recording_are_trimmed() -> None:
    """Rounding in the speech detection reads nothing past the end of the spool file."""
    assert bounds(plan_windows(seconds((-1, 2), (8, 12), (20, 21)), 10 * SAMPLE_RATE_HZ)) == [(0, 2), (8, 10)]


@given(
    lengths=st.lists(st.tuples(st.integers(0, 6 * SAMPLE_RATE_HZ), st.integers(1, 70 * SAMPLE_RATE_HZ)), max_size=30)
)
def test_windows_hold_all_speech_once_and_fit_the_model(lengths: list[tuple[int, int]]) -> None:
    """Whatever the spans: windows in order, none over 15 s, none overlapping, every sample of speech in one of them."""
    spans: list[Span] = []
    position = 0
    for silence, speech in lengths:
        spans.append(Span(position + silence, position + silence + speech))
        position = spans[-1].end
    windows = plan_windows(spans, position + SAMPLE_RATE_HZ)
    assert all(0 < window.end - window.start <= MAX_WINDOW_SAMPLES for window in windows)
    assert all(left.end <= right.start for left, right in itertools.pairwise(windows))
    assert sum(span.end - span.start for window in windows for span in window.speech) == sum(
        span.end - span.start for span in spans
    )
    assert all(window.start <= span.start and span.end <= window.end for window in windows for span in window.speech)
    assert windows == plan_windows(spans, position + SAMPLE_RATE_HZ)


def test_the_speech_that_is_left_is_counted() -> None:
    """From a sample on; silence is not speech."""
    (window,) = plan_windows(seconds((1, 4), (5, 9)), HOUR)
    assert [speech_s_after(window, n * SAMPLE_RATE_HZ) for n in (0, 1, 3, 5, 8, 9, 20)] == [7, 7, 5, 4, 1, 0, 0]
