from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.timestamps import split_at_timestamps
from daemon.engine.words import Line, words_of_lines

EOT, T0 = 100, 200  # text is below 100; 200 is the time 0.00


def at(time_s: float) -> int:
    return T0 + round(time_s / 0.02)


def test_lines_lie_between_their_timestamps() -> None:
    """Each pair of times closes a line; the last time is how far the window was heard."""
    tokens = [at(0), 1, 2, at(2), at(2.5), 3, at(4)]
    assert split_at_timestamps(tokens, EOT, T0, 30.0) == ([(0.0, 2.0, (1, 2)), (2.5, 4.0, (3,))], 4.0)


def test_a_line_without_its_end_was_cut_off() -> None:
    """The model ran out of room: the line is heard again from the last time on."""
    tokens = [at(0), 1, at(2), at(2), 3, 4]
    assert split_at_timestamps(tokens, EOT, T0, 30.0) == ([(0.0, 2.0, (1,))], 2.0)


def test_a_text_without_times_is_one_line() -> None:
    """Better a line with rough times than none."""
    assert split_at_timestamps([1, 2, 3], EOT, T0, 7.0) == ([(0.0, 7.0, (1, 2, 3))], 7.0)


def test_times_in_the_padding_are_pulled_into_the_window() -> None:
    """The model may place an end in the silence that fills the window up to 30 s."""
    assert split_at_timestamps([at(0), 1, at(29)], EOT, T0, 5.0) == ([(0.0, 5.0, (1,))], 5.0)


def test_times_that_run_backwards_end_no_line_before_it_begins() -> None:
    """The text is kept, with no length; tokens that are neither text nor time are nothing."""
    assert split_at_timestamps([at(3), 1, at(1)], EOT, T0, 5.0) == ([(3.0, 3.0, (1,))], 1.0)
    assert split_at_timestamps([150, at(0), 1, 150, at(1)], EOT, T0, 5.0) == ([(0.0, 1.0, (1,))], 1.0)
    assert split_at_timestamps([], EOT, T0, 5.0) == ([], 0.0)


def test_marks_belong_to_their_word() -> None:
    """A mark after a word joins it, one after a blank joins the next."""
    line = Line([" Yes", ",", " \u201c", "no", "\u201d", "."], [[1], [2], [3], [4], [5], [6]], 6)
    (words,) = words_of_lines([line], [0.0, 0.3, 0.4, 0.5, 0.8, 0.8, 0.9], [1.0, 0.5, 0.5, 0.5, 1.0, 1.0])
    assert [word.text for word in words] == [" Yes,", " \u201cno\u201d."]
    assert (words[0].start_s, words[0].end_s, words[0].probability) == (0.0, 0.4, 0.75)


@given(st.lists(st.sampled_from([" a", "b", " \u201c", ",", ".", " -", " "]), max_size=12))
def test_no_mark_is_lost(texts: Sequence[str]) -> None:
    """Whatever stands beside it: the words together are the text."""
    line = Line(texts, [[n] for n in range(len(texts))], len(texts))
    times_s = [n / 2 for n in range(len(texts) + 1)]
    (words,) = words_of_lines([line], times_s, [0.5] * len(texts))
    assert "".join(word.text for word in words) == "".join(texts)


def test_a_word_beside_a_pause_is_not_stretched_into_it() -> None:
    """The alignment gives the pause to its neighbour; no word at an edge is longer than twice the usual one."""
    line = Line([" a", " b", " c", " d"], [[1], [2], [3], [4]], 4)
    (words,) = words_of_lines([line], [0.0, 5.0, 5.4, 5.8, 11.0], [1.0] * 4)
    assert words[0].start_s == pytest.approx(5.0 - 1.4)
    assert words[-1].end_s == pytest.approx(5.8 + 1.4)


def test_an_incomplete_character_shifts_no_later_line() -> None:
    """A line may hold a token that is part of no word; the next line still has its own times."""
    lines = [Line([" a"], [[1]], 2), Line([" b"], [[3]], 1)]
    words = words_of_lines(lines, [0.0, 0.2, 0.4, 0.6], [1.0, 1.0, 1.0])
    assert words[1][0].start_s == pytest.approx(0.4)


def test_missing_times_end_with_the_last_one() -> None:
    """The aligner may give fewer steps than there are tokens."""
    line = Line([" a", " b", " c"], [[1], [2], [3]], 3)
    (words,) = words_of_lines([line], [0.0, 0.5], [0.5, 0.5])
    assert [(word.start_s, word.end_s) for word in words] == [(0.0, 0.5), (0.5, 0.5), (0.5, 0.5)]
    assert words[-1].probability == 0.0
