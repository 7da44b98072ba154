"""Text as the full-text index takes it. Pure.

unicode61 takes a word for what stands between spaces and marks. In scripts without spaces that would be a whole
sentence, so their characters are indexed one by one, and a word is found as a phrase of them. The trigram tokenizer
finds nothing under three characters, and most Chinese words have two.
"""

from __future__ import annotations

import re
from typing import Final

_SCRIPTS: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # Japanese syllables
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7a3"  # Korean: has spaces, but its particles stick to the word before
)
_LONE: Final = re.compile(f"([{_SCRIPTS}])")
_SPACED: Final = re.compile(f" (\x02?)([{_SCRIPTS}])(\x03?) ")


def spaced(spoken: str) -> str:
    """*spoken* with a space on both sides of every character of a script that has no spaces between words."""
    return _LONE.sub(r" \1 ", spoken)


def unspaced(indexed: str) -> str:
    """What `spaced` was given; marks (STX before, ETX behind) put in since then stay."""
    return _SPACED.sub(r"\1\2\3", indexed)
