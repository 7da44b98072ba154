"""Where to listen: the stretches of a recording about which its transcript may be wrong, and why.

Pure, from the transcript and the speech spans; knows nothing of formats, files or the model. A reason is a doubt, not
an error: the list is short so that people hear all of it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from types import MappingProxyType
from typing import Final

from daemon.engine.guards import Check
from daemon.transcript import SAMPLE_RATE_HZ, Segment, Span, Transcript

MAX_LISTED: Final = 10
"""More of one recording is no list for people; then the whole of it is to be heard."""

MIN_WORD_PROBABILITY: Final = 0.7
"""The mean of a line's words, where they were looked up. Of 444 lines (base, int8, ten languages) the 24 below had 65 %
of their words wrong, the others 11 %."""

MIN_AVG_LOGPROB: Final = -0.5
"""Of the window of a line whose words were not looked up: below, the engine itself asks once more."""

MAX_NO_SPEECH_PROB: Final = 0.6
"""Above, the model says that nobody spoke (the limit of Radford et al. 2022, section 4.5). Alone it means little: over
telephone speech it was 0.7 where every word was right."""

MIN_SPOKEN_RATIO: Final = 0.3
"""How much of a line must be speech, or it stands over silence."""

MIN_UNHEARD_S: Final = 3.0
"""Speech without a line for so long counts. Spans are padded by 0.4 s at both ends, and lines end with their words. In
all five such places of 100 recordings (base) words were missing, 9 to 26 each."""

_MIN_LINE_S: Final = 0.5
_JOIN_S: Final = 1.0  # what is closer is heard in one go
_MAX_JOINED_S: Final = 30.0
_FLIP_S: Final = 10.0
_FLIP_RATIO: Final = 0.1
# Who speaks two languages has more of both, or comes back to the other.

_EXCERPT_CHARS: Final = 160


class Reason(StrEnum):
    """Why to listen, the worst first; the values stand in transcripts and in the history."""

    LOOP = "loop"
    PHANTOM = "phantom"
    PROMPT_LEAK = "prompt_leak"
    TEXT_OVER_SILENCE = "text_over_silence"
    LANGUAGE_FLIP = "language_flip"
    SPEECH_WITHOUT_TEXT = "speech_without_text"
    CUT_OFF = "cut_off"
    LOW_CONFIDENCE = "low_confidence"


_REASONS: Final[Mapping[str, Reason]] = MappingProxyType(
    {
        Check.REPETITION: Reason.LOOP,
        Check.LOW_CONFIDENCE: Reason.LOW_CONFIDENCE,
        Check.COLLAPSE: Reason.SPEECH_WITHOUT_TEXT,
        Check.SURPLUS: Reason.TEXT_OVER_SILENCE,
        Check.PHANTOM: Reason.PHANTOM,
        Check.CUT_OFF: Reason.CUT_OFF,
        Check.WRONG_SCRIPT: Reason.LANGUAGE_FLIP,
        Check.PROMPT_LEAK: Reason.PROMPT_LEAK,
        Check.UNTRANSLATED: Reason.LANGUAGE_FLIP,
    }
)

_WEIGHT: Final = dict.fromkeys(Reason, 4) | {
    Reason.SPEECH_WITHOUT_TEXT: 3,
    Reason.LANGUAGE_FLIP: 3,
    Reason.CUT_OFF: 2,
    Reason.LOW_CONFIDENCE: 2,
}

_ORDER: Final = {reason: n for n, reason in enumerate(Reason)}


_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Reason.LOOP: "the text repeats itself",
        Reason.PHANTOM: "words that are often made up",
        Reason.PROMPT_LEAK: "the prompt in place of the speech",
        Reason.TEXT_OVER_SILENCE: "more text than speech",
        Reason.LANGUAGE_FLIP: "suddenly another language",
        Reason.SPEECH_WITHOUT_TEXT: "speech without text",
        Reason.CUT_OFF: "the text was cut off",
        Reason.LOW_CONFIDENCE: "hardly understood",
    }
)


def in_words(reasons: Iterable[str]) -> str:
    """*reasons* for a person, in English; one of a later version as it is."""
    return "; ".join(_WORDS.get(reason, reason.replace("_", " ")) for reason in reasons)


@dataclass(frozen=True, slots=True)
class Suspect:
    """One stretch to listen to, in seconds of the recording. *rank* 1 is the most doubtful; *reasons* worst first.

    *text* is what stands there, shortened; *speech_s* is how much of the stretch is speech. The other figures are the
    worst of its lines: None where it has none, or where the model gave no number.
    """

    start_s: float
    end_s: float
    reasons: tuple[str, ...]
    rank: int
    text: str
    speech_s: float
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A stretch, why, and the lines in it."""

    start_s: float
    end_s: float
    reasons: frozenset[Reason]
    lines: tuple[Segment, ...] = ()

    @property
    def weight(self) -> float:
        """How much it is worth to listen to: what is wrong, then how long."""
        return sum(_WEIGHT[reason] for reason in self.reasons) + min(self.end_s - self.start_s, _MAX_JOINED_S) / 100


class _Speech:
    """The spans of a recording in seconds, to be asked for those of a stretch without a look at all of them."""

    def __init__(self, spans: Sequence[Span]) -> None:
        ordered = sorted(spans, key=lambda span: span.start)
        self._starts = [span.start / SAMPLE_RATE_HZ for span in ordered]
        self._ends = [span.end / SAMPLE_RATE_HZ for span in ordered]

    def inside(self, start_s: float, end_s: float) -> list[tuple[float, float]]:
        """What of the spans is between the two times."""
        found = range(bisect_right(self._ends, start_s), bisect_left(self._starts, end_s))
        return [(max(start_s, self._starts[n]), min(end_s, self._ends[n])) for n in found]

    def length_s(self, start_s: float, end_s: float) -> float:
        """How much of the stretch is speech."""
        return sum(end - start for start, end in self.inside(start_s, end_s))


@dataclass(frozen=True, slots=True)
class Track:
    """The lines of what was heard by itself, and where it has speech."""

    lines: tuple[Segment, ...]
    spans: tuple[Span, ...]


def suspects_of(transcript: Transcript, spans: Sequence[Span]) -> tuple[Suspect, ...]:
    """The MAX_LISTED most doubtful stretches of a recording with speech in *spans*, in order of time."""
    return suspects_of_tracks([Track(transcript.segments, tuple(spans))])


def suspects_of_tracks(tracks: Sequence[Track]) -> tuple[Suspect, ...]:
    """The same where voices were heard apart: each by itself, and of all the most doubtful ones."""
    doubts = [(doubt, track) for track in tracks for doubt in _doubts(track)]
    worst = sorted(doubts, key=lambda pair: -pair[0].weight)[:MAX_LISTED]
    ranked = [
        replace(_suspect(doubt, _Speech(track.spans)), rank=rank) for rank, (doubt, track) in enumerate(worst, start=1)
    ]
    return tuple(sorted(ranked, key=lambda suspect: suspect.start_s))


def _doubts(track: Track) -> list[_Doubt]:
    speech, lines = _Speech(track.spans), track.lines
    return _joined([*_of_lines(lines, speech), *_of_languages(lines), *_unheard(lines, speech)])


def _of_lines(lines: Sequence[Segment], speech: _Speech) -> Iterator[_Doubt]:
    """The lines that are not to be believed, each for itself."""
    for line in lines:
        reasons = {_REASONS[check] for check in line.suspect if check in _REASONS}
        if _is_unsure(line):
            reasons.add(Reason.LOW_CONFIDENCE)
        if _is_over_silence(line, speech):
            reasons.add(Reason.TEXT_OVER_SILENCE)
        if reasons:
            yield _Doubt(line.start_s, line.end_s, frozenset(reasons), (line,))


def _is_unsure(line: Segment) -> bool:
    if not line.words:
        return not line.avg_logprob >= MIN_AVG_LOGPROB  # so that NaN is unsure
    return not sum(word.probability for word in line.words) >= MIN_WORD_PROBABILITY * len(line.words)


def _is_over_silence(line: Segment, speech: _Speech) -> bool:
    length_s = line.end_s - line.start_s
    spoken_s = speech.length_s(line.start_s, line.end_s)
    if length_s >= _MIN_LINE_S and spoken_s < MIN_SPOKEN_RATIO * length_s:
        return True
    return line.no_speech_prob > MAX_NO_SPEECH_PROB and line.avg_logprob < MIN_AVG_LOGPROB


def _of_languages(lines: Sequence[Segment]) -> Iterator[_Doubt]:
    """The short runs of lines in a language that is heard once and not again."""
    runs = [(language, tuple(run)) for language, run in groupby(lines, key=lambda line: line.language)]
    limit_s = min(_FLIP_S, _FLIP_RATIO * sum(_length_s(run) for _, run in runs))
    n_runs = Counter(language for language, _ in runs)
    for language, run in runs:
        if language and n_runs[language] == 1 and _length_s(run) <= limit_s:
            yield _Doubt(run[0].start_s, run[-1].end_s, frozenset({Reason.LANGUAGE_FLIP}), run)


def _length_s(run: Sequence[Segment]) -> float:
    return sum(line.end_s - line.start_s for line in run)


def _unheard(lines: Sequence[Segment], speech: _Speech) -> Iterator[_Doubt]:
    """The stretches from line to line with much speech in them."""
    ends = [0.0, *(line.end_s for line in lines)]
    starts = [*(line.start_s for line in lines), math.inf]
    for end_s, start_s in zip(ends, starts, strict=True):
        inside = speech.inside(end_s, start_s)
        if sum(b - a for a, b in inside) >= MIN_UNHEARD_S:
            yield _Doubt(inside[0][0], inside[-1][1], frozenset({Reason.SPEECH_WITHOUT_TEXT}))


def _joined(doubts: Iterable[_Doubt]) -> list[_Doubt]:
    """In order of time; what overlaps or follows at once is one, as long as it stays short."""
    joined: list[_Doubt] = []
    for doubt in sorted(doubts, key=lambda doubt: (doubt.start_s, doubt.end_s)):
        last = joined[-1] if joined else None
        if last is not None and _go_together(last, doubt):
            lines = (*last.lines, *(line for line in doubt.lines if line not in last.lines))
            end_s = max(last.end_s, doubt.end_s)
            joined[-1] = _Doubt(last.start_s, end_s, last.reasons | doubt.reasons, lines)
        else:
            joined.append(doubt)
    return joined


def _go_together(first: _Doubt, second: _Doubt) -> bool:
    if second.start_s < first.end_s:
        return True
    return second.start_s - first.end_s <= _JOIN_S and second.end_s - first.start_s <= _MAX_JOINED_S


def _suspect(doubt: _Doubt, speech: _Speech) -> Suspect:
    lines = sorted(doubt.lines, key=lambda line: line.start_s)
    return Suspect(
        start_s=round(doubt.start_s, 3),
        end_s=round(doubt.end_s, 3),
        reasons=tuple(reason.value for reason in sorted(doubt.reasons, key=lambda reason: _ORDER[reason])),
        rank=0,
        text=_excerpt(" ".join(line.text for line in lines)),
        speech_s=round(speech.length_s(doubt.start_s, doubt.end_s), 3),
        avg_logprob=min(_numbers(line.avg_logprob for line in lines), default=None),
        compression_ratio=max(_numbers(line.compression_ratio for line in lines), default=None),
        no_speech_prob=max(_numbers(line.no_speech_prob for line in lines), default=None),
    )


def _numbers(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _excerpt(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= _EXCERPT_CHARS else shown[: _EXCERPT_CHARS - 1].rstrip() + "…"
