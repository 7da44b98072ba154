from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.engine.assembly import DecodedSegment, DecodedWindow
from daemon.engine.seeking import seek_through
from daemon.engine.windows import Window, plan_windows
from daemon.transcript import SAMPLE_RATE_HZ, Span


def heard(
    covered_s: float, tokens: Sequence[int] = (), *, silent: bool = False, temperature: float = 0.0
) -> DecodedWindow:
    lines = () if silent else (DecodedSegment(0.0, covered_s, "text"),)
    return DecodedWindow(lines, covered_s, -0.1, 1.0, 0.0, temperature, (), tuple(tokens))


def windows_of(*times_s: tuple[float, float]) -> list[Window]:
    spans = [Span(round(start * SAMPLE_RATE_HZ), round(end * SAMPLE_RATE_HZ)) for start, end in times_s]
    return plan_windows(spans, 3600 * SAMPLE_RATE_HZ)


def seek(
    windows: Sequence[Window], listen: Callable[[Window, tuple[int, ...]], DecodedWindow], first_s: float = 0.0
) -> list[tuple[float, float, float]]:
    """Start and end of each window, and up to where it was heard, in seconds."""
    return [
        (window.start / SAMPLE_RATE_HZ, window.end / SAMPLE_RATE_HZ, heard_to / SAMPLE_RATE_HZ)
        for window, heard_to, _ in seek_through(windows, round(first_s * SAMPLE_RATE_HZ), listen)
    ]


def test_a_window_begins_where_the_text_before_it_ended() -> None:
    """As long as the model takes; speech that was planned in pieces is one stretch."""
    covers = iter([28.0, 20.0, 12.0])
    assert seek(windows_of((0, 60)), lambda _window, _previous: heard(next(covers))) == [
        (0, 30, 28),
        (28, 58, 48),
        (48, 60, 60),
    ]


def test_a_long_silence_is_not_listened_to() -> None:
    """It is in no stretch."""
    assert seek(windows_of((1, 4), (20, 25)), lambda _window, _previous: heard(30.0)) == [(1, 4, 4), (20, 25, 25)]


def test_the_speech_of_a_window_is_what_it_holds() -> None:
    """Cut at both ends, none of it empty."""
    seen: list[Window] = []

    def listen(window: Window, _previous: tuple[int, ...]) -> DecodedWindow:
        seen.append(window)
        return heard(28.0)

    seek(windows_of((0, 10), (10.5, 40)), listen)
    second = SAMPLE_RATE_HZ
    assert (seen[0].speech[0], seen[0].speech[-1].end) == (Span(0, 10 * second), 30 * second)
    assert (seen[1].speech[0].start, seen[1].speech[-1].end) == (28 * second, 40 * second)
    assert all(span.start < span.end for window in seen for span in window.speech)


def test_silence_is_skipped_whole() -> None:
    """What gave no text is not listened to again, whatever it says it covers."""
    assert seek(windows_of((0, 40)), lambda _window, _previous: heard(5.0, silent=True)) == [(0, 30, 30), (30, 40, 40)]


def test_a_text_without_an_end_is_not_listened_to_for_ever() -> None:
    """A text that covers nothing takes its whole window."""
    assert seek(windows_of((0, 40)), lambda _window, _previous: heard(0.0)) == [(0, 30, 30), (30, 40, 40)]


def test_the_padding_after_the_last_text_is_left_alone() -> None:
    """Less than a second of speech at the end of a stretch; a second of it is heard."""
    assert seek(windows_of((0, 10)), lambda _window, _previous: heard(9.5)) == [(0, 10, 10)]
    covers = iter([8.9, 1.1])
    assert seek(windows_of((0, 10)), lambda _window, _previous: heard(next(covers))) == [(0, 10, 8.9), (8.9, 10, 10)]


def test_a_word_at_the_end_of_a_full_window_is_not_lost() -> None:
    """The window may end within it: the next begins where the text ended, however near that is."""
    covers = iter([29.5, 10.5])
    assert seek(windows_of((0, 40)), lambda _window, _previous: heard(next(covers))) == [(0, 30, 29.5), (29.5, 40, 40)]


def test_work_goes_on_where_it_was_left() -> None:
    """In the middle of a stretch, too; nothing before is listened to."""
    assert seek(windows_of((0, 40), (50, 60)), lambda _window, _previous: heard(30.0), 35.0) == [
        (35, 40, 40),
        (50, 60, 60),
    ]
    assert seek(windows_of((0, 40)), lambda _window, _previous: heard(30.0), 40.0) == []


def prompts(answers: Sequence[DecodedWindow]) -> list[tuple[int, ...]]:
    """What text each window was given, in a recording of one stretch of 10 s for each answer."""
    given_to: list[tuple[int, ...]] = []
    waiting = iter(answers)

    def listen(_window: Window, previous: tuple[int, ...]) -> DecodedWindow:
        given_to.append(previous)
        return next(waiting)

    seek(windows_of(*((20 * n, 20 * n + 10) for n in range(len(answers)))), listen)
    return given_to


def test_the_text_before_is_cut_to_one_of_a_few_lengths() -> None:
    """Its end is kept. Recordings whose prompts have one length go together."""
    given_to = prompts([heard(10.0, range(100 * n, 100 * n + 50)) for n in range(7)])
    assert [len(prompt) for prompt in given_to] == [0, 32, 64, 128, 128, 223, 223]
    assert given_to[1] == tuple(range(18, 50))
    assert given_to[6][-50:] == tuple(range(500, 550))


def test_a_text_that_was_sampled_hot_is_no_prompt() -> None:
    """Nor is what came before it: the next window begins anew."""
    tokens = range(64)
    given_to = prompts([heard(10, tokens), heard(10, tokens, temperature=0.6), heard(10, tokens), heard(10, tokens)])
    assert [len(prompt) for prompt in given_to] == [0, 64, 0, 64]
    given_to = prompts([heard(10, tokens), heard(10, tokens, temperature=0.4), heard(10, tokens)])
    assert [len(prompt) for prompt in given_to] == [0, 64, 128]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0.1, 6), st.floats(0.1, 50)), min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(1.0, 30), st.booleans()), min_size=1, max_size=20),
)
def test_it_comes_to_an_end_and_jumps_over_no_text(
    gaps: list[tuple[float, float]], said: list[tuple[float, bool]]
) -> None:
    """Whatever the model answers: each window begins where the one before was heard to, or with the next stretch."""
    times_s: list[tuple[float, float]] = []
    at_s = 0.0
    for silence_s, speech_s in gaps:
        times_s.append((at_s + silence_s, at_s + silence_s + speech_s))
        at_s = times_s[-1][1]
    windows = windows_of(*times_s)
    n_asked = 0

    def listen(window: Window, _previous: tuple[int, ...]) -> DecodedWindow:
        nonlocal n_asked
        covered_s, silent = said[n_asked % len(said)]
        n_asked += 1
        return heard(min(covered_s, (window.end - window.start) / SAMPLE_RATE_HZ), silent=silent)

    at = 0
    starts = {window.start for window in windows}
    for window, heard_to, _ in seek_through(windows, 0, listen):
        assert window.start == at or window.start in starts
        assert window.start < heard_to <= window.end <= window.start + 30 * SAMPLE_RATE_HZ
        at = heard_to
    assert at == windows[-1].end
