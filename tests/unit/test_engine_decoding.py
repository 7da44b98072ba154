from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from daemon.engine.decoding import Decoder, WindowRequest
from daemon.engine.runtime import Mel, Model, Samples, Tokenizer
from daemon.transcript import SAMPLE_RATE_HZ

EOT, T0 = 1000, 2000


class Letters:
    """A tokenizer whose tokens are the code points of the letters."""

    eot, sot, sot_prev, sot_lm, no_speech, transcribe, translate = EOT, 1001, 1002, 1003, 1004, 1005, 1006
    timestamp_begin = T0
    non_speech_tokens: tuple[int, ...] = (7,)

    def __init__(self, language: str, task: str) -> None:
        self.sot_sequence = [self.sot, 1100 + len(language), self.transcribe if task == "transcribe" else 1006]

    def encode(self, text: str) -> list[int]:
        """One token for each letter."""
        return [ord(letter) for letter in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """The letters again."""
        return "".join(chr(token) for token in tokens if token < EOT)

    def split_to_word_tokens(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Each letter is a word."""
        return [chr(token) for token in tokens], [[token] for token in tokens]


@dataclass
class Result:
    """What CTranslate2 answers for one item."""

    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float = 0.0


@dataclass
class Alignment:
    """A step for each token."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


def said(text: str, score: float = -0.1, no_speech_prob: float = 0.0) -> Result:
    return Result([[T0, *map(ord, text), T0 + 100]], [score], no_speech_prob)


LOOP = "no " * 60


@dataclass
class FakeWhisper:
    """A model that says what it is told, attempt by attempt; items are told apart by their first sample."""

    script: dict[float, list[Result]]
    device: str = "cpu"
    compute_type: str = "int8"
    is_multilingual: bool = True
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    n_encoded: int = 0

    def encode(self, features: object, to_cpu: bool = False) -> object:
        """The features are passed through; their first value says which item it is."""
        self.n_encoded += 1
        assert np.array(features).shape == (1, 1, 3000)
        return np.array(features)

    def generate(self, features: object, prompts: Sequence[Sequence[int]], **options: Any) -> list[Any]:
        """The next text for each item."""
        items = [float(item[0, 0]) for item in np.array(features)]
        self.calls.append({"items": items, "prompts": [list(prompt) for prompt in prompts], **options})
        return [self.script[item].pop(0) for item in items]

    def detect_language(self, features: object) -> list[list[tuple[str, float]]]:
        """Always the same."""
        return [[("<|de|>", 0.8), ("<|en|>", 0.2)]]

    def align(
        self, features: object, start: Sequence[int], texts: Sequence[Sequence[int]], num_frames: int | Sequence[int]
    ) -> list[Any]:
        """Ten steps for each token, and the end."""
        return [Alignment([(n, 10 * n) for n in range(len(text) + 1)], [0.5] * len(text)) for text in texts]


def decoder(whisper: FakeWhisper) -> Decoder:
    def features(samples: Samples) -> Mel:
        return np.full((1, len(samples) // 160), samples[0], np.float32)

    def tokenizer(language: str, task: str) -> Tokenizer:
        return Letters(language, task)

    return Decoder(Model(whisper, features, tokenizer, frozenset({"en", "de"})))


def window(
    item: float = 0.5, *, prompt: tuple[int, ...] = (), beam_size: int = 5, words: bool = False
) -> WindowRequest:
    samples = np.full(5 * SAMPLE_RATE_HZ, item, np.float32)
    return WindowRequest(samples, "en", "transcribe", prompt=prompt, words=words)


def test_a_credible_text_is_taken_at_once() -> None:
    """One call at temperature zero with the beam that was asked for."""
    whisper = FakeWhisper({0.5: [said("hello")]})
    (decoded,) = decoder(whisper).decode([window()])
    assert [(line.start_s, line.end_s, line.text) for line in decoded.segments] == [(0.0, 2.0, "hello")]
    assert (decoded.covered_s, decoded.temperature, decoded.suspect) == (2.0, 0.0, ())
    (call,) = whisper.calls
    assert (call["beam_size"], call["max_length"], call["prompts"]) == (5, 448, [[1001, 1102, 1005]])
    assert "sampling_temperature" not in call
    assert 7 in call["suppress_tokens"]


def test_a_loop_is_sampled_again_at_rising_temperatures() -> None:
    """With sampling really on: CTranslate2 takes the best token at any temperature unless sampling_topk is 0."""
    whisper = FakeWhisper({0.5: [said(LOOP), said("low", -2.0), said("hello")]})
    (decoded,) = decoder(whisper).decode([window()])
    assert [line.text for line in decoded.segments] == ["hello"]
    assert decoded.temperature == 0.4
    assert [call.get("sampling_temperature") for call in whisper.calls] == [None, 0.2, 0.4]
    assert all(call["sampling_topk"] == 0 and call["beam_size"] == 1 for call in whisper.calls[1:])
    assert whisper.n_encoded == 1


def test_a_text_that_never_passes_is_marked() -> None:
    """The likeliest of those that do not repeat themselves is kept, with the checks that it failed."""
    tries = [said(LOOP, -0.01), said("b", -3.0), said("c", -2.2), said(LOOP), said("d", -4.0), said("e", -5.0)]
    (decoded,) = decoder(FakeWhisper({0.5: tries})).decode([window()])
    assert ([line.text for line in decoded.segments], decoded.suspect) == (["c"], ("low_confidence",))
    (loop,) = decoder(FakeWhisper({0.5: [said(LOOP) for _ in range(6)]})).decode([window()])
    assert loop.suspect == ("repetition",)


def test_silence_gives_no_words() -> None:
    """A text in which the model does not believe, over what it takes for silence, is dropped without another try."""
    whisper = FakeWhisper({0.5: [said("Thanks for watching!", -3.0, no_speech_prob=0.9)]})
    (decoded,) = decoder(whisper).decode([window()])
    assert (decoded.segments, decoded.covered_s, decoded.suspect) == ((), 5.0, ())


def test_a_loop_is_not_excused_by_silence() -> None:
    """Speech may be under it: it is sampled again first."""
    whisper = FakeWhisper({0.5: [said(LOOP, -3.0, no_speech_prob=0.9), said("hello")]})
    (decoded,) = decoder(whisper).decode([window()])
    assert [line.text for line in decoded.segments] == ["hello"]


def test_a_batch_keeps_its_order_and_its_items_apart() -> None:
    """Items with prompts of other lengths go in calls of their own; only the failed item is tried again."""
    script = {1.0: [said("a")], 2.0: [said(LOOP), said("b")], 3.0: [said("c")]}
    whisper = FakeWhisper(script)
    decoded = decoder(whisper).decode([window(1.0), window(2.0, prompt=(65, 66)), window(3.0)])
    assert [one.segments[0].text for one in decoded] == ["a", "b", "c"]
    assert [call["items"] for call in whisper.calls] == [[1.0, 3.0], [2.0], [2.0]]
    assert whisper.calls[1]["prompts"] == [[1002, 65, 66, 1001, 1102, 1005]]
    assert whisper.n_encoded == 3


def test_words_have_times_and_probabilities() -> None:
    """Only where they are asked for."""
    (decoded,) = decoder(FakeWhisper({0.5: [said("ab")]})).decode([window(words=True)])
    words = decoded.segments[0].words
    assert [(word.text, word.probability) for word in words] == [("a", 0.5), ("b", 0.5)]
    assert [word.start_s for word in words] == pytest.approx([0.0, 0.2])


def test_the_prompt_is_hotwords_then_prompt_and_has_a_limit() -> None:
    """The end is kept: it is nearest to the speech. Blanks alone are no prompt."""
    tool = decoder(FakeWhisper({}))
    assert tool.prompt(" Kafka ", "Notes.") == tuple(map(ord, " Kafka Notes."))
    assert len(tool.prompt("x" * 500, None)) == 223
    assert tool.prompt("  ", None) == ()


def test_an_english_model_knows_one_language() -> None:
    """Nothing is asked of it."""
    whisper = FakeWhisper({}, is_multilingual=False)
    assert decoder(whisper).language_probabilities(object()) == {"en": 1.0}
    assert decoder(FakeWhisper({})).language_probabilities(object()) == {"de": 0.8, "en": 0.2}
