"""The decode processes and the engine as the configuration wants them; for the service and for one-shot use."""

from __future__ import annotations

from collections.abc import Callable

from daemon.config import Config
from daemon.decode.pool import DecodeLimits, DecodePool
from daemon.engine.client import Engine, EngineSettings

OnOutput = Callable[[str, str], None]
"""Called with the name of a child process and a line that it wrote."""


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
        slots=engine.slots,
        threads=engine.threads,
        allow_download=engine.allow_download,
    )
    return Engine(settings, on_output)
