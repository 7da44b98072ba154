"""Figures as people read them: 93 %, 2.1 GB, 84 °C, 3 h 20 min. Knows the names of figures, not what is wrong."""

from __future__ import annotations

from typing import Final

from monitor.figures import FIGURES

_TIMES: Final = frozenset(
    {
        "canary_latency_of_usual_ratio",
        "canary_speed_ratio",
        "job_overtime_ratio",
        "recent_speed_ratio",
    }
)
"""Ratios that say how many times as much, not which share."""

_FLAGS: Final = frozenset(name for name, meaning in FIGURES.items() if meaning.help.startswith("1 if "))

_SIZES: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_FREQUENCIES: Final = ("Hz", "kHz", "MHz", "GHz")


def say(name: str, value: float) -> str:
    """*value* of the figure *name* with its unit, as short as it can be said."""
    if name in _FLAGS:
        return "yes" if value else "no"
    if name in _TIMES:
        return f"{number(value)} times"
    if name.endswith("_ratio"):
        return f"{number(100 * value)} %"
    if name.endswith("_bytes_per_h"):
        return f"{size(value)}/h"
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("_hz"):
        return _scaled(value, _FREQUENCIES)
    if name.endswith("_s"):
        return duration(value)
    unit = next((unit for end, unit in _PLAIN if name.endswith(end)), "")
    return f"{number(value)}{unit}"


_PLAIN: Final = (("_celsius", " °C"), ("_w", " W"), ("_cores", " cores"))


def number(value: float) -> str:
    """*value* as exactly as a person wants it: 0.125, 1.5, 93.4, 12345."""
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:.0f}"
    n_decimals = 1 if magnitude >= 1 else 3
    text = f"{value:.{n_decimals}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def size(n_bytes: float) -> str:
    """*n_bytes* in units of a thousand, as disks are sold."""
    return _scaled(n_bytes, _SIZES)


def duration(seconds: float) -> str:
    """*seconds* in the two largest units that matter."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 10:
        return f"{number(round(seconds, 1))} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return _two(whole, 60, "min", 1, "s")
    if whole < 3600:
        return f"{round(whole / 60)} min" if whole < 3570 else "1 h"
    if whole < 2 * 86_400:
        return _two(whole, 3600, "h", 60, "min")
    return _two(whole, 86_400, "days", 3600, "h")


def one_line(text: str) -> str:
    """*text* on one line: what would move the cursor, or is no text at all, is shown by its number."""
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return " " if sign in "\t\n" else sign.encode("unicode_escape").decode("ascii")


def _two(seconds: int, large_s: int, large: str, small_s: int, small: str) -> str:
    n_large, rest_s = divmod(round(seconds / small_s) * small_s, large_s)
    return f"{n_large} {large} {rest_s // small_s} {small}" if rest_s else f"{n_large} {large}"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        # 999.6 would be said as 1000
        if abs(value) < 999.5:
            return f"{_two_digits(value)} {unit}"
        value /= 1000
    return f"{_two_digits(value)} {units[-1]}"


def _two_digits(value: float) -> str:
    return number(round(value, 1)) if abs(value) < 9.95 else f"{value:.0f}"
