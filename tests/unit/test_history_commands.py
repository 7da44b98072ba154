"""`search`, `export`, `redo` and `prune` as they are typed, with a daemon and without one."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from daemon.answers import Answers
from daemon.cli import change, exits, export, prune, search
from daemon.cli.common import since
from daemon.config import Config, load
from daemon.control import ControlServer
from daemon.dispatch import Dispatcher
from daemon.errors import TranscribedError
from daemon.service import DATABASE_NAME
from storage.jobs import JobStore
from storage.records import JobState
from tests.unit.history import AT, days, transcribe


class Machine:
    """A state folder with a history, and the configuration that points to it."""

    def __init__(self, root: Path) -> None:
        self.state_dir = root / "state"
        self.state_dir.mkdir()
        self.file = root / "transcribed.toml"
        self.file.write_text(
            f'state_dir = "{self.state_dir}"\n[options]\nmodel = "small"\n[history]\nkeep_events_days = 1\n'
            f'[[inbox]]\npath = "{root}/inbox"\n',
            encoding="utf-8",
        )
        self.inbox = os.fsencode(root / "inbox")

    def open(self) -> JobStore:
        """The history, as the daemon has it."""
        return JobStore.open(self.state_dir / DATABASE_NAME, "daemon-1")

    def seed(self) -> None:
        """A recording with a hostile name, and one without."""
        with closing(self.open()) as store:
            transcribe(store, self.inbox + b"/\x1b[2Ja\n.wav", "no", "The \x1bAnnual budget", inbox=self.inbox)
            transcribe(store, self.inbox + b"/b.wav", "the budget", inbox=self.inbox, at=days(2))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.seed()
    return machine


class FakeDispatcher:
    """Counts how often it is woken."""

    n_woken = 0

    def wake(self) -> None:
        """As `Dispatcher.wake`."""
        self.n_woken += 1


@pytest.fixture
def daemon(machine: Machine) -> Iterator[FakeDispatcher]:
    """A daemon that answers on the socket; it owns the history."""
    dispatcher = FakeDispatcher()

    def config() -> Config:
        return load(machine.file, {}).config

    with closing(machine.open()) as store:
        parts: Any = dict.fromkeys(("engine", "inboxes", "pulse"))  # not asked for here
        answers = Answers(store, dispatcher=cast("Dispatcher", dispatcher), started_at=AT, config=config, **parts)
        server = ControlServer(machine.state_dir, answers.commands())
        server.start()
        yield dispatcher
        server.close()


@pytest.fixture(params=["alone", "daemon"])
def either(request: pytest.FixtureRequest, machine: Machine) -> Machine:
    """The machine, without a daemon and with one."""
    if request.param == "daemon":
        request.getfixturevalue("daemon")
    return machine


def test_search_shows_recording_time_and_line(either: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Newest first, what was found in brackets; nothing that a name or a text holds reaches the terminal."""
    assert search.run(either.file, ["budget"], 20, None, None, as_json=False) == exits.OK
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    lines = shown.splitlines()
    assert lines[0].startswith(f"{os.fsdecode(either.inbox)}/b.wav  (job 2, 2025-03-0")
    assert lines[1] == "   0:00:00  the [budget]"
    assert "\\x1b[2Ja\\x0a.wav" in lines[2]
    assert lines[3] == "   0:00:04  The \\x1bAnnual [budget]"


def test_search_for_scripts(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON with the exact text; folder and time narrow it."""
    folder = Path(os.fsdecode(machine.inbox))
    assert search.run(machine.file, ["annual budget"], 20, folder, None, as_json=True) == exits.OK
    (hit,) = json.loads(capsys.readouterr().out)
    assert (hit["job"], hit["start_s"], hit["end_s"], hit["number"]) == (1, 4.0, 7.5, 2)
    assert (hit["text"], hit["found"], hit["suspect"]) == ("The \x1bAnnual budget", ["Annual budget"], [])
    assert hit["finished_at"] == "2025-03-01T12:00:00.000Z"
    assert search.run(machine.file, ["annual"], 20, folder, "2025-03-02", as_json=True) == exits.FAILED
    assert capsys.readouterr().out == "[]\n"


def test_search_says_when_there_is_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, with an exit code for scripts; a question without a word is refused."""
    assert search.run(machine.file, ["zebra"], 20, None, None, as_json=False) == exits.FAILED
    said = capsys.readouterr()
    assert (said.out, "no transcript has these words" in said.err) == ("", True)
    with pytest.raises(TranscribedError, match="no letter or digit"):
        search.run(machine.file, ['"*"'], 20, None, None, as_json=False)


def test_a_clock_time_begins_before_the_word() -> None:
    """Hours always shown; the fraction is cut off."""
    assert [search.clock(seconds) for seconds in (0, 59.99, 3661.5, 360_000)] == [
        *("0:00:00", "0:00:59", "1:01:01", "100:00:00")
    ]


def test_since_is_a_date_or_an_age() -> None:
    """In words where it is neither."""
    assert since(None) is None
    date, week, hours = since("2025-03-01"), since("7d"), since("12h")
    assert date is not None
    assert date.astimezone().isoformat().startswith("2025-03-01T00:00:00")
    assert week is not None
    assert hours is not None
    assert (hours - week).days == 6
    for wrong in ("yesterday", "7", "-1d", "9999999d", "999999d"):
        with pytest.raises(TranscribedError, match="give a date"):
            since(wrong)


def test_redo_asks_first_and_counts(
    either: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run changes nothing, nor does it without an answer; --yes goes ahead, with today's options."""
    assert change.redo(either.file, [], "model = 'base'", yes=False, dry_run=True) == exits.OK
    assert "2 recordings would be transcribed again: jobs 1, 2" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # no terminal
    with pytest.raises(TranscribedError, match="--yes"):
        change.redo(either.file, [], "model = 'base'", yes=False, dry_run=False)
    assert change.redo(either.file, [], "name = 'b.wav'", yes=True, dry_run=False) == exits.OK
    assert capsys.readouterr().out == "job 2: done again as job 3\n"
    assert change.redo(either.file, [2, 99], None, yes=False, dry_run=False) == exits.FAILED
    assert "job 2: there is none, or its recording is in the queue already" in capsys.readouterr().err
    assert change.redo(either.file, [], "name = 'b.wav'", yes=True, dry_run=False) == exits.OK
    with closing(either.open()) as store:
        (job,) = store.jobs([JobState.QUEUED])
        assert (job.id, job.again, job.options["model"]) == (3, True, "small")


def test_redo_wakes_the_dispatcher(machine: Machine, daemon: FakeDispatcher) -> None:
    """Work begins at once."""
    change.redo(machine.file, [1], None, yes=False, dry_run=False)
    assert daemon.n_woken == 1


def test_redo_refuses_what_it_cannot_understand(machine: Machine) -> None:
    """Neither numbers nor a condition, both, or a condition that is none."""
    for numbers, where in ([], None), ([1], "1"):
        with pytest.raises(TranscribedError, match="either numbers of jobs, or --where"):
            change.redo(machine.file, numbers, where, yes=True, dry_run=False)
    with pytest.raises(TranscribedError, match="no such column: nonsense"):
        change.redo(machine.file, [], "nonsense", yes=True, dry_run=False)


def test_export_is_for_other_programs(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A view as CSV or JSON lines; one that there is not is named with those that there are."""
    export.run(machine.file, "csv", "v_segments", None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 3
    assert lines[0].startswith("segment_id,job_id,path,")
    export.run(machine.file, "jsonl", "v_history", "2025-03-02")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["job_id"] == 2
    with pytest.raises(TranscribedError, match=r"no such view; there are v_events, .*v_throughput_daily"):
        export.run(machine.file, "csv", "sqlite_schema", None)


def test_prune_says_what_would_go_and_what_went(either: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The same number, by the rules of the configuration; then there is nothing left to go."""
    for dry_run, said in (True, "10 events, 0 texts of earlier transcripts, 0 jobs would go\n"), (False, "10 events"):
        prune.run(either.file, dry_run=dry_run, as_json=False)
        assert capsys.readouterr().out.startswith(said)
    prune.run(either.file, dry_run=False, as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert (answer["n_events"], answer["n_texts"], answer["n_jobs"]) == (0, 0, 0)
    assert answer["rules"]["keep_events_days"] == 1
