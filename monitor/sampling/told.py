"""Figures as they are gathered, before they are a sample."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.figures import Key


@dataclass(slots=True)
class Told:
    """Figures, and words about some of them."""

    figures: dict[Key, float] = field(default_factory=dict[Key, float])
    words: dict[Key, str] = field(default_factory=dict[Key, str])

    def add(self, key: Key, figure: float | None, words: str = "") -> None:
        """Add *figure*, unless it could not be read."""
        if figure is None:
            return
        self.figures[key] = figure
        if words:
            self.words[key] = words
