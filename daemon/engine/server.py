"""The engine process: one model on one device, and the recordings that are open in it.

Started by the daemon:

    python -P -m daemon.engine.server FD PARENT_PID SETTINGS_JSON

Owns the life of the process and what it chooses from its device; knows nothing of queues, databases or files beside
recordings. It ends when the daemon closes the channel.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from daemon.channel import Channel, ChannelClosed
from daemon.child import become_child
from daemon.engine import runtime, weights
from daemon.engine.batching import BatchLimit
from daemon.engine.board import Board
from daemon.engine.decoding import Ask, Decoder, WindowRequest
from daemon.engine.job import run_job
from daemon.engine.lanes import Lanes, is_out_of_memory
from daemon.engine.passes import WHOLE_FRAMES, Pass
from daemon.engine.protocol import (
    Cancel,
    Done,
    Failed,
    Failure,
    Fatal,
    Heartbeat,
    Job,
    JobReport,
    Profile,
    Ready,
    ServerSettings,
    parse_command,
    to_message,
)
from daemon.errors import ConfigError, JobCancelled, RecordingError
from daemon.transcript import SAMPLE_RATE_HZ

_HEARTBEAT_S: Final = 1.0

_OOM_SCORE_ADJUST: Final = 500
# The model is the largest thing that we hold and the cheapest to lose: it is loaded again.

_POISONED: Final = ("CUDA", "cuBLAS", "cuDNN")
# After most CUDA errors nothing works any more in the process ("must be terminated and relaunched", CUDA runtime
# API, cudaError_t), so it ends and the daemon starts a new one.


_MAX_OPEN: Final = 1024  # recordings; the daemon asks for far fewer at once


_MAX_BATCH: Final[dict[str, dict[Profile, int]]] = {
    # From four windows on, more in a batch hardly cost less each on a CPU: a core is busy with one.
    "cpu": {"low": 4, "balanced": 8, "throughput": 8},
    # About 0.23 GB each with large-v3 (measured by others on faster-whisper).
    "cuda": {"low": 4, "balanced": 16, "throughput": 64},
}

_MAX_BATCH_FRAMES_CPU: Final = 5_200
# What the decoder keeps of a batch goes with its frames: 12 kB each with base. A batch of long windows is smaller, so
# that a long recording takes 150 MB above the loaded model instead of 390, for no more processor time, and nobody waits
# long for a lane: one of 30 s, three of 15 s, eight of 5 s.


class Server:
    """The open recordings of a loaded model, fed from the channel; their windows share its batches."""

    def __init__(self, channel: Channel, decoder: Decoder, lanes: Lanes) -> None:
        self._channel = channel
        self._decoder = decoder
        self._lanes = lanes
        self._jobs = ThreadPoolExecutor(_MAX_OPEN, thread_name_prefix="job")
        self._cancelled: dict[int, threading.Event] = {}

    def serve(self) -> None:
        """Take commands until the daemon closes the channel. Raises ChannelClosed then."""
        while True:
            command = parse_command(self._channel.receive().message)
            if isinstance(command, Cancel):
                asked = self._cancelled.get(command.id)
                if asked is not None:  # else it is over already
                    asked.set()
            else:
                self._cancelled[command.id] = threading.Event()
                self._jobs.submit(self._run, command)

    def _run(self, job: Job) -> None:
        ended = self._outcome(job)
        self._cancelled.pop(job.id, None)
        self._say(ended)

    def _outcome(self, job: Job) -> Done | Failed:
        try:
            run_job(job, self._lanes, self._decoder, self._say, self._cancelled[job.id])
        except JobCancelled as error:
            return Failed(job.id, Failure.CANCELLED, str(error))
        except ConfigError as error:
            return Failed(job.id, Failure.CONFIG, str(error))
        except RecordingError as error:
            return Failed(job.id, Failure.RECORDING, str(error))
        except MemoryError as error:
            return Failed(job.id, Failure.OUT_OF_MEMORY, f"out of memory: {error}")
        except Exception as error:  # noqa: BLE001  # a bug costs its job, not the others
            return _unexpected(job, error)
        return Done(job.id)

    def _say(self, report: JobReport) -> None:
        try:
            self._channel.send(to_message(report))
        except ChannelClosed:
            os._exit(0)  # nobody is left to hear the result


def _unexpected(job: Job, error: Exception) -> Failed:
    if is_out_of_memory(error):
        return Failed(job.id, Failure.OUT_OF_MEMORY, str(error))
    if isinstance(error, RuntimeError) and any(word in str(error) for word in _POISONED):
        print(f"the device is unusable after: {error}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(os.EX_IOERR)
    return Failed(job.id, Failure.BUG, traceback.format_exc())


def resolve_lanes(settings: ServerSettings, device: str) -> int:
    """Calls into the model at once; chosen from the device where the settings leave it open."""
    if settings.lanes:
        return settings.lanes
    if settings.profile == "low":
        return 1  # each lane has working memory of its own
    if device != "cpu":
        return 2  # one encodes while the other decodes
    return min(4, settings.threads or len(os.sched_getaffinity(0)))


def threads_per_lane(settings: ServerSettings, device: str) -> int:
    """CPU threads for each lane, so that all lanes together use the cores that this process may run on once."""
    n_cores = settings.threads or len(os.sched_getaffinity(0))
    return max(1, n_cores // resolve_lanes(settings, device))


def resolve_max_batch(settings: ServerSettings, device: str) -> int:
    """Windows in one call; chosen from the device where the settings leave it open."""
    return settings.max_batch or _MAX_BATCH["cpu" if device == "cpu" else "cuda"][settings.profile]


def open_lanes(decoder: Decoder, settings: ServerSettings, device: str) -> Lanes:
    """The lanes to the model, running."""
    limit = BatchLimit(resolve_max_batch(settings, device))
    max_frames = _MAX_BATCH_FRAMES_CPU if device == "cpu" else limit.n * WHOLE_FRAMES
    return Lanes(decoder, Board(limit, max_frames), limit, resolve_lanes(settings, device))


def load(settings: ServerSettings) -> tuple[runtime.Model, Ready]:
    """The model, loaded and tested on a second of noise.

    Raises ConfigError for what the operator must mend, MemoryError for a device that is full. With ``auto`` a GPU on
    which nothing runs is passed over for the CPU.
    """
    started = time.monotonic()
    path = weights.find(
        settings.model,
        Path(settings.models_dir),
        allow_download=settings.allow_download,
        fetch=runtime.fetch,
        known=runtime.known_models(),
    )
    device = runtime.choose_device(settings.device)
    try:
        model = _on_device(path, device, settings)
        warmup_s = warm_up(model)
    except RuntimeError as error:
        if is_out_of_memory(error):  # somebody else's for the moment: it passes
            raise MemoryError(f"the model {settings.model!r} does not fit on {device}: {error}") from error
        if settings.device != "auto" or device == "cpu":
            raise ConfigError(f"cannot run the model {settings.model!r} on {device}: {error}") from error
        print(f"cannot run on {device}, going on with the CPU: {error}", file=sys.stderr, flush=True)  # noqa: T201
        device = "cpu"
        model = _on_device(path, device, settings)
        warmup_s = warm_up(model)
    load_s = time.monotonic() - started
    compute_type = model.whisper.compute_type
    return model, Ready(settings.model, device, compute_type, os.getpid(), round(load_s, 3), round(warmup_s, 3))


def _on_device(path: Path, device: str, settings: ServerSettings) -> runtime.Model:
    return runtime.load(
        path, device, settings.compute_type, resolve_lanes(settings, device), threads_per_lane(settings, device)
    )


def warm_up(model: runtime.Model) -> float:
    """Seconds that one window took, after a first one that paid for lazy set-up. Raises RuntimeError."""
    noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE_HZ).astype(np.float32)
    decoder = Decoder(model)
    ask = Ask(WindowRequest(noise, "en"), decoder.features(noise), WHOLE_FRAMES, Pass(beam_size=1))
    decoder.encode([ask])
    started = time.monotonic()
    decoder.attempt([ask], decoder.encode([ask]))
    return time.monotonic() - started


def beat(say: Callable[[], None]) -> None:
    """Call *say* each second, for ever, from a thread of its own."""

    def run() -> None:
        while True:
            say()
            time.sleep(_HEARTBEAT_S)

    threading.Thread(target=run, name="heartbeat", daemon=True).start()


def main() -> None:
    """Load, report, serve until the channel closes."""
    channel = become_child(_OOM_SCORE_ADJUST)
    opened: list[Lanes] = []  # none until the model is loaded

    def heartbeat() -> None:
        try:
            channel.send(to_message(opened[0].counts if opened else Heartbeat()))
        except ChannelClosed:
            os._exit(0)

    beat(heartbeat)
    try:
        settings = ServerSettings.from_json(sys.argv[3])
        model, ready = load(settings)
        channel.send(to_message(ready))
        decoder = Decoder(model)
        opened.append(open_lanes(decoder, settings, ready.device))
        Server(channel, decoder, opened[0]).serve()
    except ConfigError as error:
        channel.send(to_message(Fatal(Failure.CONFIG, str(error))))
        os._exit(os.EX_CONFIG)
    except MemoryError as error:
        channel.send(to_message(Fatal(Failure.OUT_OF_MEMORY, str(error))))
        os._exit(os.EX_UNAVAILABLE)
    except ChannelClosed:
        os._exit(0)  # threads may be inside the model; there is nothing to tidy
    except BaseException:  # noqa: BLE001  # the last stop: reported, and the process ends
        # An ordinary exit would wait for the threads in the model while the heartbeat says that all is well.
        traceback.print_exc()
        os._exit(os.EX_SOFTWARE)


if __name__ == "__main__":
    main()
