"""Who asks, and what they may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

Way = Literal["local", "session", "proxy", "token"]


class Role(StrEnum):
    """What a visitor may do: look at everything, or change things too."""

    READ = "read"
    ACT = "act"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may be here. *key* is what their CSRF tokens are bound to: it changes with each login."""

    name: str
    role: Role
    way: Way
    key: str = ""

    @property
    def may_act(self) -> bool:
        """Whether they may change things."""
        return self.role is Role.ACT


LOCAL: Final = Visitor("local", Role.ACT, "local")
"""Who comes where no login is asked for: whoever can reach the socket of this machine."""
