import pytest

from daemon.engine.assembly import DecodedSegment, DecodedWindow
from daemon.engine.holes import hears_more, is_heard, recut
from daemon.engine.windows import Window
from daemon.transcript import SAMPLE_RATE_HZ, Span, Word

START_S = 100.0

Times = tuple[float, float]


def samples(at_s: float) -> int:
    """Of the recording, for a time in the window."""
    return round((START_S + at_s) * SAMPLE_RATE_HZ)


def window(*speech: Times) -> Window:
    spans = tuple(Span(samples(start_s), samples(end_s)) for start_s, end_s in speech)
    return Window(spans[0].start, spans[-1].end, spans)


def steady(start_s: float, end_s: float) -> list[Times]:
    """Words of half a second, without a pause."""
    return [(start_s + n / 2, start_s + (n + 1) / 2) for n in range(round(2 * (end_s - start_s)))]


def answer(*words: Times, suspect: tuple[str, ...] = (), text: str = "") -> DecodedWindow:
    said = tuple(Word(start_s, end_s, " word", 0.9) for start_s, end_s in words)
    line = DecodedSegment(0.0, 1.0, text or " word" * len(said), said)
    return DecodedWindow((line,), 15.0, -0.2, 1.2, 0.1, 0.0, suspect)


def middle(lowest: int, highest: int) -> int:
    return (lowest + highest) // 2


def cut(whole: Window, heard: DecodedWindow) -> list[tuple[float, float, bool]]:
    """Where each part begins and ends in the window, in seconds, and whether its text was left out."""
    return [
        (
            round(part.window.start / SAMPLE_RATE_HZ - START_S, 1),
            round(part.window.end / SAMPLE_RATE_HZ - START_S, 1),
            part.lost,
        )
        for part in recut(whole, heard, middle)
    ]


def test_a_text_with_words_for_all_speech_is_whole() -> None:
    """Nothing is asked again, nor for a pause without speech, however long."""
    assert recut(window((0, 14)), answer(*steady(0, 14)), middle) == ()
    assert recut(window((0, 5), (9, 14)), answer(*steady(0, 5), *steady(9, 14)), middle) == ()


@pytest.mark.parametrize(
    ("heard", "parts"),
    [
        (steady(0, 6), [(0.0, 6.4, False), (6.4, 14.0, True)]),
        (steady(7, 14), [(0.0, 6.6, True), (6.6, 14.0, False)]),
        (
            [*steady(0, 4), *steady(10, 14)],
            [(0.0, 4.4, False), (4.4, 9.6, True), (9.6, 14.0, False)],
        ),
    ],
)
def test_a_window_is_cut_at_both_ends_of_the_speech_without_words(
    heard: list[Times], parts: list[tuple[float, float, bool]]
) -> None:
    """At its end, at its start, in the middle; there are no cuts at the ends of the window."""
    assert cut(window((0, 14)), answer(*heard)) == parts


def test_a_word_that_is_stretched_over_speech_hides_a_hole() -> None:
    """The alignment has no other place for the time that it has no words for."""
    stretched = answer((0.0, 5.0), (5.0, 8.0), *steady(8, 14))
    assert [lost for _, _, lost in cut(window((0, 14)), stretched)] == [True, False]
    slow = answer(*((1.4 * n, 1.4 * (n + 1)) for n in range(10)))
    assert recut(window((0, 14)), slow, middle) == ()


def test_a_short_stretch_is_let_be() -> None:
    """The alignment is not that exact, and the detector's spans are wider than the speech."""
    assert recut(window((0, 14)), answer(*steady(0, 12.5)), middle) == ()
    assert len(recut(window((0, 14)), answer(*steady(0, 11.5)), middle)) == 2


def test_no_part_is_shorter_than_a_second() -> None:
    """The model hears little in less, and a window with a few words at its end stays as it is."""
    assert recut(window((0, 14)), answer((13.5, 14.0)), middle) == ()


def test_a_part_has_its_speech_and_no_other() -> None:
    """Spans are cut with the window."""
    first, second = recut(window((0, 5), (6, 14)), answer(*steady(0, 5), *steady(6, 8)), middle)
    assert [span.end for span in first.window.speech] == [samples(5), first.window.end]
    assert second.window.speech == (Span(second.window.start, samples(14)),)


def test_nothing_is_known_of_a_text_without_the_times_of_its_words() -> None:
    """A short line has none, and silence has no text."""
    nothing = DecodedWindow((), 14.0, -0.2, 1.0, 0.9, 0.0)
    assert recut(window((0, 14)), answer(text="we went home"), middle) == ()
    assert recut(window((0, 14)), nothing, middle) == ()


def test_only_a_text_to_be_believed_is_heard() -> None:
    """Music that was taken for speech has none, or a doubtful one."""
    assert is_heard(answer(text="we went home"))
    assert not is_heard(answer(text="we went home", suspect=("collapse",)))
    assert not is_heard(DecodedWindow((), 14.0, -0.2, 1.0, 0.9, 0.0))


def test_parts_are_kept_where_they_say_more() -> None:
    """The same words again are no gain, and one doubtful part spoils it."""
    first, second = answer(text="We went"), answer(text="home then.")
    assert hears_more(answer(text="we went home"), [first, second])
    assert not hears_more(answer(text="we went home then"), [first, second])
    assert not hears_more(answer(text="we went home"), [first, answer(text="home then", suspect=("surplus",))])
