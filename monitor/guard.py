"""What keeps one part of the monitor from taking the others along."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

log = logging.getLogger(__name__)

_SAY_AGAIN_S: Final = 3600.0
"""A part that fails at each sample is logged that often."""

T = TypeVar("T")


class Guard:
    """Runs parts that may raise. What one raises is logged with its traceback, once an hour for each kind."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, type[Exception]], float] = {}

    def run(self, part: str, now: float, work: Callable[[], T], otherwise: T) -> T:
        """What *work* returns, or *otherwise* if it raises."""
        try:
            return work()
        except Exception as error:
            kind = (part, type(error))
            if now - self._said.get(kind, float("-inf")) >= _SAY_AGAIN_S:
                self._said[kind] = now
                log.exception("The monitor goes on without its %s", part, extra={"event": "bug", "part": part})
            return otherwise
