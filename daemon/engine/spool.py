"""The samples of a recording, read from its spool file where they are needed. Owns the file's format."""

from __future__ import annotations

import os
from typing import Final

import numpy as np

from daemon.engine.runtime import Samples
from daemon.transcript import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

_HUSH_SAMPLES: Final = SAMPLE_RATE_HZ // 10  # the quietest tenth of a second is a good place for a forced cut


class Spool:
    """16-bit samples read from a file where they are needed; the file is never in memory as a whole."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, start: int, end: int) -> Samples:
        """The samples from *start* to *end*, float32 in [-1, 1], shape (n,). Raises OSError if there are fewer."""
        wanted = (end - start) * BYTES_PER_SAMPLE
        data = os.pread(self._fd, wanted, start * BYTES_PER_SAMPLE)
        if len(data) != wanted:
            raise OSError(f"the spool file ends before sample {end}: {len(data)} of {wanted} bytes read")
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)

    def quietest(self, lowest: int, highest: int) -> int:
        """The middle of the quietest tenth of a second between the samples *lowest* and *highest*."""
        energy = np.cumsum(self.read(lowest, highest).astype(np.float64) ** 2)
        if len(energy) <= _HUSH_SAMPLES:
            return (lowest + highest) // 2
        hush = energy[_HUSH_SAMPLES:] - energy[:-_HUSH_SAMPLES]
        return lowest + int(np.argmin(hush)) + _HUSH_SAMPLES // 2

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
