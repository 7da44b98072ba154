"""The lines of a text between Whisper's timestamp tokens. Pure arithmetic on token numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

STEP_S: Final = 0.02
"""Seconds from one timestamp token to the next, and from one step of the alignment to the next (Whisper)."""

Line = tuple[float, float, tuple[int, ...]]
"""start_s and end_s in the window, and the text tokens."""


def split_at_timestamps(
    tokens: Sequence[int], end_of_text: int, first_timestamp: int, duration_s: float
) -> tuple[list[Line], float]:
    """The lines of *tokens*, and how many seconds of the window they reach.

    Tokens below *end_of_text* are text, those from *first_timestamp* on are times. A last line without its closing
    time was cut off: it is left out, unless it is the only one.
    """
    lines: list[Line] = []
    start_s, text = 0.0, list[int]()
    for token in tokens:
        if token < end_of_text:
            text.append(token)
        elif token >= first_timestamp:
            at_s = min((token - first_timestamp) * STEP_S, duration_s)
            if text:
                lines.append((start_s, max(start_s, at_s), tuple(text)))
                text = []
            start_s = at_s
    if text and not lines:
        return [(start_s, duration_s, tuple(text))], duration_s
    return lines, start_s
