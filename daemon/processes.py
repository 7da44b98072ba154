"""The decode processes, the engine and how much is done at once, as the configuration wants them.

For the service and for one-shot use.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable
from typing import Final

from daemon.ahead import Ahead
from daemon.config import Config
from daemon.decode.pool import DecodeLimits, DecodePool
from daemon.engine.client import Engine, EngineSettings, devices_of

log = logging.getLogger(__name__)

OnOutput = Callable[[str, str], None]
"""Called with the name of a child process and a line that it wrote."""


_OWN_FILES: Final = 200
"""Open files of the daemon itself, at the most: database, watches, sockets, pipes of its processes."""

_PAGES_FILES: Final = 384
"""Connections to the pages, and what is sent over them."""

_FILES_PER_JOB: Final = 3
"""The recording, its spool file while it is decoded, an output while it is written."""


def n_in_hand(config: Config) -> int:
    """How many recordings are in hand at once: all that the engine takes, and those that are decoded meanwhile.

    Bounded by the files that this process may open (RLIMIT_NOFILE).
    """
    engine = config.engine
    wanted = len(devices_of(engine.device)) * engine.max_models * engine.max_open + config.decode.workers
    n_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if n_files == resource.RLIM_INFINITY:
        return wanted
    pages = min(_PAGES_FILES, n_files * 3 // 8) if config.web.pages and config.web.listen else 0
    possible = max(1, (n_files - _OWN_FILES - pages) // _FILES_PER_JOB)
    if possible < wanted:
        log.warning(
            "Only %d recordings at once, not %d: the limit on open files is %d (ulimit -n, LimitNOFILE=)",
            possible,
            wanted,
            n_files,
            extra={"event": "few_files", "n_files": n_files},
        )
    return min(wanted, possible)


def make_ahead(config: Config) -> Ahead:
    """Who is decoded next, and how far ahead of the engine."""
    return Ahead(config.decode.workers, config.decode.max_spool_bytes)


def make_decode_pool(config: Config, on_output: OnOutput) -> DecodePool:
    """A pool that has started nothing yet."""
    decode = config.decode
    limits = DecodeLimits(max_duration_s=decode.max_duration_s, max_source_bytes=decode.max_source_bytes)
    return DecodePool(workers=decode.workers, limits=limits, on_output=on_output)


def make_engine(config: Config, on_output: OnOutput) -> Engine:
    """An engine that has loaded nothing yet."""
    engine = config.engine
    settings = EngineSettings(
        models_dir=config.models_dir,
        device=engine.device,
        compute_type=engine.compute_type,
        lanes=engine.lanes,
        threads=engine.threads,
        max_batch=engine.max_batch,
        profile=engine.profile,
        max_open=engine.max_open,
        max_models=engine.max_models,
        idle_unload_s=engine.idle_unload_s,
        allow_download=engine.allow_download,
    )
    return Engine(settings, on_output)
