from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from daemon.pace import FEW, Going, covered_s, eta_s, lately, overtime_ratio, pace
from storage.lately import Ended, Kind
from storage.records import JobState

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


def done(
    minutes_ago: float, audio_s: float | None = 60.0, wall_s: float | None = 10.0, kind: Kind = ("base", "balanced")
) -> Ended:
    return Ended(JobState.DONE, AT - timedelta(minutes=minutes_ago), audio_s, wall_s, kind)


def failed(minutes_ago: float) -> Ended:
    return Ended(JobState.FAILED, AT - timedelta(minutes=minutes_ago), None, None)


def test_time_that_several_spans_cover_counts_once() -> None:
    """Whatever their order."""
    assert covered_s([(0, 10), (5, 15), (20, 30), (21, 22)]) == 25
    assert covered_s([(20, 30), (0, 10)]) == 20
    assert covered_s([]) == 0


def test_the_speed_is_that_of_the_machine_not_of_a_job() -> None:
    """Sixteen recordings at once take long each, and the machine is as fast as ever."""
    assert pace([done(1)], AT).speed == pytest.approx(6.0)
    together = [done(1, 60.0, 160.0) for _ in range(16)]
    assert pace(together, AT).speed == pytest.approx(6.0)


def test_little_audio_tells_no_speed() -> None:
    """What a recording costs besides the model is most of what a short one takes."""
    assert pace([done(1, 5.0, 3.0)], AT).speed is None
    assert pace([], AT).speed is None


def test_a_short_memo_alone_is_compared_with_nothing() -> None:
    """It fills no batch, so it is slower than a morning of recordings, and nothing is wrong."""
    found = pace([done(1, 45.0, 8.0)], AT)
    assert found.speed == pytest.approx(5.6, rel=0.01)
    assert found.comparable_speed is None
    assert pace([done(minutes, 120.0, 20.0) for minutes in range(1, 6)], AT).comparable_speed == pytest.approx(6.0)


def test_each_model_and_quality_has_a_usual_speed() -> None:
    """A large model after a morning with a small one takes as long as it takes."""
    large = ("large-v3", "balanced")
    found = pace([done(1, 600.0, 120.0, large), *(done(60 + minutes) for minutes in range(9))], AT)
    assert found.usual_speeds == {large: pytest.approx(5.0), ("base", "balanced"): pytest.approx(6.0)}
    assert pace([done(1, 5.0, 1.0)], AT).usual_speeds == {}


def test_what_ended_long_ago_is_no_speed_of_now() -> None:
    """But it tells what may be expected."""
    found = pace([done(120)], AT)
    assert found.speed is None
    assert found.usual_speed == pytest.approx(6.0)
    assert found.mean_audio_s == 60.0
    assert pace([done(25 * 60)], AT).usual_speed is None


def test_a_text_that_was_used_again_is_no_work() -> None:
    """It counts as an end, and not for the speed."""
    found = pace([done(1, None, None), done(2)], AT)
    assert found.n_ended == 2
    assert found.speed == pytest.approx(6.0)


def test_failures_are_a_share_of_at_least_twenty() -> None:
    """One broken recording alone passes no limit of 5 %."""
    assert pace([failed(1), *(done(2) for _ in range(18))], AT).failed_ratio is None
    assert pace([failed(1), *(done(2) for _ in range(19))], AT).failed_ratio == pytest.approx(0.05)


def test_lately_is_an_hour_or_the_last_few() -> None:
    """A busy hour counts whole; in a quiet time the last ones do, for a day."""
    busy = [done(minutes / 10) for minutes in range(400)]
    assert len(lately(busy, AT)) == 400
    assert len(lately([done(60 + minutes) for minutes in range(100)], AT)) == FEW
    assert lately([done(24 * 60 + 1)], AT) == []


def test_a_recording_on_its_way_is_done_at_its_own_pace() -> None:
    """Half of it took ten seconds, so does the other half."""
    assert eta_s(Going(15.0, 10.0, 50.0, 100.0, 1), 1.0) == pytest.approx(10.0)
    assert eta_s(Going(15.0, 10.0, 120.0, 100.0, 1), 1.0) == 0.0


def test_one_that_has_just_begun_is_done_at_the_usual_pace() -> None:
    """Shared with those beside it; unknown where nothing was ever done."""
    assert eta_s(Going(1.0, 1.0, 0.0, 100.0, 4), 10.0) == pytest.approx(40.0)
    assert eta_s(Going(1.0, 1.0, 0.0, 100.0, 4), None) is None


def test_what_a_recording_took_is_measured_by_what_is_expected() -> None:
    """A minute for all that is not the model's work, and its share of the machine."""
    assert overtime_ratio(Going(160.0, 150.0, 10.0, 1000.0, 1), 10.0) == pytest.approx(1.0)
    assert overtime_ratio(Going(160.0, 150.0, 10.0, 1000.0, 2), 10.0) == pytest.approx(160 / 260)
    assert overtime_ratio(Going(160.0, 150.0, 10.0, 0.0, 1), 10.0) is None
    assert overtime_ratio(Going(160.0, 150.0, 10.0, 10.0, 1), None) is None
