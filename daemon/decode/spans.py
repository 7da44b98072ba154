"""Speech probabilities to spans of speech. Pure; knows nothing of the model that makes the probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from daemon.decode.settings import SpeechThresholds
from daemon.transcript import SAMPLE_RATE_HZ, Span

FRAME_SAMPLES: Final = 512
"""One probability stands for this many samples at 16 kHz (Silero VAD)."""


class SpanFinder:
    """Takes probabilities in order and in portions of any size; gives the padded spans at the end."""

    def __init__(self, thresholds: SpeechThresholds) -> None:
        self._thresholds = thresholds
        self._min_silence = thresholds.min_silence_ms * SAMPLE_RATE_HZ // 1000
        self._frame = 0
        self._start: int | None = None
        self._silent_since: int | None = None
        self._found: list[tuple[int, int]] = []

    def feed(self, probabilities: Iterable[float]) -> None:
        """Take the next probabilities, one for each FRAME_SAMPLES."""
        for probability in probabilities:
            self._step(probability, self._frame * FRAME_SAMPLES)
            self._frame += 1

    def _step(self, probability: float, position: int) -> None:
        if probability >= self._thresholds.start:
            self._silent_since = None
            if self._start is None:
                self._start = position
            return
        # Between the two thresholds nothing changes: speech goes on, silence goes on.
        if self._start is None or probability >= self._thresholds.end:
            return
        if self._silent_since is None:
            self._silent_since = position
        if position - self._silent_since >= self._min_silence:
            self._found.append((self._start, self._silent_since))
            self._start = self._silent_since = None

    def finish(self, n_samples: int) -> tuple[Span, ...]:
        """The spans of a recording of *n_samples*, padded, in order, not overlapping."""
        found = list(self._found)
        if self._start is not None and self._start < n_samples:
            found.append((self._start, n_samples))
        return _padded(found, self._thresholds.pad_ms * SAMPLE_RATE_HZ // 1000, n_samples)


def _padded(found: list[tuple[int, int]], pad: int, n_samples: int) -> tuple[Span, ...]:
    """Each span widened by *pad*; two that are closer than that share the silence between them."""
    spans: list[Span] = []
    before = pad
    for index, (start, end) in enumerate(found):
        last = index == len(found) - 1
        silence = n_samples - end if last else found[index + 1][0] - end
        after = pad if last or silence >= 2 * pad else silence // 2
        spans.append(Span(max(0, start - before), min(n_samples, end + after)))
        before = after
    return tuple(spans)
