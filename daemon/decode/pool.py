"""The decode processes as the daemon sees them: started on demand, reused, watched, killed.

Imports no media library.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
import signal
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from daemon.channel import ChannelClosed, ChannelTimeout
from daemon.child import Child
from daemon.decode.confinement import Confinement
from daemon.decode.settings import DecodeLimits, DecodeSettings, SpeechThresholds
from daemon.errors import (
    DecodeFailed,
    DecoderKilled,
    EmptyRecording,
    JobCancelled,
    RecordingError,
    RecordingTooLarge,
    SpoolBlocked,
    UnreadableRecording,
)
from daemon.transcript import Span
from storage.records import Told

__all__ = ["DecodeLimits", "DecodePool", "Decoded", "SpeechThresholds"]

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.2
"""How soon a cancellation is noticed."""

_MAX_IDLE_BYTES: Final = 400 * 1024**2
"""A worker that keeps more than this after a recording is replaced; 130 MB are usual."""

_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",  # NumPy's BLAS would start a thread for each core, with address space of its own
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}


class _NoReader(UnreadableRecording):
    """Raised here where ffmpeg may still be asked."""


_ERRORS: Final[dict[str, type[Exception]]] = {
    "unreadable": UnreadableRecording,
    "no_reader": _NoReader,
    "empty": EmptyRecording,
    "too_large": RecordingTooLarge,
    "io": DecodeFailed,
    "full": SpoolBlocked,
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded recording: the spool file holds *n_samples* at 16 kHz; *spans* of them are speech.

    Where it holds two channels one after the other (`daemon.decode.hearing`), the right one begins at *second*; else
    that is 0. *layout* says what its channels are (`daemon.decode.channels.Layout`).

    *declared_s* is what the header says, None where it says nothing; *decoded_s* what came out. *sample_rate_hz*,
    *channels* and *codec* are those of the recording. *n_damaged* counts packets that could not be decoded. *cut_off*
    is what shows that the file ends too early, in words; empty where nothing does. *sound* is its fingerprint, packed
    (`daemon.sound`); empty where there is too little to know it by.
    """

    source_sha256: str
    n_samples: int
    decoded_s: float
    declared_s: float | None
    sample_rate_hz: int
    channels: int
    codec: str
    reader: str
    n_damaged: int
    spans: tuple[Span, ...]
    cut_off: str = ""
    second: int = 0
    layout: str = ""
    sound: bytes = b""


class _Worker:
    """One decode process and how many recordings it has had. With *programs* it takes just one."""

    def __init__(self, child: Child, *, programs: bool) -> None:
        self.child = child
        self.programs = programs
        self.n_files = 0

    def kill(self) -> None:
        """End it at once, and the ffmpeg that it may have started."""
        if self.child.alive():  # not reaped yet, so the process group is still ours
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
        self.child.kill()

    def resident_bytes(self) -> int:
        """What it holds in memory now; 0 where it is gone."""
        try:
            with open(f"/proc/{self.child.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * resource.getpagesize()
        except (OSError, IndexError, ValueError):
            return 0


class DecodePool:
    """At most *workers* decode processes. Any number of threads may call; each call blocks until it is done."""

    def __init__(
        self,
        *,
        workers: int,
        limits: DecodeLimits,
        on_output: Callable[[str, str], None],
        files_per_worker: int = 200,
        silence_s: float = 120.0,
        thresholds: SpeechThresholds | None = None,
    ) -> None:
        """Starts nothing yet. What a worker prints reaches *on_output* as (name, line)."""
        self._settings = DecodeSettings(limits, thresholds or SpeechThresholds())
        self._on_output = on_output
        self._files_per_worker = files_per_worker
        self._silence_s = silence_s
        self._free = threading.Semaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._all_idle = threading.Condition(self._lock)
        self._n_started = 0
        self._confinement: Confinement | None = None
        self._closed = threading.Event()

    def decode(
        self,
        recording_fd: int,
        spool_fd: int,
        *,
        extension: str,
        cancelled: threading.Event,
        progress: Callable[[float], None] | None = None,
        speakers: bool = False,
    ) -> Decoded:
        """The spool file holds the recording as 16 kHz mono signed 16-bit samples; its old content is gone.

        *recording_fd* is open for reading, *spool_fd* for reading and writing; the caller owns both. *extension* is
        that of the file's name, a hint. *progress* is called with the seconds decoded so far. With *speakers*, two
        channels with a voice on each are put one after the other.

        Raises UnreadableRecording, EmptyRecording, RecordingTooLarge, DecodeFailed, SpoolBlocked, JobCancelled;
        RuntimeError with the worker's traceback where our own code is wrong.
        """
        request = {"type": "decode", "extension": extension, "speakers": speakers}
        fds = (recording_fd, spool_fd)
        try:
            answer = self._ask(request, fds, cancelled, progress)
        except _NoReader as error:
            answer = self._last_resort(error, request, fds, cancelled, progress)
        values = {key: value for key, value in answer.items() if key not in ("type", "spans", "sound")}
        spans = tuple(Span(start, end) for start, end in answer["spans"])
        return Decoded(**values, spans=spans, sound=b64decode(answer["sound"]))

    def _last_resort(
        self,
        why: _NoReader,
        request: dict[str, Any],
        fds: Sequence[int],
        cancelled: threading.Event,
        progress: Callable[[float], None] | None,
    ) -> dict[str, Any]:
        """What ffmpeg makes of the recording, in a process of its own: the others may start no program."""
        if shutil.which("ffmpeg") is None:
            words = f"{why}; pydub: there is no ffmpeg on this machine"
            raise _said(UnreadableRecording, words, why.cut_off, why.told)
        try:
            return self._ask(request, fds, cancelled, progress, programs=True)
        except UnreadableRecording as error:
            raise _said(UnreadableRecording, f"{why}; {error}", why.cut_off, why.told) from error

    def confinement(self) -> Confinement:
        """What the decode processes are forbidden here; starts one if none has been. Raises DecodeFailed."""
        if self._confinement is None:
            self._ask({"type": "hello"}, (), threading.Event(), None)
        assert self._confinement is not None
        return self._confinement

    def digest(self, fd: int, cancelled: threading.Event | None = None) -> str:
        """The SHA-256 of the bytes of *fd*, in hexadecimal. Raises DecodeFailed, and JobCancelled once *cancelled*."""
        answer = self._ask({"type": "digest"}, (fd,), cancelled or threading.Event(), None)
        return str(answer["source_sha256"])

    def pids(self) -> list[int]:
        """The process ids of the workers that run now."""
        with self._lock:
            return [worker.child.pid for worker in (*self._idle, *self._busy)]

    def close(self, grace_s: float) -> None:
        """No worker is left. Recordings being decoded get *grace_s* to finish; their callers then see DecodeFailed."""
        self._closed.set()
        with self._all_idle:
            self._all_idle.wait_for(lambda: not self._busy, grace_s)
            busy, idle = list(self._busy), list(self._idle)
            self._idle.clear()
        for worker in busy:
            worker.kill()
        for worker in idle:
            worker.child.close(1.0)

    def _ask(
        self,
        request: dict[str, Any],
        fds: Sequence[int],
        cancelled: threading.Event,
        progress: Callable[[float], None] | None,
        *,
        programs: bool = False,
    ) -> dict[str, Any]:
        with self._worker(cancelled, programs=programs) as worker:
            try:
                worker.child.channel.send(request, fds)
                answer = self._listen(worker, cancelled, progress)
            except ChannelClosed as error:
                raise self._ended(worker) from error
        if answer["type"] == "done":
            return answer
        told = Told(**answer["told"]) if answer["told"] is not None else None
        raise _said(_ERRORS.get(answer["kind"], RuntimeError), answer["message"], answer["cut_off"], told)

    def _listen(
        self, worker: _Worker, cancelled: threading.Event, progress: Callable[[float], None] | None
    ) -> dict[str, Any]:
        """The answer that ends the request; the worker dies where there is none."""
        last_sign = time.monotonic()
        while True:
            if cancelled.is_set():
                raise JobCancelled("cancelled while it was decoded")
            try:
                message = worker.child.channel.receive(_POLL_S).message
            except ChannelTimeout:
                if time.monotonic() - last_sign > self._silence_s:
                    raise DecodeFailed(
                        f"the decode process gave no sign of progress for {self._silence_s:g} s and was ended"
                    ) from None
                continue
            last_sign = time.monotonic()
            if message["type"] == "ready":
                self._take_note(Confinement.from_dict(message["confinement"]))
                continue
            if message["type"] != "progress":
                return message
            if progress is not None:
                progress(message["decoded_s"])

    def _take_note(self, confinement: Confinement) -> None:
        if self._confinement is None:
            level = logging.WARNING if confinement.missing else logging.INFO
            extra = {"event": "decode_sandbox"} | confinement.to_dict()
            _log.log(level, "Recordings are decoded in a sandbox: %s", confinement.in_words(), extra=extra)
        self._confinement = confinement

    def _ended(self, worker: _Worker) -> DecodeFailed:
        if self._closed.is_set():
            return DecodeFailed("the decode process was ended because the service stops")
        reason = f"the decode process ended in the middle of this recording: {worker.child.exit_reason()}"
        return DecoderKilled(reason) if worker.child.killed_by_others else DecodeFailed(reason)

    @contextlib.contextmanager
    def _worker(self, cancelled: threading.Event, *, programs: bool) -> Generator[_Worker, None, None]:
        """A worker of one's own; it is kept for the next only if the block ends without an exception."""
        while not self._free.acquire(timeout=_POLL_S):
            if cancelled.is_set():
                raise JobCancelled("cancelled before it was decoded")
            self._refuse_if_closed()
        try:
            worker = self._take(programs=programs)
            try:
                yield worker
            except BaseException:
                worker.kill()
                raise
            finally:
                self._put_back(worker)
        finally:
            self._free.release()

    def _refuse_if_closed(self) -> None:
        if self._closed.is_set():
            raise DecodeFailed("no decoding any more: the service stops")

    def _take(self, *, programs: bool) -> _Worker:
        self._refuse_if_closed()
        with self._lock:
            while self._idle and not programs:
                worker = self._idle.pop()
                if worker.child.alive():
                    self._busy.append(worker)
                    return worker
                _log.warning(
                    "An idle decode process ended: %s", worker.child.exit_reason(), extra={"event": "decoder_died"}
                )
                worker.kill()
            self._n_started += 1
            name = f"decoder-{self._n_started}"
        worker = _Worker(self._spawn(name, programs=programs), programs=programs)
        with self._lock:
            if not self._closed.is_set():
                self._busy.append(worker)
                return worker
        worker.kill()  # close() did not see it
        raise DecodeFailed("no decoding any more: the service stops")

    def _spawn(self, name: str, *, programs: bool) -> Child:
        try:
            child = Child.spawn(
                "daemon.decode.worker",
                [replace(self._settings, programs=programs).to_json()],
                name=name,
                on_output=self._on_output,
                environment=_ENVIRONMENT,
            )
        except OSError as error:
            raise DecodeFailed(f"a decode process cannot be started: {error}") from error
        _log.debug("Decode process %s started, pid %d", name, child.pid, extra={"event": "decoder_started"})
        return child

    def _put_back(self, worker: _Worker) -> None:
        worker.n_files += 1
        alive = worker.child.alive()
        spent = worker.n_files >= self._files_per_worker or worker.resident_bytes() > _MAX_IDLE_BYTES
        keep = alive and not spent and not worker.programs and not self._closed.is_set()
        with self._all_idle:
            self._busy.remove(worker)
            if keep:
                self._idle.append(worker)
            self._all_idle.notify_all()
        if alive and not keep:
            worker.child.close(1.0)


def _said(kind: type[Exception], message: str, cut_off: str, told: Told | None) -> Exception:
    error = kind(message)
    if isinstance(error, RecordingError):
        error.cut_off = cut_off
        error.told = told or error.told
    return error
