"""A Whisper that says what it is told, behind the real features, batches and passes.

A window is known by its samples, which all have one value (not 0): that is what the "features" and the "encoder's
output" hold. Tokens are the code points of the letters.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daemon.engine.decoding import Decoder, WindowRequest
from daemon.engine.runtime import Mel, Model, Samples, Tokenizer
from daemon.options import Quality, Task
from daemon.transcript import SAMPLE_RATE_HZ, Span

EOT, T0 = 0x20000, 0x30000
SOT, PREVIOUS, TRANSCRIBE, TRANSLATE, NO_TIMESTAMPS = (EOT + n for n in range(1, 6))
LANGUAGE_TOKENS = {code: EOT + 100 + n for n, code in enumerate(("de", "en", "fr", "hi", "zh"))}
NON_SPEECH = 7


class Letters:
    """A tokenizer whose tokens are the code points of the letters."""

    eot, sot, sot_prev, transcribe, translate = EOT, SOT, PREVIOUS, TRANSCRIBE, TRANSLATE
    no_timestamps, timestamp_begin = NO_TIMESTAMPS, T0
    sot_lm, no_speech = EOT + 6, EOT + 7
    non_speech_tokens: tuple[int, ...] = (NON_SPEECH,)

    def __init__(self, language: str, task: str) -> None:
        self.sot_sequence = [SOT, LANGUAGE_TOKENS[language], TRANSCRIBE if task == "transcribe" else TRANSLATE]

    def encode(self, text: str) -> list[int]:
        """One token for each letter."""
        return [ord(letter) for letter in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """The letters again."""
        return "".join(chr(token) for token in tokens if token < EOT)

    def split_to_word_tokens(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Words and marks, each with the blank before it."""
        words: list[str] = re.findall(r"\s*(?:\w+|[^\w\s])", self.decode(tokens))
        return words, [self.encode(word) for word in words]


@dataclass
class Said:
    """What CTranslate2 answers for one item."""

    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float = 0.0


@dataclass
class Alignment:
    """Ten steps for each token."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


def said(text: str, score: float = -0.1, no_speech_prob: float = 0.0) -> Said:
    """A text without times."""
    return Said([[ord(letter) for letter in text]], [score], no_speech_prob)


def timed(*lines: tuple[float, str, float], score: float = -0.1, no_speech_prob: float = 0.0) -> Said:
    """Lines between their times in seconds."""
    tokens = [
        token
        for start_s, text, end_s in lines
        for token in (T0 + round(start_s / 0.02), *map(ord, text), T0 + round(end_s / 0.02))
    ]
    return Said([tokens], [score], no_speech_prob)


@dataclass(frozen=True)
class Call:
    """One call of `generate`."""

    items: tuple[float, ...]
    n_frames: int
    prompts: tuple[tuple[int, ...], ...]
    options: Mapping[str, Any]

    @property
    def way(self) -> tuple[int, int, float]:
        """Beam, frames that the encoder saw, temperature."""
        return self.options["beam_size"], self.n_frames, self.options.get("sampling_temperature", 0.0)

    @property
    def previous(self) -> list[str]:
        """The text before each item."""
        return [
            "".join(chr(token) for token in prompt[1 : prompt.index(SOT)]) if prompt[0] == PREVIOUS else ""
            for prompt in self.prompts
        ]


@dataclass
class FakeWhisper:
    """Says the next of *script* for each window, or what *answer* gives for a window, its seconds and its prompt."""

    script: dict[float, list[Said]] = field(default_factory=dict[float, list[Said]])
    answer: Callable[[float, float, tuple[int, ...]], Said] | None = None
    languages: dict[float, dict[str, float]] = field(default_factory=dict[float, dict[str, float]])
    trouble: Callable[[Call], None] = lambda _call: None
    device: str = "cpu"
    compute_type: str = "int8"
    is_multilingual: bool = True
    calls: list[Call] = field(default_factory=list[Call])
    encoded: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    asked_language: list[float] = field(default_factory=list[float])
    aligned: list[tuple[tuple[int, ...], int]] = field(default_factory=list[tuple[tuple[int, ...], int]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def encode(self, features: object, to_cpu: bool = False) -> object:
        """Every second frame of the features."""
        array = np.array(features)
        self.encoded.extend((_item(one.T), int(one.shape[1])) for one in array)
        return np.ascontiguousarray(array[:, :, ::2].transpose(0, 2, 1))

    def generate(self, features: object, prompts: Sequence[Sequence[int]], **options: Any) -> list[Any]:
        """The text of each item; prompts must be of one length, as CTranslate2 wants it."""
        array = np.array(features)
        items = tuple(_item(one) for one in array)
        call = Call(items, 2 * array.shape[1], tuple(map(tuple, prompts)), options)
        assert len({len(prompt) for prompt in prompts}) == 1
        assert len({prompt.index(SOT) for prompt in prompts}) == 1
        with self._lock:
            self.trouble(call)
            self.calls.append(call)
            return [
                self._said(item, np.count_nonzero(one) / 50, prompt)
                for item, one, prompt in zip(items, array, call.prompts, strict=True)
            ]

    def detect_language(self, features: object) -> list[list[tuple[str, float]]]:
        """German unless told."""
        items = [_item(one) for one in np.array(features)]
        self.asked_language.extend(items)
        found = [self.languages.get(item, {"de": 0.8, "en": 0.2}) for item in items]
        return [[(f"<|{code}|>", probability) for code, probability in one.items()] for one in found]

    def align(
        self, features: object, start: Sequence[int], texts: Sequence[Sequence[int]], num_frames: int | Sequence[int]
    ) -> list[Any]:
        """Ten steps for each token, and the end."""
        self.aligned.append((tuple(start), len(texts)))
        return [Alignment([(n, 10 * n) for n in range(len(text) + 1)], [0.5] * len(text)) for text in texts]

    def _said(self, item: float, duration_s: float, prompt: tuple[int, ...]) -> Said:
        return self.answer(item, duration_s, prompt) if self.answer else self.script[item].pop(0)


def _item(encoded: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    return float(encoded[0, 0])


def decoder_of(whisper: FakeWhisper) -> Decoder:
    """The real decoder on a fake model."""

    def features(samples: Samples) -> Mel:
        return np.full((1, len(samples) // 160 - 1), samples[0], np.float32)

    def tokenizer(language: str, task: str) -> Tokenizer:
        return Letters(language, task)

    return Decoder(Model(whisper, features, tokenizer, frozenset(LANGUAGE_TOKENS)))


def window(
    item: float = 1.0,
    length_s: float = 2.0,
    language: str = "en",
    *,
    prompt: str = "",
    quality: Quality = "fast",
    task: Task = "transcribe",
    beam_size: int = 5,
    words: bool = False,
) -> WindowRequest:
    """A request for the window *item*, all of it speech."""
    samples = np.full(round(length_s * SAMPLE_RATE_HZ), item, np.float32)
    return WindowRequest(
        samples,
        language,
        task,
        quality,
        beam_size,
        tuple(map(ord, prompt)),
        prompt,
        words,
        (Span(0, len(samples)),),
    )
