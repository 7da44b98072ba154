"""Words and their times from the tokens of a text and the times of the tokens.

Pure. Knows nothing of the model or of its tokenizer.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from daemon.transcript import Word

_MAX_MEDIAN_WORD_S: Final = 0.7
# Words beside a pause are stretched into it by the alignment: none is longer than twice the usual one, and the usual
# one is at most this.


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text as words and marks, the tokens of each, and how many tokens the line has in all."""

    texts: Sequence[str]
    tokens: Sequence[Sequence[int]]
    n_tokens: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word or a punctuation mark: text, and the range of its tokens in the window."""

    text: str
    first: int
    end: int


def words_of_lines(
    lines: Sequence[Line], times_s: Sequence[float], probabilities: Sequence[float]
) -> list[tuple[Word, ...]]:
    """The words of each line of a window, times in seconds from its start.

    *times_s* has the start of each text token of the
    window and, last, the end; *probabilities* one for each token.
    """
    placed: list[tuple[Word, ...]] = []
    start = 0
    for line in lines:
        pieces: list[_Piece] = []
        first = start
        for text, own in zip(line.texts, line.tokens, strict=True):
            pieces.append(_Piece(text, first, first + len(own)))
            first += len(own)
        start += line.n_tokens  # an incomplete character at the end of a line is in none of its pieces
        placed.append(tuple(_word(piece, times_s, probabilities) for piece in _with_punctuation(pieces)))
    longest_s = _longest_s([word for words in placed for word in words])
    return [_without_pauses(words, longest_s) for words in placed]


def _with_punctuation(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Marks joined to the word that they belong to: after a space to the next word, else to the one before."""
    joined: list[_Piece] = []
    opening: _Piece | None = None
    for n, piece in enumerate(pieces):
        is_mark = not any(character.isalnum() for character in piece.text)
        if is_mark and piece.text.startswith(" ") and n + 1 < len(pieces):
            opening = _joined(opening, piece)
        elif is_mark and joined and opening is None:
            joined[-1] = _joined(joined[-1], piece)
        else:
            joined.append(_joined(opening, piece))
            opening = None
    return joined


def _joined(left: _Piece | None, right: _Piece) -> _Piece:
    return right if left is None else _Piece(left.text + right.text, left.first, right.end)


def _word(piece: _Piece, times_s: Sequence[float], probabilities: Sequence[float]) -> Word:
    last = len(times_s) - 1
    own = probabilities[piece.first : piece.end]
    return Word(
        start_s=times_s[min(piece.first, last)],
        end_s=times_s[min(piece.end, last)],
        text=piece.text,
        probability=statistics.fmean(own) if own else 0.0,
    )


def _longest_s(words: Sequence[Word]) -> float:
    durations_s = [word.end_s - word.start_s for word in words if word.end_s > word.start_s]
    return 2 * min(_MAX_MEDIAN_WORD_S, statistics.median(durations_s)) if durations_s else 0.0


def _without_pauses(words: Sequence[Word], longest_s: float) -> tuple[Word, ...]:
    """A line's first word begins no earlier, and its last word ends no later, than a long word would."""
    if not words:
        return ()
    shortened = list(words)
    first = shortened[0]
    shortened[0] = replace(first, start_s=max(first.start_s, first.end_s - longest_s))
    last = shortened[-1]
    shortened[-1] = replace(last, end_s=min(last.end_s, last.start_s + longest_s))
    return tuple(shortened)
