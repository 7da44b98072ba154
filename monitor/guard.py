"""What keeps one part of the monitor from taking the others along."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from monitor.history.errors import HistoryError

log = logging.getLogger(__name__)

_SAY_AGAIN_S: Final = 3600.0
"""A part that fails at each sample is logged that often."""

T = TypeVar("T")


class Guard:
    """Runs parts that may raise. What one raises is logged once an hour for each kind.

    Figures that cannot be kept are a warning: their disk is full, mostly. Anything else is a bug, with its traceback.
    """

    def __init__(self) -> None:
        self._said: dict[tuple[str, type[Exception]], float] = {}

    def run(self, part: str, now: float, work: Callable[[], T], otherwise: T) -> T:
        """What *work* returns, or *otherwise* if it raises."""
        try:
            return work()
        except HistoryError as error:
            if self._is_news(part, error, now):
                extra = {"event": "metrics_trouble", "part": part}
                log.warning("The monitor goes on without its %s: %s", part, error, extra=extra)
        except Exception as error:
            if self._is_news(part, error, now):
                log.exception("The monitor goes on without its %s", part, extra={"event": "bug", "part": part})
        return otherwise

    def _is_news(self, part: str, error: Exception, now: float) -> bool:
        kind = (part, type(error))
        if now - self._said.get(kind, float("-inf")) < _SAY_AGAIN_S:
            return False
        self._said[kind] = now
        return True
