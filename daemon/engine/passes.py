"""The ways to ask the model for the text of a window, from the cheapest to the last resort, and when one is enough.

Pure. What is cheap comes first, and only a window whose text is doubtful pays for more: most windows never do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from daemon.engine import guards
from daemon.options import Quality

FRAMES_PER_S: Final = 100
"""Of the features (Radford et al. 2022, section 2.2)."""

WHOLE_FRAMES: Final = 30 * FRAMES_PER_S
"""What the encoder was trained on."""

CLOSE_S: Final = 1.5
"""Padding in the cheap first pass: the encoder's time goes with what it sees. What this spoils, the checks find."""

AMPLE_S: Final = 3.0
"""Padding in a careful first pass. With less a text loops, or is said twice, more often."""

WIDE_S: Final = 6.0
"""Padding where the first text was doubtful."""

WHOLE_S: Final = 30.0
"""Padding to the whole of what the encoder can see."""

_MIN_FRAMES: Final = 400

FIRST_BEAM: Final = 3
"""The beam of the cheap first pass: its hypotheses share most of what is read from memory. Over 20 minutes in ten
languages (base, int8) two gave 11.8 % errors, three 11.5, `careful` 10.9. A greedy pass has to be doubted so often that
it saves no time."""

FAIR_AVG_LOGPROB: Final = -0.5
"""A text from a short encoder window is believed from here on; below, the encoder is shown more."""

TRANSLATED_AVG_LOGPROB: Final = -1.2
"""The same for a translation: it can be worded in many ways, so each is less probable. Held to the standard of a text,
30 clips in eight languages (base, int8) took more than twice the time, and the translations were no better (chrF 53.2
against 54.3)."""

_DESPAIR_AVG_LOGPROB: Final = -1.5
# For a translation that the encoder was shown more for: what is only improbable gets no better any more.

_TEMPERATURES: Final = (0.2, 0.4, 0.6, 0.8, 1.0)
# The original algorithm's ladder (Radford et al. 2022, section 4.5).

_FEWER_TEMPERATURES: Final = (0.4, 0.8)
# Each costs as much as ten first passes, and after four other ways to ask little is gained by all five.


@dataclass(frozen=True, slots=True)
class Pass:
    """One way to ask: the beam, the padding that the encoder sees, the temperature, and what the text must reach.

    *timestamps*: the model says when, too. *strict*: a text is doubtful already for being said twice; so it is wherever
    more than the usual probability is asked for.
    """

    beam_size: int
    padding_s: float = AMPLE_S
    temperature: float = 0.0
    timestamps: bool = False
    min_avg_logprob: float = guards.MIN_AVG_LOGPROB
    strict: bool = False

    def n_frames(self, n_own: int, bucket_frames: int) -> int:
        """What the encoder sees of a window of *n_own* frames: a multiple of *bucket_frames*, or the whole 30 s.

        It depends on nothing but the window, so its text does not depend on its batch.
        """
        wanted = max(_MIN_FRAMES, n_own + round(self.padding_s * FRAMES_PER_S))
        return min(WHOLE_FRAMES, -(-wanted // bucket_frames) * bucket_frames)

    @property
    def search(self) -> Pass:
        """The same for all ways that one call may hold: what the encoder saw and what is believed are no part of it."""
        return replace(self, padding_s=0.0, min_avg_logprob=0.0, strict=False)

    def asks_the_same(self, other: Pass, n_own: int, bucket_frames: int) -> bool:
        """Whether *other* would get the very same text for a window of *n_own* frames."""
        if self.temperature or other.temperature or self.timestamps != other.timestamps:
            return False
        same_frames = self.n_frames(n_own, bucket_frames) == other.n_frames(n_own, bucket_frames)
        return same_frames and self.beam_size == other.beam_size


def passes_of(quality: Quality, beam_size: int) -> tuple[Pass, ...]:
    """The passes of a window in their order; at least one."""
    if quality == "faithful":
        sampled = (Pass(1, WHOLE_S, temperature, timestamps=True) for temperature in _TEMPERATURES)
        return Pass(beam_size, WHOLE_S, timestamps=True), *sampled
    doubtful = (
        Pass(beam_size, WIDE_S, min_avg_logprob=FAIR_AVG_LOGPROB),
        Pass(beam_size, WHOLE_S),
        *(Pass(1, WHOLE_S, temperature) for temperature in _FEWER_TEMPERATURES),
    )
    if quality == "careful":
        return Pass(beam_size, AMPLE_S, min_avg_logprob=FAIR_AVG_LOGPROB), *doubtful
    return Pass(min(FIRST_BEAM, beam_size), CLOSE_S, min_avg_logprob=FAIR_AVG_LOGPROB), *doubtful


def translation_passes(quality: Quality, beam_size: int) -> tuple[Pass, ...]:
    """The passes of a window that is translated; `faithful` knows no difference."""
    if quality == "faithful":
        return passes_of(quality, beam_size)
    first = Pass(beam_size, AMPLE_S, min_avg_logprob=TRANSLATED_AVG_LOGPROB, strict=True)
    wide = Pass(beam_size, WIDE_S, min_avg_logprob=_DESPAIR_AVG_LOGPROB, strict=True)
    whole = Pass(beam_size, WHOLE_S, min_avg_logprob=_DESPAIR_AVG_LOGPROB)
    sampled = (replace(whole, beam_size=1, temperature=temperature) for temperature in _FEWER_TEMPERATURES)
    return first, wide, whole, *sampled


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one pass gave for one window."""

    evidence: guards.Evidence
    tokens: tuple[int, ...]  # all of them, timestamps too
    way: Pass

    @property
    def failed(self) -> tuple[guards.Check, ...]:
        """The checks that the text did not pass, by the standard of its pass."""
        way = self.way
        return guards.failed_checks(self.evidence, min_avg_logprob=way.min_avg_logprob, strict=way.strict)

    @property
    def silence(self) -> bool:
        """Whether there is nothing to write down."""
        return not self.evidence.text or guards.is_silence(self.evidence)

    @property
    def credible(self) -> bool:
        """Whether no further pass is needed."""
        return not guards.needs_retry(self.evidence, self.failed)

    def judged_by(self, way: Pass) -> Attempt:
        """The same text by the standard of another pass."""
        return replace(self, way=way)


def best_of(attempts: Sequence[Attempt]) -> Attempt:
    """The attempt to keep: the last if it is credible, else the best of all by the common standard."""
    if attempts[-1].credible:
        return attempts[-1]
    return max(
        attempts, key=lambda attempt: guards.credibility(attempt.evidence, guards.failed_checks(attempt.evidence))
    )
