"""Two people on two channels, or on a file each, as whoever drops them into the folder sees it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none

from daemon.transcript import SAMPLE_RATE_HZ
from tests.harness import Daemon, MakeDaemon, words_of
from tests.recordings import Clip, Sound

TURNS: Final = (("memo", 0), ("meeting", 1), ("interview", 0))
PAUSE_S: Final = 0.8


@pytest.fixture(scope="module")
def both(clips: dict[str, Clip]) -> Sound:
    """A conversation, a voice on each channel; shape (n, 2)."""
    spoken: list[tuple[Sound, int, int]] = []
    at = 0
    for name, channel in TURNS:
        spoken.append((clips[name].sound, channel, at))
        at += len(clips[name].sound) + int(PAUSE_S * SAMPLE_RATE_HZ)
    sound = np.zeros((at, 2), np.int16)
    for voice, channel, begin in spoken:
        sound[begin : begin + len(voice), channel] = voice
    return sound


def turns(path: Path) -> list[tuple[str, list[str]]]:
    """Who says what, from a transcript in JSON; lines of one person in a row are one turn."""
    told: list[tuple[str, list[str]]] = []
    for line in json.loads(path.read_text())["segments"]:
        if told and told[-1][0] == line.get("speaker", ""):
            told[-1][1].extend(words_of(line["text"]))
        else:
            told.append((line.get("speaker", ""), words_of(line["text"])))
    return told


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    return make_daemon(
        TRANSCRIBED_OPTIONS_SPEAKER_NAMES="Anna,Ben",
        TRANSCRIBED_OPTIONS_TRACKS="true",
        TRANSCRIBED_OPTIONS_FORMATS="txt,json",
    )


def test_a_call_and_a_talk_on_two_tracks(daemon: Daemon, clips: dict[str, Clip], both: Sound) -> None:
    """Both have the right words from the right person, in order; the history says who, and what the channels were."""
    soundfile.write(daemon.inbox / "call.wav", both, SAMPLE_RATE_HZ)
    soundfile.write(
        daemon.inbox / "mixed.wav", np.repeat(both.sum(axis=1, dtype=np.int16)[:, None], 2, 1), SAMPLE_RATE_HZ
    )
    for number in (0, 1):
        soundfile.write(daemon.inbox / f"talk-{number + 1}.wav", both[:, number], SAMPLE_RATE_HZ)
    daemon.start()
    daemon.wait_ended(4)
    daemon.until((daemon.inbox / "talk.txt").exists, "the transcript of both tracks")
    expected = [(("Anna", "Ben")[channel], words_of(clips[name].text)) for name, channel in TURNS]
    assert turns(daemon.inbox / "call.json") == expected
    assert turns(daemon.inbox / "talk.json") == expected
    (mixed,) = turns(daemon.inbox / "mixed.json")
    assert mixed == ("", [word for _, words in expected for word in words])
    assert (daemon.inbox / "call.txt").read_text().count("Anna: ") == 2
    assert "Anna: " not in (daemon.inbox / "mixed.txt").read_text()
    with closing(sqlite3.connect(f"file:{daemon.state_dir / 'transcribed.db'}?mode=ro", uri=True)) as history:
        speakers = history.execute(
            "SELECT DISTINCT speaker FROM v_segments WHERE name = 'call.wav' ORDER BY 1"
        ).fetchall()
        channels = history.execute(
            "SELECT json_extract(detail, '$.channels') FROM v_events WHERE kind = 'decoded' AND path LIKE '%/call.wav'"
        ).fetchall()
    assert (speakers, channels) == ([("Anna",), ("Ben",)], [("distinct",)])
