"""The daemon ends at every call and at every state change, in turn: after the next start all promises hold."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from daemon.errors import TranscribedError
from daemon.intake.settings_mistakes import NOTE_NAME
from daemon.options import Format
from daemon.outputs import publish
from daemon.outputs.access import Access
from storage import claims
from storage.errors import LostJob, StorageError
from storage.jobs import JobStore
from storage.records import Job, Output
from storage.schema import JobRow
from tests.world import Fate, World

ALL = "ALL_FAULTS" in os.environ
"""Whether every call is tried, as `make faults` does, or a part of them."""

MakeWorld = Callable[[], World]
Story = Callable[[World], None]
Bug = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def make_world() -> Iterator[MakeWorld]:
    """Makes one world after the other, in memory where that is possible: they sync a lot."""
    made: list[World] = []
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as root:

        def make() -> World:
            if made:
                made[-1].close()
                shutil.rmtree(Path(root, str(len(made) - 1)))
            made.append(World(Path(root, str(len(made)))))
            return made[-1]

        yield make
        made[-1].close()


def write(world: World, name: str, fate: Fate = Fate.GOOD, more: bytes = b"") -> Path:
    path = world.folder / name
    path.write_bytes(fate.value + name.encode() + more)
    return path


def a_recording(world: World) -> None:
    """One file comes and is done."""
    write(world, "a.wav")
    world.start()
    go_on(world)


def a_second_version(world: World) -> None:
    """A file that was done is replaced: its transcripts are replaced too."""
    a_recording(world)
    write(world, "a.wav", more=b"other")
    go_on(world)


def a_touch(world: World) -> None:
    """A file that was done is touched: it ends as a duplicate."""
    a_recording(world)
    path = write(world, "a.wav")
    assert path.exists()
    go_on(world)


def two_of_one_stem(world: World) -> None:
    """Several files, one that cannot be read, one that kills the engine."""
    write(world, "a.wav")
    write(world, "b.wav", Fate.UNREADABLE)
    write(world, "c.wav", Fate.KILLER)
    world.start()
    go_on(world)


def a_full_folder(world: World) -> None:
    """The transcript is kept in the state folder until there is room."""
    write(world, "a.wav")
    world.start()
    world.refuse_outputs(28)
    go_on(world)
    world.disk.refuse = lambda _call, _path: None
    world.step(700)
    go_on(world)


def a_mistake_in_settings(world: World) -> None:
    """It is answered beside them; once it is mended, the answer goes."""
    settings = world.folder / "transcribed.toml"
    settings.write_text('task = "translate"')
    a_recording(world)
    settings.write_text("mistake = 1")
    go_on(world)
    settings.write_text('language = "de"')
    write(world, "b.wav")
    go_on(world)


def no_hard_links(world: World) -> None:
    """A share without hard links: a name is reserved and renamed over."""
    world.disk.refuse = lambda call, _path: OSError(1, "no links here") if call == "link" else None
    a_recording(world)


def go_on(world: World) -> None:
    for _ in range(8):
        world.step(2.0)
        world.work()


def an_old_process_wakes(world: World) -> None:
    """A process that was suspended and taken for dead goes on while another one has its job."""
    write(world, "a.wav")
    world.start()
    while world.up and not world.pending:
        world.step(2.0)
    if world.up:
        world.freeze()
        world.start()
    world.step(2.0)
    world.thaw()
    go_on(world)


STORIES = [
    an_old_process_wakes,
    a_recording,
    a_second_version,
    a_touch,
    two_of_one_stem,
    a_full_folder,
    no_hard_links,
    a_mistake_in_settings,
]


def count_calls(make_world: MakeWorld, story: Story) -> list[str]:
    """What a story does, in order, when nothing goes wrong."""
    world = make_world()
    story(world)
    return list(world.disk.places)


def find_break(make_world: MakeWorld, story: Story, *, power_cut: bool, step: int = 1) -> list[str]:
    """What is broken after the first end that breaks anything, with where that was; empty where none does.

    Each *step*-th call is tried.
    """
    places = [*count_calls(make_world, story), "its end"]
    for number, place in list(enumerate(places, start=1))[::-step]:
        world = make_world()
        world.disk.kill_at = number
        story(world)
        if power_cut:
            world.disk.lose_power()
        broken = world.broken(at_rest=False)
        world.settle()
        broken += world.broken()
        if (world.folder / NOTE_NAME).exists():
            broken.append("an answer to settings that are mended is still there")
        if broken:
            return [f"ended at call {number} of {len(places)}, {place!r}", *broken]
    return []


@pytest.mark.fault(19, "an end before and after each call and at each state change")
@pytest.mark.parametrize("story", STORIES)
def test_an_end_at_any_call_loses_and_repeats_nothing(make_world: MakeWorld, story: Story) -> None:
    """Before and after every call and at every state change: one set of outputs, nothing left over."""
    assert find_break(make_world, story, power_cut=False, step=1 if ALL else 23) == []


@pytest.mark.fault(20, "names and contents that were not synced are lost, at each call")
@pytest.mark.parametrize("story", STORIES)
def test_a_power_cut_at_any_call_loses_and_repeats_nothing(make_world: MakeWorld, story: Story) -> None:
    """The same, and what was not synced is gone too."""
    assert find_break(make_world, story, power_cut=True, step=1 if ALL else 23) == []


@pytest.mark.fault(17, "ENOSPC from each call, once")
@pytest.mark.fault(21, "EIO from each call, once, fsync of files and folders among them")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_from_any_call_is_got_over(make_world: MakeWorld, number: int) -> None:
    """Whichever call fails once: no half file, nothing lost, done in the end."""
    calls = ("create", "fsync", "fsync of a folder", "link", "rename")
    first = places_of(make_world, a_second_version, calls)
    for nth in range(len(first))[:: 1 if ALL else 9]:
        world = make_world()
        n_seen = iter(range(10_000))

        def refuse(call: str, _path: str, n_seen: Iterator[int] = n_seen, nth: int = nth) -> OSError | None:
            return OSError(number, os.strerror(number)) if call in calls and next(n_seen) == nth else None

        try:
            world.disk.refuse = refuse
            a_second_version(world)
        except (OSError, TranscribedError, StorageError):
            world.kill()  # at the start: the service manager tries again
        world.settle()
        assert world.broken() == [], f"call {nth}"


def places_of(make_world: MakeWorld, story: Story, calls: Sequence[str]) -> list[str]:
    return [place for place in count_calls(make_world, story) if place in calls]


# Bugs, to see that they would be seen.


def no_sync_of_the_folder(patch: pytest.MonkeyPatch) -> None:
    def sync(folder: bytes) -> None:
        """It says that it did."""

    patch.setattr(publish, "_sync_folder", sync)


def no_sync_of_the_file(patch: pytest.MonkeyPatch) -> None:
    def write(path: bytes, content: bytes, access: Access) -> None:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(fd, "wb") as file:
            file.write(content)
            access.give_to(fd)

    patch.setattr(publish, "_write_synced", write)


def claims_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    def change(session: Session, job: Job, values: Mapping[str, object]) -> None:
        here = [JobRow.id == job.id, JobRow.state.in_(("running", "publishing"))]
        if session.scalar(update(JobRow).where(*here).values(**values).returning(JobRow.id)) is None:
            raise LostJob("not in hand")

    patch.setattr(claims, "change", change)


def names_before_the_intent(patch: pytest.MonkeyPatch) -> None:
    stage = publish.stage

    def stage_and_commit(
        recording: bytes, contents: Mapping[Format, bytes], ours: publish.Ours, *, suffix: str = ""
    ) -> tuple[Output, ...]:
        outputs = stage(recording, contents, ours, suffix=suffix)
        publish.commit(outputs, ours)
        return outputs

    patch.setattr(publish, "stage", stage_and_commit)


def running_jobs_forgotten(patch: pytest.MonkeyPatch) -> None:
    def recover(store: JobStore, at: datetime) -> list[Job]:
        return []

    patch.setattr(JobStore, "recover", recover)


@pytest.mark.parametrize(
    ("bug", "story", "power_cut"),
    [
        (no_sync_of_the_folder, a_recording, True),
        (no_sync_of_the_file, a_recording, True),
        (claims_without_a_lease, an_old_process_wakes, False),
        (names_before_the_intent, a_recording, False),
        (running_jobs_forgotten, a_recording, False),
    ],
)
def test_a_bug_put_in_on_purpose_is_found(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, bug: Bug, story: Story, power_cut: bool
) -> None:
    """The tests above have teeth: each of these bugs breaks a promise at some call."""
    bug(monkeypatch)
    assert find_break(make_world, story, power_cut=power_cut) != []
