"""What the daemon and its engine process say to each other, as frozen messages; both sides import this.

Owns the names and the types of the messages, and checks what arrives; knows nothing of models, threads or processes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from daemon.channel import Message
from daemon.options import JobOptions
from daemon.transcript import Segment, Span

Profile = Literal["low", "balanced", "throughput"]
"""What memory is to be spent on: as little as possible, or more of it for more speed."""


class Failure(StrEnum):
    """Who can do something about an error that the engine reports."""

    CONFIG = "config"
    RECORDING = "recording"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"
    BUG = "bug"


class ProtocolError(Exception):
    """Raised when a message is not one of ours: the two sides are of different versions, or one is broken."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the engine process is started with, as its one argument.

    *lanes* are the calls into the model at once (CTranslate2's inter_threads), *threads* the CPU threads of all lanes
    together, *max_batch* the windows in one call. 0 means, for each of the three: the process chooses, as it knows the
    device.
    """

    model: str
    device: str
    compute_type: str
    lanes: int
    threads: int
    max_batch: int
    profile: Profile
    models_dir: str
    allow_download: bool

    def to_json(self) -> str:
        """The settings as one line of JSON."""
        return _SETTINGS.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> ServerSettings:
        """The settings that `to_json` wrote. Raises ProtocolError."""
        try:
            return _SETTINGS.validate_json(text)
        except ValidationError as error:
            raise ProtocolError(f"these engine settings make no sense: {error}") from error


_SETTINGS: TypeAdapter[ServerSettings] = TypeAdapter(ServerSettings)


@dataclass(frozen=True, slots=True)
class Job:
    """Daemon to engine: transcribe one spool file.

    *id* is of this attempt, never used twice in one process. Windows before *next_sample* are finished already.
    *language* is what an earlier attempt found. Recordings of one *person* have one turn together among those of
    others, of this *weight*; without a name each has its own.
    """

    id: int
    spool_path: str
    n_samples: int
    spans: tuple[Span, ...]
    options: JobOptions
    next_sample: int = 0
    language: str | None = None
    person: str = ""
    weight: float = 1.0
    type: Literal["job"] = "job"


@dataclass(frozen=True, slots=True)
class Cancel:
    """Daemon to engine: give the job up after its current window; `Failed` with CANCELLED follows."""

    id: int
    type: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True)
class Ready:
    """Engine to daemon: the model is loaded and has passed its self-test, which took *warmup_s*."""

    model: str
    device: str
    compute_type: str
    pid: int
    load_s: float
    warmup_s: float
    type: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class Fatal:
    """Engine to daemon: the model cannot be loaded; the process ends."""

    kind: Failure
    message: str
    type: Literal["fatal"] = "fatal"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Engine to daemon, once a second from the start: the process runs.

    *n_windows* counts the windows of all jobs that the model has finished so far: it tells work that cannot be
    reported yet (a job's windows are reported in order) from none. *n_places* is how many could have been in their
    batches, *n_retries* how many were asked again, *n_flags* how many have a text that a guard does not believe.
    """

    n_windows: int = 0
    n_places: int = 0
    n_retries: int = 0
    n_flags: int = 0
    type: Literal["heartbeat"] = "heartbeat"


@dataclass(frozen=True, slots=True)
class LanguageFound:
    """Engine to daemon, once per job and before its first window."""

    id: int
    language: str
    probability: float
    type: Literal["language"] = "language"


@dataclass(frozen=True, slots=True)
class WindowDone:
    """Engine to daemon: everything before *next_sample* (*done_s* seconds) is finished; *segments* are new.

    So is *translation*, where it was asked for beside the text.
    """

    id: int
    segments: tuple[Segment, ...]
    next_sample: int
    done_s: float
    translation: tuple[Segment, ...] = ()
    type: Literal["window"] = "window"


@dataclass(frozen=True, slots=True)
class Done:
    """Engine to daemon: the job is finished; all its windows have been sent."""

    id: int
    type: Literal["done"] = "done"


@dataclass(frozen=True, slots=True)
class Failed:
    """Engine to daemon: the job is over without a result."""

    id: int
    kind: Failure
    message: str
    type: Literal["error"] = "error"


Command = Annotated[Job | Cancel, Field(discriminator="type")]
"""What the daemon says."""

JobReport = LanguageFound | WindowDone | Done | Failed
"""What the engine says about one job."""

Report = Annotated[
    Ready | Fatal | Heartbeat | LanguageFound | WindowDone | Done | Failed,
    Field(discriminator="type"),
]
"""What the engine says."""

_COMMANDS: TypeAdapter[Job | Cancel] = TypeAdapter(Command)
_REPORTS: TypeAdapter[Ready | Fatal | Heartbeat | JobReport] = TypeAdapter(Report)


def to_message(said: Job | Cancel | Ready | Fatal | Heartbeat | JobReport) -> Message:
    """*said* as a channel message."""
    return asdict(said)


def parse_command(message: Message) -> Job | Cancel:
    """What the daemon said. Raises ProtocolError."""
    try:
        return _COMMANDS.validate_python(message)
    except ValidationError as error:
        raise ProtocolError(f"not a command for the engine: {error}") from error


def parse_report(message: Message) -> Ready | Fatal | Heartbeat | JobReport:
    """What the engine said. Raises ProtocolError."""
    try:
        return _REPORTS.validate_python(message)
    except ValidationError as error:
        raise ProtocolError(f"not a report of the engine: {error}") from error
