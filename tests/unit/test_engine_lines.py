import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.lines import MAX_LINE_S, MAX_LINE_WIDTH, fits_one_line, lines_of_words, one_line, width
from daemon.transcript import SAMPLE_RATE_HZ, Span, Word


def spoken(text: str, word_s: float = 0.4, pauses: dict[int, float] | None = None) -> list[Word]:
    """The words of *text* at one speed, each with the blank before it; *pauses* in seconds before some of them."""
    words: list[Word] = []
    at_s = 0.0
    for n, word in enumerate(text.split()):
        at_s += (pauses or {}).get(n, 0.0)
        words.append(Word(at_s, at_s + word_s, " " + word, 0.9))
        at_s += word_s
    return words


def texts(words: list[Word]) -> list[str]:
    return [line.text.strip() for line in lines_of_words(words)]


@given(
    st.lists(
        st.tuples(st.text("ab\u4eca.,!? \u3002\u2026", min_size=1, max_size=30), st.floats(0, 3), st.floats(0, 9)),
        max_size=40,
    )
)
def test_no_word_is_lost(said: list[tuple[str, float, float]]) -> None:
    """Every word is in one line, in order; a line's text is its words, its times are theirs."""
    words: list[Word] = []
    at_s = 0.0
    for text, pause_s, length_s in said:
        words.append(Word(at_s + pause_s, at_s + pause_s + length_s, text, 0.5))
        at_s = words[-1].end_s
    lines = lines_of_words(words)
    assert [word for line in lines for word in line.words] == words
    for line in lines:
        assert line.text == "".join(word.text for word in line.words)
        assert (line.start_s, line.end_s) == (line.words[0].start_s, line.words[-1].end_s)
        fits = line.end_s - line.start_s <= MAX_LINE_S and width(line.text) <= MAX_LINE_WIDTH
        assert fits or len(line.words) == 1


def test_a_sentence_ends_its_line() -> None:
    """Also where a quotation mark or a bracket closes behind it; an abbreviation's comma does not."""
    assert texts(spoken("We went home early today. It was late, and dark!")) == [
        "We went home early today.",
        "It was late, and dark!",
    ]
    assert texts(spoken('He said "go home now." Then he left us.')) == ['He said "go home now."', "Then he left us."]


def test_very_short_sentences_stay_together() -> None:
    """Two words do not make a line."""
    assert texts(spoken("Yes. No. We stay here today.")) == ["Yes. No. We stay here today."]


def test_a_long_pause_ends_a_line() -> None:
    """Of a second, with or without a mark."""
    assert texts(spoken("and then we went on", pauses={2: 1.0})) == ["and then", "we went on"]
    assert texts(spoken("and then we went on", pauses={2: 0.9})) == ["and then we went on"]


def test_a_line_that_is_too_wide_is_broken_after_a_comma() -> None:
    """Near its middle; where there is none, between the words in the middle."""
    text = "when we came down to the harbour in the morning, all of the ships had left without us again"
    assert texts(spoken(text, 0.2)) == [
        "when we came down to the harbour in the morning,",
        "all of the ships had left without us again",
    ]
    halves = texts(spoken("word " * 20, 0.2))
    assert [len(half.split()) for half in halves] == [10, 10]


def test_a_line_that_is_too_long_to_be_shown_is_broken_at_a_pause() -> None:
    """Slow speech: 7 s are enough for one line."""
    assert texts(spoken("one two three four five six", 1.3, {4: 0.8})) == ["one two three four", "five six"]


def test_wide_characters_count_twice() -> None:
    """42 Chinese characters fill a line as 84 letters do; full-width forms are as wide, half-width kana are not."""
    assert width("abc") == 3
    assert width("\u4eca\u5929") == 4
    assert width("\uff21\uff76") == 3
    assert fits_one_line("\u4eca" * 42, 5.0)
    assert not fits_one_line("\u4eca" * 43, 5.0)
    words = [Word(n / 10, (n + 1) / 10, "\u4eca", 0.9) for n in range(60)]
    assert [len(line.text) for line in lines_of_words(words)] == [30, 30]


def test_chinese_sentences_end_with_their_own_marks() -> None:
    """The ideographic full stop is one."""
    first = [Word(n / 2, (n + 1) / 2, "\u4eca", 0.9) for n in range(3)] + [Word(1.5, 2.0, "\u5929\u3002", 0.9)]
    second = [Word(2.0, 3.0, "\u597d", 0.9)]
    assert [line.text for line in lines_of_words(first + second)] == ["\u4eca\u4eca\u4eca\u5929\u3002", "\u597d"]


@pytest.mark.parametrize(
    ("text", "length_s", "fits"), [("a" * 84, 7.0, True), ("a" * 85, 7.0, False), ("a", 7.1, False)]
)
def test_a_short_text_is_one_line(text: str, length_s: float, fits: bool) -> None:
    """No times of words are needed for it."""
    assert fits_one_line(text, length_s) is fits


def test_one_line_lies_over_the_speech() -> None:
    """From the first to the last of it; over the whole window where nobody looked for it."""
    second = SAMPLE_RATE_HZ
    line = one_line("hello", 5.0, [Span(second // 2, second), Span(2 * second, 3 * second)])
    assert (line.start_s, line.end_s, line.text) == (0.5, 3.0, "hello")
    line = one_line("hello", 5.0, [])
    assert (line.start_s, line.end_s) == (0.0, 5.0)


def test_no_words_are_no_lines() -> None:
    """Nothing to show."""
    assert lines_of_words([]) == []
