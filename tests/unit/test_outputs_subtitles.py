# ruff: noqa: RUF001  # marks of other scripts are what it is about
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.outputs.pieces import Piece, pieces_of
from daemon.outputs.subtitles import Cue, Shape, cues_of
from daemon.outputs.typesetting import cleaned, columns, name_of
from daemon.transcript import Segment, Word
from tests.subtitle_rules import Shown, broken_rules

RULES = Shape()


def line(words: Sequence[Word], text: str | None = None) -> Segment:
    spoken = " ".join(word.text for word in words) if text is None else text
    return Segment(words[0].start_s, words[-1].end_s, spoken, -0.2, 1.5, 0.0, 0.0, tuple(words))


def spoken(text: str, start_s: float = 0.0, char_s: float = 0.065, pause_s: float = 0.0) -> Segment:
    """*text* at one speed, *pause_s* after each comma and full stop."""
    words: list[Word] = []
    at_s = start_s
    for word in text.split():
        end_s = at_s + char_s * (len(word) + 1)
        words.append(Word(round(at_s, 3), round(end_s, 3), word, 0.9))
        at_s = end_s + (pause_s if word[-1] in ".,?!" else 0.0)
    return line(words)


def untimed(text: str, start_s: float, end_s: float) -> Segment:
    return Segment(start_s, end_s, text, -0.2, 1.5, 0.0, 0.0)


def rows(*segments: Segment, language: str = "en", shape: Shape = RULES) -> list[tuple[str, ...]]:
    return [cue.rows for cue in cues_of(segments, language, shape)]


def shown(cues: Sequence[Cue]) -> list[Shown]:
    return [Shown(cue.start_ms, cue.end_ms, cue.rows) for cue in cues]


WORDS = st.text(st.sampled_from("abcXÄй ,.?!-–1今日はカー。、「」한국ไเ่مرً👍\u0301\u200d\x00\u202e<>&{}\\"), max_size=12)


@st.composite
def transcripts(draw: st.DrawFn) -> list[Segment]:
    """Lines as the engine gives them, with the times of their words or without, and with what should not be there."""
    segments: list[Segment] = []
    at_s = draw(st.sampled_from([0.0, 3599.9]))
    for _ in range(draw(st.integers(0, 5))):
        at_s += draw(st.sampled_from([0.0, 0.05, 0.3, 2.0]))
        words: list[Word] = []
        for text in draw(st.lists(WORDS, max_size=14)):
            length_s = draw(st.sampled_from([0.0, 0.02, 0.2, 0.5, 8.0]))
            words.append(Word(at_s, at_s + length_s, text, 0.5))
            at_s += length_s + draw(st.sampled_from([0.0, 0.0, 0.4, 1.2]))
        between = draw(st.sampled_from([" ", ""]))
        text = between.join(word.text for word in words)
        start_s = words[0].start_s if words else at_s
        kept = tuple(words) if draw(st.booleans()) else ()
        segments.append(Segment(start_s, max(start_s, at_s), text, -0.2, 1.5, 0.0, 0.0, kept))
    return segments


SHAPES = st.builds(
    Shape,
    row_columns=st.sampled_from([16, 37, 42]),
    row_columns_wide=st.sampled_from([16, 32]),
    n_rows=st.integers(1, 3),
    gap_ms=st.sampled_from([0, 83, 300]),
)


@given(transcripts(), SHAPES)
def test_no_word_is_lost_or_moved(segments: list[Segment], shape: Shape) -> None:
    """All that may be shown is in the cues, once, in order; only spaces are others."""
    said = "".join(cleaned(segment.text) for segment in segments).replace(" ", "")
    seen = "".join(row for cue in cues_of(segments, "en", shape) for row in cue.rows).replace(" ", "")
    assert seen == said


@given(transcripts(), SHAPES)
def test_rows_are_no_wider_and_no_more_than_the_shape(segments: list[Segment], shape: Shape) -> None:
    """But for what must not be broken, which then is alone in its cue."""
    pieces = {piece.text for piece in pieces_of(segments)}
    for broken in broken_rules(shown(cues_of(segments, "en", shape)), shape):
        assert broken.rule not in ("rows", "blank")
        if broken.rule == "width":
            assert broken.what.partition(": ")[2] in pieces


@given(transcripts(), SHAPES)
def test_times_go_forward_and_never_overlap(segments: list[Segment], shape: Shape) -> None:
    """At least the gap is between two cues; none is without length or too long."""
    free_ms = 0
    for cue in cues_of(segments, "en", shape):
        assert free_ms <= cue.start_ms < cue.end_ms <= cue.start_ms + shape.max_ms
        free_ms = cue.end_ms + shape.gap_ms


@given(transcripts())
def test_no_cue_comes_before_its_words(segments: list[Segment]) -> None:
    """Nor goes before they are said, unless the next words come, or it has been there for as long as may be."""
    pieces = pieces_of(segments)
    cues = cues_of(segments, "en", RULES)
    at = 0
    for n, cue in enumerate(cues):
        n_letters = len("".join(cue.rows).replace(" ", ""))
        own: list[Piece] = []
        while n_letters > 0:
            own.append(pieces[at])
            n_letters -= len(pieces[at].text.replace(" ", ""))
            at += 1
        assert cue.start_ms >= own[0].start_ms
        if cue.end_ms < own[-1].end_ms and cue.end_ms - cue.start_ms < RULES.max_ms:
            assert n + 1 < len(cues)
            assert cue.end_ms == max(cue.start_ms + 1, pieces[at].start_ms - RULES.gap_ms)


@st.composite
def calls(draw: st.DrawFn) -> list[Segment]:
    """Lines of up to three people in order of time, at a usual speed, at once now and then; one has no name."""
    lines: list[Segment] = []
    free_s = dict.fromkeys(("Anna", "Bartholom\u00e4us von und zu Hohenstein", ""), 0.0)
    at_s = 0.0
    for _ in range(draw(st.integers(1, 8))):
        speaker = draw(st.sampled_from(list(free_s)))
        at_s = max(free_s[speaker], at_s + draw(st.sampled_from([-1.0, 0.1, 0.4, 3.0])), 0.0)
        at_s = max(at_s, max((one.start_s for one in lines), default=0.0))
        said = spoken(draw(st.sampled_from(["Mhm.", "Yes, of course.", TALK[:90], TALK])), at_s)
        lines.append(replace(said, speaker=speaker))
        at_s = free_s[speaker] = said.end_s
    return lines


@given(calls())
def test_a_cue_is_of_one_speaker(segments: list[Segment]) -> None:
    """Each has all that its speaker says, once and in order, and nothing of anybody else."""
    cues = cues_of(segments, "en", RULES)
    assert [cue.start_ms for cue in cues] == sorted(cue.start_ms for cue in cues)
    for speaker in {segment.speaker for segment in segments}:
        said = " ".join(segment.text for segment in segments if segment.speaker == speaker)
        own = [" ".join(cue.rows).removeprefix(cue.lead) for cue in cues if cue.speaker == name_of(speaker)]
        assert " ".join(own) == said


@given(calls())
def test_each_speaker_s_cues_keep_the_rules(segments: list[Segment]) -> None:
    """As if nobody else were there; only who is cut short by his own next words, or talks too fast, breaks one."""
    cues = [Shown(cue.start_ms, cue.end_ms, cue.rows, cue.speaker) for cue in cues_of(segments, "en", RULES)]
    found = [broken for broken in broken_rules(cues, RULES) if not broken.unavoidable]
    assert [broken for broken in found if broken.rule != "orphan"] == []  # an answer of one word is one


@given(calls())
def test_who_speaks_is_never_left_to_a_guess(segments: list[Segment]) -> None:
    """A cue that follows one of somebody else begins with the name, if there is one."""
    cues = cues_of(segments, "en", RULES)
    assert not cues[0].speaker or cues[0].lead
    for before, cue in pairwise(cues):
        if cue.speaker and cue.speaker != before.speaker:
            assert cue.lead
        assert cue.rows[0].startswith(cue.lead)


@given(calls())
def test_two_are_on_the_screen_only_where_they_must(segments: list[Segment]) -> None:
    """Where both speak, or where the first could not be read in time."""
    cues = cues_of(segments, "en", RULES)
    for n, cue in enumerate(cues):
        needed_ms = max(RULES.min_ms, columns(" ".join(cue.rows)) * 1000 / RULES.columns_per_s)
        for other in cues[n + 1 :]:
            if other.speaker != cue.speaker and other.start_ms < cue.end_ms:
                own = [one for one in segments if name_of(one.speaker) == cue.speaker]
                speaking = any(one.start_s * 1000 <= other.start_ms + 1 < one.end_s * 1000 for one in own)
                assert speaking or other.start_ms < cue.start_ms + needed_ms + RULES.gap_ms


def test_turns_follow_each_other_on_the_screen() -> None:
    """Who answers at once does so in a cue of his own; the name is there when the speaker changes, and only then."""
    anna = replace(spoken(TALK[:98]), speaker="Anna")
    ben = replace(spoken("Yes, I have heard that.", anna.end_s + 0.1), speaker="Ben")
    more = replace(spoken(TALK[:98], ben.end_s + 0.2), speaker="Anna")
    cues = cues_of([anna, ben, more], "en", RULES)
    assert [" / ".join(cue.rows) for cue in cues] == [
        "Anna: The committee met on Thursday / to discuss the budget for the coming year,",
        "and it agreed on nothing.",
        "Ben: Yes, I have heard that.",
        "Anna: The committee met on Thursday / to discuss the budget for the coming year,",
        "and it agreed on nothing.",
    ]
    assert all(before.end_ms + RULES.gap_ms <= cue.start_ms for before, cue in pairwise(cues))


def test_a_long_name_leaves_room_for_words() -> None:
    """It is shortened, further where the first word is long; where none is left, it goes."""
    name = "Bartholomäus von und zu Hohenstein"
    (cue,) = cues_of([replace(untimed("Yes.", 0.0, 1.0), speaker=name)], "en", RULES)
    assert (cue.rows, cue.speaker) == (("Bartholomäus von un…: Yes.",), name)
    for n_letters, row in ((26, "Bartholomäus…: " + "x" * 26), (36, "Bar…: " + "x" * 36), (38, "x" * 38)):
        (cue,) = cues_of([replace(untimed("x" * n_letters, 0.0, 3.0), speaker=name)], "en", RULES)
        assert cue.rows == (row,)


def test_a_name_counts_in_rows_of_wide_characters() -> None:
    """Sixteen in a row, and who says them."""
    talk = replace(untimed("今天我们来讨论一下这个项目的进展情况，", 0.0, 7.0), speaker="小明")
    assert rows(talk, language="zh") == [("小明: 今天我们来讨论一", "下这个项目的进展情况，")]


TALK = (
    "The committee met on Thursday to discuss the budget for the coming year, and it agreed on nothing. Well, that is "
    "what I thought, because the Minister of Finance said that there would be no more money for the schools in the "
    "north of the country until a new government has been formed. What do you think about that?"
)


def test_speech_at_a_usual_speed_keeps_every_rule() -> None:
    """With pauses and without."""
    for pause_s in (0.0, 0.2, 0.6):
        cues = cues_of([spoken(TALK, pause_s=pause_s)], "en", RULES)
        assert broken_rules(shown(cues), RULES) == []


def test_breaks_are_where_sentences_and_clauses_end() -> None:
    """No row ends with an article or a preposition, no cue in the middle of a phrase."""
    found = rows(spoken(TALK, pause_s=0.2))
    assert [" / ".join(cue) for cue in found] == [
        "The committee met on Thursday / to discuss the budget for the coming year,",
        "and it agreed on nothing.",
        "Well, that is what I thought, / because the Minister of Finance said",
        "that there would be no more money / for the schools",
        "in the north of the country / until a new government has been formed.",
        "What do you think about that?",
    ]


def test_a_text_that_fits_stays_in_one_row() -> None:
    """Two rows hide more of the picture."""
    assert rows(untimed("a" * 20 + " " + "b" * 21, 0, 4)) == [("a" * 20 + " " + "b" * 21,)]
    assert rows(untimed("a" * 20 + " " + "b" * 22, 0, 4)) == [("a" * 20, "b" * 22)]


def test_two_short_sentences_share_a_cue() -> None:
    """Each alone would flash up."""
    assert rows(spoken("Yes. No. Maybe.", char_s=0.1)) == [("Yes. No. Maybe.",)]


def test_no_cue_has_a_lone_word_that_belongs_elsewhere() -> None:
    """Whatever the number of words."""
    for n_words in range(2, 60):
        cues = cues_of([spoken("seven " * n_words)], "en", RULES)
        assert broken_rules(shown(cues), RULES) == [], n_words
        assert n_words < 3 or min(len(" ".join(cue.rows).split()) for cue in cues) > 1


def test_a_cue_stays_until_it_can_be_read() -> None:
    """A second at least, and a second for each twenty characters; then it goes."""
    first, second = cues_of([untimed("Hi.", 0.0, 0.2), untimed("So.", 5.0, 5.4)], "en", RULES)
    assert (first.start_ms, first.end_ms) == (0, 1000)
    assert (second.start_ms, second.end_ms) == (5000, 6000)
    (cue,) = cues_of([untimed("x" * 40, 1.0, 2.0)], "en", RULES)
    assert cue.end_ms == 3000


def test_small_gaps_are_closed_and_large_ones_stay() -> None:
    """A gap of less than half a second flickers."""
    for pause_s, end_ms in ((0.0, 1917), (0.1, 2017), (0.5, 2417), (0.6, 2000)):
        cues = cues_of(
            [untimed("This is all.", 0.0, 2.0), untimed("And then we went home.", 2.0 + pause_s, 4.0)], "en", RULES
        )
        assert cues[0].end_ms == end_ms, pause_s


def test_nothing_is_longer_than_seven_seconds() -> None:
    """A word that is sung, or that the model stretched over a silence, goes after seven."""
    (cue,) = cues_of([untimed("Ooooh", 0.0, 30.0)], "en", RULES)
    assert (cue.start_ms, cue.end_ms) == (0, 7000)
    slow = [Word(n * 2.0, n * 2.0 + 1.4, f"word{n}", 0.9) for n in range(12)]
    assert max(cue.end_ms - cue.start_ms for cue in cues_of([line(slow)], "en", RULES)) <= 7000


def test_speech_that_is_too_fast_is_shown_for_as_long_as_there_is_time() -> None:
    """No cut makes it slower; the checker says so."""
    broken = broken_rules(shown(cues_of([spoken(TALK, char_s=0.03)], "en", RULES)), RULES)
    assert {(one.rule, bool(one.unavoidable)) for one in broken} == {("too fast", True)}


def test_cues_end_where_they_must() -> None:
    """Before the notice that the rest is missing."""
    (cue,) = cues_of([untimed("Half of it", 9.0, 9.5)], "en", RULES, until_ms=9600)
    assert (cue.start_ms, cue.end_ms) == (9000, 9600)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        (
            "今天我们来讨论一下这个项目的进展情况，首先请大家看一下屏幕上的图表。",
            "zh",
            [("今天我们来讨论一下这个项目的", "进展情况，"), ("首先请大家看一下屏幕上的图表。",)],
        ),
        ("今日は会議の進捗についてお話しします。", "ja", [("今日は会議の進捗に", "ついてお話しします。")]),
        ("コンピューターの性能が向上しました。", "ja", [("コンピューターの", "性能が向上しました。")]),
        ("그는 위험을 피하면서 길 한 옆으로 걸어갔다.", "ko", [("그는 위험을 피하면서", "길 한 옆으로 걸어갔다.")]),
    ],
)
def test_wide_characters_count_two_and_have_a_width_of_their_own(
    text: str, language: str, expected: list[tuple[str, ...]]
) -> None:
    """Sixteen in a row. No row begins with a mark or with a small syllable."""
    assert rows(untimed(text, 0.0, 7.0), language=language) == expected


def test_right_to_left_text_is_not_touched() -> None:
    """The player puts it in order; a mark of direction between two words stays."""
    arabic = "مرحبا\u200f بالعالم، هذا اختبار قصير"
    hebrew = "שלום עולם, זה מבחן קצר מאוד של כתוביות בעברית שנמשך קצת יותר"
    assert rows(untimed(arabic, 0.0, 4.0), language="ar") == [(arabic,)]
    assert " ".join(row for cue in rows(untimed(hebrew, 0.0, 6.0), language="he") for row in cue) == hebrew


def test_marks_that_stand_alone_go_with_a_word() -> None:
    """French has spaces before some, dialogues begin with a dash."""
    assert [piece.text for piece in pieces_of([untimed("- Ça va ? « Oui » – bon !", 0, 3)])] == [
        "- Ça",
        "va ?",
        "« Oui » –",
        "bon !",
    ]
    assert [piece.text for piece in pieces_of([untimed("... !", 0, 3)])] == ["... !"]


def test_words_that_are_not_those_of_the_line_are_not_believed() -> None:
    """Then the times are guessed from those of the line, and no text is lost."""
    wrong = replace(untimed("one two three", 0.0, 3.0), words=(Word(0.0, 1.0, "four", 0.9),))
    assert [(piece.text, piece.guessed) for piece in pieces_of([wrong])] == [
        ("one", True),
        ("two", True),
        ("three", True),
    ]


def test_a_line_of_unknown_times_is_not_cut_without_need() -> None:
    """A guess would be off by more than a cut is worth."""
    text = "Yes, I do. We went home."
    assert rows(untimed(text, 0.0, 3.0)) == [(text,)]
    assert rows(spoken(text, char_s=0.12)) == [("Yes, I do.",), ("We went home.",)]


def test_the_shape_is_a_choice() -> None:
    """One row of 37, as the teletext has them; or three."""
    one = Shape(row_columns=37, n_rows=1)
    assert {len(cue) for cue in rows(spoken(TALK), shape=one)} == {1}
    assert max(len(row) for cue in rows(spoken(TALK), shape=one) for row in cue) <= 37
    three = Shape(row_columns=24, n_rows=3)
    assert 3 in {len(cue) for cue in rows(spoken(TALK), shape=three)}
    assert broken_rules(shown(cues_of([spoken(TALK)], "en", three)), three) == []
