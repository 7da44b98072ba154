"""Whether two recordings are the same sound, by their fingerprints. Pure; how those are made: `daemon.decode.sound`.

The same sound is what a copy has that was renamed, tagged anew or put in another container. What was coded again, cut,
or changed in one word is another one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from operator import sub
from typing import Final

from storage.records import StoredSound

FRAME_SAMPLES: Final = 1280
"""Of 80 ms: the shortest words are as long."""

N_BANDS: Final = 6
STEP_DB: Final = 1.5
FLOOR_DB: Final = -80.0
"""A level is a byte: so many steps above the floor. Where a sample is rounded otherwise nothing below it counts."""

MOST_STEPS: Final = 1
"""By which two levels of the same sound differ, at a step's edge. Copies differed by 0.6 dB at the most."""

MOST_STEPS_AT_ENDS: Final = 3
N_ENDS: Final = 1
"""In the first and last frame, into which more or less silence falls, or a hard beginning (copies: 3 dB)."""

MOST_FRAMES_MORE: Final = 2
"""At either end of one of the two: what encoders begin and end with is up to 0.15 s."""

QUIET: Final = round(35.0 / STEP_DB)
"""So far below the loudest nothing is speech that anybody could hear beside the rest."""

LOUD: Final = round(25.0 / STEP_DB)
"""So far above the floor is something, and no silence of a bad device."""

N_LOUD: Final = 12
"""Frames of which that is true and that are not quiet, before a recording can be known by its sound: one second."""

_HEAD: Final = struct.Struct("<BBQII")  # form, channels, anchor, frames before it, frames
_FORM: Final = 1
_MOST_BYTES: Final = 32 * 1024**2  # days of sound; a decoder that a recording took over may send anything


@dataclass(frozen=True, slots=True)
class Sound:
    """What is known of a sound: *anchor*, the sample that frames are counted from, and *n_before*, how many lie before.

    Of each channel the levels of N_BANDS bands, frame by frame.
    """

    anchor: int
    n_before: int
    channels: tuple[bytes, ...]

    @property
    def n_frames(self) -> int:
        """Of each channel."""
        return len(self.channels[0]) // N_BANDS

    @property
    def n_after(self) -> int:
        """The frames from the anchor on."""
        return self.n_frames - self.n_before

    @property
    def known_by(self) -> bool:
        """Whether there is enough in it to know it by."""
        n_loud, least = 0, max(LOUD, self.quiet + 1)
        for channel in self.channels:
            loudest = map(max, *(channel[band::N_BANDS] for band in range(N_BANDS)))
            n_loud += sum(level >= least for level in loudest)
        return n_loud >= N_LOUD

    @property
    def quiet(self) -> int:
        """Levels up to this are as good as silence in it."""
        return max(map(max, self.channels)) - QUIET

    def packed(self) -> bytes:
        """It, as `unpacked` reads it: 54 bytes for a second of speech."""
        head = _HEAD.pack(_FORM, len(self.channels), self.anchor, self.n_before, self.n_frames)
        return head + zlib.compress(b"".join(self.channels), 9)

    def stored(self) -> StoredSound:
        """It, as the history keeps it."""
        begin = min(self.n_before, self.n_frames - 1) * N_BANDS
        mark = int.from_bytes(self.channels[0][begin : begin + N_BANDS], "little")
        return StoredSound(self.n_before, self.n_after, mark, self.packed())


def unpacked(content: bytes) -> Sound | None:
    """What was packed; None where it is of another form, or damaged."""
    try:
        form, n_channels, anchor, n_before, n_frames = _HEAD.unpack_from(content)
        size = n_frames * N_BANDS
        if form != _FORM or n_channels * size > _MOST_BYTES:
            return None
        levels = zlib.decompressobj().decompress(content[_HEAD.size :], n_channels * size + 1)
    except (struct.error, zlib.error):
        return None
    if not levels or len(levels) != n_channels * size or not 0 <= n_before <= n_frames:
        return None
    return Sound(anchor, n_before, tuple(levels[start : start + size] for start in range(0, len(levels), size)))


def shift_s(one: Sound, other: Sound, rate_hz: int) -> float:
    """How much later what is in *one* comes in *other*, where they are the same."""
    return (other.anchor - one.anchor) / rate_hz


def same_sound(one: Sound, other: Sound) -> bool:
    """Whether they are the same sound, all of it. 20 ms for an hour."""
    if len(one.channels) != len(other.channels) or not (one.known_by and other.known_by):
        return False
    n_before, n_after = min(one.n_before, other.n_before), min(one.n_after, other.n_after)
    for first, second in zip(one.channels, other.channels, strict=True):
        parts: list[bytes] = []
        for sound, levels in ((one, first), (other, second)):
            begin, end = (sound.n_before - n_before) * N_BANDS, (sound.n_before + n_after) * N_BANDS
            if not (_is_nothing(levels[:begin], sound.quiet) and _is_nothing(levels[end:], sound.quiet)):
                return False
            parts.append(levels[begin:end])
        if not _near(*parts):
            return False
    return True


def _is_nothing(levels: bytes, quiet: int) -> bool:
    """Whether what only one of them has is short and quiet."""
    return len(levels) <= MOST_FRAMES_MORE * N_BANDS and max(levels, default=0) <= quiet


def _near(one: bytes, other: bytes) -> bool:
    if one == other:
        return True
    ends = N_ENDS * N_BANDS
    middle = slice(ends, -ends)
    return (
        _differ_by(one[middle], other[middle]) <= MOST_STEPS
        and _differ_by(one[:ends], other[:ends]) <= MOST_STEPS_AT_ENDS
        and _differ_by(one[-ends:], other[-ends:]) <= MOST_STEPS_AT_ENDS
    )


def _differ_by(one: bytes, other: bytes) -> int:
    return max(map(abs, map(sub, one, other)), default=0)
