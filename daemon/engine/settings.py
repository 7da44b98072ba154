"""How the operator wants the engine, and how it stands: plain data of `daemon.engine.client`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.engine.protocol import Profile
from daemon.engine.seat import SeatStatus, State

SPARE: Final = ",cpu"
"""What ends the setting of a device where the CPU is to go on while no GPU can."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the operator wants the engine; the keys of ``[engine]``. A *device* that ends in ``,cpu`` has it as a spare.

    *lanes*, *threads* and *max_batch* 0: chosen by the engine process. *max_open* recordings are in one process at
    once, *max_models* models on one device. A model without jobs for *idle_unload_s* is given up; 0 means never.
    """

    models_dir: Path
    device: str = "auto"
    compute_type: str = "auto"
    lanes: int = 0
    threads: int = 0
    max_batch: int = 0
    profile: Profile = "balanced"
    max_open: int = 32
    max_models: int = 1
    idle_unload_s: float = 0.0
    allow_download: bool = False


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine at one moment. *n_jobs* are in it, *n_waiting* wait for a place.

    *n_restarts* counts starts after a death. *pid*, *model*, *device* and *compute_type* are those of the first seat
    that is in *state*; *seats* has all of them.
    """

    state: State
    pid: int | None
    model: str | None
    device: str | None
    compute_type: str | None
    n_jobs: int
    n_waiting: int
    n_restarts: int
    last_error: str | None
    seats: tuple[SeatStatus, ...]


STATES: Final[tuple[State, ...]] = ("ready", "starting", "down", "unloaded", "stopped")
"""The state of the whole is the first of these that some seat is in."""


def devices_of(device: str) -> tuple[str, ...]:
    """The devices that a setting names, each with an engine of its own: ``cuda:0,1`` are two, ``cuda,cpu`` too."""
    wanted = device.removesuffix(SPARE)
    kind, _, numbers = wanted.partition(":")
    devices = tuple(f"{kind}:{number}" for number in numbers.split(",")) if numbers else (wanted,)
    return devices if wanted == device else (*devices, "cpu")
