"""What an alert is, from its opening to its end. Knows nothing of rules, of storage, or of who is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from monitor.figures import Key

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""From the mildest."""


class Matter(NamedTuple):
    """What an alert is about: there is one open alert of it at most."""

    rule: str
    key: Key


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is, or was, wrong: rule *rule* about the figure *key*.

    *first*, *last* and *peak* (the worst) are values of that figure, *limit* is what it may not pass. *title* names the
    matter, the figure and the limit in one line; *advice* is what to do next; *words* is what was known besides (a
    recording, a driver's complaint), "" if nothing. Times are UTC. *id* is None until it is in the history.
    """

    rule: str
    key: Key
    severity: Severity
    title: str
    advice: str
    words: str
    limit: float
    first: float
    last: float
    peak: float
    opened_at: datetime
    seen_at: datetime
    resolved_at: datetime | None = None
    id: int | None = None

    @property
    def matter(self) -> Matter:
        """What it is about."""
        return Matter(self.rule, self.key)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a sample changed: alerts *opened*, alerts *resolved*, and all that are *open* after it."""

    opened: tuple[Alert, ...] = ()
    resolved: tuple[Alert, ...] = ()
    open: tuple[Alert, ...] = ()
