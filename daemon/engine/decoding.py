"""One batch of windows through the model: features, encoder, decoder, and another try where the text is not credible.

The seam for batching across recordings: windows in, decoded windows out, nothing kept in between. Knows nothing of
jobs, files or the order of windows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from daemon.engine import guards
from daemon.engine.assembly import DecodedSegment, DecodedWindow
from daemon.engine.runtime import Encoded, Generated, Model, Samples, Tokenizer, to_array, to_storage
from daemon.engine.timestamps import STEP_S, split_at_timestamps
from daemon.engine.windows import MAX_WINDOW_SAMPLES
from daemon.engine.words import Line, words_of_lines
from daemon.transcript import SAMPLE_RATE_HZ

_MAX_TEXT_TOKENS: Final = 224
# Half of the 448 positions of Whisper's decoder; the other half is for the prompt.

_MAX_LENGTH: Final = 2 * _MAX_TEXT_TOKENS
# CTranslate2 stops at the smaller of max_length / 2 and max_length - prompt.

_MAX_PROMPT_TOKENS: Final = _MAX_TEXT_TOKENS - 1  # and the token that announces it

_BEST_OF: Final = 5  # samples drawn at each temperature above zero, as in the original algorithm

_SAMPLES_PER_FRAME: Final = SAMPLE_RATE_HZ // 100  # of the features

_WINDOW_FRAMES: Final = MAX_WINDOW_SAMPLES // _SAMPLES_PER_FRAME


@dataclass(frozen=True, slots=True, eq=False)
class WindowRequest:
    """Everything that the model has to know to decode one window.

    *samples* hold at most 30 s. *prompt* are the tokens of text that comes before, at most 223. *encoded* is what
    `Decoder.encode` made of *samples*, where the caller has it already.
    """

    samples: Samples
    language: str
    task: str
    prompt: tuple[int, ...] = ()
    beam_size: int = 5
    words: bool = False
    encoded: Encoded | None = None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One text for one window, and how credible it is."""

    tokens: tuple[int, ...]
    text: str
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float

    @property
    def failed(self) -> tuple[str, ...]:
        return guards.failed_checks(self.compression_ratio, self.avg_logprob)

    @property
    def silence(self) -> bool:
        return guards.is_silence(self.no_speech_prob, self.avg_logprob)

    @property
    def credible(self) -> bool:
        # A loop is not excused by silence: what repeats itself was not heard.
        return not self.failed or (self.silence and guards.REPETITION not in self.failed)


class Decoder:
    """Decodes windows on one model. Any number of threads may use it at once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._whisper = model.whisper

    @property
    def languages(self) -> frozenset[str]:
        """The language codes that the model knows; only ``en`` for an English model."""
        return self._model.languages

    def prompt(self, hotwords: str | None, initial_prompt: str | None) -> tuple[int, ...]:
        """The prompt tokens of *hotwords* and *initial_prompt*; the end of it where it is too long."""
        tokenizer = self._model.tokenizer("en", "transcribe")  # text encodes alike in all languages
        texts = [text.strip() for text in (hotwords, initial_prompt) if text and text.strip()]
        tokens = [token for text in texts for token in tokenizer.encode(" " + text)]
        return tuple(tokens[-_MAX_PROMPT_TOKENS:])

    def encode(self, samples: Samples, *, to_cpu: bool = False) -> Encoded:
        """The encoder's output for one window of at most 30 s."""
        mel = self._model.features(np.pad(samples, (0, _SAMPLES_PER_FRAME)))[:, :_WINDOW_FRAMES]
        # Filled up with zero features, not with silence. The model was trained on silence, but on 30 minutes of speech
        # in ten languages zeros gave fewer errors in every larger group (11.4 against 11.8 % in all, base, int8).
        padded = np.pad(mel, ((0, 0), (0, _WINDOW_FRAMES - mel.shape[1])))
        return self._whisper.encode(to_storage(padded[np.newaxis]), to_cpu=to_cpu)

    def language_probabilities(self, encoded: Encoded) -> dict[str, float]:
        """Language code to probability for one encoded window; an English model knows nothing else."""
        if not self._whisper.is_multilingual:
            return {"en": 1.0}
        return {token[2:-2]: probability for token, probability in self._whisper.detect_language(encoded)[0]}

    def decode(self, batch: Sequence[WindowRequest]) -> list[DecodedWindow]:
        """The decoded windows of *batch*, in its order. What one item gives does not depend on the others.

        Texts that are not credible are sampled again at rising temperatures: only those depend on chance.
        """
        encoded = [
            self.encode(item.samples, to_cpu=len(batch) > 1) if item.encoded is None else item.encoded for item in batch
        ]
        attempts: list[list[_Attempt]] = [[] for _ in batch]
        for temperature in guards.TEMPERATURES:
            open_items = [n for n, tries in enumerate(attempts) if not (tries and tries[-1].credible)]
            for group in _groups(batch, open_items):
                for n, attempt in zip(group, self._attempt(batch, encoded, group, temperature), strict=True):
                    attempts[n].append(attempt)
        return [
            self._decoded(item, output, _best(tries))
            for item, output, tries in zip(batch, encoded, attempts, strict=True)
        ]

    def _attempt(
        self, batch: Sequence[WindowRequest], encoded: Sequence[Encoded], group: Sequence[int], temperature: float
    ) -> list[_Attempt]:
        tokenizers = [self._model.tokenizer(batch[n].language, batch[n].task) for n in group]
        search: dict[str, object] = {"beam_size": batch[group[0]].beam_size}
        if temperature > 0:
            # sampling_topk is 1 unless told, which is greedy at any temperature.
            search = {"beam_size": 1, "num_hypotheses": _BEST_OF, "sampling_topk": 0}
            search["sampling_temperature"] = temperature
        results = self._whisper.generate(
            _stack([encoded[n] for n in group]),
            [_prompt(tokenizer, batch[n].prompt) for n, tokenizer in zip(group, tokenizers, strict=True)],
            max_length=_MAX_LENGTH,
            max_initial_timestamp_index=round(1.0 / STEP_S),  # speech begins within a second of its window
            suppress_tokens=_suppressed(tokenizers[0]),
            return_scores=True,
            return_no_speech_prob=True,
            **search,
        )
        return [_read(result, tokens, temperature) for result, tokens in zip(results, tokenizers, strict=True)]

    def _decoded(self, item: WindowRequest, encoded: Encoded, best: _Attempt) -> DecodedWindow:
        duration_s = len(item.samples) / SAMPLE_RATE_HZ
        silence = best.silence or not best.text
        tokenizer = self._model.tokenizer(item.language, item.task)
        lines, covered_s = (
            ([], duration_s)
            if silence
            else split_at_timestamps(best.tokens, tokenizer.eot, tokenizer.timestamp_begin, duration_s)
        )
        segments = [DecodedSegment(start, end, tokenizer.decode(tokens)) for start, end, tokens in lines]
        if item.words and segments:
            segments = self._with_words(item, encoded, tokenizer, [tokens for _, _, tokens in lines], segments)
        return DecodedWindow(
            segments=tuple(segments),
            covered_s=covered_s,
            avg_logprob=round(best.avg_logprob, 4),
            compression_ratio=round(best.compression_ratio, 3),
            no_speech_prob=round(best.no_speech_prob, 4),
            temperature=best.temperature,
            suspect=() if silence else best.failed,
        )

    def _with_words(
        self,
        item: WindowRequest,
        encoded: Encoded,
        tokenizer: Tokenizer,
        texts: Sequence[Sequence[int]],
        segments: Sequence[DecodedSegment],
    ) -> list[DecodedSegment]:
        tokens = list(itertools.chain.from_iterable(texts))
        n_frames = max(1, len(item.samples) // _SAMPLES_PER_FRAME)
        aligned = self._whisper.align(encoded, tokenizer.sot_sequence, [tokens], n_frames)[0]
        first_step: dict[int, int] = {}
        for token, step in aligned.alignments:
            first_step.setdefault(token, step)
        times_s = [first_step[n] * STEP_S for n in sorted(first_step)]
        lines = [Line(*tokenizer.split_to_word_tokens(text), len(text)) for text in texts]
        words = words_of_lines(lines, times_s, aligned.text_token_probs)
        return [replace(segment, words=spoken) for segment, spoken in zip(segments, words, strict=True)]


def _groups(batch: Sequence[WindowRequest], items: Iterable[int]) -> list[list[int]]:
    """Items that one call may hold: CTranslate2 wants prompts of one length, and one beam size a call."""

    def key(n: int) -> tuple[int, int]:
        return len(batch[n].prompt), batch[n].beam_size

    return [list(group) for _, group in itertools.groupby(sorted(items, key=key), key=key)]


def _stack(encoded: Sequence[Encoded]) -> Encoded:
    if len(encoded) == 1:
        return encoded[0]
    return to_storage(np.concatenate([to_array(item) for item in encoded]))


def _prompt(tokenizer: Tokenizer, before: tuple[int, ...]) -> list[int]:
    return [*((tokenizer.sot_prev, *before) if before else ()), *tokenizer.sot_sequence]


def _suppressed(tokenizer: Tokenizer) -> list[int]:
    special = {tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm}
    return sorted({*tokenizer.non_speech_tokens, *special, tokenizer.no_speech})


def _read(result: Generated, tokenizer: Tokenizer, temperature: float) -> _Attempt:
    tokens = tuple(result.sequences_ids[0])
    text = tokenizer.decode(tokens).strip()
    return _Attempt(
        tokens=tokens,
        text=text,
        avg_logprob=guards.average_logprob(result.scores[0], len(tokens)),
        compression_ratio=guards.compression_ratio(text),
        no_speech_prob=result.no_speech_prob,
        temperature=temperature,
    )


def _best(attempts: Sequence[_Attempt]) -> _Attempt:
    """The credible one, else the most probable of those that do not repeat themselves, else of all."""
    if attempts[-1].credible:
        return attempts[-1]
    varied = [attempt for attempt in attempts if guards.REPETITION not in attempt.failed]
    return max(varied or attempts, key=lambda attempt: attempt.avg_logprob)
