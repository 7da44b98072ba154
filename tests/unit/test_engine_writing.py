import numpy as np
import pytest

from daemon.engine.decoding import WindowRequest
from daemon.engine.guards import Evidence
from daemon.engine.passes import Attempt, Pass, passes_of
from daemon.engine.writing import Draft, write
from tests.unit.whisper_fake import T0, FakeWhisper, Letters, decoder_of, window

PLAIN, TIMED = passes_of("fast", 5)[-1], passes_of("faithful", 5)[0]
ENCODED = np.zeros((1, 250, 1), np.float32)


def draft(
    request: WindowRequest, text: str, way: Pass = PLAIN, tokens: tuple[int, ...] | None = None, **more: float
) -> Draft:
    letters = tuple(map(ord, text))
    evidence = Evidence(
        text=text.strip(),
        tokens=letters,
        language=request.language,
        task=request.task,
        avg_logprob=more.get("avg_logprob", -0.2),
        no_speech_prob=more.get("no_speech_prob", 0.0),
        speech_s=request.speech_s,
        duration_s=request.duration_s,
        cut_off=False,
    )
    attempt = Attempt(evidence, letters if tokens is None else tokens, way)
    return Draft.of(request, attempt, Letters("en", "transcribe"), ENCODED)


def test_a_short_text_is_one_line_over_its_speech() -> None:
    """The words are not timed for it; the figures are those of the attempt."""
    whisper = FakeWhisper()
    (decoded,) = write([draft(window(), " hello there")], decoder_of(whisper))
    (line,) = decoded.segments
    assert (line.start_s, line.end_s, line.text, line.words) == (0.0, 2.0, "hello there", ())
    assert (decoded.covered_s, decoded.avg_logprob, decoded.temperature) == (2.0, -0.2, 0.8)
    assert decoded.tokens == tuple(map(ord, " hello there"))
    assert whisper.aligned == []


def test_a_long_text_is_broken_into_lines_by_the_times_of_its_words() -> None:
    """Which stay with them, for the subtitles."""
    text = " We all went home early. It was late and dark. Nobody said a word."
    whisper = FakeWhisper()
    (decoded,) = write([draft(window(length_s=14.0), text)], decoder_of(whisper))
    assert [line.text.strip() for line in decoded.segments] == [
        "We all went home early.",
        "It was late and dark.",
        "Nobody said a word.",
    ]
    assert all("".join(word.text for word in line.words) == line.text for line in decoded.segments)
    assert len(whisper.aligned) == 1


def test_words_are_given_where_they_are_asked_for() -> None:
    """Of a short text too."""
    (decoded,) = write([draft(window(words=True), " one two")], decoder_of(FakeWhisper()))
    assert [word.text for line in decoded.segments for word in line.words] == [" one", " two"]


def test_the_lines_that_the_model_timed_are_kept() -> None:
    """With their words if they are asked for; what is after the last time was not heard."""
    tokens = (T0, *map(ord, " one"), T0 + 40, T0 + 40, *map(ord, " two"), T0 + 75)
    for words in (False, True):
        whisper = FakeWhisper()
        drafts = [draft(window(words=words, quality="faithful"), " one two", TIMED, tokens)]
        (decoded,) = write(drafts, decoder_of(whisper))
        assert [(line.start_s, line.end_s, line.text) for line in decoded.segments] == [
            (0.0, 0.8, " one"),
            (0.8, 1.5, " two"),
        ]
        assert [len(line.words) for line in decoded.segments] == [int(words)] * 2
        assert (decoded.covered_s, len(whisper.aligned)) == (1.5, int(words))


def test_a_timed_line_that_is_too_long_for_a_subtitle_gets_the_times_of_its_words() -> None:
    """Asked for or not: a subtitle that is cut by guessing comes too early or too late."""
    text = " word" * 18
    tokens = (T0, *map(ord, text), T0 + 75)
    whisper = FakeWhisper()
    (decoded,) = write([draft(window(quality="faithful"), text, TIMED, tokens)], decoder_of(whisper))
    assert [(line.text, len(line.words)) for line in decoded.segments] == [(text, 18)]


def test_nothing_is_written_where_nobody_spoke() -> None:
    """An empty text, and one over silence: no line, no doubt, no tokens for a prompt."""
    drafts = [
        draft(window(), ""),
        draft(window(words=True), " Thank you.", avg_logprob=-2.0, no_speech_prob=0.9),
    ]
    for decoded in write(drafts, decoder_of(FakeWhisper())):
        assert (decoded.segments, decoded.suspect, decoded.tokens, decoded.covered_s) == ((), (), (), 2.0)


def test_a_text_that_is_kept_in_spite_of_all_is_marked() -> None:
    """By the standard of the last resort, whatever its own pass asked for."""
    (decoded,) = write(
        [draft(window(), " hello", passes_of("fast", 5)[0], avg_logprob=-0.9)], decoder_of(FakeWhisper())
    )
    assert decoded.suspect == ()
    (decoded,) = write([draft(window(), " hello", avg_logprob=-1.2)], decoder_of(FakeWhisper()))
    assert decoded.suspect == ("low_confidence",)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_answers_stand_in_the_order_of_the_windows(order: tuple[int, ...]) -> None:
    """Though only some of them need the times of their words."""
    drafts = [draft(window(words=True), " one"), draft(window(), " two"), draft(window(words=True), " three")]
    decoded = write([drafts[n] for n in order], decoder_of(FakeWhisper()))
    assert [one.segments[0].text.strip() for one in decoded] == [["one", "two", "three"][n] for n in order]
