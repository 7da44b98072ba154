"""Figures as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.figures import FIGURES
from monitor.wording import duration, one_line, say

_H = 3600


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("host_memory_used_ratio", 0.93, "93 %"),
        ("host_memory_used_ratio", 0.9234, "92.3 %"),
        ("recent_failed_ratio", 0.0666, "6.7 %"),
        ("host_memory_used_ratio", 1.0, "100 %"),
        ("host_memory_used_ratio", 0.0, "0 %"),
        ("process_rss_bytes", 2_140_000_000, "2.1 GB"),
        ("process_rss_bytes", 999_600_000, "1 GB"),
        ("process_rss_bytes", 21_400_000_000, "21 GB"),
        ("process_rss_bytes", 350_000_000, "350 MB"),
        ("process_rss_bytes", 12, "12 B"),
        ("folder_free_bytes", 3.2e18, "3200 PB"),
        ("process_rss_slope_bytes_per_h", 50_000_000, "50 MB/h"),
        ("process_rss_slope_bytes_per_h", -1_500_000, "-1.5 MB/h"),
        ("gpu_temperature_celsius", 84.0, "84 °C"),
        ("gpu_power_w", 312.4, "312 W"),
        ("gpu_clock_hz", 1.98e9, "2 GHz"),
        ("gpu_clock_hz", 1_710_000_000, "1.7 GHz"),
        ("process_cpu_cores", 1.5, "1.5 cores"),
        ("queue_oldest_wait_s", 12_000, "3 h 20 min"),
        ("job_overtime_ratio", 5.16, "5.2 times"),
        ("speed_of_usual_ratio", 0.4, "40 %"),
        ("real_time_factor", 0.125, "0.125"),
        ("gpu_lost", 1.0, "yes"),
        ("gpu_readable", 0.0, "no"),
        ("jobs", 12345.0, "12345"),
        ("jobs", -0.0, "0"),
    ],
)
def test_a_figure_has_its_unit(name: str, value: float, text: str) -> None:
    """The unit follows from the name."""
    assert say(name, value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (45.4, "45 s"),
        (59.7, "1 min"),
        (90, "1 min 30 s"),
        (599, "9 min 59 s"),
        (900, "15 min"),
        (3580, "1 h"),
        (7199, "2 h"),
        (3 * _H + 20 * 60, "3 h 20 min"),
        (47 * _H, "47 h"),
        (76 * _H, "3 days 4 h"),
        (30 * 24 * _H, "30 days"),
        (-90, "-1 min 30 s"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    """Nobody reads 12000 s."""
    assert duration(seconds) == text


@given(st.sampled_from(sorted(FIGURES)), st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_can_be_said(name: str, value: float) -> None:
    """Whatever the value is, there is a text without an exponent."""
    text = say(name, value)
    assert text
    assert "e+" not in text
    assert not math.isnan(len(text))


@given(st.text())
def test_whatever_a_name_holds_stays_on_one_line(text: str) -> None:
    """Names of files may hold line ends, escape sequences and what is no text."""
    line = one_line(text)
    assert line.isprintable() or not line
    assert line.encode("utf-8") is not None


def test_what_moves_the_cursor_is_shown() -> None:
    """An escape sequence in the name of a recording does nothing to a terminal or a mail."""
    assert one_line("a\x1b[2Jb\nc\udce9\u202ed") == "a\\x1b[2Jb c\\udce9\\u202ed"
