"""The sentences for people who see only the folder: each language has all of them, with room for the same figures."""

from __future__ import annotations

import re
import string
from datetime import date, datetime
from pathlib import Path

import pytest

from daemon.words import LANGUAGES, Language, catalogue

ROOT = Path(__file__).parents[2]


def figures(sentence: str) -> set[str]:
    """What a sentence has room for."""
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_each_sentence_and_each_figure(language: Language) -> None:
    """None is missing, none is left over, and none has room for another figure than the English one."""
    english, other = catalogue("en").sentences, catalogue(language).sentences
    assert {key: figures(sentence) for key, sentence in other.items()} == {
        key: figures(sentence) for key, sentence in english.items()
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_empty_but_advice_where_there_is_none(language: Language) -> None:
    """Where nothing can be done, no language says what to do."""
    empty = {key for key, sentence in catalogue(language).sentences.items() if not sentence}
    assert empty == {key for key, sentence in catalogue("en").sentences.items() if not sentence}
    assert all(key.endswith(".do") for key in empty)


def test_what_errors_tell_is_in_the_catalogue() -> None:
    """Each key that the program gives to a reason has a sentence, and the figures that it is given."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "daemon").rglob("*.py"))
    keys = set(re.findall(r'\bTold\("(\w+)"', sources)) | set(re.findall(r'\btelling\(.*?, "(\w+)"', sources))
    assert {"unreadable", "too_long", "gave_up"} <= keys
    assert [key for key in keys if not catalogue("en").has(f"reason.{key}.what")] == []
    for key, given in re.findall(r'\btelling\(.*?, "(\w+)"((?:, \w+=[^,()]+)*)\)', sources):
        assert figures(catalogue("en").sentences[f"reason.{key}.what"]) <= set(re.findall(r"(\w+)=", given)), key


def test_figures_are_written_as_in_the_language() -> None:
    """German has a comma; no language shows a zero behind it."""
    assert [catalogue(language).number(2.5) for language in LANGUAGES] == ["2.5", "2,5", "2.5"]
    assert catalogue("de").number(12.0) == "12"
    assert catalogue("de").say("reason.too_big.what", size_gib=9.26, limit_gib=8.0) == (
        "Die Datei hat 9,3 GiB; die Grenze ist 8 GiB."
    )


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3569, "59 min"), (3600, "1 h"), (5400, "1 h 30 min"), (-5, "0 s")],
)
def test_durations_are_as_exact_as_a_person_wants(seconds: float, written: str) -> None:
    """Seconds, minutes, then hours with minutes."""
    assert catalogue("en").duration(seconds) == written


def test_a_moment_of_another_day_has_its_day() -> None:
    """Today only the time of day is told."""
    at = datetime(2026, 3, 4, 9, 5)  # noqa: DTZ001  # it is local already
    assert catalogue("de").moment(at, date(2026, 3, 4)) == "09:05"
    assert catalogue("de").moment(at, date(2026, 3, 5)) == "04.03.2026, 09:05 Uhr"
    assert catalogue("en").moment(at) == "2026-03-04, 09:05"


def test_what_is_put_in_is_not_read_as_a_sentence() -> None:
    """A name with braces is a name."""
    assert catalogue("en").say("page.title", folder="{key.__class__} {0}") == "Transcripts in {key.__class__} {0}"
