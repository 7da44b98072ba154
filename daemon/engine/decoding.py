"""One batch of windows through the model: features, encoder, languages or texts, and the times of words.

Windows in, answers out, nothing kept in between. Knows nothing of jobs, of files, of the order of windows, or of
whether a text is good enough.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from daemon.engine import guards
from daemon.engine.passes import FRAMES_PER_S, WHOLE_FRAMES, Attempt, Pass, passes_of, translation_passes
from daemon.engine.runtime import Encoded, Generated, Mel, Model, Samples, Tokenizer, to_array, to_storage
from daemon.engine.timestamps import STEP_S
from daemon.engine.words import Line, words_of_lines
from daemon.options import Quality, Task
from daemon.transcript import SAMPLE_RATE_HZ, Span, Word

_POSITIONS: Final = 448  # of Whisper's decoder, for the prompt and the text

_MAX_TEXT_TOKENS: Final = _POSITIONS // 2

MAX_PROMPT_TOKENS: Final = _MAX_TEXT_TOKENS - 1  # and the token that announces it
"""What text comes before a window may take of the model's positions."""

_TOKENS_PER_S: Final = 7
_TOKENS_MORE: Final = 16
# The fastest speech in Latin script has about six tokens a second. A loop runs on to the limit, and its whole batch
# with it, so the limit is worth being tight; a text that reaches it is asked again without.

_FEW_TOKENS: Final = frozenset("de en es fr it nl pt".split())
# The languages that the vocabulary writes with few tokens; for others the limit stays at the model's own.

_BEST_OF: Final = 5  # samples drawn at each temperature above zero, as in the original algorithm

SAMPLES_PER_FRAME: Final = SAMPLE_RATE_HZ // 100  # of the features

_PART_PASSES: Final = 2
# The others take the whole 30 s for what is a few seconds long, and there is a text already.

_LOUDEST_SAMPLES: Final = SAMPLE_RATE_HZ // 10  # the stretch that a window's level is taken from

Asked = Literal["transcribe", "translate"]
"""What the model can be asked for at once."""

_TRANSLATION_COST: Final = 0.6
# Of a window's translation, after its text: the encoder's work is done.

Listening = tuple[dict[str, float], Encoded]
"""Language code to probability, and what the encoder made of the window."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowRequest:
    """Everything that the model has to know of one window.

    *samples* hold at most 30 s, *speech* is where in them somebody speaks. *prompt* are the tokens of text that comes
    before, at most 223, and *prompt_text* what of it a person wrote. *is_part*: it is cut out of a window that was
    heard before. *original* is the text in the language spoken, where this is about its translation.
    """

    samples: Samples
    language: str
    task: Task = "transcribe"
    quality: Quality = "fast"
    beam_size: int = 5
    prompt: tuple[int, ...] = ()
    prompt_text: str = ""
    words: bool = False
    speech: tuple[Span, ...] = ()
    is_part: bool = False
    original: str = ""

    @property
    def asked(self) -> Asked:
        """What the model is asked for now; of both, the text in the language spoken comes first."""
        return "translate" if self.task == "translate" else "transcribe"

    @property
    def cost_s(self) -> float:
        """What it takes of the model, in seconds of audio that is only transcribed."""
        return self.duration_s * (1.0 + _TRANSLATION_COST if self.task == "both" else 1.0)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The ways to ask for its text, in order."""
        ways = (translation_passes if self.task == "translate" else passes_of)(self.quality, self.beam_size)
        return ways[: _PART_PASSES if self.is_part else None]

    @property
    def duration_s(self) -> float:
        """The length of the window."""
        return len(self.samples) / SAMPLE_RATE_HZ

    @property
    def speech_s(self) -> float:
        """Seconds of speech in it; all of it where nobody looked."""
        if not self.speech:
            return self.duration_s
        return sum(span.end - span.start for span in self.speech) / SAMPLE_RATE_HZ

    @property
    def level_dbfs(self) -> float | None:
        """The level of the loudest tenth of a second, root mean square; None for a shorter window."""
        whole = len(self.samples) // _LOUDEST_SAMPLES * _LOUDEST_SAMPLES
        if not whole:
            return None
        power = np.square(self.samples[:whole].reshape(-1, _LOUDEST_SAMPLES)).mean(axis=1).max()
        return float(10.0 * np.log10(max(float(power), 1e-12)))


@dataclass(frozen=True, slots=True)
class Key:
    """What CTranslate2 wants equal in one call, and what must not depend on the other windows in it."""

    n_frames: int
    search: Pass | None  # None: only the language is asked
    n_prompt: int = 0
    max_tokens: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One question to the model: a window, its features, and the way to ask (None: for its language).

    *mel* are the features of the window alone, *n_frames* is how many the encoder sees.
    """

    request: WindowRequest
    mel: Mel
    n_frames: int
    way: Pass | None
    encoded: Encoded | None = None

    @property
    def key(self) -> Key:
        """Asks of one key may be put together."""
        if self.way is None:
            return Key(self.n_frames, None)
        return Key(self.n_frames, self.way.search, len(self.request.prompt), self._max_tokens())

    def _max_tokens(self) -> int:
        """The same for all windows of a bucket: a window's text does not depend on the longest of its batch."""
        if self.request.language not in _FEW_TOKENS or self.way is None or self.way.timestamps:
            return _MAX_TEXT_TOKENS
        return min(_MAX_TEXT_TOKENS, _TOKENS_PER_S * self.n_frames // FRAMES_PER_S + _TOKENS_MORE)


class Decoder:
    """Asks one model. Any number of threads may use it at once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._whisper = model.whisper
        self._on_cpu = model.whisper.device == "cpu"
        # A step of a second wastes little of the encoder's time; a GPU would rather have fuller batches.
        self.bucket_frames: Final = FRAMES_PER_S if self._on_cpu else 5 * FRAMES_PER_S
        """What the encoder sees is a multiple of this."""

    @property
    def languages(self) -> frozenset[str]:
        """The language codes that the model knows; only ``en`` for an English model."""
        return self._model.languages

    def tokenizer(self, language: str, task: Asked) -> Tokenizer:
        """The tokens of *language* and *task*."""
        return self._model.tokenizer(language, task)

    def prompt(self, *texts: str | None) -> tuple[int, ...]:
        """The prompt tokens of *texts*; the end of it where it is too long."""
        tokenizer = self._model.tokenizer("en", "transcribe")  # text encodes alike in all languages
        kept = [text.strip() for text in texts if text and text.strip()]
        tokens = [token for text in kept for token in tokenizer.encode(" " + text)]
        return tuple(tokens[-MAX_PROMPT_TOKENS:])

    def features(self, samples: Samples) -> Mel:
        """The features of a window alone, 100 frames a second."""
        return self._model.features(np.pad(samples, (0, SAMPLES_PER_FRAME)))[:, :WHOLE_FRAMES]

    def encode(self, asks: Sequence[Ask]) -> list[Encoded]:
        """The encoder's output for each of *asks*, which are of one key, in the host's memory."""
        # Filled up with zero features, not with silence. The model was trained on silence, but on 20 minutes of speech
        # in ten languages zeros gave fewer errors, with short windows (11.5 against 12.0 %) as with whole ones (10.9
        # against 11.3 %; base, int8, beam 5 for the whole ones).
        mels = [np.pad(ask.mel, ((0, 0), (0, ask.n_frames - ask.mel.shape[1]))) for ask in asks]
        # One at a time on a CPU: its cache holds the attention of one window, not of two.
        together = 1 if self._on_cpu else len(mels)
        outputs: list[Encoded] = []
        for first in range(0, len(mels), together):
            stacked = to_storage(np.stack(mels[first : first + together]))
            output = to_array(self._whisper.encode(stacked, to_cpu=True))
            outputs.extend(output[n : n + 1] for n in range(len(output)))
        return outputs

    def listen(self, encoded: Sequence[Encoded]) -> list[Listening]:
        """Language code to probability for each encoded window; an English model knows nothing else."""
        if not self._whisper.is_multilingual:
            return [({"en": 1.0}, item) for item in encoded]
        found = self._whisper.detect_language(_stack(encoded))
        return [
            ({token[2:-2]: probability for token, probability in languages}, item)
            for languages, item in zip(found, encoded, strict=True)
        ]

    def attempt(self, asks: Sequence[Ask], encoded: Sequence[Encoded]) -> list[Attempt]:
        """What the model says to *asks*, which are of one key. At temperature 0 none depends on the others."""
        key, way = asks[0].key, asks[0].way
        assert way is not None
        tokenizers = [self.tokenizer(ask.request.language, ask.request.asked) for ask in asks]
        prompts = [_prompt(tokenizer, ask) for tokenizer, ask in zip(tokenizers, asks, strict=True)]
        search: dict[str, object] = {"beam_size": way.beam_size}
        if way.temperature > 0:
            # sampling_topk is 1 unless told, which is greedy at any temperature.
            search = {"beam_size": 1, "num_hypotheses": _BEST_OF, "sampling_topk": 0}
            search["sampling_temperature"] = way.temperature
        if way.timestamps:
            search["max_initial_timestamp_index"] = round(1.0 / STEP_S)  # speech begins within a second of its window
        max_tokens, max_length = text_limit(key.max_tokens, len(prompts[0]))
        results = self._whisper.generate(
            _stack(encoded),
            prompts,
            max_length=max_length,
            suppress_tokens=_suppressed(tokenizers[0]),
            return_scores=True,
            return_no_speech_prob=True,
            **search,
        )
        return [
            _read(result, tokenizer, ask, max_tokens)
            for result, tokenizer, ask in zip(results, tokenizers, asks, strict=True)
        ]

    def words(
        self, requests: Sequence[WindowRequest], encoded: Sequence[Encoded], texts: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[tuple[Word, ...]]]:
        """The words of each line of each window; *texts* are the text tokens of its lines, never none."""
        groups: dict[tuple[str, Asked], list[int]] = defaultdict(list)
        for n, request in enumerate(requests):
            groups[request.language, request.asked].append(n)  # one start sequence for all of a call
        words: dict[int, list[tuple[Word, ...]]] = {}
        for (language, task), group in groups.items():
            tokenizer = self.tokenizer(language, task)
            n_frames = [max(1, len(requests[n].samples) // SAMPLES_PER_FRAME) for n in group]
            flat = [[token for line in texts[n] for token in line] for n in group]
            aligned = self._whisper.align(_stack([encoded[n] for n in group]), tokenizer.sot_sequence, flat, n_frames)
            for n, found in zip(group, aligned, strict=True):
                first_step: dict[int, int] = {}
                for token, step in found.alignments:
                    first_step.setdefault(token, step)
                times_s = [first_step[token] * STEP_S for token in sorted(first_step)]
                lines = [Line(*tokenizer.split_to_word_tokens(line), len(line)) for line in texts[n]]
                words[n] = words_of_lines(lines, times_s, found.text_token_probs)
        return [words[n] for n in range(len(requests))]


def text_limit(max_tokens: int, n_prompt: int) -> tuple[int, int]:
    """How many of *max_tokens* fit after a prompt of *n_prompt*, and CTranslate2's ``max_length`` for just as many.

    It stops at the smaller of ``max_length / 2`` and ``max_length`` less the prompt's tokens but the last, and fails
    when it runs out of positions.
    """
    start_step = n_prompt - 1
    n_tokens = min(max_tokens, _POSITIONS - start_step)
    return n_tokens, max(2 * n_tokens, n_tokens + start_step)


def _stack(encoded: Sequence[Encoded]) -> object:
    return to_storage(np.concatenate(encoded) if len(encoded) > 1 else encoded[0])


def _prompt(tokenizer: Tokenizer, ask: Ask) -> list[int]:
    before = ask.request.prompt
    start = [*((tokenizer.sot_prev, *before) if before else ()), *tokenizer.sot_sequence]
    return start if ask.way is not None and ask.way.timestamps else [*start, tokenizer.no_timestamps]


def _suppressed(tokenizer: Tokenizer) -> list[int]:
    special = {tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm}
    return sorted({*tokenizer.non_speech_tokens, *special, tokenizer.no_speech})


def _read(result: Generated, tokenizer: Tokenizer, ask: Ask, max_tokens: int) -> Attempt:
    assert ask.way is not None
    tokens = tuple(result.sequences_ids[0])
    said = tuple(token for token in tokens if token < tokenizer.eot)
    request = ask.request
    evidence = guards.Evidence(
        text=tokenizer.decode(said).strip(),
        tokens=said,
        language=request.language,
        task=request.asked,
        avg_logprob=guards.average_logprob(result.scores[0], len(tokens)),
        no_speech_prob=result.no_speech_prob,
        speech_s=request.speech_s,
        duration_s=request.duration_s,
        # With timestamps the next window begins where this text ends: nothing is lost.
        cut_off=len(tokens) >= max_tokens and not ask.way.timestamps,
        prompt=request.prompt_text,
        level_dbfs=request.level_dbfs,
        original=request.original,
    )
    return Attempt(evidence, tokens, ask.way)
