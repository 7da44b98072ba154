# ruff: noqa: D102  # a rule says what it does by its name
"""Random sequences of everything that can happen, over the whole daemon in one process: the promises hold throughout.

The ordinary run takes a few of them; `make faults` takes two thousand steps and more over twenty seeds.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.world import FULL, READ_ONLY, World, engine_trouble

ALL: Final = "ALL_FAULTS" in os.environ
N_SEEDS: Final = 20 if ALL else 2
N_STEPS: Final = 40

NAMES = st.sampled_from(["a.wav", "b.wav", "sub/a.wav", "caf\udce9.wav"])
CONTENTS = st.sampled_from([b"GOOD 1", b"GOOD 2", b"GOOD 2 longer", b"JUNK", b"KILL", b""])
SECONDS = st.sampled_from([0.5, 1.0, 3.0, 6.0, 60.0, 900.0])


class Life(RuleBasedStateMachine):
    """People, disks and processes, in any order."""

    n_steps = 0

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self.world = World(self.root)
        (self.world.folder / "sub").mkdir()
        self.away = self.root / "away"
        self.world.start()

    def teardown(self) -> None:
        """The end of a sequence: all trouble is over, and everything comes to its end."""
        try:
            if self.unmounted():
                self.remount()
            self.world.settle()
            broken = self.world.broken()
            left = self.world.live()
            assert not broken, "\n".join(broken)
            assert not left, f"still not done: {left}"
        finally:
            self.world.close()
            shutil.rmtree(self.root)

    def unmounted(self) -> bool:
        return self.away.exists()

    # People.

    def path(self, name: str) -> Path:
        return self.world.folder / name

    @precondition(lambda self: not self.unmounted())
    @rule(name=NAMES, content=CONTENTS)
    def create(self, name: str, content: bytes) -> None:
        self.path(name).write_bytes(content)

    @precondition(lambda self: not self.unmounted())
    @rule(name=NAMES)
    def append(self, name: str) -> None:
        if self.path(name).exists():
            with self.path(name).open("ab") as file:
                file.write(b"GOOD more" if file.tell() == 0 else b" more")

    @precondition(lambda self: not self.unmounted())
    @rule(name=NAMES, content=CONTENTS)
    def replace(self, name: str, content: bytes) -> None:
        hidden = self.path(name).with_name(".copying")
        hidden.write_bytes(content)
        hidden.rename(self.path(name))

    @precondition(lambda self: not self.unmounted())
    @rule(name=NAMES, new_name=NAMES)
    def rename(self, name: str, new_name: str) -> None:
        if self.path(name).exists():
            os.rename(self.path(name), self.path(new_name))

    @precondition(lambda self: not self.unmounted())
    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    @precondition(lambda self: not self.unmounted())
    @rule(name=NAMES)
    def touch(self, name: str) -> None:
        if self.path(name).exists():
            os.utime(self.path(name))

    @precondition(lambda self: not self.unmounted())
    @rule(name=NAMES, edited=st.booleans())
    def change_transcript(self, name: str, edited: bool) -> None:
        transcript = self.path(name).with_suffix(".txt")
        if transcript.exists():
            self.world.foreign.add(transcript)
            transcript.unlink()
            if edited:
                transcript.write_text("by hand")

    # Time and work.

    @rule(seconds=SECONDS)
    def step(self, seconds: float) -> None:
        self.world.step(seconds)

    @rule()
    def work(self) -> None:
        self.world.work()

    @rule()
    def a_quiet_while(self) -> None:
        for _ in range(3):
            self.world.step(3.0)
            self.world.work()

    # Processes.

    @precondition(lambda self: self.world.up)
    @rule(power_cut=st.booleans())
    def kill(self, power_cut: bool) -> None:
        self.world.kill(power_cut=power_cut)

    @precondition(lambda self: self.world.up)
    @rule(n_calls=st.integers(1, 60), power_cut=st.booleans())
    def kill_at_work(self, n_calls: int, power_cut: bool) -> None:
        """The process ends somewhere in what it does next."""
        world = self.world
        world.disk.kill_at = world.disk.n_calls + n_calls
        for _ in range(3):
            world.step(3.0)
            world.work()
        world.disk.kill_at = None
        if power_cut:
            if world.up:
                world.kill()
            world.disk.lose_power()

    @precondition(lambda self: not self.world.up)
    @rule(n_calls=st.integers(0, 12))
    def start(self, n_calls: int) -> None:
        """A start, which may itself be ended."""
        world = self.world
        world.disk.kill_at = world.disk.n_calls + n_calls if n_calls else None
        world.start()
        world.disk.kill_at = None

    @precondition(lambda self: self.world.up)
    @rule()
    def restart(self) -> None:
        self.world.stop()
        self.world.start()

    @precondition(lambda self: self.world.up)
    @rule()
    def freeze(self) -> None:
        """A machine is suspended and taken for dead; another process takes over."""
        self.world.freeze()
        self.world.start()

    @rule()
    def thaw(self) -> None:
        self.world.thaw()

    # Disks.

    @precondition(lambda self: not self.unmounted())
    @rule(empty_folder=st.booleans())
    def unmount(self, empty_folder: bool) -> None:
        self.world.folder.rename(self.away)
        if empty_folder:
            self.world.folder.mkdir()

    @precondition(unmounted)
    @rule()
    def remount(self) -> None:
        if self.world.folder.exists():
            shutil.rmtree(self.world.folder)
        self.away.rename(self.world.folder)

    @rule(number=st.sampled_from([FULL, READ_ONLY, None]))
    def outputs(self, number: int | None) -> None:
        if number is None:
            self.world.disk.refuse = lambda _call, _path: None
        else:
            self.world.refuse_outputs(number)

    @rule(kind=st.sampled_from(["died", "unavailable"]))
    def engine(self, kind: str) -> None:
        self.world.engine.trouble.append(engine_trouble(kind))

    @invariant()
    def holds(self) -> None:
        """What is true at every moment."""
        Life.n_steps += 1
        broken = self.world.broken(at_rest=False)
        assert not broken, "\n".join(broken)


def settings_of(n_examples: int, phases: tuple[Phase, ...] = (Phase.generate,)) -> settings:
    return settings(
        max_examples=n_examples,
        stateful_step_count=N_STEPS,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        print_blob=False,
    )


@pytest.mark.fault(8, "random sequences of all that can happen")
@pytest.mark.fault(19, "random sequences of all that can happen")
@pytest.mark.fault(26, "random sequences of all that can happen")
@pytest.mark.parametrize("number", range(N_SEEDS))
def test_whatever_happens_the_promises_hold(number: int) -> None:
    """Files come and go, processes and disks fail, at any moment: in the end each recording ended right, once."""
    before = Life.n_steps
    run_state_machine_as_test(seed(number)(Life), settings=settings_of(6 if ALL else 4))
    assert Life.n_steps - before >= 100
