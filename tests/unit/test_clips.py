"""The sample clips are complete and small."""

import json
from pathlib import Path

import pytest

CLIPS = Path(__file__).resolve().parent.parent / "data"
TEXTS = json.loads((CLIPS / "texts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TEXTS)
def test_each_clip_exists_and_is_small(name: str) -> None:
    """Each file of texts.json is there, is no empty file, and stays under 300 kB."""
    assert 1_000 < (CLIPS / name).stat().st_size < 300_000


def test_each_recording_has_its_words() -> None:
    """Every sound file is listed in texts.json; only the broken one speaks nothing that could be listed."""
    others = {".sh", ".md", ".json"}
    recordings = {path.name for path in CLIPS.iterdir() if path.is_file() and path.suffix not in others}
    assert recordings == {*TEXTS, "broken.mp3"}


def test_words_have_a_language() -> None:
    """A clip with words says in which language; one without words has none."""
    assert all(set(entry) == {"language", "text"} for entry in TEXTS.values())
    assert all(bool(entry["language"]) == bool(entry["text"]) for entry in TEXTS.values())
    assert len({entry["language"] for entry in TEXTS.values() if entry["text"]}) >= 2


def test_the_folder_is_small() -> None:
    """A clone stays light: all clips together are under 1.5 MB."""
    assert sum(path.stat().st_size for path in CLIPS.iterdir()) < 1_500_000
