"""How a text is compared with what was said: one normaliser for every contestant, and counts of errors.

Texts are compared in lower case, compatibility forms folded (NFKC), without punctuation, symbols and apostrophes;
nothing else is normalised, so "15" for "fifteen" is an error for everybody. For Chinese, Japanese and Korean
characters are compared, not words. Errors are pooled: a language's rate is all its errors over all its words.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import jiwer

from benchmarks.results import TOTAL

BY_CHARACTER: Final = frozenset({"zh", "ja", "ko"})

MAX_WORSE_TOTAL: Final = 0.3  # points; about the difference that rounding in int8 makes
MAX_WORSE_LANGUAGE: Final = 1.0
MIN_LANGUAGE_S: Final = 300.0  # less speech than this says nothing about a language


@dataclass(slots=True)
class Tally:
    """Errors over some recordings. *counts* has (errors, words) of each."""

    counts: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    audio_s: float = 0.0

    @property
    def n_errors(self) -> int:
        """Words wrong, missing or too many."""
        return sum(n_errors for n_errors, _ in self.counts)

    @property
    def n_words(self) -> int:
        """Words of the references."""
        return sum(n_words for _, n_words in self.counts)

    @property
    def rate(self) -> float:
        """Errors in percent of the reference words."""
        return 100.0 * self.n_errors / max(1, self.n_words)


@dataclass(frozen=True, slots=True)
class Told:
    """One recording as it is scored: what was said, in which language, for how long."""

    language: str
    text: str
    audio_s: float


def normalised(text: str, language: str) -> str:
    """*text* as it is compared: words or, where there are no blanks between words, characters, with blanks between."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("'", "").replace("\u2019", "")
    kept = "".join(" " if unicodedata.category(character)[0] in "PSZC" else character for character in folded)
    words = kept.split()
    return " ".join("".join(words)) if language in BY_CHARACTER else " ".join(words)


def errors(reference: str, heard: str, language: str) -> tuple[int, int]:
    """Words wrong, missing or too many, and the words of the reference."""
    truth = normalised(reference, language)
    if not truth:
        return len(normalised(heard, language).split()), 0
    found = jiwer.process_words(truth, normalised(heard, language))
    n_errors = found.substitutions + found.deletions + found.insertions
    return n_errors, found.hits + found.substitutions + found.deletions


def score(told: Sequence[Told], heard: Sequence[str]) -> dict[str, Tally]:
    """The tally of each language and of `TOTAL`; *heard* is in the order of *told*."""
    tallies: dict[str, Tally] = {TOTAL: Tally()}
    for said, text in zip(told, heard, strict=True):
        counted = errors(said.text, text, said.language)
        for key in (said.language, TOTAL):
            tally = tallies.setdefault(key, Tally())
            tally.counts.append(counted)
            tally.audio_s += said.audio_s
    return tallies


def complaints(ours: dict[str, Tally], peer: dict[str, Tally]) -> list[str]:
    """Where ours is worse than it may be, in words; empty if it passes."""
    found: list[str] = []
    for key in [*sorted(ours.keys() - {TOTAL}), TOTAL]:
        mine, theirs = ours[key], peer[key]
        limit = MAX_WORSE_TOTAL if key == TOTAL else MAX_WORSE_LANGUAGE
        counts = key == TOTAL or mine.audio_s >= MIN_LANGUAGE_S
        if counts and mine.rate > theirs.rate + limit:
            found.append(f"{key}: {mine.rate:.2f} % is more than {limit} points over the peer's {theirs.rate:.2f} %")
    return found
