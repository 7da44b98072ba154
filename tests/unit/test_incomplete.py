from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from daemon.decode.pool import Decoded
from daemon.incomplete import missing, wait_left_s
from storage.records import Fingerprint

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
PATIENCE_S = 300.0


def decoded(decoded_s: float, declared_s: float | None, cut_off: str = "") -> Decoded:
    n_samples = int(decoded_s * 16_000)
    return Decoded("ab", n_samples, decoded_s, declared_s, 16_000, 1, "x", "x", 0, (), cut_off)


def changed(at: datetime) -> Fingerprint:
    return Fingerprint(1, 0, int(at.timestamp() * 1e9), 0, 0)


def left_s(changed_at: datetime, made_at: datetime = AT) -> float:
    return wait_left_s(changed(changed_at), made_at, AT, PATIENCE_S)


def test_what_is_missing_is_said_with_numbers() -> None:
    """By the declared duration; without one, by the end of the file."""
    assert missing(decoded(610, 1794)) == "only 610 s of 1794 s could be decoded"
    assert missing(decoded(1790, 1794)) == ""
    assert missing(decoded(12, None, "its last page is missing")) == "its last page is missing; 12 s could be decoded"
    assert missing(decoded(12, None)) == ""


def test_a_whole_recording_with_a_cut_end_is_whole() -> None:
    """All the sound is there; what is missing behind it is none."""
    assert missing(decoded(10, 10, "it ends 4 bytes too early")) == ""


@pytest.mark.parametrize(("ago_s", "expected_s"), [(0, 300), (100, 200), (299, 1), (300, 0), (9_000, 0)])
def test_the_rest_may_come_as_long_as_the_file_changed_lately(ago_s: float, expected_s: float) -> None:
    """Whatever the age of the job: a file that was cut off an hour ago has nobody wait."""
    for made_at in (AT, AT - timedelta(days=1)):
        assert left_s(AT - timedelta(seconds=ago_s), made_at) == pytest.approx(expected_s)


@pytest.mark.parametrize("ahead", [timedelta(seconds=1), timedelta(days=9)])
def test_a_clock_that_is_ahead_makes_nobody_wait_for_ever(ahead: timedelta) -> None:
    """Where the server's time cannot be right, the time counts from when the job was made."""
    assert left_s(AT + ahead, AT - timedelta(seconds=100)) == pytest.approx(200)
    assert left_s(AT + ahead, AT - timedelta(seconds=400)) == 0


def test_a_clock_that_was_set_back_makes_nobody_wait_until_it_has_caught_up() -> None:
    """By a little, the wait begins anew; by more than the patience, there is none."""
    little, much = timedelta(seconds=1), timedelta(days=9)
    assert left_s(AT + little, AT + little) == pytest.approx(300)
    assert left_s(AT + much, AT + much) == 0


def test_no_patience_is_no_waiting() -> None:
    """``incomplete_wait_s = 0`` takes every recording as it is."""
    assert wait_left_s(changed(AT), AT, AT, 0.0) == 0
