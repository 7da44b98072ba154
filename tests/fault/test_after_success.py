"""Recordings that go to another folder when they are done: whatever ends the daemon on the way, nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.after import carrying
from storage.records import MoveState
from tests.world import Fate, World

ALL = "ALL_FAULTS" in os.environ
"""Whether every call is tried, as `make faults` does, or a part of them."""

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world() -> Iterator[MakeWorld]:
    """Makes one world after the other, in memory where that is possible."""
    made: list[World] = []
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as root:

        def make(**settings: Any) -> World:
            if made:
                made[-1].close()
                shutil.rmtree(Path(root, str(len(made) - 1)))
            made.append(World(Path(root, str(len(made))), **{"after_success": "move_both"} | settings))
            return made[-1]

        yield make
        made[-1].close()


def write(world: World, name: str, fate: Fate = Fate.GOOD, more: bytes = b"") -> Path:
    path = world.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(fate.value + name.encode() + more)
    return path


def go_on(world: World) -> None:
    for _ in range(8):
        world.step(2.0)
        world.work()


def a_day(world: World) -> None:
    """A recording in a subfolder and one of the same stem go; the place of one is taken; one fails."""
    taken = world.folder / "done/sub/a.srt"
    taken.parent.mkdir(parents=True)
    taken.write_text("not ours")
    world.foreign.add(taken)
    write(world, "sub/a.wav")
    write(world, "b.wav", Fate.UNREADABLE)
    world.start()
    go_on(world)


def by_links(patch: pytest.MonkeyPatch) -> None:
    """A filesystem that cannot rename without the danger of replacing."""

    def refuse(_old: tuple[int, bytes], _new: tuple[int, bytes]) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    patch.setattr(carrying, "_rename_over_nothing", refuse)


def by_reservations(patch: pytest.MonkeyPatch) -> None:
    """One without links besides."""
    by_links(patch)
    patch.setattr(carrying, "_link_or_reserve", carrying._reserve_and_rename)  # pyright: ignore[reportPrivateUsage]


def by_copies(patch: pytest.MonkeyPatch) -> None:
    """The folder is on another disk."""
    rename = carrying._rename_over_nothing  # pyright: ignore[reportPrivateUsage]

    def refuse(old: tuple[int, bytes], new: tuple[int, bytes]) -> None:
        if not old[1].startswith(b".tr-"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(old, new)

    patch.setattr(carrying, "_rename_over_nothing", refuse)


def by_renames(patch: pytest.MonkeyPatch) -> None:
    """As on most."""


WAYS = [by_renames, by_links, by_reservations, by_copies]


def lost(world: World, contents: dict[str, bytes]) -> list[str]:
    """Of what was there before the recording went, what is nowhere whole."""
    found = {path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}
    return [name for name, content in contents.items() if content not in found]


def is_there(world: World) -> list[str]:
    """The files that people see, as paths in the inbox."""
    paths = [path.relative_to(world.folder) for path in world.folder.rglob("*") if path.is_file()]
    return sorted(str(path) for path in paths if not path.name.startswith((".transcribed", "_transcribed")))


EXPECTED = ["b.wav", "done/sub/a (2).srt", "done/sub/a (2).txt", "done/sub/a (2).wav", "done/sub/a.srt"]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_done_goes_with_its_transcripts(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, way: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """It lies as it lay; a taken name gives the whole group another; what failed stays; nothing is left between."""
    way(monkeypatch)
    world = make_world()
    a_day(world)
    world.settle()
    assert is_there(world) == EXPECTED
    assert world.broken() == []
    target = os.fsencode(world.folder / "done/sub/a (2).wav")
    job = world.store.newest(target)
    assert job is not None
    assert job.outputs[0].path == os.fsencode(world.folder / "done/sub/a (2).srt")
    move = world.store.move_of(job.id)
    assert move is not None
    assert (move.state, move.target) == (MoveState.MOVED, target)
    assert world.store.moved_from(os.fsencode(world.folder / "sub/a.wav")) == move
    assert [event.kind for event in world.store.events(job.id)][-1] == "moved"


@pytest.mark.fault(19, "an end before and after each call and state change while recordings go elsewhere")
@pytest.mark.parametrize("way", WAYS)
def test_an_end_at_any_call_loses_nothing(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, way: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Each file is whole in one of the two places at least, and all is in the other one after the next start."""
    way(monkeypatch)
    world = make_world()
    a_day(world)
    n_calls, places = world.disk.n_calls, list(world.disk.places)
    first = places.index("move.begun") - 10
    world.settle()
    contents = {path.name: path.read_bytes() for path in (world.folder / "done/sub").iterdir()}
    for number in range(n_calls, first, -1 if ALL else -13):
        world = make_world()
        world.disk.kill_at = number
        a_day(world)
        assert lost(world, contents) == [], f"call {number}, {places[number - 1]}"
        world.settle()
        assert is_there(world) == EXPECTED, f"call {number}, {places[number - 1]}"
        assert world.broken() == [], f"call {number}, {places[number - 1]}"


@pytest.mark.fault(20, "names that were not synced are lost, at each call while recordings go elsewhere")
def test_a_power_cut_at_any_call_loses_nothing(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a copy to another disk: the original goes only when the copy is on disk under its name."""
    by_copies(monkeypatch)
    by_links(monkeypatch)

    def refuse(old: tuple[int, bytes], _new: tuple[int, bytes]) -> None:
        number = errno.EINVAL if old[1].startswith(b".tr-") else errno.EXDEV
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(carrying, "_rename_over_nothing", refuse)
    world = make_world()
    a_day(world)
    n_calls, places = world.disk.n_calls, list(world.disk.places)
    first = places.index("move.begun")
    world.settle()
    contents = {path.name: path.read_bytes() for path in (world.folder / "done/sub").iterdir()}
    for number in range(n_calls, first, -1 if ALL else -11):
        world = make_world()
        world.disk.kill_at = number
        a_day(world)
        world.disk.lose_power()
        assert lost(world, contents) == [], f"call {number}, {places[number - 1]}"
        world.settle()
        assert is_there(world) == EXPECTED, f"call {number}, {places[number - 1]}"


@pytest.mark.fault(21, "EIO from each call, once, while recordings go elsewhere")
def test_an_error_from_any_call_is_tried_again(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or a share that is gone for a moment: the recording waits with its reason, and goes later."""
    by_copies(monkeypatch)
    calls = ("create", "fsync", "fsync of a folder", "rename", "unlink", "link")
    for nth in range(0, 12, 1 if ALL else 3):
        world = make_world()
        n_seen = iter(range(10_000))

        def refuse(call: str, path: str, n_seen: Iterator[int] = n_seen, nth: int = nth, world: World = world) -> Any:
            begun = "move.begun" in world.disk.places
            return OSError(errno.EIO, "I/O error") if begun and call in calls and next(n_seen) == nth else None

        world.disk.refuse = refuse
        a_day(world)
        world.settle()
        assert is_there(world) == EXPECTED, f"call {nth}"
        assert world.broken() == [], f"call {nth}"
