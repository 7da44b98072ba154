"""The texts that are kept, written down: lines with their times, and those of words where they were looked up.

Owns what a window's answer looks like; knows nothing of passes, boards or recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from daemon.engine import guards
from daemon.engine.assembly import DecodedSegment, DecodedWindow
from daemon.engine.decoding import Decoder, WindowRequest
from daemon.engine.edges import line_in, tightened, words_in
from daemon.engine.lines import fits_one_line, lines_of_words, one_line
from daemon.engine.passes import Attempt
from daemon.engine.runtime import Encoded, Tokenizer
from daemon.engine.timestamps import Line, split_at_timestamps
from daemon.transcript import Word


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """One window with the text that is kept: the lines of it if the model timed them, else one line for now."""

    request: WindowRequest
    attempt: Attempt
    encoded: Encoded
    lines: tuple[tuple[DecodedSegment, tuple[int, ...]], ...]
    covered_s: float

    @classmethod
    def of(cls, request: WindowRequest, attempt: Attempt, tokenizer: Tokenizer, encoded: Encoded) -> Draft:
        """The draft of *attempt*; without lines if there is nothing to write down."""
        duration_s = request.duration_s
        if attempt.silence or not attempt.evidence.text:
            return cls(request, attempt, encoded, (), duration_s)
        if not attempt.way.timestamps:
            line = one_line(attempt.evidence.text, duration_s, request.speech)
            return cls(request, attempt, encoded, ((line, attempt.evidence.tokens),), duration_s)
        timed, covered_s = split_at_timestamps(attempt.tokens, tokenizer.eot, tokenizer.timestamp_begin, duration_s)
        return cls(request, attempt, encoded, tuple(_timed_line(line, tokenizer) for line in timed), covered_s)

    @property
    def needs_words(self) -> bool:
        """Whether the words' times are asked for, or needed to break the text into lines, or lines into subtitles."""
        if not self.lines or self.request.words:
            return bool(self.lines)
        if self.attempt.way.timestamps:
            return not all(fits_one_line(line.text.strip(), line.end_s - line.start_s) for line, _ in self.lines)
        return not fits_one_line(self.attempt.evidence.text, self.request.duration_s)

    def written(self, words: Sequence[tuple[Word, ...]] | None) -> DecodedWindow:
        """The window's answer; *words* are those of its lines, if they were needed, and stay with them."""
        segments = self._timed(words)
        attempt, evidence = self.attempt, self.attempt.evidence
        return DecodedWindow(
            segments=tuple(segments),
            covered_s=self.covered_s,
            avg_logprob=round(evidence.avg_logprob, 4),
            compression_ratio=round(guards.compression_ratio(evidence.text), 3),
            no_speech_prob=round(evidence.no_speech_prob, 4),
            temperature=attempt.way.temperature,
            suspect=tuple(guards.failed_checks(evidence)) if segments else (),
            tokens=tuple(token for _, tokens in self.lines for token in tokens),
            language=evidence.language,
        )

    def _timed(self, words: Sequence[tuple[Word, ...]] | None) -> list[DecodedSegment]:
        """The lines with the times of the speech in them, not of the pauses beside it."""
        if not self.lines:
            return []
        stretches = tightened(self.request.samples, self.request.speech)
        if words is not None and not self.attempt.way.timestamps:
            return lines_of_words(words_in(words[0], stretches))
        segments = [line_in(segment, stretches) for segment, _ in self.lines]
        if words is None:
            return segments
        return [replace(segment, words=words_in(own, stretches)) for segment, own in zip(segments, words, strict=True)]


def write(drafts: Sequence[Draft], decoder: Decoder) -> list[DecodedWindow]:
    """The answers, in the order of *drafts*; their words are looked up together."""
    wordy = [n for n, draft in enumerate(drafts) if draft.needs_words]
    found = decoder.words(
        [drafts[n].request for n in wordy],
        [drafts[n].encoded for n in wordy],
        [[tokens for _, tokens in drafts[n].lines] for n in wordy],
    )
    words = dict(zip(wordy, found, strict=True))
    return [draft.written(words.get(n)) for n, draft in enumerate(drafts)]


def _timed_line(line: Line, tokenizer: Tokenizer) -> tuple[DecodedSegment, tuple[int, ...]]:
    start_s, end_s, tokens = line
    return DecodedSegment(start_s, end_s, tokenizer.decode(tokens)), tokens
