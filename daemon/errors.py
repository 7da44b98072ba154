"""Every error that the service raises on purpose, sorted by who can do something about it.

    TranscribedError
    ├── ConfigError            the operator: exit 78, one message, no traceback
    │   └── AlreadyRunning     another daemon holds this state folder or this inbox
    ├── HistoryLost            nobody: exit 75, the next start mends the history by itself
    ├── RecordingError         the recording: the job fails for good, the reason in its row
    │   ├── UnreadableRecording   no reader could make sense of the bytes
    │   ├── EmptyRecording        a valid container with no audio in it
    │   ├── RecordingTooLarge     over a limit on duration, bytes, rate or channels
    │   └── Quarantined           it killed the engine when it was alone in it
    ├── TransientError         time: the job is tried again later, attempts counted
    │   ├── SourceBlocked         the recording cannot be opened at present
    │   ├── RecordingIncomplete   it ends too early and may still be growing
    │   ├── SpoolBlocked          the state folder cannot hold the decoded audio
    │   ├── DecodeFailed          the decode process died or missed its deadline
    │   │   └── DecoderKilled     it was killed from outside
    │   ├── EngineDied            the engine process died with this job in it
    │   ├── EngineUnavailable     the engine cannot be started at present
    │   │   ├── EngineNotLoaded   it died while it loaded the model
    │   │   └── DeviceFull        the device has no memory left for the job
    │   └── OutputBlocked         the folder of the recording cannot be written
    ├── SourceChanged          the recording is not the one that the job was made for
    │   └── SourceVanished        it is gone
    ├── JobCancelled           a person cancelled the job
    └── TextChanged            a transcript is not what a correction was made of

Anything else is a bug: it is logged with its traceback, the job fails, the daemon lives.
"""

from __future__ import annotations

from typing import TypeVar

from storage.records import Told


class TranscribedError(Exception):
    """Base of every error raised on purpose; the message is fit for a person to read.

    *told* says it to whoever only sees the folder, in a language of theirs (`daemon.words`).
    """

    told: Told = Told("trouble")


_E = TypeVar("_E", bound=TranscribedError)


def telling(error: _E, key: str, **figures: str | float) -> _E:
    """*error*, which says by *key* and *figures* what it is, more exactly than its class does."""
    error.told = Told(key, figures)
    return error


class ConfigError(TranscribedError):
    """Raised when the operator has to change a setting or the machine before we can run."""

    told = Told("server_trouble")


class AlreadyRunning(ConfigError):
    """Raised when another daemon holds the state folder or an inbox."""


class HistoryLost(TranscribedError):
    """Raised when the database is not the one that was opened, or is damaged: start again, and it is mended."""


class RecordingError(TranscribedError):
    """Raised when the recording itself is the reason: trying again cannot help.

    *cut_off* is what shows that the file ends too early, in words; empty where nothing does.
    """

    cut_off: str = ""


class UnreadableRecording(RecordingError):
    """Raised when no reader finds audio that it understands in the file."""

    told = Told("unreadable")


class EmptyRecording(RecordingError):
    """Raised when the container is valid and holds no audio samples."""

    told = Told("no_sound")


class RecordingTooLarge(RecordingError):
    """Raised when a limit on duration, bytes, sample rate or channels is passed."""

    told = Told("too_large")


class Quarantined(RecordingError):
    """Raised when the engine died more than once with this recording in it, the last time with nothing else in it."""

    told = Told("quarantined")


class TransientError(TranscribedError):
    """Raised when the same work may succeed later."""


class SourceBlocked(TransientError):
    """Raised when the recording cannot be opened at present: permissions, a share in trouble."""

    told = Told("source_blocked")


class RecordingIncomplete(TransientError):
    """Raised when the recording ends too early and was written to so lately that the rest may still come.

    It is looked at again when it changes, else after *wait_s*, and then taken as it is.
    """

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.told = Told("incomplete")


class SpoolBlocked(TransientError):
    """Raised when the decoded audio cannot be written to the state folder at present: its disk is full, mostly."""

    told = Told("server_trouble")


class DecodeFailed(TransientError):
    """Raised when a decode process died or missed its deadline on this recording."""

    told = Told("again")


class DecoderKilled(DecodeFailed):
    """Raised when the decode process was killed by others: not by us, and not by the kernel for want of memory."""


class EngineDied(TransientError):
    """Raised when the engine process died while this job was in it.

    *n_inside* jobs were in it, this one counted. One that was *alone* is to blame, unless the process was killed
    *by_others*: not by us, and not by the kernel for want of memory.
    """

    told = Told("again")

    def __init__(self, message: str, *, n_inside: int, by_others: bool = False) -> None:
        super().__init__(message)
        self.n_inside = n_inside
        self.by_others = by_others

    @property
    def alone(self) -> bool:
        """Whether no other job was in the engine."""
        return self.n_inside == 1


class EngineUnavailable(TransientError):
    """Raised when the engine cannot be started at present."""

    told = Told("server_trouble")


class EngineNotLoaded(EngineUnavailable):
    """Raised when the engine process died while it loaded the model: it may be started again after its backoff."""


class DeviceFull(EngineUnavailable):
    """Raised when the device has too little memory left for even one window of the job."""


class OutputBlocked(TransientError):
    """Raised when a transcript cannot be written beside its recording at present."""

    told = Told("output_blocked")


class SourceChanged(TranscribedError):
    """Raised when the recording changed after its job was made: its new content is a new job."""

    told = Told("changed")


class SourceVanished(SourceChanged):
    """Raised when the recording is gone from the inbox."""

    told = Told("vanished")


class JobCancelled(TranscribedError):
    """Raised inside a job that a person cancelled."""


class TextChanged(TranscribedError):
    """Raised when somebody else corrected a transcript meanwhile, or another one took its place.

    *newest* is the number of its newest version, 0 where it is no transcript that can be corrected.
    """

    newest: int = 0
