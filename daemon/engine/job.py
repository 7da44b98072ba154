"""One recording through the decoder: windows planned, decoded ahead of one another, their segments sent in order.

Owns the order of the work on one job; knows nothing of processes or of the wire.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from daemon.engine.assembly import DecodedWindow, assemble
from daemon.engine.decoding import Decoder, WindowRequest
from daemon.engine.protocol import Job, LanguageFound, WindowDone
from daemon.engine.runtime import Encoded, Samples
from daemon.engine.windows import Window, plan_windows
from daemon.errors import ConfigError, JobCancelled
from daemon.transcript import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Segment

_MIN_TAIL_SPEECH_S: Final = 1.0
# The speech after the last timestamp that is worth a second look; less is the padding that speech detection adds.

_MAX_TAILS: Final = 3  # a window is looked at no more than this often again

_LANGUAGE_WINDOWS: Final = 3
_SURE_PROBABILITY: Final = 0.9  # of a language: further windows would not change it

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


@dataclass(frozen=True, slots=True)
class Tools:
    """What all jobs share: the decoder, the threads it runs on, and how many windows one job may have in them."""

    decoder: Decoder
    lanes: Executor
    n_ahead: int


def run_job(
    job: Job, tools: Tools, emit: Callable[[LanguageFound | WindowDone], None], cancelled: threading.Event
) -> None:
    """Decode all windows of *job* from ``job.next_sample`` on; *emit* gets each in order as soon as it is finished.

    Raises JobCancelled between windows once *cancelled* is set, ConfigError for options that the model cannot do.
    """
    _check(job, tools.decoder)
    spool = Spool(job.spool_path)
    try:
        planned = plan_windows(job.spans, job.n_samples, spool.quietest)
        # Windows are the same at every attempt, so those that end here are exactly those that are finished.
        windows = [window for window in planned if window.end > job.next_sample]
        recording = _Recording(job, tools, spool, cancelled)
        language, encoded = recording.language(windows)
        emit(language)
        for window, segments in recording.decode(windows, language.language, encoded):
            emit(WindowDone(job.id, tuple(segments), window.end, window.end / SAMPLE_RATE_HZ))
    finally:
        spool.close()


def _check(job: Job, decoder: Decoder) -> None:
    wanted = job.options.language
    if wanted is not None and wanted not in decoder.languages:
        known = ", ".join(sorted(decoder.languages))
        raise ConfigError(f"the model {job.options.model!r} does not know the language {wanted!r}; it knows {known}")


class _Recording:
    """The windows of one job on their way through the decoder."""

    def __init__(self, job: Job, tools: Tools, spool: Spool, cancelled: threading.Event) -> None:
        self._job = job
        self._tools = tools
        self._spool = spool
        self._cancelled = cancelled
        self._prompt = tools.decoder.prompt(job.options.hotwords, job.options.initial_prompt)

    def language(self, windows: Sequence[Window]) -> tuple[LanguageFound, dict[int, Encoded]]:
        """The language given, or found on the first windows; and what was encoded on the way, by window start."""
        given = self._job.options.language or self._job.language
        if given is not None:
            return LanguageFound(self._job.id, given, 1.0), {}
        sums: dict[str, float] = {}
        encoded: dict[int, Encoded] = {}
        for window in windows[:_LANGUAGE_WINDOWS]:
            self._stop_if_cancelled()
            encoded[window.start] = self._encode(window)
            for code, probability in self._tools.decoder.language_probabilities(encoded[window.start]).items():
                sums[code] = sums.get(code, 0.0) + probability
            if max(sums.values()) / len(encoded) >= _SURE_PROBABILITY:
                break
        best = max(sums, key=lambda code: sums[code], default="")
        return LanguageFound(self._job.id, best, sums[best] / len(encoded) if best else 0.0), encoded

    def decode(
        self, windows: Sequence[Window], language: str, encoded: dict[int, Encoded]
    ) -> Iterator[tuple[Window, list[Segment]]]:
        """Each window with its segments, in order; a few are decoded at once."""
        running: deque[tuple[Window, Future[list[tuple[float, float, DecodedWindow]]]]] = deque()
        waiting = iter(windows)
        floor_s = self._job.next_sample / SAMPLE_RATE_HZ
        try:
            while True:
                for window in waiting:
                    request = self._request(language, encoded.pop(window.start, None))
                    running.append((window, self._tools.lanes.submit(self._decode, window, request)))
                    if len(running) >= self._tools.n_ahead:
                        break
                if not running:
                    return
                window, future = running.popleft()
                segments = assemble(future.result(), floor_s)
                floor_s = segments[-1].end_s if segments else floor_s
                self._stop_if_cancelled()
                yield window, segments
        finally:
            for _, future in running:
                future.cancel()

    def _request(self, language: str, encoded: Encoded | None) -> WindowRequest:
        options = self._job.options
        return WindowRequest(
            samples=np.zeros(0, np.float32),
            language=language,
            task=options.task,
            prompt=self._prompt,
            beam_size=options.beam_size,
            words=options.word_timestamps,
            encoded=encoded,
        )

    def _decode(self, window: Window, request: WindowRequest) -> list[tuple[float, float, DecodedWindow]]:
        """The window and, while speech remains after its last timestamp, what remains of it."""
        parts: list[tuple[float, float, DecodedWindow]] = []
        start = window.start
        for _ in range(1 + _MAX_TAILS):
            if self._cancelled.is_set():
                break
            samples = self._spool.read(start, window.end)
            decoded = self._tools.decoder.decode([replace(request, samples=samples)])[0]
            parts.append((start / SAMPLE_RATE_HZ, window.end / SAMPLE_RATE_HZ, decoded))
            heard = start + round(decoded.covered_s * SAMPLE_RATE_HZ)
            if not decoded.segments or heard <= start or speech_s_after(window, heard) < _MIN_TAIL_SPEECH_S:
                break
            start, request = heard, replace(request, encoded=None)
        return parts

    def _encode(self, window: Window) -> Encoded:
        samples = self._spool.read(window.start, window.end)
        return self._tools.lanes.submit(self._tools.decoder.encode, samples).result()

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise JobCancelled("cancelled between two windows")


def speech_s_after(window: Window, sample: int) -> float:
    """Seconds of speech in *window* after *sample* of the recording."""
    return sum(max(0, span.end - max(span.start, sample)) for span in window.speech) / SAMPLE_RATE_HZ
