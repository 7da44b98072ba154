"""Speech spans to windows: which stretches of a recording are put to the model, one at a time.

Pure arithmetic on sample numbers; knows nothing of audio or of the model. The same spans always give the same
windows: that is what lets a job resume after its engine died.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from daemon.transcript import SAMPLE_RATE_HZ, Span

MAX_SEEN_SAMPLES: Final = 30 * SAMPLE_RATE_HZ
"""What the model was trained on and takes at once (Radford et al. 2022, section 2.2)."""

MAX_WINDOW_SAMPLES: Final = 15 * SAMPLE_RATE_HZ
"""What a window holds at most. Half of what the model takes: the encoder's time grows faster than the window, and on
15 minutes of long recordings the errors fell with it (9.6 % at 30 s, 7.5 at 20 s, 7.1 at 15 s, 7.4 at 12 s).
"""

_CUT_ZONE_SAMPLES: Final = 7 * SAMPLE_RATE_HZ
# A window that must be cut is cut at the longest silence of its last 7 s: late enough to keep the context that the
# model needs, early enough to find the end of a sentence.

LONG_SILENCE_SAMPLES: Final = 3 * SAMPLE_RATE_HZ
# A silence of this length ends the window: the model tends to invent words in long silences.

TURN_SILENCE_SAMPLES: Final = SAMPLE_RATE_HZ // 2
# Where each window has a language of its own, it ends where the next speaker may use another: the model writes one
# language and leaves the other out. With the padding of both spans it is a pause of 1.3 s.

_MIN_WINDOW_SAMPLES: Final = 3 * SAMPLE_RATE_HZ // 10
# On slivers shorter than 0.3 s the model invents words.

_MIN_REST_SAMPLES: Final = SAMPLE_RATE_HZ
# A forced cut leaves at least a second of speech for the next window.


@dataclass(frozen=True, slots=True)
class Window:
    """A continuous stretch of the recording in samples, at most 15 s, and the speech in it."""

    start: int
    end: int
    speech: tuple[Span, ...]

    @property
    def n_spoken(self) -> int:
        """Samples of speech."""
        return sum(span.end - span.start for span in self.speech)

    def part(self, start: int, end: int) -> Window:
        """The stretch of it from *start* to *end*."""
        inside = (Span(max(start, span.start), min(end, span.end)) for span in self.speech)
        return Window(start, end, tuple(span for span in inside if span.start < span.end))


def last_moment(lowest: int, highest: int) -> int:
    """The forced cut of a planner that cannot hear: as late as possible."""
    del lowest
    return highest


def plan_windows(
    spans: Sequence[Span],
    n_samples: int,
    quietest: Callable[[int, int], int] = last_moment,
    silence: int = LONG_SILENCE_SAMPLES,
) -> list[Window]:
    """The windows over all of *spans*, in order, none overlapping, each at least 0.3 s where the recording allows.

    A window runs from the start of its first span to the end of its last, and over no pause of *silence* samples.
    *quietest(lowest, highest)* is asked for the sample to cut at where speech runs past 15 s without a pause.
    """
    waiting = _tidy(spans, n_samples)[::-1]  # a stack: the next span is the last item
    windows: list[Window] = []
    while waiting:
        taken = _take(waiting, quietest, silence)
        windows.append(_window(taken, windows[-1].end if windows else 0, n_samples, waiting))
    return windows


def _tidy(spans: Sequence[Span], n_samples: int) -> list[Span]:
    """The spans inside the recording, in order, those that overlap made one; where two touch is a place to cut."""
    tidy: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        start, end = max(0, span.start), min(n_samples, span.end)
        if tidy and start < tidy[-1].end:
            tidy[-1] = Span(tidy[-1].start, max(tidy[-1].end, end))
        elif start < end:
            tidy.append(Span(start, end))
    return tidy


def _take(waiting: list[Span], quietest: Callable[[int, int], int], silence: int) -> list[Span]:
    """Pop the spans of the next window; what is cut off goes back on the stack."""
    taken = [waiting.pop()]
    start = taken[0].start
    if taken[0].end - start > MAX_WINDOW_SAMPLES:
        return [_forced_cut(taken[0], waiting, quietest)]
    while waiting and waiting[-1].start - taken[-1].end < silence:
        if waiting[-1].end - start > MAX_WINDOW_SAMPLES:
            keep = _before_longest_silence(taken, waiting[-1])
            waiting.extend(reversed(taken[keep:]))
            return taken[:keep]
        taken.append(waiting.pop())
    return taken


def _forced_cut(span: Span, waiting: list[Span], quietest: Callable[[int, int], int]) -> Span:
    latest = min(span.start + MAX_WINDOW_SAMPLES, span.end - _MIN_REST_SAMPLES)
    earliest = span.start + MAX_WINDOW_SAMPLES - _CUT_ZONE_SAMPLES
    cut = min(max(quietest(earliest, latest), earliest), latest)
    waiting.append(Span(cut, span.end))
    return Span(span.start, cut)


def _before_longest_silence(taken: Sequence[Span], following: Span) -> int:
    """How many of *taken* come before the longest silence that begins in the cut zone, else before the last one."""
    zone = taken[0].start + MAX_WINDOW_SAMPLES - _CUT_ZONE_SAMPLES
    ends = [*taken, following]
    silences = {n: ends[n].start - ends[n - 1].end for n in range(1, len(ends)) if ends[n - 1].end >= zone}
    # Of equal silences the later one: fuller windows.
    return max(silences, key=lambda n: (silences[n], n), default=len(taken))


def _window(taken: Sequence[Span], floor: int, n_samples: int, waiting: Sequence[Span]) -> Window:
    start, end = taken[0].start, taken[-1].end
    missing = _MIN_WINDOW_SAMPLES - (end - start)
    if missing > 0:
        ceiling = waiting[-1].start if waiting else n_samples
        end = min(ceiling, end + missing)
        start = max(floor, end - _MIN_WINDOW_SAMPLES)
    return Window(start, end, tuple(taken))


def speech_s_after(window: Window, sample: int) -> float:
    """Seconds of speech in *window* after *sample* of the recording."""
    return sum(max(0, span.end - max(span.start, sample)) for span in window.speech) / SAMPLE_RATE_HZ
