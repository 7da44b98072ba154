"""The sentences of the pages, in the language of who reads them. Pure but for the files of words beside it."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from daemon.words import LANGUAGES, Catalogue, Language, catalogue, flat

__all__ = ["LANGUAGES", "Catalogue", "Language", "chosen", "words"]


@cache
def words(language: Language) -> Catalogue:
    """The sentences of *language*: those of the pages, and of `daemon.words` what they do not have themselves."""
    table = tomllib.loads((Path(__file__).parent / "words" / f"{language}.toml").read_text(encoding="utf-8"))
    general = catalogue(language)
    return Catalogue(general.tag, {**general.sentences, **dict(flat(table))})


def chosen(wish: str, accepted: str) -> Language:
    """*wish* if there is such a language, else the best of *accepted* (Accept-Language), else English."""
    if wish in LANGUAGES:
        return wish
    ranges: list[tuple[float, int, str]] = []
    for place, part in enumerate(accepted[:500].split(",")):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        ranges.append((-weight, place, tag.strip().lower().partition("-")[0]))
    for weight, _, tag in sorted(ranges):
        if weight < 0 and tag in LANGUAGES:
            return tag
    return "en"
