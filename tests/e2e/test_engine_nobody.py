"""Nobody speaks: whatever stood in the transcript would be invented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import sounds
from daemon.engine.client import Engine, EngineSettings
from daemon.options import JobOptions, Quality
from tests.recordings import ask_all, decoding, request, running


@pytest.fixture(scope="module")
def engine(models_dir: Path) -> Iterator[Engine]:
    with running(EngineSettings(models_dir, device="cpu")) as started:
        started.start("base")
        yield started


@pytest.mark.fault(36, "silence, tones and noise, with the real model")
@pytest.mark.parametrize(
    ("quality", "trusted"), [("fast", True), ("fast", False), ("careful", True), ("faithful", True)]
)
def test_no_words_where_nobody_speaks(engine: Engine, tmp_path: Path, quality: Quality, *, trusted: bool) -> None:
    """Silence, noises, hum, tones, clicks, music: no text, and none even if all of it is taken for speech."""
    with decoding() as decode:
        heard = {name: decode(path) for name, path in sounds.write_all(tmp_path).items()}
    options = JobOptions(quality=quality)
    wanted = {
        name: request(tmp_path, name, sound, options, spans if trusted else None)
        for name, (sound, spans) in heard.items()
        if spans or not trusted
    }
    told = ask_all(engine, wanted) if wanted else {}
    assert {name: end.error for name, end in told.items() if end.error} == {}
    assert {name: end.text for name, end in told.items() if end.text} == {}
