"""Real events on a real folder: what wakes, what does not, and how a watch that is of no use shows."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.intake import watcher as watcher_module
from daemon.intake.watcher import PROBE_PREFIX, Watcher

DEADLINE_S = 20.0


class Heard:
    """The names that events came for, and a way to wait for one."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, path: str | bytes) -> None:
        """Take the place of `Watcher.heard`."""
        with self._changed:
            self.names.append(os.path.basename(os.fsdecode(path)))
            self._changed.notify_all()

    def wait_for(self, name: str) -> None:
        """Return once an event came for *name*."""
        with self._changed:
            assert self._changed.wait_for(lambda: name in self.names, DEADLINE_S), f"no event for {name}: {self.names}"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Watcher]]:
    made: list[Watcher] = []

    def make(folder: Path = tmp_path, wake: Callable[[], None] = lambda: None) -> Watcher:
        made.append(Watcher(folder, recursive=True, wake=wake))
        return made[-1]

    yield make
    for watcher in made:
        watcher.close()


@pytest.fixture
def threads() -> Callable[[], set[threading.Thread]]:
    before = set(threading.enumerate())
    return lambda: set(threading.enumerate()) - before


def created(path: Path) -> None:
    path.write_bytes(b"x")


def renamed_in(path: Path) -> None:
    outside = path.parent.parent / "outside.wav"
    outside.write_bytes(b"x")
    outside.rename(path)


def renamed_within(path: Path) -> None:
    hidden = path.with_name(".a.wav.part")
    hidden.write_bytes(b"x")
    hidden.rename(path)


def in_a_new_folder(path: Path) -> None:
    outside = path.parent.parent / "tree"
    outside.mkdir()
    (outside / path.name).write_bytes(b"x")
    outside.rename(path.parent / "tree")


@pytest.mark.fault(5, "write, rename, link and move")
@pytest.mark.parametrize("arrive", [created, renamed_in, renamed_within, in_a_new_folder])
def test_whatever_way_a_file_arrives_it_wakes(
    tmp_path: Path, make: Callable[..., Watcher], arrive: Callable[[Path], None]
) -> None:
    """Written in place, moved in, renamed from a temporary name, in a folder that is moved in."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    woken = threading.Event()
    watcher = make(inbox, woken.set)
    assert watcher.start()
    arrive(inbox / "a.wav")
    assert woken.wait(DEADLINE_S)


def test_the_end_of_writing_wakes_too(
    tmp_path: Path, make: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was there before is written to: its closing is an event, the thousand writes are none."""
    heard = Heard()
    with (tmp_path / "a.wav").open("wb", buffering=0) as file:
        watcher = make()
        monkeypatch.setattr(watcher, "heard", heard)
        assert watcher.start()
        for _ in range(1000):
            file.write(b"x")
        (tmp_path / "between.wav").write_bytes(b"x")
        heard.wait_for("between.wav")
        assert "a.wav" not in heard.names
    heard.wait_for("a.wav")


def test_reading_does_not_wake(tmp_path: Path, make: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch) -> None:
    """We read every file ourselves: its events would wake us for ever."""
    (tmp_path / "read.wav").write_bytes(b"x")
    watcher = make()
    heard = Heard()
    monkeypatch.setattr(watcher, "heard", heard)
    assert watcher.start()
    (tmp_path / "read.wav").read_bytes()
    list(tmp_path.iterdir())
    (tmp_path / "after.wav").write_bytes(b"x")  # events come in order
    heard.wait_for("after.wav")
    assert "read.wav" not in heard.names


def test_the_probe_proves_events_without_waking(
    tmp_path: Path, make: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there until it is taken away, and nothing is proved before its event came."""
    woken = threading.Event()
    watcher = make(tmp_path, woken.set)
    assert not watcher.proved
    proved = threading.Event()
    real = watcher.heard

    def heard(path: str | bytes) -> None:
        real(path)
        proved.set()

    monkeypatch.setattr(watcher, "heard", heard)
    assert watcher.start()
    assert proved.wait(DEADLINE_S)
    assert watcher.proved
    assert not woken.is_set()
    assert [path.name.startswith(PROBE_PREFIX) for path in tmp_path.iterdir()] == [True]
    watcher.end_probe()
    assert list(tmp_path.iterdir()) == []


def test_probes_of_a_killed_daemon_are_removed(tmp_path: Path, make: Callable[..., Watcher]) -> None:
    """Empty files of exactly such a name; what anybody wrote something into stays."""
    (tmp_path / f"{PROBE_PREFIX}{'0' * 16}").touch()
    kept = [tmp_path / f"{PROBE_PREFIX}{'1' * 16}", tmp_path / f"{PROBE_PREFIX}mine"]
    for path in kept:
        path.write_text("not empty")
    watcher = make(tmp_path, threading.Event().set)
    assert watcher.start()
    watcher.end_probe()
    assert sorted(tmp_path.iterdir()) == kept


def test_closing_leaves_nothing_behind(
    tmp_path: Path, make: Callable[..., Watcher], threads: Callable[[], set[threading.Thread]]
) -> None:
    """No probe, no thread; closing again is safe."""
    watcher = make()
    assert watcher.start()
    assert watcher.working()
    watcher.close()
    watcher.close()
    assert list(tmp_path.iterdir()) == []
    assert threads() == set()
    assert not watcher.working()


@pytest.mark.fault(25, "a handler that raises")
def test_an_error_in_the_handler_does_not_end_the_watch(tmp_path: Path, make: Callable[..., Watcher]) -> None:
    """It would end watchdog's thread without a word, and every later event with it."""
    woken = threading.Event()
    calls: list[int] = []

    def wake() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("a bug")
        woken.set()

    watcher = make(tmp_path, wake)
    assert watcher.start()
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "b.wav").write_bytes(b"x")
    assert woken.wait(DEADLINE_S)
    assert watcher.working()


@pytest.mark.fault(13, "an event with such a name")
def test_names_that_are_no_utf8_wake_like_others(tmp_path: Path, make: Callable[..., Watcher]) -> None:
    """Some libraries end the whole watch at such a name."""
    woken = threading.Event()
    watcher = make(tmp_path, woken.set)
    assert watcher.start()
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.wav"), "wb") as file:
        file.write(b"x")
    assert woken.wait(DEADLINE_S)
    assert watcher.working()


def test_a_folder_given_by_a_link_is_watched(tmp_path: Path, make: Callable[..., Watcher]) -> None:
    """What counts is the folder that it leads to."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    woken = threading.Event()
    watcher = make(tmp_path / "link", woken.set)
    assert watcher.start()
    (tmp_path / "real" / "a.wav").write_bytes(b"x")
    assert woken.wait(DEADLINE_S)


@pytest.mark.fault(25, "the inbox replaced")
def test_a_watch_on_a_folder_that_was_replaced_does_not_work(tmp_path: Path, make: Callable[..., Watcher]) -> None:
    """The thread is alive and blind: it watches the old one."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    watcher = make(inbox)
    assert watcher.start()
    inbox.rename(tmp_path / "old")
    assert not watcher.working()
    inbox.mkdir()
    assert not watcher.working()
    again = make(inbox)
    assert again.start()
    assert again.working()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, make: Callable[..., Watcher]) -> None:
    """It is no refusal of the system: the caller comes back to it."""
    with pytest.raises(FileNotFoundError):
        make(tmp_path / "nothing").start()


class _Refusing:
    """An observer as the system lets it be made, but not run."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.stopped = False
        self.name = ""

    def schedule(self, *args: object, **kwargs: object) -> None:
        return None

    def start(self) -> None:
        raise self._error

    def is_alive(self) -> bool:
        return False

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.fault(24, "ENOSPC and EMFILE from inotify")
@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, "inotify watch limit reached"), "sysctl fs.inotify.max_user_watches="),
        (OSError(errno.EMFILE, "inotify instance limit reached"), "sysctl fs.inotify.max_user_instances="),
        (RuntimeError("can't start new thread"), "can't start new thread"),
    ],
)
def test_a_refusal_is_told_once_with_its_remedy(
    tmp_path: Path,
    make: Callable[..., Watcher],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    remedy: str,
) -> None:
    """Limits of inotify are not errors for us; what was begun is given back, and no probe is written."""
    observer = _Refusing(error)
    monkeypatch.setattr(watcher_module, "Observer", lambda: observer)
    assert not make().start()
    assert observer.stopped
    (record,) = caplog.records
    assert remedy in record.getMessage()
    assert str(tmp_path) in record.getMessage()
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_when_inotify_is_opened_is_one_too(
    make: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit on instances is met before there is an observer."""

    def refuse() -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(watcher_module, "Observer", refuse)
    assert not make().start()
    assert "max_user_instances" in caplog.text


@pytest.mark.fault(24, "ENOSPC from inotify")
def test_a_watch_that_the_system_refused_leaves_no_thread(
    tmp_path: Path,
    make: Callable[..., Watcher],
    monkeypatch: pytest.MonkeyPatch,
    threads: Callable[[], set[threading.Thread]],
) -> None:
    """The real observer has opened inotify by the time its start fails."""
    watcher = make()

    def gone(path: object) -> str:
        return str(tmp_path / "gone")

    monkeypatch.setattr(os.path, "realpath", gone)  # the watch of nothing is refused
    assert not watcher.start()
    assert threads() == set()


def test_a_folder_that_we_may_not_write_is_watched_without_a_probe(
    tmp_path: Path, make: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a real file can prove the events then. Root may write everywhere, so the refusal is put in by hand."""
    real = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if PROBE_PREFIX in str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    woken = threading.Event()
    watcher = make(tmp_path, woken.set)
    assert watcher.start()
    assert not watcher.proved
    (tmp_path / "a.wav").write_bytes(b"x")
    assert woken.wait(DEADLINE_S)
    assert watcher.proved
