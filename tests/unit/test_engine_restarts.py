import pytest

from daemon.engine.restarts import RestartLimits, Restarts
from daemon.errors import EngineUnavailable

LIMITS = RestartLimits(first_s=1.0, longest_s=60.0, max_deaths=5, window_s=600.0, pause_s=60.0)


def test_the_first_start_does_not_wait() -> None:
    """Nothing has died."""
    assert Restarts(LIMITS).wait_s(0.0) == 0.0


def test_the_wait_doubles_with_each_death() -> None:
    """One second after the first, two after the second; time already gone by counts."""
    restarts = Restarts(LIMITS)
    restarts.died(0.0)
    assert restarts.wait_s(0.25) == 0.75
    assert restarts.wait_s(5.0) == 0.0
    restarts.died(10.0)
    assert restarts.wait_s(10.0) == 2.0
    restarts.died(20.0)
    assert restarts.wait_s(20.0) == 4.0


def test_the_wait_has_a_limit() -> None:
    """However often it died."""
    restarts = Restarts(RestartLimits(max_deaths=50))
    for _ in range(20):
        restarts.died(0.0)
    assert restarts.wait_s(0.0) == 60.0


def test_an_engine_that_keeps_dying_is_left_alone_for_a_while() -> None:
    """The fifth death opens the breaker; after the pause one start is allowed, and another death closes it again."""
    restarts = Restarts(LIMITS)
    for now in (0.0, 10.0, 20.0, 30.0, 40.0):
        restarts.died(now)
    with pytest.raises(EngineUnavailable, match="died 5 times in 600 s"):
        restarts.wait_s(99.0)
    assert restarts.wait_s(100.0) == 0.0
    restarts.died(101.0)
    with pytest.raises(EngineUnavailable):
        restarts.wait_s(102.0)


def test_old_deaths_are_forgotten() -> None:
    """After ten quiet minutes the engine is as good as new."""
    restarts = Restarts(LIMITS)
    for _ in range(5):
        restarts.died(0.0)
    assert restarts.wait_s(601.0) == 0.0
    restarts.died(700.0)
    assert restarts.wait_s(700.0) == 1.0
