from dataclasses import replace

from daemon.engine.assembly import DecodedSegment, DecodedWindow, assemble
from daemon.transcript import Word


def window(*segments: DecodedSegment, suspect: tuple[str, ...] = ()) -> DecodedWindow:
    return DecodedWindow(segments, 30.0, -0.2, 1.5, 0.1, 0.0, suspect)


def test_times_are_those_of_the_recording() -> None:
    """Segments move by the start of their window and take its figures and its doubts."""
    (segment,) = assemble([(60.0, 90.0, window(DecodedSegment(1.0, 2.5, " Hello. "), suspect=("repetition",)))])
    assert (segment.start_s, segment.end_s, segment.text) == (61.0, 62.5, "Hello.")
    assert (segment.avg_logprob, segment.compression_ratio, segment.suspect) == (-0.2, 1.5, ("repetition",))


def test_empty_lines_are_left_out() -> None:
    """A line of blanks is no segment."""
    assert assemble([(0.0, 9.0, window(DecodedSegment(0.0, 1.0, "  "), DecodedSegment(1.0, 2.0, "")))]) == []


def test_lines_stay_in_their_window_and_in_order() -> None:
    """Times that run backwards or past the window are pulled in; no text is lost."""
    lines = [DecodedSegment(0.0, 6.0, "a"), DecodedSegment(4.0, 5.0, "b"), DecodedSegment(6.0, 40.0, "c")]
    placed = assemble([(10.0, 20.0, window(*lines))])
    assert [(segment.start_s, segment.end_s) for segment in placed] == [(10.0, 16.0), (16.0, 16.0), (16.0, 20.0)]


def test_nothing_begins_before_what_came_before() -> None:
    """The floor is the end of an earlier window."""
    (segment,) = assemble([(10.0, 20.0, window(DecodedSegment(0.0, 2.0, "a")))], floor_s=11.0)
    assert (segment.start_s, segment.end_s) == (11.0, 12.0)


def test_words_stay_inside_their_segment() -> None:
    """Words are in order, inside the segment, without blanks around them."""
    words = (Word(-1.0, 0.5, " One", 0.9), Word(0.4, 3.0, " two.", 0.123456))
    (segment,) = assemble([(10.0, 20.0, window(DecodedSegment(0.0, 2.0, " One two.", words)))])
    assert segment.words == (Word(10.0, 10.5, "One", 0.9), Word(10.5, 12.0, "two.", 0.1235))


def test_a_line_has_the_language_of_its_window() -> None:
    """Where each window has its own, that is not always the recording's."""
    german = replace(window(DecodedSegment(0.0, 1.0, "Guten Tag.")), language="de")
    (segment,) = assemble([(10.0, 20.0, german)])
    assert segment.language == "de"
