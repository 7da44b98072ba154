import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.decoding import MAX_PROMPT_TOKENS, Ask, WindowRequest, text_limit
from daemon.engine.guards import Check
from daemon.engine.passes import WHOLE_FRAMES, Attempt, Pass, passes_of
from daemon.transcript import SAMPLE_RATE_HZ, Span
from tests.unit.whisper_fake import (
    LANGUAGE_TOKENS,
    NO_TIMESTAMPS,
    NON_SPEECH,
    PREVIOUS,
    SOT,
    TRANSCRIBE,
    TRANSLATE,
    FakeWhisper,
    decoder_of,
    said,
    timed,
    window,
)

FIRST = passes_of("fast", 5)[0]


def asks(*requests: WindowRequest, way: Pass = FIRST) -> list[Ask]:
    decoder = decoder_of(FakeWhisper())
    mels = [decoder.features(request.samples) for request in requests]
    return [
        Ask(request, mel, way.n_frames(mel.shape[1], 100), way) for request, mel in zip(requests, mels, strict=True)
    ]


def attempts(whisper: FakeWhisper, *requests: WindowRequest, way: Pass = FIRST) -> list[Attempt]:
    decoder = decoder_of(whisper)
    asked = asks(*requests, way=way)
    return decoder.attempt(asked, decoder.encode(asked))


def ctranslate2_stops_at(max_length: int, n_prompt: int) -> int:
    """The rule of its ``Whisper::generate``: the smaller of the two, as the prompt's last token starts the text."""
    return min(max_length // 2, max_length - (n_prompt - 1))


@given(st.integers(1, 224), st.integers(2, MAX_PROMPT_TOKENS + 5))
def test_a_text_may_be_as_long_as_it_was_meant_to_be(max_tokens: int, n_prompt: int) -> None:
    """No shorter, no longer, and never beyond the decoder's last position, where CTranslate2 fails."""
    n_tokens, max_length = text_limit(max_tokens, n_prompt)
    assert ctranslate2_stops_at(max_length, n_prompt) == n_tokens
    assert n_tokens + n_prompt - 1 <= 448
    assert n_tokens == max_tokens or n_tokens + n_prompt - 1 == 448
    assert n_tokens >= min(max_tokens, 221)


def test_the_limits_of_whole_windows() -> None:
    """Without a prompt half of the positions; with the longest one 221."""
    assert text_limit(224, 4) == (224, 448)
    assert text_limit(224, 228) == (221, 448)
    assert text_limit(51, 4) == (51, 102)
    assert text_limit(51, 128) == (51, 178)


def test_a_window_is_asked_with_the_tokens_of_its_language_and_task() -> None:
    """The text before it first, if there is any; without times unless the pass asks for them."""
    whisper = FakeWhisper(answer=lambda _item, _s, _prompt: said("hello"))
    attempts(whisper, window(1.0), window(2.0, language="fr", task="translate"))
    assert whisper.calls[0].prompts == (
        (SOT, LANGUAGE_TOKENS["en"], TRANSCRIBE, NO_TIMESTAMPS),
        (SOT, LANGUAGE_TOKENS["fr"], TRANSLATE, NO_TIMESTAMPS),
    )
    attempts(whisper, window(prompt="AB"), way=passes_of("faithful", 5)[0])
    assert whisper.calls[1].prompts == ((PREVIOUS, 65, 66, SOT, LANGUAGE_TOKENS["en"], TRANSCRIBE),)
    assert whisper.calls[1].options["max_initial_timestamp_index"] == 50


def test_what_is_no_speech_is_suppressed() -> None:
    """Brackets and notes, and the special tokens; the search is as the pass says."""
    whisper = FakeWhisper(answer=lambda _item, _s, _prompt: said("hello"))
    attempts(whisper, window(), way=Pass(3))
    options = whisper.calls[0].options
    assert {NON_SPEECH, SOT, PREVIOUS, TRANSCRIBE, TRANSLATE} <= set(options["suppress_tokens"])
    assert options["beam_size"] == 3
    assert "sampling_temperature" not in options


def test_an_attempt_holds_the_evidence() -> None:
    """The text without its timestamps, its mean log probability with the end, and whether it was cut off."""
    (attempt,) = attempts(FakeWhisper({1.0: [timed((0.0, " yes", 2.0), score=-0.5)]}), window(), way=FIRST)
    assert (attempt.evidence.text, attempt.evidence.tokens) == ("yes", tuple(map(ord, " yes")))
    assert len(attempt.tokens) == 6
    assert attempt.evidence.avg_logprob == pytest.approx(-0.5 * 6 / 7)
    assert (attempt.evidence.speech_s, attempt.evidence.cut_off) == (2.0, False)


def test_a_text_that_fills_its_limit_is_cut_off() -> None:
    """But for one with times: there the next window begins where it ends."""
    n_most = asks(window())[0].key.max_tokens
    (attempt,) = attempts(FakeWhisper({1.0: [said("a" * n_most)]}), window())
    assert Check.CUT_OFF in attempt.failed
    (attempt,) = attempts(FakeWhisper({1.0: [said("a" * (n_most - 1))]}), window())
    assert Check.CUT_OFF not in attempt.failed
    (attempt,) = attempts(FakeWhisper({1.0: [said("a" * 224)]}), window(), way=passes_of("faithful", 5)[0])
    assert Check.CUT_OFF not in attempt.failed


lengths_s = st.floats(0.1, 30.0)
languages = st.sampled_from(["en", "de", "zh"])


@given(st.lists(st.tuples(lengths_s, languages), min_size=1, max_size=8))
def test_what_is_asked_of_a_window_depends_on_it_alone(crowd: list[tuple[float, str]]) -> None:
    """Its frames and its limit: any two windows that may go together have the same."""
    decoder = decoder_of(FakeWhisper())
    for n, (length_s, language) in enumerate(crowd):
        request = WindowRequest(np.full(round(length_s * SAMPLE_RATE_HZ), n + 1, np.float32), language)
        mel = decoder.features(request.samples)
        n_frames = FIRST.n_frames(mel.shape[1], decoder.bucket_frames)
        key = Ask(request, mel, n_frames, FIRST).key
        assert key.n_frames == n_frames >= mel.shape[1]
        assert key.max_tokens == (224 if language == "zh" else min(224, 7 * n_frames // 100 + 16))


def test_the_key_of_a_language_is_the_window_alone() -> None:
    """Prompts and passes do not matter to it."""
    one, two = window(language="", prompt="abc"), window(language="")
    mel = np.zeros((1, 200), np.float32)
    assert Ask(one, mel, 500, None).key == Ask(two, mel, 500, None).key


def test_the_features_are_those_of_the_window_alone() -> None:
    """100 frames a second, at most 30 s; the encoder sees zeros behind them."""
    decoder = decoder_of(FakeWhisper())
    assert decoder.features(np.ones(2 * SAMPLE_RATE_HZ, np.float32)).shape == (1, 200)
    assert decoder.features(np.ones(40 * SAMPLE_RATE_HZ, np.float32)).shape == (1, WHOLE_FRAMES)
    (encoded,) = decoder.encode(asks(window()))
    assert encoded.shape == (1, FIRST.n_frames(200, 100) // 2, 1)
    assert np.count_nonzero(encoded) == 100


def test_a_cpu_encodes_one_window_at_a_time_and_a_gpu_all() -> None:
    """The outputs are the same, one for each window."""
    for device, bucket in (("cpu", 100), ("cuda", 500)):
        decoder = decoder_of(FakeWhisper(device=device))
        asked = asks(window(1.0), window(2.0), window(3.0))
        assert [float(one[0, 0, 0]) for one in decoder.encode(asked)] == [1.0, 2.0, 3.0]
        assert decoder.bucket_frames == bucket


def test_languages_come_with_what_was_encoded() -> None:
    """An English model is not asked."""
    whisper = FakeWhisper(languages={1.0: {"fr": 0.6, "en": 0.4}})
    decoder = decoder_of(whisper)
    encoded = decoder.encode(asks(window(1.0), window(2.0)))
    assert [found for found, _ in decoder.listen(encoded)] == [{"fr": 0.6, "en": 0.4}, {"de": 0.8, "en": 0.2}]
    assert [item for _, item in decoder.listen(encoded)] == encoded
    english = decoder_of(FakeWhisper(is_multilingual=False))
    assert english.listen(encoded[:1]) == [({"en": 1.0}, encoded[0])]


def test_the_prompt_is_hotwords_then_prompt_and_has_a_limit() -> None:
    """The end is kept: it is nearest to the speech. Blanks alone are no prompt."""
    decoder = decoder_of(FakeWhisper())
    assert decoder.prompt(" Kafka ", "Notes.") == tuple(map(ord, " Kafka Notes."))
    assert decoder.prompt("x" * 500, None) == (ord("x"),) * 223
    assert decoder.prompt("  ", None) == ()


def test_the_words_of_a_window_are_those_of_its_lines() -> None:
    """Aligned by language, given back in the order of the windows."""
    whisper = FakeWhisper()
    decoder = decoder_of(whisper)
    requests = [window(1.0), window(2.0, language="de"), window(3.0)]
    encoded = decoder.encode(asks(*requests))
    texts = [[tuple(map(ord, text)) for text in lines] for lines in ([" one", " two"], [" drei"], [" four, five"])]
    found = decoder.words(requests, encoded, texts)
    assert [[[word.text for word in line] for line in lines] for lines in found] == [
        [[" one"], [" two"]],
        [[" drei"]],
        [[" four,", " five"]],
    ]
    two = found[0][1][0]
    assert two.start_s == pytest.approx(0.8)
    assert two.probability == 0.5
    assert sorted(n for _, n in whisper.aligned) == [1, 2]


def test_speech_is_where_it_was_found_or_everywhere() -> None:
    """Seconds of it; a window's level is that of its loudest tenth of a second."""
    samples = np.zeros(SAMPLE_RATE_HZ, np.float32)
    samples[1600:3200] = 0.1
    assert WindowRequest(samples, "en").speech_s == 1.0
    assert WindowRequest(samples, "en", speech=(Span(0, 800), Span(1600, 4000))).speech_s == 0.2
    assert WindowRequest(samples, "en").level_dbfs == pytest.approx(-20.0)
    assert WindowRequest(samples[:100], "en").level_dbfs is None
    assert WindowRequest(samples[:1600], "en").level_dbfs == pytest.approx(-120.0)
