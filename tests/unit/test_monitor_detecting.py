"""Figures that need a memory: forecasts, slopes, what is usual, the clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.figures import FIGURES, Key, Sample
from monitor.rules.detecting import FAR_S, Detectors
from monitor.rules.estimating import Baseline, Series, slope

AT = datetime(2025, 3, 1, 8, tzinfo=UTC)
HOUR_S = 3600.0
GB = 1e9

DISK, FULL_IN = Key("folder_free_bytes", "/srv"), Key("folder_full_in_s", "/srv")
RSS, SLOPE = Key("process_rss_bytes", "engine"), Key("process_rss_slope_bytes_per_h", "engine")
SPEED, OF_USUAL = Key("recent_speed_ratio"), Key("speed_of_usual_ratio")
CLOCK = Key("host_clock_step_s")


class Day:
    """Detectors on a machine whose clocks the test turns."""

    def __init__(self, step_s: float = 60.0) -> None:
        self.wall = AT
        self.elapsed_s = 1000.0
        self.step_s = step_s
        self.detectors = Detectors(elapsed=lambda: self.elapsed_s)

    def see(self, figures: Mapping[Key, float]) -> Mapping[Key, float]:
        """What the sample of this moment shows; then one step later."""
        derived = self.detectors.derive(Sample(self.wall, figures)).figures
        self.pause(self.step_s)
        return derived

    def pause(self, seconds: float) -> None:
        """Nobody samples."""
        self.wall += timedelta(seconds=seconds)
        self.elapsed_s += seconds

    def run(self, hours: float, figures: Callable[[float], Mapping[Key, float]]) -> list[Mapping[Key, float]]:
        """*figures* by the hour since now, for *hours*."""
        n = round(hours * HOUR_S / self.step_s)
        return [self.see(figures(index * self.step_s / HOUR_S)) for index in range(n)]


def values(day: list[Mapping[Key, float]], key: Key) -> list[float]:
    return [figures[key] for figures in day if key in figures]


def test_what_was_sampled_is_handed_on() -> None:
    """A figure is added, none is changed; words, too, and every new figure is in the catalogue."""
    sample = Sample(AT, {DISK: 5.0, RSS: 7.0}, {DISK: "words"})
    derived = Day().detectors.derive(sample)
    assert derived == sample
    names = {key.name for key in (FULL_IN, SLOPE, OF_USUAL, CLOCK)}
    assert names | {"canary_speed_of_usual_ratio", "canary_latency_of_usual_ratio"} <= FIGURES.keys()


# --- Disks ---


def test_a_disk_that_fills_is_forecast() -> None:
    """100 GB free, 5 GB an hour: full in 20 hours from the start, told from half an hour on."""
    seen = Day().run(8, lambda hour: {DISK: (100 - 5 * hour) * GB})
    assert all(FULL_IN not in figures for figures in seen[:30])
    assert FULL_IN in seen[45]
    assert seen[-1][FULL_IN] == pytest.approx(12 * HOUR_S, rel=0.03)


def test_a_disk_that_is_nearly_full_and_stays_so_is_not_forecast() -> None:
    """1 GB free that changes by some megabytes is never full."""
    rng = random.Random(1)
    seen = Day().run(12, lambda _: {DISK: GB + rng.uniform(-20e6, 20e6)})
    assert min(values(seen, FULL_IN)[60:]) > 2 * 86_400


@pytest.mark.parametrize("at_hour", [0.4, 3.0, 6.0, 8.7])
def test_one_large_copy_is_no_trend(at_hour: float) -> None:
    """60 of 100 GB are gone within ten minutes: the rest is not gone in the next ten."""
    begun = 1.0 + at_hour
    seen = Day().run(24, lambda hour: {DISK: (100 - 60 * min(max((hour - begun) * 6, 0), 1)) * GB})
    assert min(values(seen, FULL_IN)) > 86_400


def test_work_files_that_come_and_go_are_no_trend() -> None:
    """A sawtooth of decoded audio, filled for forty minutes and emptied in one, day and night."""
    seen = Day().run(24, lambda hour: {DISK: (20 - 4 * (hour * 1.5 % 1)) * GB})
    assert min(values(seen, FULL_IN)[6 * 60 :]) > 86_400


def test_a_disk_that_was_emptied_is_far_from_full() -> None:
    """After somebody made room, and nothing fills it on, the forecast is the farthest there is."""
    day = Day()
    day.run(8, lambda hour: {DISK: (50 - 5 * hour) * GB})
    seen = day.run(8, lambda _: {DISK: 80 * GB})
    assert seen[-1][FULL_IN] == FAR_S


def test_a_folder_that_cannot_be_read_has_no_forecast() -> None:
    """A share that is away says nothing, and is forgotten when it stays away."""
    day = Day()
    day.run(2, lambda hour: {DISK: (50 - 5 * hour) * GB})
    assert FULL_IN not in day.see({})
    day.run(10, lambda _: {Key("folder_free_bytes", "/other"): 1e12})
    assert day.detectors.n_remembered == 72


def test_the_forecast_goes_on_after_a_restart() -> None:
    """What earlier runs saw is learned, and a sample from the future, of a clock that was wrong, is not."""
    day = Day()
    before = [Sample(AT - timedelta(minutes=5 * n), {DISK: (50 + 5 * n / 12) * GB}) for n in range(72, 0, -1)] + [
        Sample(AT + timedelta(days=400), {DISK: 1.0})
    ]
    day.detectors.remember(before)
    assert day.see({DISK: 50 * GB})[FULL_IN] == pytest.approx(10 * HOUR_S, rel=0.05)


# --- Memory ---


def process(rss_bytes: float, age_s: float, **more: float) -> Mapping[Key, float]:
    figures = {RSS: rss_bytes, Key("process_age_s", "engine"): age_s}
    return figures | {Key(name, "engine"): value for name, value in more.items()}


def test_memory_that_creeps_is_seen() -> None:
    """50 MB an hour below an engine that takes and gives back 300 MB with each job."""
    rng = random.Random(2)
    seen = Day().run(14, lambda hour: process(800e6 + 50e6 * hour + rng.choice((0, 100e6, 300e6)), hour * HOUR_S))
    assert all(SLOPE not in figures for figures in seen[: 10 * 60])
    assert seen[-1][SLOPE] == pytest.approx(50e6, rel=0.1)


def test_memory_that_creeps_only_with_work_is_seen_after_days() -> None:
    """100 MB an hour from eight to six; at night nothing, which hides it from a look at twelve hours."""
    seen = Day(300).run(
        4 * 24, lambda hour: process(8e8 + 1e9 * (hour // 24) + 1e8 * min(max(hour % 24 - 8, 0), 10), hour * HOUR_S)
    )
    assert seen[-1][SLOPE] > 32e6


def test_a_busy_morning_is_no_leak() -> None:
    """An idle night, three hours in which memory grows by 400 MB, and it stays: under the limit throughout."""
    seen = Day(300).run(72, lambda hour: process(800e6 + 133e6 * min(max(hour - 10, 0), 3), hour * HOUR_S))
    assert max(values(seen, SLOPE)) < 16e6


def test_more_and_more_work_is_no_leak() -> None:
    """What jobs take for themselves grows by 50 MB an hour; between them, all of it is given back."""
    rng = random.Random(4)
    seen = Day().run(13, lambda hour: process(800e6 + rng.random() * 50e6 * hour, hour * HOUR_S))
    assert max(values(seen, SLOPE)) < 8e6


def test_loading_and_warming_up_is_no_leak() -> None:
    """A gigabyte in the first half hour is the model."""
    seen = Day().run(16, lambda hour: process(min(1.2e9, 2.4e9 * hour + 1e8), hour * HOUR_S))
    assert max(values(seen, SLOPE)) < 1e6


@pytest.mark.parametrize("sign", ["age", "read bytes", "memory", "missing"])
def test_another_process_in_the_role_begins_anew(sign: str) -> None:
    """Whichever figure gives it away, it has no slope for hours, and then its own."""
    day = Day()
    day.run(14, lambda hour: {RSS: 800e6 + 50e6 * hour, Key("process_read_bytes", "engine"): 5e8 + hour})
    if sign == "missing":
        day.see({})
    after = {
        "age": {RSS: 1.2e9, Key("process_age_s", "engine"): 60.0},
        "read bytes": {RSS: 1.2e9, Key("process_read_bytes", "engine"): 3e8},
        "memory": {RSS: 300e6},
        "missing": {RSS: 1.2e9},
    }[sign]
    if sign == "age":
        day.see({RSS: 1.5e9, Key("process_age_s", "engine"): 36_000.0})
    assert SLOPE not in day.see(after)
    seen = day.run(13, lambda _: after)
    assert values(seen, SLOPE)[-1] == 0


def test_roles_that_come_and_go_leave_nothing_behind() -> None:
    """Decoders are recycled; only those that are there are remembered."""
    day = Day(300)
    for n in range(500):
        day.see({Key("process_rss_bytes", f"decoder-{n // 50}"): 1e8})
    assert day.detectors.n_remembered < 20


# --- What is usual ---


def a_speed(rng: random.Random) -> float:
    return rng.gauss(8, 1.2)


def test_half_the_usual_speed_is_seen_and_noise_is_not() -> None:
    """Within the usual spread it is 1; at a third of it, a third."""
    day, rng = Day(600), random.Random(3)
    learning = day.run(23, lambda _: {SPEED: a_speed(rng)})
    assert all(OF_USUAL not in figures for figures in learning)
    usual = day.run(72, lambda _: {SPEED: 8 + 0.2 * (a_speed(rng) - 8)})
    assert min(values(usual, OF_USUAL)) > 0.7
    assert day.see({SPEED: 8 / 3})[OF_USUAL] == pytest.approx(1 / 3, rel=0.1)


def test_a_change_on_purpose_is_usual_after_a_week() -> None:
    """A larger model at a quarter of the speed is told for some days, and then is what is usual."""
    day = Day(HOUR_S)
    day.run(14 * 24, lambda hour: {SPEED: 8 + math.sin(hour)})
    slower = day.run(8 * 24, lambda hour: {SPEED: 2 + 0.25 * math.sin(hour)})
    assert slower[24][OF_USUAL] == pytest.approx(0.25, rel=0.2)
    assert slower[-1][OF_USUAL] == 1


def test_a_machine_without_work_forgets_nothing_for_two_weeks() -> None:
    """Over a long weekend there is no speed; on Monday it is compared with last week's."""
    day = Day(HOUR_S)
    day.run(5 * 24, lambda hour: {SPEED: 8 + math.sin(hour)})
    assert values(day.run(4 * 24, lambda _: {}), OF_USUAL) == []
    assert day.see({SPEED: 2})[OF_USUAL] == pytest.approx(0.25, rel=0.1)
    assert day.detectors.n_remembered <= 14 * 24


def test_what_is_usual_is_known_after_a_restart() -> None:
    """The history is learned from one sample an hour."""
    day = Day()
    day.detectors.remember(
        Sample(AT - timedelta(hours=n), {SPEED: 8 + math.sin(n), Key("canary_latency_s"): 4.0})
        for n in range(300, 0, -1)
    )
    seen = day.see({SPEED: 2.0, Key("canary_latency_s"): 40.0})
    assert seen[OF_USUAL] == pytest.approx(0.25, rel=0.1)
    assert seen[Key("canary_latency_of_usual_ratio")] == pytest.approx(10)


def test_what_is_to_be_remembered_is_told() -> None:
    """The history is asked for no more than is used, at the steps that are used."""
    names = [name for wanted in Detectors.WANTED for name in wanted.names]
    assert names == ["folder_free_bytes", "recent_speed_ratio", "canary_speed_ratio", "canary_latency_s"]
    assert [(wanted.back_s, wanted.step_s) for wanted in Detectors.WANTED] == [(6 * HOUR_S, 300), (14 * 86_400, HOUR_S)]


# --- The clock ---


@pytest.mark.parametrize("jump_s", [120.0, -120.0, 365 * 86_400.0, -365 * 86_400.0])
def test_a_clock_that_is_set_is_seen_once_and_bends_no_slope(jump_s: float) -> None:
    """The jump is told in one sample, either way; the forecast goes on as if nothing was."""
    day = Day()
    day.run(8, lambda hour: {DISK: (100 - 5 * hour) * GB})
    day.wall += timedelta(seconds=jump_s)
    seen = day.run(2, lambda hour: {DISK: (60 - 5 * hour) * GB})
    assert seen[0][CLOCK] == pytest.approx(abs(jump_s))
    assert max(figures[CLOCK] for figures in seen[1:]) < 0.001
    assert [seen[n][FULL_IN] / HOUR_S for n in (1, 15, 119)] == pytest.approx([12, 11.75, 10], rel=0.05)
    assert day.run(8, lambda _: {DISK: 50 * GB})[-1][FULL_IN] == FAR_S


def test_a_suspended_machine_has_no_clock_that_jumped() -> None:
    """Both clocks go on while it sleeps; the first sample after the start has nothing to compare with."""
    day = Day()
    assert CLOCK not in day.see({})
    day.pause(8 * HOUR_S)
    assert day.see({})[CLOCK] == pytest.approx(0)


def test_the_real_clocks_agree() -> None:
    """Two samples of this moment, by the clock that goes on in suspend."""
    detectors = Detectors()
    detectors.derive(Sample(datetime.now(UTC), {}))
    assert detectors.derive(Sample(datetime.now(UTC), {})).figures[CLOCK] < 5


# --- Estimates ---


@given(st.floats(-1e6, 1e6), st.lists(st.tuples(st.integers(0, 29), st.floats(-1e12, 1e12)), max_size=7))
def test_a_slope_stands_odd_values(true_slope: float, odd: list[tuple[int, float]]) -> None:
    """Up to a quarter of the points may be anything: the slope stays between those of the others."""
    points = [(60.0 * n, 1e9 + true_slope * 60.0 * n) for n in range(30)]
    for index, value in odd:
        points[index] = (points[index][0], value)
    assert slope(points) == pytest.approx(true_slope, rel=1e-3, abs=1e-2)


def test_a_series_keeps_no_more_than_its_window() -> None:
    """However long it runs; values from the past are left out."""
    series = Series(60, 3600, lambda points: slope(points) if len(points) > 7 else None)
    for n in range(10_000):
        series.add(n * 10.0, float(n))
    series.add(5.0, 1e9)
    assert len(series) == 60
    assert series.estimate() == pytest.approx(0.1)
    series.forget_after(96_500)
    assert series.estimate() is None


def test_a_baseline_needs_a_day() -> None:
    """Before that nothing is said; without a spread, any other value is another one."""
    baseline = Baseline()
    for hour in range(24):
        baseline.add(hour * HOUR_S, 8.0)
        assert baseline.compare(4.0) is None
    baseline.add(24 * HOUR_S, 8.0)
    assert (baseline.compare(4.0), baseline.compare(8.0)) == (0.5, 1.0)
