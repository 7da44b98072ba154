"""One recording through the model: windows planned, asked for ahead of one another, their segments sent in order.

Owns the order of the work on one job; knows nothing of processes, of the wire, or of other recordings.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from typing import Final, TypeVar

from daemon.engine.assembly import DecodedWindow, Placed, assemble, is_its_own_translation, translations_of
from daemon.engine.batching import Flow
from daemon.engine.decoding import MAX_PROMPT_TOKENS, Decoder, Listening, WindowRequest
from daemon.engine.holes import hears_more, is_heard, recut
from daemon.engine.lanes import Lanes
from daemon.engine.protocol import Job, LanguageFound, WindowDone
from daemon.engine.runtime import Encoded
from daemon.engine.seeking import seek_through
from daemon.engine.spool import Spool
from daemon.engine.windows import LONG_SILENCE_SAMPLES, TURN_SILENCE_SAMPLES, Window, plan_windows
from daemon.errors import ConfigError, JobCancelled
from daemon.transcript import SAMPLE_RATE_HZ, Span

_LANGUAGE_WINDOWS: Final = 3  # vote on the language of a recording

_LOOK_UP_S: Final = 0.2  # how often a waiting job looks whether it was cancelled

T = TypeVar("T")


def run_job(
    job: Job,
    lanes: Lanes,
    decoder: Decoder,
    emit: Callable[[LanguageFound | WindowDone], None],
    cancelled: threading.Event,
) -> None:
    """Decode all windows of *job* from ``job.next_sample`` on; *emit* gets each in order as soon as it is finished.

    Raises JobCancelled between windows once *cancelled* is set, ConfigError for options that the model cannot do.
    """
    _check(job, decoder)
    with closing(Spool(job.spool_path)) as spool:
        recording = Recording(job, lanes, decoder, spool, cancelled)
        try:
            windows = recording.windows()
            language = recording.language(windows)
            emit(language)
            decoded = recording.seek(windows) if job.options.quality == "faithful" else recording.decode(windows)
            reported = _Reported(job)
            for next_sample, parts in decoded:
                emit(reported.window(next_sample, parts))
        finally:
            recording.drop()


class _Reported:
    """How far the lines of a transcript reach, and those of its translation: the next ones begin no earlier."""

    def __init__(self, job: Job) -> None:
        self._id = job.id
        self._floor_s = self._english_floor_s = job.next_sample / SAMPLE_RATE_HZ

    def window(self, next_sample: int, parts: Sequence[Placed]) -> WindowDone:
        """The report of a finished window."""
        segments, english = assemble(parts, self._floor_s), assemble(translations_of(parts), self._english_floor_s)
        self._floor_s = segments[-1].end_s if segments else self._floor_s
        self._english_floor_s = english[-1].end_s if english else self._english_floor_s
        return WindowDone(self._id, tuple(segments), next_sample, next_sample / SAMPLE_RATE_HZ, tuple(english))


def _check(job: Job, decoder: Decoder) -> None:
    wanted = job.options.language
    if wanted is not None and wanted not in decoder.languages:
        known = ", ".join(sorted(decoder.languages))
        raise ConfigError(f"the model {job.options.model!r} does not know the language {wanted!r}; it knows {known}")
    if job.options.task != "transcribe" and wanted != "en" and decoder.languages == frozenset({"en"}):
        raise ConfigError(
            f"the model {job.options.model!r} knows only English and cannot translate: choose one without .en in its "
            'name, or task = "transcribe"'
        )


Finished = tuple[int, list[Placed]]
"""The sample up to which the recording is finished, and what was decoded."""


class Recording:
    """One job's windows on their way to the model and back."""

    def __init__(self, job: Job, lanes: Lanes, decoder: Decoder, spool: Spool, cancelled: threading.Event) -> None:
        self.job = job
        self._lanes = lanes
        self._spool = spool
        self._cancelled = cancelled
        self._flow: Flow = lanes.open(job.person, job.weight)
        options = job.options
        self._prompt = decoder.prompt(options.hotwords, options.initial_prompt)
        self._prompt_text = " ".join(text for text in (options.hotwords, options.initial_prompt) if text)
        self._multilingual = options.multilingual and options.language is None
        self._language = ""  # asked for each window
        self._encoded: dict[int, Encoded] = {}
        self._asked: dict[int, Future[DecodedWindow]] = {}

    def windows(self) -> list[Window]:
        """The windows that are not finished yet; the same at every attempt."""
        silence = TURN_SILENCE_SAMPLES if self._multilingual else LONG_SILENCE_SAMPLES
        planned = plan_windows(self.job.spans, self.job.n_samples, self._spool.quietest, silence)
        return [window for window in planned if window.end > self.job.next_sample]

    def language(self, windows: Sequence[Window]) -> LanguageFound:
        """The language given, or the one that the first windows with speech are most likely in, together."""
        given = self.job.options.language or self.job.language
        self._language = "" if self._multilingual else given or ""
        if given is not None or not windows:
            return LanguageFound(self.job.id, given or "", 1.0 if given else 0.0)
        first = windows[:_LANGUAGE_WINDOWS]
        asked = self._listen(first)
        sums: dict[str, float] = {}
        for window, future in zip(first, asked, strict=True):
            probabilities, self._encoded[window.start] = self._wait(future)
            for code, probability in probabilities.items():
                sums[code] = sums.get(code, 0.0) + probability
        voted = max(sums, key=lambda code: sums[code])
        self._language = "" if self._multilingual else voted
        return LanguageFound(self.job.id, voted, sums[voted] / len(first))

    def _listen(self, first: Sequence[Window]) -> list[Future[Listening]]:
        """Ask for the languages of windows; a lone one has nothing to vote on, so it waits for one turn, not two."""
        if len(first) == 1 and self.job.options.quality != "faithful":
            heard, self._asked[first[0].start] = self._lanes.hear(self._request(first[0], ""), self._flow)
            return [heard]
        return [self._lanes.listen(self._request(window, ""), self._flow) for window in first]

    def decode(self, windows: Sequence[Window]) -> Iterator[Finished]:
        """Each window by itself, many at once, finished in order."""
        running: deque[tuple[Window, Future[DecodedWindow]]] = deque()
        for window in windows:
            running.append((window, self._ask(window)))
            while len(running) >= self._lanes.n_ahead or (running and running[0][1].done()):
                yield self._finished(*running.popleft())
        while running:
            yield self._finished(*running.popleft())

    def seek(self, windows: Sequence[Window]) -> Iterator[Finished]:
        """One window after the other, each from where the text of the one before ends, with that text as prompt."""

        def listen(window: Window, previous: tuple[int, ...]) -> DecodedWindow:
            return self._wait(self._ask(window, previous))

        for window, heard_to, answer in seek_through(windows, self.job.next_sample, listen):
            whole = self._translated(window.part(window.start, heard_to), answer)
            yield heard_to, [(window.start / SAMPLE_RATE_HZ, window.end / SAMPLE_RATE_HZ, whole)]

    def _translated(self, heard: Window, answer: DecodedWindow) -> DecodedWindow:
        """*answer* with its translation if that is wanted; *heard* is the stretch that it is the text of.

        That ends where the text does, which nobody knew before: so it is asked for by itself, as `careful` does.
        """
        if self.job.options.task != "both":
            return answer
        if is_its_own_translation(answer):
            return replace(answer, translation=answer)
        original = " ".join(segment.text.strip() for segment in answer.segments)
        request = self._request(heard, answer.language)
        request = replace(request, task="translate", quality="careful", original=original)
        return replace(answer, translation=self._wait(self._lanes.decode(request, self._flow)))

    def drop(self) -> None:
        """Nothing of this recording waits any more."""
        self._lanes.drop(self._flow)

    def _ask(self, window: Window, previous: tuple[int, ...] = ()) -> Future[DecodedWindow]:
        """Ask for the text of *window*; blocks while too many wait."""
        self._stop_if_cancelled()
        asked = self._asked.pop(window.start, None)
        if asked is not None:
            return asked
        encoded = self._encoded.pop(window.start, None)
        return self._lanes.decode(self._request(window, self._language, previous), self._flow, encoded)

    def _finished(self, window: Window, asked: Future[DecodedWindow]) -> Finished:
        return window.end, [
            (part.start / SAMPLE_RATE_HZ, part.end / SAMPLE_RATE_HZ, answer)
            for part, answer in self._heard(window, self._wait(asked))
        ]

    def _heard(self, window: Window, answer: DecodedWindow) -> list[tuple[Window, DecodedWindow]]:
        """The answer of *window*; where it leaves out speech, those of its parts if they are better. Only once."""
        parts = recut(window, answer, self._spool.quietest)
        # What was left out comes first: where it is no speech, nothing else need be asked.
        answers = self._ask_parts([part.window for part in parts if part.lost])
        if not answers or not all(map(is_heard, answers.values())):
            return [(window, answer)]
        answers |= self._ask_parts([part.window for part in parts if not part.lost])
        heard = [(part.window, answers[part.window]) for part in parts]
        return heard if hears_more(answer, list(answers.values())) else [(window, answer)]

    def _ask_parts(self, parts: Sequence[Window]) -> dict[Window, DecodedWindow]:
        self._stop_if_cancelled()
        requests = [replace(self._request(part, self._language), is_part=True) for part in parts]
        asked = [self._lanes.decode(request, self._flow) for request in requests]
        return {part: self._wait(future) for part, future in zip(parts, asked, strict=True)}

    def _request(self, window: Window, language: str, previous: tuple[int, ...] = ()) -> WindowRequest:
        options = self.job.options
        start, end = window.start, window.end
        n_room = MAX_PROMPT_TOKENS - len(self._prompt)
        return WindowRequest(
            samples=self._spool.read(start, end),
            language=language,
            task="transcribe" if options.task == "both" and options.quality == "faithful" else options.task,
            quality=options.quality,
            beam_size=options.beam_size,
            prompt=self._prompt + previous[max(0, len(previous) - n_room) :],
            prompt_text=self._prompt_text,
            words=options.word_timestamps,
            speech=tuple(Span(max(0, span.start - start), min(end, span.end) - start) for span in window.speech),
        )

    def _wait(self, future: Future[T]) -> T:
        while True:
            self._stop_if_cancelled()
            try:
                return future.result(timeout=_LOOK_UP_S)
            except TimeoutError:
                continue

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise JobCancelled("cancelled between two windows")
