"""Our engine and decoders as the benchmarks use them: the one module here that knows the names of their settings.

A setting that this engine has not is named in `UnknownSettingError`, so that a sweep over it says "not run" instead
of measuring nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from benchmarks import processes, wav
from daemon.decode.pool import Decoded, DecodeLimits, DecodePool
from daemon.engine import runtime, weights
from daemon.engine.client import Checkpoint, Engine, EngineSettings, Request
from daemon.options import JobOptions
from daemon.transcript import Span, Transcript

CROWD: Final = 64
"""Recordings handed to the engine at once. It batches what is inside; the daemon keeps as many in hand as it may."""

_INSIDE: Final = "max_open"
"""The setting that says how many recordings may be inside at once."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording: its spool file, and where in it there is speech."""

    spool: Path
    n_samples: int
    spans: tuple[Span, ...]

    @property
    def audio_s(self) -> float:
        """Its length."""
        return self.n_samples / wav.RATE_HZ


class UnknownSettingError(Exception):
    """Raised when this engine has no setting of that name."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How our side is to run. *engine* and *job* are settings by the names of EngineSettings and JobOptions.

    *crowd* 0: the engine's own limit of recordings inside, and `CROWD` handed to it.
    """

    model: str
    models_dir: Path
    device: str = "auto"
    compute_type: str = "auto"
    n_threads: int = 0
    crowd: int = 0
    n_decoders: int = 2
    engine: Mapping[str, Any] | None = None
    job: Mapping[str, Any] | None = None


def has_engine_setting(name: str) -> bool:
    """Whether EngineSettings has a field of that name."""
    return name in {field.name for field in fields(EngineSettings)}


def engine_settings(wanted: Wanted) -> EngineSettings:
    """The engine's own settings. Raises UnknownSettingError."""
    asked: dict[str, Any] = {_INSIDE: wanted.crowd} if wanted.crowd else {}
    asked |= dict(wanted.engine or {})
    for name in asked:
        if not has_engine_setting(name):
            raise UnknownSettingError(f"the engine has no setting {name!r}")
    return EngineSettings(
        models_dir=wanted.models_dir,
        device=wanted.device,
        compute_type=wanted.compute_type,
        threads=wanted.n_threads,
        **asked,
    )


def job_options(wanted: Wanted, language: str | None) -> JobOptions:
    """The options of one recording: the defaults, but for what the row asks. Raises UnknownSettingError."""
    known = {field.name for field in fields(JobOptions)}
    for name in wanted.job or {}:
        if name not in known:
            raise UnknownSettingError(f"a recording has no option {name!r}")
    values: dict[str, Any] = {"model": wanted.model, "language": language, **(wanted.job or {})}
    return JobOptions(**values)


def shown_options(wanted: Wanted) -> dict[str, Any]:
    """The options that change words or speed, as they stand in a table, and the engine settings that a row asks."""
    options = job_options(wanted, None).to_dict()
    shown = {name: options[name] for name in ("quality", "beam_size") if name in options}
    return shown | dict(wanted.engine or {})


def model_folder(model: str, models_dir: Path) -> Path:
    """The CTranslate2 folder of *model*, for the peers. Nothing is fetched."""
    return weights.find(model, models_dir, allow_download=False, fetch=runtime.fetch)


def n_gpus() -> int:
    """How many GPUs CTranslate2 can use."""
    return runtime.n_cuda_devices()


def compute_types(device: str) -> list[str]:
    """The precisions that CTranslate2 can compute in on *device* (``cpu`` or ``cuda``)."""
    return sorted(runtime.supported_compute_types(device))


def _module() -> str:
    return "benchmarks.ablated_server" if os.environ.get("ABLATE") else "daemon.engine.server"


class Ours:
    """Our decode processes and our engine. Any number of threads may ask."""

    def __init__(self, wanted: Wanted) -> None:
        """The model is loaded when this returns. Raises UnknownSettingError, and what the engine raises."""
        self._wanted = wanted
        job_options(wanted, None)  # an option that is not there shows now
        self._engine = Engine(engine_settings(wanted), _print_output, module=_module())
        self._pool = DecodePool(workers=wanted.n_decoders, limits=DecodeLimits(), on_output=_print_output)
        self._engine.start(wanted.model)

    def transcribe(self, path: Path, language: str | None) -> Transcript:
        """The transcript of any recording."""
        with self.decoded(path) as recording:
            return self.transcribe_decoded(recording, language)

    def transcribe_unguarded(self, path: Path, language: str | None) -> Transcript:
        """The transcript of a 16 kHz WAV file as if the speech detector had taken all of it for speech."""
        samples = wav.read(path)
        with tempfile.NamedTemporaryFile() as spool:
            spool.write(samples.tobytes())
            spool.flush()
            whole = (Span(0, len(samples)),)
            return self.transcribe_decoded(Recording(Path(spool.name), len(samples), whole), language)

    @contextlib.contextmanager
    def decoded(self, path: Path) -> Generator[Recording, None, None]:
        """A recording decoded; its spool file goes when the block ends."""
        with tempfile.NamedTemporaryFile() as spool:
            found = _decode(self._pool, path, spool.fileno())
            yield Recording(Path(spool.name), found.n_samples, found.spans)

    def transcribe_decoded(self, recording: Recording, language: str | None) -> Transcript:
        """The transcript of a decoded recording."""
        options = job_options(self._wanted, language)
        return self._engine.transcribe(
            Request(0, recording.spool, recording.n_samples, recording.spans, options),
            Checkpoint(),
            progress=lambda _done_s, _total_s: None,
            cancelled=threading.Event(),
        )

    def made_with(self) -> dict[str, Any]:
        """The device and the precision that the engine uses."""
        status = self._engine.status()
        return {"device": status.device, "compute_type": status.compute_type}

    def decode_peak_mb(self) -> float:
        """The most that a decode process has had in memory."""
        return max(processes.peak_rss_mb(pid) for pid in self._pool.pids())

    def engine_peak_mb(self) -> float:
        """The most that the engine process has had in memory."""
        pid = self._engine.status().pid
        assert pid is not None, "the engine was started"
        return processes.peak_rss_mb(pid)

    def close(self) -> None:
        """No process is left."""
        self._engine.close(5.0)
        self._pool.close(5.0)


class Decoder:
    """Our decode processes alone, to bring recordings into one form."""

    def __init__(self) -> None:
        self._pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=_print_output)

    def decode(self, path: Path) -> wav.Samples:
        """The samples of any recording, 16 kHz mono. Raises what the decoders raise for one that they cannot read."""
        with tempfile.NamedTemporaryFile() as spool:
            _decode(self._pool, path, spool.fileno())
            return wav.from_bytes(Path(spool.name).read_bytes())

    def close(self) -> None:
        """No process is left."""
        self._pool.close(5.0)


def _decode(pool: DecodePool, path: Path, spool_fd: int) -> Decoded:
    with path.open("rb") as file:
        return pool.decode(file.fileno(), spool_fd, extension=path.suffix.lstrip("."), cancelled=threading.Event())


def _print_output(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr)
