# ruff: noqa: RUF001  # look-alikes are what is wanted
"""Cues as files: srt, vtt, lrc. Pure. Whatever was said, it is shown as text: no tag, no time, no end of a cue.

SubRip has neither a standard nor a way to escape, and players read HTML and the codes of two other formats in it. What
they could take for such gets characters that look alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from daemon.outputs.document import Document
from daemon.outputs.paragraphs import NO_TRANSLATION
from daemon.outputs.subtitles import Cue, Shape, cues_of
from daemon.outputs.typesetting import cleaned, joined
from daemon.transcript import Segment

ENDING_S: Final = 5.0
"""How long a player shows that the rest is missing, behind the last of what is there."""

_ARROW: Final = re.compile("-{2,}>")
_TAG: Final = re.compile(r"<(?=[A-Za-z/!?\d])([^<>]*)(>?)")
_CODE: Final = re.compile(r"\{(?=[\\A-Za-z\d])([^{}]*)(\}?)")  # {\an8}, {y:i}, {10}{20}
_LRC_CLEAR_MS: Final = 4000  # an empty line where nobody speaks for longer than this


def srt(document: Document, cues: Sequence[Cue]) -> str:
    """SubRip. Of a partial transcript the last cue says so: there are no comments."""
    shown = [*cues, *_ending(document)]
    return "\n".join(
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{_srt_text(cue)}\n"
        for number, cue in enumerate(shown, start=1)
    )


def vtt(document: Document, cues: Sequence[Cue]) -> str:
    """WebVTT, with the notice of the document as a comment; who speaks is a tag, which players style or leave out."""
    english = f"translation: {NO_TRANSLATION}" if document.needs_no_translation else ""
    notes = [document.notice, english, _too_fast(cues, shape_of(document))]
    parts = [f"NOTE {_ARROW.sub('->', cleaned(note))}\n" for note in notes if note]
    parts += [f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{_vtt_text(cue)}\n" for cue in cues]
    return "\n".join(["WEBVTT\n", *parts])


def lrc(document: Document, cues: Sequence[Cue]) -> str:
    """Lyrics, as players of music read them: one line for each cue, an empty one where nobody speaks for long."""
    tags = (("ti", document.recording), ("length", _minutes(_ms(document.audio_s), 0)), ("tool", document.made_by))
    lines = [f"[{tag}:{_lrc_text(value)}]" for tag, value in tags]
    for n, cue in enumerate(cues):
        lines.append(f"[{_minutes(cue.start_ms, 2)}]{_lrc_text(joined(cue.rows))}")
        if n + 1 == len(cues) or cues[n + 1].start_ms - cue.end_ms > _LRC_CLEAR_MS:
            lines.append(f"[{_minutes(cue.end_ms, 2)}]")
    return "".join(f"{line}\n" for line in lines)


def shape_of(document: Document) -> Shape:
    """What the cues of *document* may look like, by its options."""
    options = document.options
    return Shape(
        row_columns=options.subtitle_line_chars,
        row_columns_wide=2 * options.subtitle_line_chars_cjk,
        n_rows=options.subtitle_lines,
        min_ms=_ms(options.subtitle_min_s),
        max_ms=_ms(options.subtitle_max_s),
        columns_per_s=options.subtitle_chars_per_s,
        gap_ms=options.subtitle_gap_ms,
    )


def until_ms(document: Document) -> int | None:
    """Where the cues must end: before the one that says that the rest is missing."""
    return _ms(document.audio_s) - document.options.subtitle_gap_ms if document.outcome == "partial" else None


def n_too_fast(cues: Sequence[Cue], shape: Shape) -> int:
    """How many of *cues* must be read faster than the shape allows, since they were said so."""
    return sum(cue.columns_per_s > shape.columns_per_s * 1.001 for cue in cues)


def _too_fast(cues: Sequence[Cue], shape: Shape) -> str:
    n = n_too_fast(cues, shape)
    return f"{n} of {len(cues)} cues: spoken faster than {shape.columns_per_s:g} characters a second" if n else ""


def _ending(document: Document) -> list[Cue]:
    if document.outcome != "partial":
        return []
    notice = Segment(document.audio_s, document.audio_s + ENDING_S, f"[{document.notice}]", 0.0, 1.0, 0.0, 0.0)
    return cues_of([notice], "en", shape_of(document))


def _srt_text(cue: Cue) -> str:
    text = _ARROW.sub("->", "\n".join(cue.rows))
    text = _TAG.sub(lambda tag: f"‹{tag[1]}{'›' if tag[2] else ''}", text)
    return _CODE.sub(lambda code: f"({code[1]}{')' if code[2] else ''}", text)


def _vtt_text(cue: Cue) -> str:
    text = _vtt_escaped("\n".join(cue.rows).removeprefix(cue.lead))
    return f"<v {_vtt_escaped(cue.speaker)}>{text}" if cue.speaker else text


def _vtt_escaped(text: str) -> str:
    # "->" stays readable; a bare < or & would start a tag or an entity (WebVTT, section 6.4).
    return _ARROW.sub("->", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _lrc_text(text: str) -> str:
    # A [ begins a time or a tag, < the time of a word.
    return cleaned(text).replace("[", "(").replace("]", ")").replace("<", "‹").replace(">", "›")


def _clock(milliseconds: int, separator: str) -> str:
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{separator}{milliseconds % 1000:03d}"


def _minutes(milliseconds: int, digits: int) -> str:
    unit_ms = 10 ** (3 - digits)
    minutes, rest = divmod(milliseconds // unit_ms, 60_000 // unit_ms)
    seconds, fraction = divmod(rest, 10**digits)
    return f"{minutes:02d}:{seconds:02d}" + (f".{fraction:0{digits}d}" if digits else "")


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
