"""In what letters a language is written, and how its speech is counted.

Pure. Knows the languages of Whisper by their codes; one that it does not know is taken as written in Latin letters with
blanks between words. Knows nothing of windows or models.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_LATIN: Final = frozenset({"LATIN"})

_CYRILLIC: Final = "be bg ba kk mk mn ru tg tt uk"
_CYRILLIC_OR_LATIN: Final = "az bs sr tk uz"
_ARABIC: Final = "ar fa ps sd ur"
_DEVANAGARI: Final = "hi mr ne sa"
_HAN: Final = "yue zh"

_SCRIPTS: Final = {
    **dict.fromkeys(_CYRILLIC.split(), frozenset({"CYRILLIC"})),
    **dict.fromkeys(_CYRILLIC_OR_LATIN.split(), frozenset({"CYRILLIC", "LATIN"})),
    **dict.fromkeys(_ARABIC.split(), frozenset({"ARABIC"})),
    **dict.fromkeys(_DEVANAGARI.split(), frozenset({"DEVANAGARI"})),
    **dict.fromkeys(_HAN.split(), frozenset({"CJK", "IDEOGRAPHIC", "BOPOMOFO"})),
    **dict.fromkeys(("he", "yi"), frozenset({"HEBREW"})),
    **dict.fromkeys(("as", "bn"), frozenset({"BENGALI"})),
    "am": frozenset({"ETHIOPIC"}),
    "bo": frozenset({"TIBETAN"}),
    "el": frozenset({"GREEK"}),
    "gu": frozenset({"GUJARATI"}),
    "hy": frozenset({"ARMENIAN"}),
    "ja": frozenset({"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    "ka": frozenset({"GEORGIAN"}),
    "km": frozenset({"KHMER"}),
    "kn": frozenset({"KANNADA"}),
    "ko": frozenset({"HANGUL", "CJK"}),
    "lo": frozenset({"LAO"}),
    "ml": frozenset({"MALAYALAM"}),
    "my": frozenset({"MYANMAR"}),
    "pa": frozenset({"GURMUKHI", "ARABIC"}),
    "si": frozenset({"SINHALA"}),
    "ta": frozenset({"TAMIL"}),
    "te": frozenset({"TELUGU"}),
    "th": frozenset({"THAI"}),
}
# By the first word of a letter's Unicode name.

_WITHOUT_BLANKS: Final = frozenset({"bo", "ja", "km", "lo", "my", "th", "yue", "zh"})

_APOSTROPHES: Final = "'\N{RIGHT SINGLE QUOTATION MARK}"

_MIN_FOREIGN: Final = 4  # letters; fewer are an abbreviation or a unit
_FOREIGN_SHARE: Final = 0.5
_MIN_LATIN: Final = 12
_LATIN_SHARE: Final = 0.8
# Names of firms and products stay in Latin letters in every language, and a short answer may be nothing else.

_MIN_HAN: Final = 24
# No Japanese sentence of that length goes without kana; Chinese does.


def has_blanks(language: str) -> bool:
    """Whether *language* puts blanks between words. Where it does not, characters are counted instead."""
    return language not in _WITHOUT_BLANKS


def normalised(text: str) -> str:
    """*text* in lower case and compatible forms; everything that is no letter, mark or digit is one blank."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if _is_spoken(c) else " " for c in folded if c not in _APOSTROPHES).split())


def units(text: str, language: str) -> list[str]:
    """The words of *text*, `normalised`; its characters, where *language* knows no blanks."""
    words = normalised(text).split()
    return words if has_blanks(language) else [c for word in words for c in word]


def is_foreign(text: str, language: str) -> bool:
    """Whether most of *text* is in letters that *language* is not written in."""
    own = _SCRIPTS.get(language, _LATIN)
    found = list(_scripts_of(text))
    n_latin = found.count("LATIN") if "LATIN" not in own else 0
    n_foreign = sum(script not in own for script in found)
    n_other = n_foreign - n_latin
    return (
        (n_other >= _MIN_FOREIGN and n_other > _FOREIGN_SHARE * len(found))
        or (n_foreign >= _MIN_LATIN and n_foreign > _LATIN_SHARE * len(found))
        or (language == "ja" and len(found) >= _MIN_HAN and found.count("CJK") == len(found))
    )


def _scripts_of(text: str) -> Iterator[str]:
    for character in unicodedata.normalize("NFKC", text):
        script = _script(character)
        if script:
            yield script


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """The script of a letter; empty for everything else."""
    if not character.isalpha():
        return ""
    script = unicodedata.name(character, "").split(" ", 1)[0]
    return "" if script in {"MODIFIER", "MATHEMATICAL"} else script


@lru_cache(maxsize=4096)
def _is_spoken(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"
