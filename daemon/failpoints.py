"""Named places in the work where a test can break in: kill the process there, or let a call fail.

Owns the seam and nothing else. In service nobody listens, and no setting makes anybody listen: what happens at a place
is up to the tests, which set a listener in a process of their own.
"""

from __future__ import annotations

from collections.abc import Callable

_listener: Callable[[str], None] | None = None


def reached(place: str) -> None:
    """The work has come to *place*. Does nothing unless a test listens."""
    if _listener is not None:
        _listener(place)


def listen(listener: Callable[[str], None] | None) -> None:
    """Let *listener* be called with the name of each place; None: nobody again. For tests only."""
    global _listener
    _listener = listener
