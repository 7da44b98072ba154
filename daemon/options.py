"""What a person may ask of one recording: the options of its inbox, frozen into its job. Plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final, Literal, get_args

Task = Literal["transcribe", "translate", "both"]
"""The text in the language spoken, in English, or in both, from one pass over the audio."""

Format = Literal["txt", "srt", "vtt", "json", "tsv", "md", "docx", "lrc"]
Quality = Literal["fast", "careful", "faithful"]
"""How windows are decoded.

fast: a beam of three first, of *beam_size* where the text is doubtful; careful: of *beam_size* for every window;
faithful: the original algorithm, with the text of the previous window and with seeking by timestamps.
"""

Speakers = Literal["off", "auto"]
"""Whether two channels are heard apart, where they are two people apart (`daemon.decode.channels`)."""

Priority = Literal["high", "normal", "low"]
"""Which recordings come first, whoever they are of."""

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

LANGUAGES: Final = frozenset(
    """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is
    it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk
    sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh
    """.split()
)
"""The codes of Whisper's multilingual vocabulary (large-v3 added ``yue``)."""

_WORDS: Final = frozenset(
    "model language task quality beam_size multilingual hotwords initial_prompt word_timestamps".split()
)
# The options that the words depend on. The others say which files there are and what they look like.
_LATER_WORDS: Final = frozenset({"speakers"})
# Options of the words that came after the first release: they count only where they are not at their default, so that
# the digests of older jobs stay as they are.
_ORDER: Final = frozenset({"priority"})
# Options that say when, not what.


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The effective options of one job. *language* None means: detect it; *multilingual*: for each window.

    From *formats* on they say which files there are and what they look like (`daemon.config.OptionsConfig`).
    """

    model: str = "base"
    language: str | None = None
    task: Task = "transcribe"
    quality: Quality = "fast"
    beam_size: int = 5
    multilingual: bool = False
    hotwords: str | None = None
    initial_prompt: str | None = None
    word_timestamps: bool = False
    speakers: Speakers = "auto"
    formats: tuple[Format, ...] = ("txt", "srt", "vtt", "json")
    language_suffix: bool = False
    paragraph_pause_s: float = 2.0
    paragraph_times: bool = False
    list_suspects: bool = False
    subtitle_line_chars: int = 42
    subtitle_line_chars_cjk: int = 16
    subtitle_lines: int = 2
    subtitle_min_s: float = 1.0
    subtitle_max_s: float = 7.0
    subtitle_chars_per_s: float = 20.0
    subtitle_gap_ms: int = 83
    speaker_names: tuple[str, ...] = ()
    tracks: bool = False
    priority: Priority = "normal"

    def to_dict(self) -> dict[str, object]:
        """The options as JSON types."""
        values: dict[str, object] = asdict(self)
        values["formats"] = list(self.formats)
        values["speaker_names"] = list(self.speaker_names)
        return values

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> JobOptions:
        """The options that `to_dict` wrote; keys of a later version are left out."""
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        for key in ("formats", "speaker_names"):
            if key in values:
                values[key] = tuple(values[key])  # type: ignore[arg-type]  # JSON has no tuples
        return cls(**values)  # type: ignore[arg-type]  # written by to_dict

    def digest(self) -> str:
        """A hash of the options that change the words; the same digest on the same bytes gives the same text."""
        default = type(self)()
        words = {
            key: value
            for key, value in self.to_dict().items()
            if key in _WORDS or (key in _LATER_WORDS and value != getattr(default, key))
        }
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]

    def looks_like(self, other: JobOptions) -> bool:
        """Whether files of the same text and format are the same with both."""
        apart = _WORDS | _LATER_WORDS | _ORDER | {"formats"}
        return all(value == getattr(other, key) for key, value in asdict(self).items() if key not in apart)
