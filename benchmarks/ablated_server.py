"""The engine process with some of its ideas taken out, for the ladder; otherwise the very same.

    python -m benchmarks.ablated_server FD PARENT_PID SETTINGS_JSON

What is taken out stands in the variable ``ABLATE``, separated by commas: ``sorted`` (a batch takes whoever is next),
``short`` (windows of up to 30 s, and the encoder sees 30 s of each).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from daemon.engine import board, passes, server, windows

VARIABLE: Final = "ABLATE"


def without_sorting() -> None:
    """A batch is the first that waits and those behind it that can go along."""

    def choose(waiting: Iterable[Any], n_taken: int, max_items: int, max_frames: int) -> list[Any]:
        del n_taken
        items = sorted(waiting, key=lambda item: (item.stamp, item.arrival))
        alike = [item for item in items if item.key == items[0].key]
        return alike[: min(max_items, max(1, max_frames // alike[0].n_frames))] if alike else []

    board.__dict__["choose"] = choose  # the name that the board calls


def without_short_windows() -> None:
    """Windows and the encoder are as long as the model was trained for."""

    def n_frames(self: passes.Pass, n_own: int, bucket_frames: int) -> int:
        del self, n_own, bucket_frames
        return passes.WHOLE_FRAMES

    passes.Pass.n_frames = n_frames  # type: ignore[method-assign]
    windows.MAX_WINDOW_SAMPLES = windows.MAX_SEEN_SAMPLES  # type: ignore[misc]  # pyright: ignore[reportConstantRedefinition]


ABLATIONS: Final[dict[str, Callable[[], None]]] = {"sorted": without_sorting, "short": without_short_windows}


def main() -> None:
    """Take out what is asked, then serve."""
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        ABLATIONS[name]()
    server.main()


if __name__ == "__main__":
    main()
