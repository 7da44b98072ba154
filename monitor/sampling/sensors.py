"""The temperature of the processors, from the kernel's own files.

psutil would read every sensor there is. Some must not be asked every few seconds: a disk that sleeps wakes up, an SSD
in trouble answers after a minute; and boards have inputs with nothing connected, at 127 degrees for ever.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

_CHIPS: Final = re.compile(r"coretemp|k10temp|k8temp|zenpower|cpu_?thermal|cpu\d*_thermal|soc_?thermal|scpi_sensors")
"""Drivers of the sensors in processors, by the name that they give in hwmon."""

_ZONES: Final = re.compile(r"x86_pkg_temp|(cpu|soc|pkg)\b.*|(cpu|soc)[-_]?\d*[-_]thermal", re.IGNORECASE)
"""Types of thermal zones that are of processors, for machines whose processors have no hwmon."""

_POSSIBLE_CELSIUS: Final = (-40.0, 125.0)


class Hottest(NamedTuple):
    """The hottest of the sensors, and which that is."""

    celsius: float
    where: str


class Sensors:
    """Which files to read is found once; each reading reads only those."""

    def __init__(self, root: Path = Path("/sys/class")) -> None:
        self._files = _hwmon(root / "hwmon") or _zones(root / "thermal")

    def hottest(self) -> Hottest | None:
        """The hottest processor; None where none can be read."""
        read = [Hottest(celsius, where) for file, where in self._files if (celsius := _celsius(file)) is not None]
        return max(read, default=None)


def _hwmon(folder: Path) -> list[tuple[Path, str]]:
    files: list[tuple[Path, str]] = []
    for chip in sorted(folder.glob("hwmon*")):
        name = _line(chip / "name")
        if _CHIPS.fullmatch(name):
            inputs = sorted(chip.glob("temp*_input"))
            files += [(file, _line(file.with_name(file.name.replace("_input", "_label"))) or name) for file in inputs]
    return files


def _zones(folder: Path) -> list[tuple[Path, str]]:
    kinds = [(zone / "temp", _line(zone / "type")) for zone in sorted(folder.glob("thermal_zone*"))]
    return [(file, kind) for file, kind in kinds if _ZONES.fullmatch(kind)]


def _line(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _celsius(file: Path) -> float | None:
    try:
        celsius = int(file.read_bytes()) / 1000
    except (OSError, ValueError):  # the sensor sleeps, or the driver was unloaded
        return None
    lowest, highest = _POSSIBLE_CELSIUS
    return celsius if lowest < celsius < highest else None
