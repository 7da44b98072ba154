"""What pages say, and where lines of plots go: pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.transcript import Segment, Word
from daemon.web.views import history, search
from daemon.web.views.plots import HEIGHT, LEFT, WIDTH, Band, Line, Paper, Plot, plot
from daemon.web.views.recording import _words  # pyright: ignore[reportPrivateUsage]  # the rule of spaces
from daemon.web.views.telling import Teller, as_query, clock, cut, from_query, recording
from daemon.web.wording import words

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PAPER = Paper("Title", 3600.0, 60.0, "{:g}".format, "{:g}".format)


def numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path)]


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-100, 4000), st.floats(0, 1e12)), max_size=30).map(sorted),
        max_size=4,
    )
)
def test_lines_stay_on_the_paper(points: list[list[tuple[float, float]]]) -> None:
    """Whatever the values are, nothing is drawn outside, and no line is drawn of nothing."""
    drawn = plot(PAPER, [Line("x", one) for one in points], [(0.0, "0"), (5000.0, "no")], [Band(-5, 9e9, "bad", "x")])
    assert len(drawn.lines) == len([one for one in points if one])
    for line in drawn.lines:
        assert all(0 <= number <= WIDTH for number in numbers(line.path))
    assert all(0 <= tick.at <= HEIGHT for tick in drawn.up)
    assert [tick.label for tick in drawn.across] == ["0"]
    assert LEFT <= drawn.bands[0].x <= drawn.bands[0].x + drawn.bands[0].width <= WIDTH


def test_a_gap_breaks_the_line() -> None:
    """Where nothing was sampled for a while no line is drawn through."""
    steady = plot(PAPER, [Line("", [(60.0 * n, 1.0) for n in range(10)])])
    broken = plot(PAPER, [Line("", [(0.0, 1.0), (60.0, 1.0), (1200.0, 1.0), (1260.0, 1.0)])])
    assert steady.lines[0].path.count("M") == 1
    assert broken.lines[0].path.count("M") == 2


def highest(drawn: Plot) -> float:
    return float(drawn.up[-1].label)


@pytest.mark.parametrize(("value", "top"), [(0.0, 1.0), (0.93, 1.0), (1.1, 1.2), (55, 60), (61, 80), (101, 120)])
def test_the_grid_ends_at_a_round_number(value: float, top: float) -> None:
    """It is at or above the highest value, and easy to read in quarters."""
    assert highest(plot(PAPER, [Line("", [(0.0, value)])])) == pytest.approx(top)


def test_a_share_is_drawn_up_to_all() -> None:
    """Of a share the highest line of the grid is 100 %, however low the values are."""
    paper = Paper("", 3600.0, 60.0, "{:g}".format, "{:g}".format, least_top=1.0)
    assert highest(plot(paper, [Line("", [(0.0, 0.03)])])) == 1.0


def test_the_summary_says_what_is_to_be_seen() -> None:
    """The least and the most of each line, for who does not see it."""
    drawn = plot(PAPER, [Line("queued", [(0.0, 1.0), (60.0, 5.0)]), Line("running", [(0.0, 2.0)])])
    assert drawn.summary == "queued: 1 … 5; running: 2"


@given(st.binary(min_size=1, max_size=30).filter(lambda path: b"\0" not in path))
def test_any_path_goes_through_an_address(path: bytes) -> None:
    """What stands in a link leads back to the same folder."""
    assert from_query(as_query(path)) == path
    shown = recording(b"/" + path)
    assert shown.name.isprintable() or "\u200c" in shown.name or "\u200d" in shown.name


def test_clock_and_cut() -> None:
    """Times are cut off, not rounded; long texts end with an ellipsis."""
    assert [clock(second) for second in (-1, 0.99, 61.9, 3723)] == ["0:00:00", "0:00:00", "0:01:01", "1:02:03"]
    assert cut("abcdef", 4) == "abc…"
    assert cut("abc", 3) == "abc"


def test_counts_have_signs_between_thousands() -> None:
    """As the language has it; more than is counted is said so."""
    assert Teller(words("en"), AT).count(10_001, 10_000) == "10,000+"
    assert Teller(words("de"), AT).count(1_234_567, 10**9) == "1.234.567"
    assert Teller(words("en"), AT).language("xx") == "xx"


@pytest.mark.parametrize(
    ("text", "parts", "shown"),
    [
        ("Good morning, all.", ("Good", "morning,", "all."), "Good morning, all."),
        (" Good morning", (" Good", " morning"), "Good morning"),
        ("don't", ("don", "'t"), "don't"),
        ("会议开始", ("会议", "开始"), "会议开始"),
        ("one two", ("one", "", " ", "two"), "one two"),
        ("other", ("not", "in", "it"), "not in it"),
    ],
)
def test_words_stand_as_in_their_line(text: str, parts: tuple[str, ...], shown: str) -> None:
    """A space is where the line has one, whatever the engine says of its words."""
    spoken = tuple(Word(float(n), n + 0.5, part, 0.9) for n, part in enumerate(parts))
    line = Segment(0.0, 4.0, text, -0.2, 1.2, 0.1, 0.0, spoken)
    assert "".join(word.space + word.text for word in _words(line)) == shown


def test_bad_times_and_nan_are_no_trouble() -> None:
    """A word before the beginning is at the beginning."""
    line = Segment(-1.0, 4.0, "one", math.nan, 1.2, 0.1, 0.0, (Word(-0.5, 0.1, "one", math.nan),))
    assert next(iter(_words(line))).start == "0.00"


FIELDS = ("state", "folder", "lang", "since", "until", "q", "before", "days")


@given(st.dictionaries(st.sampled_from(FIELDS), st.text()))
def test_any_question_makes_sense(query: dict[str, str]) -> None:
    """Whatever stands in an address, it is understood as something that can be asked."""
    asked = history.asked_of(query)
    if all(not "\ud800" <= sign <= "\udfff" for text in query.values() for sign in text):
        wanted = history.wanted_of(asked)
        assert wanted.since is None or wanted.since.tzinfo is not None
    assert all(search.asked_of(query).words)
