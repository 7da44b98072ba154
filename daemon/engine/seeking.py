"""Windows in sequence, as in the original algorithm: each begins where the text of the one before ended.

Pure but for the listening, which is handed in. Radford et al. 2022, section 4.5; the order of the rules is that of the
reference implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from daemon.engine.assembly import DecodedWindow
from daemon.engine.windows import MAX_SEEN_SAMPLES, Window, speech_s_after
from daemon.transcript import SAMPLE_RATE_HZ

_MIN_REST_S: Final = 1.0
# The speech after a stretch's last timestamp that is worth another window; less is the padding of speech detection.

_RESET_TEMPERATURE: Final = 0.5
# A text that was sampled this hot is no prompt for the next: it would be led astray too.

_PROMPT_LENGTHS: Final = (0, 32, 64, 128, 223)
# Previous text is cut to one of these: windows of several recordings go together only with prompts of one length.


def seek_through(
    windows: Sequence[Window], first_sample: int, listen: Callable[[Window, tuple[int, ...]], DecodedWindow]
) -> Iterator[tuple[Window, int, DecodedWindow]]:
    """Each window that was listened to, up to which sample it was heard, and its text.

    *windows* are the stretches with speech, in order; nothing before *first_sample* is listened to. *listen* gets a
    window of at most 30 s and the tokens of the text before it.
    """
    previous: list[int] = []
    for stretch in _stretches(windows):
        at = max(first_sample, stretch.start)
        while at < stretch.end:
            window = _from(stretch, at)
            answer = listen(window, _prompt(previous))
            heard_to = _heard_to(window, answer, is_last=window.end == stretch.end)
            previous = [] if answer.temperature > _RESET_TEMPERATURE else [*previous, *answer.tokens]
            previous = previous[-_PROMPT_LENGTHS[-1] :]
            yield window, heard_to, answer
            at = heard_to


def _stretches(windows: Sequence[Window]) -> list[Window]:
    """Windows that touch, or almost, made one: where to cut is for the timestamps to say."""
    joined: list[Window] = []
    for window in windows:
        if joined and window.start - joined[-1].end < SAMPLE_RATE_HZ:
            before = joined.pop()
            window = Window(before.start, window.end, (*before.speech, *window.speech))
        joined.append(window)
    return joined


def _from(stretch: Window, at: int) -> Window:
    return stretch.part(at, min(stretch.end, at + MAX_SEEN_SAMPLES))


def _heard_to(window: Window, answer: DecodedWindow, *, is_last: bool) -> int:
    heard_to = window.start + round(answer.covered_s * SAMPLE_RATE_HZ)
    # A window that is not the last of its stretch may end within a word, of which nothing is to be lost.
    min_rest_s = _MIN_REST_S if is_last else 0.0
    if not answer.segments or heard_to <= window.start or speech_s_after(window, heard_to) < min_rest_s:
        return window.end
    return min(heard_to, window.end)


def _prompt(previous: Sequence[int]) -> tuple[int, ...]:
    length = max(length for length in _PROMPT_LENGTHS if length <= len(previous))
    return tuple(previous[len(previous) - length :])
