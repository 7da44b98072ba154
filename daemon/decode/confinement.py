"""What a decode process is forbidden, as it reports it to the daemon. Plain data; both sides read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Confinement:
    """What holds for a decode process once it takes its first recording.

    *landlock_abi* is the version of Landlock's interface in this kernel (landlock(7)), 0 where it is not active.
    *missing* says in words what this kernel or this installation lacks; each is a layer less, not a failure.
    """

    seccomp: bool
    landlock_abi: int
    no_new_privs: bool
    max_memory_bytes: int
    max_open_files: int
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Confinement:
        """What `to_dict` gave."""
        values: dict[str, Any] = {**data, "missing": tuple(data["missing"])}
        return cls(**values)

    def in_words(self) -> str:
        """One line for a person: what is active, then what is missing and why."""
        layers = [
            "seccomp" if self.seccomp else "no seccomp",
            f"Landlock ABI {self.landlock_abi}" if self.landlock_abi else "no Landlock",
            "no new privileges" if self.no_new_privs else "new privileges are possible",
            f"at most {self.max_memory_bytes // 1024**2} MiB and {self.max_open_files} open files",
        ]
        return ", ".join(layers) + "".join(f"; {why}" for why in self.missing)
