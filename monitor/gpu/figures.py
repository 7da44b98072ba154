"""Readings of the GPUs as figures; remembers which GPUs were there, for one that is gone tells nothing itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from monitor.figures import Key
from monitor.gpu.probe import gpu_built_in
from monitor.gpu.readings import GpuReading, GpuSample
from monitor.sampling.told import Told

READABLE: Final = Key("gpu_readable")
LOST: Final = "gpu_lost"

_NAMED: Final = re.compile(r"(?P<name>.*?) ?\((?P<uuid>[^ ()]+)\): ")
"""How the words about a lost GPU begin."""


class _Identity(NamedTuple):
    name: str
    uuid: str


class KnownGpus:
    """The GPUs seen so far.

    A GPU keeps its subject, the index at which it was first seen, while it is known by its UUID: the driver counts the
    others anew when one falls off the bus. *built_in* tells whether the machine certainly has a GPU: a driver without
    one is no trouble.
    """

    def __init__(self, built_in: Callable[[], bool] = gpu_built_in) -> None:
        self._built_in = built_in
        self._seen: dict[str, _Identity] = {}  # by subject
        self._lost: dict[str, str] = {}  # the words about each, by subject
        self._reserved: set[str] = set()  # subjects of the GPUs that the last run knew to be lost

    def still_lost(self, subject: str, words: str) -> None:
        """The last run knew of this GPU and said *words* about it: it is lost until it is seen."""
        self._lost[subject] = words
        self._seen[subject] = _Identity("", "")
        if (named := _NAMED.match(words)) is not None:
            self._seen[subject] = _Identity(named["name"], named["uuid"])
            self._reserved.add(subject)

    def tell(self, reading: GpuReading, roles: Mapping[int, str]) -> Told:
        """The figures of *reading*; memory of the processes whose role is in *roles*, by process number."""
        told = Told()
        if reading.unavailable is not None:
            if self._seen or self._built_in():
                told.add(READABLE, 0.0, reading.unavailable)
        else:
            here = self._by_subject(reading.gpus)
            self._remember(here)
            if self._seen:
                told.add(READABLE, 1.0)
            for subject, gpu in here.items():
                if gpu.problem is None:
                    _tell_gpu(told, subject, gpu)
            _tell_processes(told, reading.gpus, roles)
        for subject, words in self._lost.items():  # also while none can be read: it did not come back
            told.add(Key(LOST, subject), 1.0, words)
        return told

    def _remember(self, here: Mapping[str, GpuSample]) -> None:
        for subject, gpu in here.items():
            before = self._seen.get(subject, _Identity("", ""))
            self._seen[subject] = _Identity(gpu.name or before.name, gpu.uuid or before.uuid)
        troubles = {subject: gpu.problem for subject, gpu in here.items() if gpu.problem is not None}
        troubles |= dict.fromkeys(self._seen.keys() - here.keys(), "the driver names it no more")
        self._lost = {subject: self._with_name(subject, trouble) for subject, trouble in troubles.items()}

    def _with_name(self, subject: str, words: str) -> str:
        name, uuid = self._seen[subject]
        named = f"{name} ({uuid})" if uuid else name
        return f"{named}: {words}" if named else words

    def _by_subject(self, gpus: tuple[GpuSample, ...]) -> dict[str, GpuSample]:
        known = {identity.uuid: subject for subject, identity in self._seen.items() if identity.uuid}
        here = {known[gpu.uuid]: gpu for gpu in gpus if gpu.uuid in known}
        strangers = [gpu for gpu in gpus if gpu.uuid not in known]
        for gpu in strangers:
            here[self._subject_for(gpu, here)] = gpu
        return here

    def _subject_for(self, gpu: GpuSample, taken: Mapping[str, GpuSample]) -> str:
        """The index of *gpu*, or another number where that is taken.

        One that does not even tell its UUID is the one that is missing; one that does is new, and forgotten is which
        GPU was there before.
        """
        wanted = str(gpu.index)
        if wanted not in taken and (not gpu.uuid or wanted not in self._reserved):
            return wanted
        missing = [subject for subject in self._seen if subject not in taken]
        if not gpu.uuid and missing:
            return missing[0]
        kept = {*taken, *self._reserved}
        return next(str(number) for number in range(len(kept) + 1) if str(number) not in kept)


def _tell_gpu(told: Told, subject: str, gpu: GpuSample) -> None:
    told.add(Key(LOST, subject), 0.0)
    used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
    told.add(Key("gpu_utilisation_ratio", subject), gpu.utilisation_ratio)
    told.add(Key("gpu_memory_used_bytes", subject), used)
    told.add(Key("gpu_memory_total_bytes", subject), total)
    told.add(Key("gpu_memory_used_ratio", subject), used / total if used is not None and total else None)
    told.add(Key("gpu_temperature_celsius", subject), gpu.temperature_c)
    told.add(Key("gpu_power_w", subject), gpu.power_w)
    told.add(Key("gpu_clock_hz", subject), gpu.clock_hz, f"held down by {gpu.clock_words}" if gpu.clock_words else "")
    throttled = None if gpu.throttled is None else float(gpu.throttled)
    told.add(Key("gpu_throttled", subject), throttled, gpu.clock_words if gpu.throttled else "")
    told.add(Key("gpu_ecc_errors", subject), gpu.ecc_errors)


def _tell_processes(told: Told, gpus: tuple[GpuSample, ...], roles: Mapping[int, str]) -> None:
    for pid, role in roles.items():
        used = [gpu.memory_by_pid[pid] for gpu in gpus if pid in gpu.memory_by_pid]
        if used:
            told.add(Key("process_gpu_memory_bytes", role), sum(used))
