"""Lines of two channels that were heard one after the other: back at their times, with names, in one order."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.decode.pool import Decoded
from daemon.options import JobOptions
from daemon.outputs.formats import Document
from daemon.speakers import merged, part_done_s, renamed, speech_s, told_apart, tracks_of
from daemon.suspects import suspects_of_tracks
from daemon.transcript import SAMPLE_RATE_HZ, Segment, Span, Transcript, Word

LENGTH_S: Final = 60
APART_S: Final = 30
SECOND: Final = (LENGTH_S + APART_S) * SAMPLE_RATE_HZ
NAMED: Final = JobOptions(speaker_names=("Anna", "Ben"))


def span(start_s: float, end_s: float) -> Span:
    return Span(round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ))


def line(start_s: float, end_s: float, text: str, speaker: str = "", avg_logprob: float = -0.2) -> Segment:
    words = (Word(start_s, end_s, f" {text}", 0.9),)
    return Segment(start_s, end_s, text, avg_logprob, 1.4, 0.0, 0.0, words, speaker=speaker)


def on_right(start_s: float, end_s: float, text: str) -> Segment:
    """As the engine sees it."""
    return line(LENGTH_S + APART_S + start_s, LENGTH_S + APART_S + end_s, text)


def decoded(*spans: Span, second: int = SECOND) -> Decoded:
    n_samples = second + LENGTH_S * SAMPLE_RATE_HZ
    return Decoded("ab", n_samples, LENGTH_S, None, 8000, 2, "x", "x", 0, spans, second=second, layout="distinct")


def transcript(*lines: Segment, translation: tuple[Segment, ...] = ()) -> Transcript:
    return Transcript(lines, "en", 1.0, "base", "cpu", "int8", translation)


def said(lines: tuple[Segment, ...]) -> list[tuple[float, str, str]]:
    return [(line.start_s, line.speaker, line.text) for line in lines]


def test_lines_of_both_channels_are_told_in_order_of_time_with_names() -> None:
    """Each at the time at which it was said, its words too."""
    heard = transcript(line(1, 3, "Hello?"), line(7, 9, "Fine."), on_right(4, 6, "How are you?"))
    told = told_apart(heard, decoded(), NAMED).segments
    assert said(told) == [(1.0, "Anna", "Hello?"), (4.0, "Ben", "How are you?"), (7.0, "Anna", "Fine.")]
    assert (told[1].end_s, told[1].words) == (6.0, (Word(4.0, 6.0, " How are you?", 0.9),))


def test_who_has_no_name_has_a_number() -> None:
    """One name is that of the left channel."""
    heard = transcript(line(1, 3, "Hello?"), on_right(4, 6, "Yes?"))
    assert [each.speaker for each in told_apart(heard, decoded(), JobOptions()).segments] == ["Speaker 1", "Speaker 2"]
    one = JobOptions(speaker_names=("Anna",))
    assert [each.speaker for each in told_apart(heard, decoded(), one).segments] == ["Anna", "Speaker 2"]


def test_the_translation_is_told_apart_too() -> None:
    """Its lines have times of their own."""
    heard = transcript(line(1, 3, "Hallo?"), translation=(line(1, 3, "Hello?"), on_right(4, 6, "Yes?")))
    assert said(told_apart(heard, decoded(), NAMED).translation) == [(1.0, "Anna", "Hello?"), (4.0, "Ben", "Yes?")]


def test_a_recording_of_one_channel_stays_as_it_is() -> None:
    """Nobody is named whom nobody told apart."""
    heard = transcript(line(1, 3, "Hello?"))
    assert told_apart(heard, decoded(second=0), NAMED) is heard


def test_what_one_microphone_has_of_the_other_is_told_once() -> None:
    """The line of which the model was surer stays; short ones and such that are said later may be an answer."""
    lines = [
        ("Anna", [line(1, 3, "The house is by the lake.", avg_logprob=-0.1), line(5, 6, "Thank you.")]),
        ("Ben", [line(1.1, 3, "the house is by the lake", avg_logprob=-0.9), line(5, 6, "Thank you.")]),
    ]
    assert said(merged(lines)) == [
        (1.0, "Anna", "The house is by the lake."),
        (5.0, "Anna", "Thank you."),
        (5.0, "Ben", "Thank you."),
    ]
    again = [("Anna", [line(1, 3, "The house is by the lake.")]), ("Ben", [line(3, 5, "The house is by the lake?")])]
    assert len(merged(again)) == 2


def test_each_voice_is_doubted_by_itself() -> None:
    """Ten seconds in which Ben speaks without a line are found, though Anna has one at that time; nothing crosses."""
    spans = (span(1, 3), span(20, 30), span(LENGTH_S + APART_S + 20, LENGTH_S + APART_S + 30))
    heard = transcript(line(1, 3, "Hello?"), line(20, 30, "What Anna says."))
    (suspect,) = suspects_of_tracks(tracks_of(heard, decoded(*spans)))
    assert (suspect.start_s, suspect.end_s, suspect.reasons) == (20.0, 30.0, ("speech_without_text",))


def test_seconds_in_which_both_speak_count_once() -> None:
    """Speech is never longer than the recording."""
    spans = (span(1, 3), span(20, 30), span(LENGTH_S + APART_S + 25, LENGTH_S + APART_S + 35))
    assert speech_s(decoded(*spans)) == pytest.approx(2 + 15)
    assert speech_s(decoded(span(1, 3), second=0)) == pytest.approx(2)


def test_progress_is_that_of_the_recording() -> None:
    """Two channels and the silence between are more than it is long."""
    both_s = 2 * LENGTH_S + APART_S
    assert [part_done_s(done_s, decoded()) for done_s in (0, both_s / 2, both_s)] == pytest.approx([0, 30, 60])


def test_a_text_that_is_used_again_has_the_names_of_today() -> None:
    """Names are no reason to transcribe again."""
    heard = told_apart(transcript(line(1, 3, "Hello?"), on_right(4, 6, "Yes?")), decoded(), NAMED)
    document = Document(heard, NAMED, "call.wav", "ab", 60.0, None, "ok", "", "us", "now")
    swapped = renamed(document, JobOptions(speaker_names=("Ben", "Anna")))
    assert [each.speaker for each in swapped.transcript.segments] == ["Ben", "Anna"]
    nameless = renamed(document, JobOptions())
    assert [each.speaker for each in nameless.transcript.segments] == ["Speaker 1", "Speaker 2"]
    assert renamed(document, NAMED) is document


def test_names_are_no_reason_to_transcribe_again_and_telling_apart_is() -> None:
    """The digest tells which options change the words; those of earlier versions stay as they were."""
    plain = JobOptions()
    assert JobOptions(speaker_names=("Anna",), tracks=True).digest() == plain.digest()
    assert JobOptions(speakers="off").digest() != plain.digest()
    assert not JobOptions(speaker_names=("Anna",)).looks_like(plain)


times = st.integers(0, 600).map(lambda tenths: tenths / 10)


@given(st.lists(st.tuples(times, times)), st.lists(st.tuples(times, times)))
def test_no_line_is_lost_or_out_of_order(left: list[tuple[float, float]], right: list[tuple[float, float]]) -> None:
    """Whatever two people say, each line is there once, at its time, and each one's lines stay in order."""

    def spoken(at: list[tuple[float, float]], name: str) -> list[Segment]:
        pairs = sorted((min(pair), max(pair)) for pair in at)
        return [line(a, b, f"{name} {n}") for n, (a, b) in enumerate(pairs)]

    ones, others = spoken(left, "one"), spoken(right, "other")
    moved = [on_right(each.start_s, each.end_s, each.text) for each in others]
    told = told_apart(transcript(*ones, *moved), decoded(), NAMED).segments
    assert [each.text for each in told if each.speaker == "Anna"] == [each.text for each in ones]
    assert [(each.start_s, each.end_s, each.text) for each in told if each.speaker == "Ben"] == [
        (each.start_s, each.end_s, each.text) for each in others
    ]
    assert [each.start_s for each in told] == sorted(each.start_s for each in told)
