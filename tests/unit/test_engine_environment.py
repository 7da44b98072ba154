import dataclasses
import os
from pathlib import Path

import pytest

from daemon.engine.environment import cpu_flags, environment
from daemon.engine.protocol import Profile, ServerSettings

SETTINGS = ServerSettings("base", "cpu", "auto", 0, 8, 0, "balanced", "/models", allow_download=False)
AVX512 = frozenset({"fpu", "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl"})


def on(device: str, lanes: int = 0, threads: int = 8) -> dict[str, str]:
    settings = dataclasses.replace(SETTINGS, device=device, lanes=lanes, threads=threads)
    return environment(settings, {}, AVX512)


@pytest.mark.parametrize(
    ("device", "lanes", "threads", "expected"),
    [("cpu", 0, 8, 2), ("cpu", 8, 8, 1), ("cpu", 1, 8, 8), ("auto", 0, 2, 1), ("cpu", 4, 2, 1), ("cuda:1", 0, 8, 1)],
)
def test_the_lanes_share_the_threads(device: str, lanes: int, threads: int, expected: int) -> None:
    """As the engine process does it; a GPU has one each."""
    assert on(device, lanes, threads)["OMP_NUM_THREADS"] == str(expected)


def test_the_low_profile_has_one_lane() -> None:
    """Each lane has working memory of its own, so there one has all the threads."""
    assert environment(dataclasses.replace(SETTINGS, profile="low"), {}, AVX512)["OMP_NUM_THREADS"] == "8"


def test_all_cores_are_those_that_may_be_used() -> None:
    """Not those of the machine: a container may have fewer."""
    assert on("cpu", lanes=1, threads=0)["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(("profile", "has_it"), [("low", False), ("balanced", True), ("throughput", True)])
def test_memory_is_kept_for_speed_unless_the_profile_is_low(profile: Profile, has_it: bool) -> None:
    """The settings of the allocator are one whole."""
    settings = dataclasses.replace(SETTINGS, profile=profile)
    names = {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"}
    assert (names & environment(settings, {}, AVX512).keys()) == (names if has_it else set())


def test_a_gpu_needs_no_settings_of_the_cpu() -> None:
    """The encoder's memory is the GPU's there."""
    assert not {"MALLOC_MMAP_MAX_", "CT2_FORCE_CPU_ISA"} & on("cuda:0").keys()


def test_avx512_is_asked_for_where_the_cpu_has_all_of_it() -> None:
    """One part is not enough: the kernels would be illegal instructions."""
    assert environment(SETTINGS, {}, AVX512)["CT2_FORCE_CPU_ISA"] == "AVX512"
    for missing in ("avx512f", "avx512bw", "avx512dq", "avx512vl"):
        assert "CT2_FORCE_CPU_ISA" not in environment(SETTINGS, {}, AVX512 - {missing})


def test_what_the_operator_has_set_stays() -> None:
    """Nothing of ours is in its place."""
    set_already = {"OMP_NUM_THREADS": "3", "CT2_FORCE_CPU_ISA": "AVX2", "GLIBC_TUNABLES": ""}
    assert not set_already.keys() & environment(SETTINGS, set_already, AVX512).keys()


def test_the_network_is_shut_unless_models_may_be_fetched() -> None:
    """Whatever a library would like to ask."""
    allowed = dataclasses.replace(SETTINGS, allow_download=True)
    assert environment(SETTINGS, {}, AVX512)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in environment(allowed, {}, AVX512)


def test_the_flags_of_the_cpu_are_those_of_the_kernel(tmp_path: Path) -> None:
    """The first CPU's; none where the file is missing or says nothing."""
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx512f\nprocessor\t: 1\nflags\t\t: other\n")
    assert cpu_flags(str(file)) == {"fpu", "avx512f"}
    file.write_text("processor\t: 0\n")
    assert cpu_flags(str(file)) == cpu_flags(str(tmp_path / "none")) == frozenset()
