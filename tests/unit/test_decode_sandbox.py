from __future__ import annotations

import platform

import pytest

from daemon.decode import sandbox
from daemon.decode.confinement import Confinement


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filters_fit_each_architecture(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    """System calls have other names and numbers on ARM; the kernel takes at most 4096 instructions of 8 bytes."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    programs = [sandbox.only_decoding().program, sandbox.all_but_the_worst().program]
    assert all(0 < len(program) <= 4096 * 8 for program in programs)


def test_another_architecture_has_a_layer_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no table of system calls is to be had, that is said, and nothing fails."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    missing: list[str] = []
    # enter() itself would hold for the rest of the tests
    active = sandbox._with_seccomp(sandbox.only_decoding, missing)  # pyright: ignore[reportPrivateUsage]
    assert active is False
    (why,) = missing
    assert "seccomp" in why


def test_what_is_active_is_said_in_one_line() -> None:
    """What is missing comes with its reason, so that nobody has to look it up."""
    good = Confinement(True, 7, True, 1536 * 1024**2, 64)
    assert good.in_words() == "seccomp, Landlock ABI 7, no new privileges, at most 1536 MiB and 64 open files"
    bad = Confinement(False, 0, True, 1536 * 1024**2, 64, ("Landlock is not active in this kernel",))
    assert bad.in_words().startswith("no seccomp, no Landlock, ")
    assert bad.in_words().endswith("; Landlock is not active in this kernel")
    assert Confinement.from_dict(bad.to_dict()) == bad
