"""All parts of a daemon in this process; decoder and engine are faked, the rest is real."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon import canary, inboxes, parts, vitals
from daemon.actor import Pulse
from daemon.config import Config
from daemon.control import NoDaemon, ask
from daemon.engine.client import EngineStatus
from daemon.errors import AlreadyRunning, ConfigError, TranscribedError
from daemon.parts import Parts
from storage.errors import StorageDamaged, StorageUnavailable
from storage.jobs import JobStore
from tests import world

LIMIT_S = 20.0
READY = EngineStatus("ready", None, None, None, None, 0, 0, 0, None, ())


class FakeDecode(world.FakeDecode):
    """As much of a pool as the service wants."""

    def pids(self) -> list[int]:
        """None."""
        return []

    def close(self, grace_s: float) -> None:
        """Nothing to end."""


class FakeEngine(world.FakeEngine):
    """As much of an engine as the service wants; *start_error* is raised by its start."""

    start_error: Exception | None = None

    def start(self, model: str) -> None:
        """Nothing to load."""
        if self.start_error is not None:
            raise self.start_error

    def close(self, grace_s: float) -> None:
        """Nothing to end."""

    def status(self) -> EngineStatus:
        """Ready."""
        return READY


class House:
    """Parts over folders of the test, and how to ask them."""

    def __init__(self, root: Path) -> None:
        self.inbox = root / "in"
        self.inbox.mkdir()
        self.state_dir = root / "state"
        self.engine = FakeEngine()
        self.pulse = Pulse()
        self.made: list[Parts] = []

    def config(self, **tables: Any) -> Config:
        """With one inbox that is quick."""
        inbox = {"path": self.inbox, "settle_s": 0.1, "scan_interval_s": 0.2, "watch": "poll", "formats": ["txt"]}
        monitor = {"interval_s": 1}
        return Config.model_validate({"state_dir": self.state_dir, "inbox": [inbox], "monitor": monitor} | tables)

    def parts(self, **tables: Any) -> Parts:
        """Not started."""
        self.made.append(Parts(self.config(**tables), {}, self.pulse))
        return self.made[-1]

    def status(self) -> dict[str, Any]:
        """What `transcribed status` gets."""
        answer: dict[str, Any] = ask(self.state_dir, "status")
        return answer

    def drop(self, name: str, content: bytes) -> Path:
        """A recording, complete at once; where its transcript will be."""
        (self.inbox / f".{name}").write_bytes(content)
        (self.inbox / f".{name}").rename(self.inbox / name)
        return (self.inbox / name).with_suffix(".txt")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made = House(tmp_path)

    def make_decode_pool(*_: object) -> FakeDecode:
        return FakeDecode()

    def make_engine(*_: object) -> FakeEngine:
        return made.engine

    monkeypatch.setattr(parts, "make_decode_pool", make_decode_pool)
    monkeypatch.setattr(parts, "make_engine", make_engine)
    yield made
    for one in made.made:
        one.stop()


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {LIMIT_S:g} s for {what}")
        time.sleep(0.02)


def test_recordings_are_done_watched_and_told(house: House) -> None:
    """From the drop to the transcript; status, figures and the line for systemd say so; afterwards nothing answers."""
    daemon = house.parts(canary={"interval_s": 0})
    daemon.start()
    assert daemon.vitals.not_ready() == ""
    text = house.drop("a.wav", b"GOOD" + b"x" * 50)
    until(text.exists, "the transcript")
    house.drop("b.wav", b"JUNK")
    until(lambda: house.status()["figures"].get("jobs_ended failed"), "the failure in the figures")
    told = house.status()
    assert (told["jobs"]["done"], told["jobs"]["failed"], told["stuck"]) == (1, 1, [])
    assert told["canary"] is None
    assert told["figures"]["jobs_ended ok"] == 1
    assert daemon.vitals.line() == "engine ready; jobs: done 1, failed 1"
    daemon.stop()
    with pytest.raises(NoDaemon):
        house.status()
    assert daemon.vitals.not_ready() == "stopping"


def test_the_canary_goes_the_way_of_every_recording(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through inbox, queue, decoder, engine and publication; people's counts and inboxes do not show it."""
    monkeypatch.setattr(canary, "FIRST_S", 0.0)
    daemon = house.parts()
    daemon.start()
    until(lambda: house.status()["canary"]["last_at"], "the canary")
    told = house.status()
    assert told["canary"]["wrong_words_ratio"] > 0.9  # the fake engine knows no English
    assert told["canary"]["words"].startswith("heard: ")
    until(lambda: set(house.status()["jobs"].values()) == {0}, "counts without it")
    assert [inbox["path"] for inbox in told["inboxes"]] == [str(house.inbox)]
    until(lambda: house.status()["figures"].get("canary_latency_s"), "its figures")
    assert house.status()["figures"].get("jobs_ended ok") is None
    assert os.listdir(house.state_dir / "sidecars") == []
    assert [name for name in os.listdir(house.state_dir / "canary") if name.startswith("canary")] == []


@pytest.mark.parametrize(
    ("tables", "words"),
    [({"alerts": {"to": ["nonsense"]}}, "alerts.to"), ({"web": {"listen": "/nowhere/at/all.sock"}}, "cannot listen")],
)
def test_what_is_wrong_leaves_nothing_behind(house: House, tables: dict[str, Any], words: str) -> None:
    """The start is refused with the reason, and the next one finds the locks free."""
    daemon = house.parts(**tables)
    # An address that nobody could listen at is only found out where the environment can be changed.
    with pytest.raises(ConfigError, match=words):
        daemon.start()
    daemon.stop()
    house.parts().start()


def test_an_engine_that_cannot_run_ends_the_start(house: House) -> None:
    """And what was begun before is ended again."""
    house.engine.start_error = ConfigError("no such model")
    daemon = house.parts()
    with pytest.raises(ConfigError, match="no such model"):
        daemon.start()
    daemon.stop()
    house.engine.start_error = None
    house.parts().start()


def test_two_do_not_share_a_state_folder(house: House) -> None:
    """The second says so, and the first goes on."""
    house.parts().start()
    second = house.parts()
    with pytest.raises(AlreadyRunning):
        second.start()
    second.stop()
    assert house.status()["state"] == "ready"


def test_a_reload_goes_on_where_the_history_does_not_answer(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed is done as soon as it answers again."""
    daemon = house.parts(canary={"interval_s": 0})
    daemon.start()
    other = tmp_path / "other"
    other.mkdir()

    def fail(*_: object) -> None:
        raise StorageUnavailable("the disk reports an error")

    monkeypatch.setattr(inboxes, "SEEN_S", 0.1)
    with monkeypatch.context() as patched:
        patched.setattr(JobStore, "known_files", fail)
        daemon.apply(house.config(inbox=[{"path": other, "settle_s": 0.1, "scan_interval_s": 0.2, "watch": "poll"}]))
        assert [inbox["path"] for inbox in house.status()["inboxes"]] == [str(other)]
    (other / "a.wav").write_bytes(b"GOOD" + b"x" * 50)
    until((other / "a.txt").exists, "the transcript")


def test_a_reload_over_a_damaged_history_ends_the_daemon_in_order(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As whatever else meets the damage: the next start mends it."""
    daemon = house.parts(canary={"interval_s": 0})
    daemon.start()
    other = tmp_path / "other"
    other.mkdir()

    def fail(*_: object) -> None:
        raise StorageDamaged("the file is malformed")

    monkeypatch.setattr(JobStore, "known_files", fail)
    daemon.apply(house.config(inbox=[{"path": other}]))
    assert daemon.health.lost == "the file is malformed"
    assert house.status()["history_trouble"] == "the file is malformed"


def test_a_daemon_that_stops_is_not_sick_for_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loops end before its jobs do, which may take long."""
    daemon = house.parts(canary={"interval_s": 0})
    daemon.start()
    daemon.stop()
    monkeypatch.setattr(vitals, "monotonic_s", lambda: 1e9)
    assert daemon.vitals.sick() == ""


def test_a_reload_changes_inboxes_and_who_is_told(house: House, tmp_path: Path) -> None:
    """The canary's inbox stays; what is wrong changes nothing."""
    daemon = house.parts()
    daemon.start()
    other = tmp_path / "other"
    other.mkdir()
    changed = house.config(inbox=[{"path": other, "settle_s": 0.1, "scan_interval_s": 0.2, "watch": "poll"}])
    daemon.apply(changed)
    assert [inbox["path"] for inbox in house.status()["inboxes"]] == [str(other)]
    with pytest.raises(TranscribedError):
        daemon.apply(house.config(alerts={"to": ["nonsense"]}))
    assert [inbox["path"] for inbox in house.status()["inboxes"]] == [str(other)]
    marker = house.state_dir / "canary" / ".transcribed-inbox"
    assert json.loads(marker.read_text())["pid"] == os.getpid()
