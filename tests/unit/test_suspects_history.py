"""Where to listen, in the history: written with the text, gone with it, read newest first, shown by ``suspects``."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.cli import exits, suspects
from daemon.config.schema import DATABASE_NAME
from storage.glance import Glance
from storage.jobs import JobStore
from storage.records import Outcome, Output, StoredSuspect
from tests.unit.history import AT, claim, days, lines, result

LOOP = StoredSuspect(2, 4.0, 9.5, ("loop", "low_confidence"), "so so so \x1b[2J", 5.0, -1.2, 3.4, 0.2)
UNHEARD = StoredSuspect(1, 60.0, 3725.5, ("speech_without_text",), "", 12.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / DATABASE_NAME


@pytest.fixture
def store(path: Path) -> Iterator[JobStore]:
    with closing(JobStore.open(path, "daemon-1")) as store:
        yield store


def transcribe(store: JobStore, recording: bytes, *places: StoredSuspect, day: float = 0.0) -> int:
    """A job for *recording* that is done with a line and *places*."""
    job = claim(store, recording, days(day))
    text = Output("txt", recording + b".txt", b"/srv/inbox/.tr-0.part", f"{job.id:064d}")
    store.publishing(job, [text], result(), days(day), lines("a line"), b"", places)
    store.finish(job, result(), days(day))
    return job.id


def found(path: Path, limit: int = 50, folder: bytes | None = None, day: float | None = None) -> list[tuple[int, int]]:
    """The job and the rank of each place."""
    with closing(Glance.open(path)) as history:
        places = history.suspects(limit, folder, None if day is None else days(day))
    return [(place.job_id, place.suspect.rank) for place in places]


def test_places_come_back_as_they_were_written(store: JobStore, path: Path) -> None:
    """In order of time, whatever the order in which they were handed in; what has no figure has none."""
    transcribe(store, b"/srv/inbox/a.wav", UNHEARD, LOOP)
    with closing(Glance.open(path)) as history:
        first, second = history.suspects(50)
    assert (first.suspect, second.suspect) == (LOOP, UNHEARD)
    assert (first.path, first.finished_at) == (b"/srv/inbox/a.wav", AT)
    with closing(sqlite3.connect(path)) as database:
        numbers = database.execute("SELECT number, rank, name FROM v_suspects ORDER BY number").fetchall()
    assert numbers == [(1, 2, "a.wav"), (2, 1, "a.wav")]


def test_the_newest_recording_comes_first(store: JobStore, path: Path) -> None:
    """So far as the limit goes; a folder and a time narrow it."""
    transcribe(store, b"/srv/inbox/a.wav", LOOP, UNHEARD)
    transcribe(store, b"/srv/inbox/anna/b.wav", LOOP, day=2)
    assert found(path) == [(2, 2), (1, 2), (1, 1)]
    assert found(path, limit=2) == [(2, 2), (1, 1)]
    assert found(path, folder=b"/srv/inbox/anna/") == [(2, 2)]
    assert found(path, folder=b"/srv/inbox/ann") == []
    assert found(path, day=1) == [(2, 2)]


def test_only_the_newest_transcript_is_listed(store: JobStore, path: Path) -> None:
    """A later one may have none; the view keeps those of the earlier."""
    transcribe(store, b"/srv/inbox/a.wav", LOOP)
    transcribe(store, b"/srv/inbox/a.wav", day=1)
    assert found(path) == []
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT job_id, newest FROM v_suspects").fetchall() == [(1, 0)]


def test_a_touched_recording_keeps_its_places(store: JobStore, path: Path) -> None:
    """A duplicate has no text of its own, so nothing of its own to doubt."""
    transcribe(store, b"/srv/inbox/a.wav", LOOP)
    job = claim(store, b"/srv/inbox/a.wav", days(1))
    store.publishing(job, [], result(Outcome.DUPLICATE), days(1))
    store.finish(job, result(Outcome.DUPLICATE), days(1))
    assert found(path) == [(1, 2)]


def test_places_go_with_their_text(store: JobStore, path: Path) -> None:
    """Published again after a crash they are not there twice; before the job is done they do not show."""
    job = claim(store, b"/srv/inbox/a.wav", AT)
    for _ in range(2):
        store.publishing(job, [], result(), AT, lines("a line"), b"", [LOOP])
        assert found(path) == []
    store.finish(job, result(), AT)
    assert found(path) == [(1, 2)]
    store.remove_texts([1])
    assert found(path) == []


@pytest.fixture
def file(path: Path, store: JobStore) -> Path:
    """The configuration of a history with a recording that has a hostile name."""
    transcribe(store, b"/srv/inbox/\x1b[2Ja.wav", LOOP, UNHEARD)
    file = path.parent / "transcribed.toml"
    file.write_text(f'state_dir = "{path.parent}"\n[[inbox]]\npath = "{path.parent}/inbox"\n', encoding="utf-8")
    return file


def test_a_person_sees_when_and_why(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Times to type into a player; nothing that a name or a text holds reaches the terminal."""
    assert suspects.run(file, 50, None, None, as_json=False) == exits.OK
    name, loop, unheard = capsys.readouterr().out.splitlines()
    assert name.startswith("/srv/inbox/\\x1b[2Ja.wav  (job 1, 2025-03-0")
    assert loop == "   0:00:04 - 0:00:10   the text repeats itself; hardly understood  so so so \\x1b[2J"
    assert unheard == "   0:01:00 - 1:02:06   speech without text"


def test_a_script_gets_all_figures(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """These keys are a contract."""
    assert suspects.run(file, 1, Path("/srv/inbox"), "2025-03-01", as_json=True) == exits.OK
    (place,) = json.loads(capsys.readouterr().out)
    assert place == {
        "job": 1,
        "path": "/srv/inbox/\x1b[2Ja.wav",
        "finished_at": "2025-03-01T12:00:00.000Z",
        "rank": 1,
        "start_s": 60.0,
        "end_s": 3725.5,
        "reasons": ["speech_without_text"],
        "text": "",
        "speech_s": 12.0,
        "avg_logprob": None,
        "compression_ratio": None,
        "no_speech_prob": None,
    }


def test_that_nothing_is_doubtful_is_no_failure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said on stderr, so that a script gets an empty list."""
    elsewhere = Path(os.sep) / "elsewhere"
    assert suspects.run(file, 50, elsewhere, None, as_json=True) == exits.OK
    assert json.loads(capsys.readouterr().out) == []
    assert suspects.run(file, 50, elsewhere, None, as_json=False) == exits.OK
    assert "no transcript has a place that is doubtful" in capsys.readouterr().err
