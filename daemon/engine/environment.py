"""The environment of the engine process: what a library reads at its first instruction and never again.

Pure; knows the settings, what the operator has set already, and what the CPU can do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from daemon.engine.protocol import ServerSettings

_AVX512: Final = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
"""What CTranslate2's kernels for AVX512 are compiled with."""

_AUTO_LANES: Final = 4
"""As many as the engine process chooses at the most, on a CPU; one with the profile "low"."""


def cpu_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """What the first CPU of this machine can do, by the kernel's names; nothing where that is not to be known."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        line = ""
    return frozenset(line.partition(":")[2].split())


def environment(settings: ServerSettings, inherited: Mapping[str, str], flags: frozenset[str]) -> dict[str, str]:
    """What to add to *inherited*; a variable that the operator has set already is not in it."""
    variables = _common(settings) | _threads(settings)
    if not settings.device.startswith("cuda"):
        variables |= _cpu(settings, flags)
    return {name: value for name, value in variables.items() if name not in inherited}


def _common(settings: ServerSettings) -> dict[str, str]:
    variables = {
        # The tokenizer has no batch to share out; its thread pool would only be in the way.
        "TOKENIZERS_PARALLELISM": "false",
        # The hub library reports on its use otherwise.
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # A progress bar in a log is noise.
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # Its cache would otherwise be under HOME, which a service does not have.
        "HF_HOME": str(Path(settings.models_dir) / "hub"),
        # What CUDA compiles for this GPU at the first start is kept for the next.
        "CUDA_CACHE_PATH": str(Path(settings.models_dir) / "cuda-cache"),
    }
    if not settings.allow_download:
        # No network, whatever a library would like to ask the hub.
        variables["HF_HUB_OFFLINE"] = "1"
    return variables


def _threads(settings: ServerSettings) -> dict[str, str]:
    n_threads = settings.threads or len(os.sched_getaffinity(0))
    n_lanes = settings.lanes or (1 if settings.profile == "low" else min(_AUTO_LANES, n_threads))
    on_gpu = settings.device.startswith("cuda")
    return {
        # OpenMP workers that spin between two calls take the cores from the other lanes and from the decoders.
        "OMP_WAIT_POLICY": "PASSIVE",
        # For the libraries that do not take the number as an argument. The GPU needs the CPU for features only.
        "OMP_NUM_THREADS": "1" if on_gpu else str(max(1, n_threads // n_lanes)),
    }


def _cpu(settings: ServerSettings, flags: frozenset[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    if flags >= _AVX512:
        # CTranslate2's own kernels take AVX2 even where the CPU has AVX512.
        variables["CT2_FORCE_CPU_ISA"] = "AVX512"
    if settings.profile != "low":
        # A call takes hundreds of megabytes and gives them back: as page faults, an eighth of the processor time of
        # 20 minutes of memos. So blocks of any size come from one heap, which is not given back between calls. The
        # price is memory that stays at its peak until the process ends (1.2 GB instead of 0.9 there); the profile
        # "low" does without. With a heap for each thread the peak was 1.6 GB, for the same speed.
        variables["MALLOC_ARENA_MAX"] = "1"
        variables["MALLOC_MMAP_MAX_"] = "0"
        variables["MALLOC_TRIM_THRESHOLD_"] = str(8 * 1024**3)
        variables["MALLOC_TOP_PAD_"] = str(16 * 1024**2)
        # The heap in huge pages (madvise): fewer faults, fewer misses in the table of pages.
        variables["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    return variables
