"""Is this text to be believed? The checks on what the model said about one window.

Pure, and all of it from one answer: knows nothing of passes, of other windows or of the sound itself. A check that
fails is a doubt, not a proof; what it is worth is another question to the model.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Final

from daemon.engine.phantoms import Phantom, phantoms_in
from daemon.engine.scripts import has_blanks, is_foreign, units

MIN_AVG_LOGPROB: Final = -1.0
MAX_COMPRESSION_RATIO: Final = 2.4
# These two are those of the original algorithm (Radford et al. 2022, section 4.5).

_MAX_COPIES: Final = {1: 8, 2: 8, 3: 5}
_MAX_COPIES_OF_MORE: Final = 4
# Tokens said again and again without anything between: "no, no, no, no" is spoken, and so is a refrain of four lines.

_STRICT_COPIES: Final = {1: 8, 2: 6, 3: 4}
_STRICT_COPIES_OF_MORE: Final = 3

_TWICE_WORDS: Final = 3
_TWICE_CHARACTERS: Final = 6
_TWICE_SHARE: Final = 0.8
# Short encoder windows make the model say all of its text twice, at a perfect probability. So do people, but rarely.

_COLLAPSE_SPEECH_S: Final = 3.0
_MIN_WORDS_PER_S: Final = 0.5
_MIN_CHARACTERS_PER_S: Final = 0.8
# The slowest of 121 clips in ten languages has 1.5 words a second; the slowest Chinese or Japanese 4 characters.

_MAX_WORDS_PER_S: Final = 6.0
_MAX_CHARACTERS_PER_S: Final = 15.0
_MORE_WORDS: Final = 4
_MORE_CHARACTERS: Final = 12
# What may be said beyond the rate, because the ends of short speech are cut close. The fastest clip has 3.6 words a
# second; very fast Spanish has six.

_NO_SPEECH: Final = 0.6
_MAYBE_NO_SPEECH: Final = 0.4
_HARDLY_BELIEVED: Final = -1.4
_DOUBTED_FAREWELL: Final = -0.5
# Over noise, hum, tones and music (35 sounds, 12 languages, greedy) the no-speech probability was 0.50 to 0.99 and the
# log probability mostly under -1.4, except in loops; over speech they were at most 0.38 and at least -1.36.

_QUIET_DBFS: Final = -50.0
_NOTHING_DBFS: Final = -70.0  # ten of 32768 steps: whatever is said here was not heard

_SAME_UNITS: Final = 6
_SAME_RATIO: Final = 0.8
# Names and figures stay as they are in a translation. Of 33 clips in nine languages none shared more than 0.24.

_LEAK_UNITS: Final = 3  # fewer words are a name that was asked for and is spoken
_LONG_LEAK_UNITS: Final = 6
_LEAK_SHARE: Final = 0.6


class Check(StrEnum):
    """What is wrong with a text; the values stand in transcripts."""

    REPETITION = "repetition"
    LOW_CONFIDENCE = "low_confidence"
    COLLAPSE = "collapse"
    SURPLUS = "surplus"
    PHANTOM = "phantom"
    CUT_OFF = "cut_off"
    WRONG_SCRIPT = "wrong_script"
    PROMPT_LEAK = "prompt_leak"
    UNTRANSLATED = "untranslated"


_WEIGHT: Final = dict.fromkeys(Check, 4) | {Check.LOW_CONFIDENCE: 1, Check.CUT_OFF: 2, Check.COLLAPSE: 3}
# A doubtful text is better than half of one, and that is better than an invented one.


@dataclass(frozen=True, slots=True)
class Evidence:
    """One text for one window and what is known about both.

    *tokens* are those of the text alone; *speech_s* is how much of *duration_s* is speech; *cut_off*: the token limit
    was hit; *prompt* is what a person wrote for the model to know; *level_dbfs* is the level of the loudest 100 ms;
    *original* is the text in the language spoken, if this is its translation.
    """

    text: str
    tokens: tuple[int, ...]
    language: str
    task: str
    avg_logprob: float
    no_speech_prob: float
    speech_s: float
    duration_s: float
    cut_off: bool
    prompt: str = ""
    level_dbfs: float | None = None
    original: str = ""

    @property
    def written_in(self) -> str:
        """The language of the text."""
        return "en" if self.task == "translate" else self.language


def failed_checks(
    evidence: Evidence, *, min_avg_logprob: float = MIN_AVG_LOGPROB, strict: bool = False
) -> tuple[Check, ...]:
    """The checks that a text did not pass, in the order of `Check`; empty for a text to be believed.

    *strict*: the model can be asked better, so a text is already doubtful for being said twice. A *min_avg_logprob*
    above the default says that too.
    """
    strict = strict or min_avg_logprob > MIN_AVG_LOGPROB
    failed = {
        Check.REPETITION: _repeats(evidence, strict=strict),
        Check.LOW_CONFIDENCE: evidence.avg_logprob < min_avg_logprob,
        Check.COLLAPSE: _is_too_little(evidence),
        Check.SURPLUS: _is_too_much(evidence),
        Check.PHANTOM: _is_phantom(evidence),
        Check.CUT_OFF: evidence.cut_off,
        Check.WRONG_SCRIPT: is_foreign(evidence.text, evidence.written_in),
        Check.PROMPT_LEAK: _is_prompt(evidence),
        Check.UNTRANSLATED: _is_original(evidence),
    }
    return tuple(check for check in Check if failed[check])


def is_silence(evidence: Evidence) -> bool:
    """Whether nobody spoke, so that the text is to be thrown away.

    Two witnesses are wanted: the model must say so, and its words must be ones that it does not believe, or a loop, a
    credit, a farewell, or numbers alone (white noise was "4.5% 0.5% 0.2%" in a sampled answer). Only a signature, and
    any word in digital silence, need no second. To be asked of the text that is kept in the end: a loop over speech is
    a reason to listen again first (`needs_retry`).
    """
    if _heard_nothing(evidence):
        return True
    if _repeats(evidence, strict=False) or not any(character.isalpha() for character in evidence.text):
        return evidence.no_speech_prob > _MAYBE_NO_SPEECH
    kinds = set(phantoms_in(evidence.text))
    if not kinds or None in kinds:
        return False
    if Phantom.SIGNATURE in kinds or _is_quiet(evidence):
        return True
    if Phantom.FAREWELL in kinds:  # may be spoken: it takes more to throw it away than to doubt it
        return evidence.no_speech_prob > _NO_SPEECH and evidence.avg_logprob < _DOUBTED_FAREWELL
    return evidence.no_speech_prob > _MAYBE_NO_SPEECH


def needs_retry(evidence: Evidence, failed: Sequence[Check]) -> bool:
    """Whether the model should be asked better: checks *failed*, and not because nobody spoke.

    Silence does not excuse a loop: there may be speech behind it. A model that does not translate will not learn it.
    """
    failed = [check for check in failed if check is not Check.UNTRANSLATED]
    return bool(failed) and (Check.REPETITION in failed or not _heard_nothing(evidence))


def credibility(evidence: Evidence, failed: Sequence[Check]) -> tuple[int, float]:
    """A key that is higher for the better of several texts for the same window."""
    return -sum(_WEIGHT[check] for check in failed), evidence.avg_logprob


def compression_ratio(text: str) -> float:
    """Characters of *text* over its compressed bytes: high for a text that repeats itself. 0.0 for an empty one.

    Each different character counts as one byte, so scripts that need three in UTF-8 are not taken for repetition. The
    same as the original algorithm's for text in ASCII. Says nothing about a few words.
    """
    code: dict[str, int] = {}
    raw = bytes(code.setdefault(character, len(code)) % 256 for character in text.strip())
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def average_logprob(score: float, n_tokens: int) -> float:
    """The mean log probability of a token, the end included, from CTranslate2's *score* (divided by *n_tokens*)."""
    return score * n_tokens / (n_tokens + 1)


def _repeats(evidence: Evidence, *, strict: bool) -> bool:
    copies, of_more = (_STRICT_COPIES, _STRICT_COPIES_OF_MORE) if strict else (_MAX_COPIES, _MAX_COPIES_OF_MORE)
    if any(n >= copies.get(period, of_more) for period, n in _copies(evidence.tokens)):
        return True
    if strict:
        language = evidence.written_in
        at_least = _TWICE_WORDS if has_blanks(language) else _TWICE_CHARACTERS
        if _is_said_twice(units(evidence.text, language), at_least):
            return True
    return compression_ratio(evidence.text) > MAX_COMPRESSION_RATIO


def _copies(items: Sequence[object]) -> list[tuple[int, int]]:
    """For each period the most whole copies in a row of any part of that length; only periods with two or more."""
    found: list[tuple[int, int]] = []
    for period in range(1, len(items) // 2 + 1):
        longest = run = 0
        for n in range(period, len(items)):
            run = run + 1 if items[n] == items[n - period] else 0
            longest = max(longest, run)
        if longest >= period:
            found.append((period, longest // period + 1))
    return found


def _is_said_twice(items: Sequence[str], at_least: int) -> bool:
    """Whether a part of *at_least* that length comes twice in a row; a long one may differ a little, or be cut off."""
    for period in range(at_least, len(items)):
        needed = period if period < 2 * at_least else math.ceil(_TWICE_SHARE * period)
        same = [0, *itertools.accumulate(a == b for a, b in zip(items, items[period:], strict=False))]
        if any(same[min(n + period, len(same) - 1)] - same[n] >= needed for n in range(len(same))):
            return True
    return False


def _is_too_little(evidence: Evidence) -> bool:
    if evidence.speech_s < _COLLAPSE_SPEECH_S:
        return False
    language = evidence.written_in
    said = units(evidence.text, language)
    # Each digit may be spoken as a word.
    n_said = sum(max(1, sum(c.isdigit() for c in unit)) for unit in said)
    least = _MIN_WORDS_PER_S if has_blanks(language) else _MIN_CHARACTERS_PER_S
    return n_said < least * evidence.speech_s


def _is_too_much(evidence: Evidence) -> bool:
    language = evidence.written_in
    n_said = len(units(evidence.text, language))
    if has_blanks(language):
        return n_said > _MAX_WORDS_PER_S * evidence.speech_s + _MORE_WORDS
    return n_said > _MAX_CHARACTERS_PER_S * evidence.speech_s + _MORE_CHARACTERS


def _is_phantom(evidence: Evidence) -> bool:
    kinds = phantoms_in(evidence.text)
    if not kinds:
        return False
    if kinds[-1] in {Phantom.SIGNATURE, Phantom.CREDIT}:
        return True
    doubted = evidence.no_speech_prob > _MAYBE_NO_SPEECH or _is_quiet(evidence)
    return doubted and None not in kinds


def _is_quiet(evidence: Evidence) -> bool:
    return evidence.level_dbfs is not None and evidence.level_dbfs < _QUIET_DBFS


def _heard_nothing(evidence: Evidence) -> bool:
    if evidence.level_dbfs is not None and evidence.level_dbfs < _NOTHING_DBFS:
        return True
    if not units(evidence.text, evidence.written_in):
        return evidence.no_speech_prob > _MAYBE_NO_SPEECH
    return (evidence.no_speech_prob > _NO_SPEECH and evidence.avg_logprob < MIN_AVG_LOGPROB) or (
        evidence.no_speech_prob > _MAYBE_NO_SPEECH and evidence.avg_logprob < _HARDLY_BELIEVED
    )


def _is_prompt(evidence: Evidence) -> bool:
    """Whether the text gives the prompt back: most of it is a piece of the prompt, or the prompt is a piece of it."""
    said, given = units(evidence.text, evidence.written_in), units(evidence.prompt, evidence.written_in)
    per_word = 1 if has_blanks(evidence.written_in) else 2
    if len(said) < _LEAK_UNITS * per_word or len(given) < _LEAK_UNITS * per_word:
        return False
    n_shared = SequenceMatcher(None, said, given, autojunk=False).find_longest_match().size
    if n_shared == len(given):
        return n_shared >= _LEAK_SHARE * len(said) or n_shared >= _LONG_LEAK_UNITS * per_word
    return n_shared > _LEAK_UNITS * per_word and n_shared >= _LEAK_SHARE * len(said)


def _is_original(evidence: Evidence) -> bool:
    """Whether a translation is the text in the language spoken again: some models never learned to translate."""
    said, spoken = units(evidence.text, "en"), units(evidence.original, "en")
    if min(len(said), len(spoken)) < _SAME_UNITS:
        return False
    return SequenceMatcher(None, said, spoken, autojunk=False).ratio() >= _SAME_RATIO
