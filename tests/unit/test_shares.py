"""Which shares answer: told from threads that come back or do not, by a clock that the test turns."""

from __future__ import annotations

import threading

import pytest

from daemon.shares import SILENT_S, NoAnswer, Share, Shares, within


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.fault(27, "a call that does not come back")
def test_a_touch_that_does_not_come_back_makes_a_share_silent(clock: Clock) -> None:
    """Not at once: disks sleep, servers are slow. The oldest touch says since when."""
    share = Share(clock)
    with share.touching():
        clock.now += SILENT_S
        assert share.silence() == ""
        with share.touching():
            clock.now += 1
            assert share.silent_since() == 100.0
            assert share.silence().startswith("not answering since 20")
    assert share.silence() == ""


def test_a_row_of_calls_that_gets_on_is_no_hang(clock: Clock) -> None:
    """A scan of a slow share may take minutes."""
    share = Share(clock)
    with share.touching() as touch:
        for _ in range(100):
            clock.now += SILENT_S
            touch.renew()
        assert share.silent_since() is None


def test_work_of_our_own_beside_it_is_no_hang(clock: Clock) -> None:
    """The transcript of many tracks takes longer to be made than a share may take to answer."""
    share = Share(clock)
    with share.touching() as touch:
        with touch.aside():
            clock.now += 10 * SILENT_S
            assert share.silent_since() is None
        assert share.silent_since() is None
        clock.now += SILENT_S + 1
        assert share.silent_since() == clock.now - SILENT_S - 1


def test_an_error_is_an_answer(clock: Clock) -> None:
    """A share that fails at once is in trouble, not silent."""
    share = Share(clock)
    with pytest.raises(OSError, match="stale"), share.touching():
        raise OSError("stale")
    clock.now += 100 * SILENT_S
    assert share.silence() == ""


def test_it_is_told_once_that_a_share_is_silent_and_that_it_answers(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log and to whom it concerns; other shares are no part of it."""
    caplog.set_level("INFO")
    shares = Shares(clock)
    told: list[tuple[str, bytes]] = []
    shares.on_silent = lambda folder, _silence: told.append(("silent", folder))
    shares.on_answer = lambda folder: told.append(("answers", folder))
    shares.of(b"/other")
    with shares.of(b"/srv").touching():
        clock.now += SILENT_S + 1
        shares.step(clock.now)
        shares.step(clock.now)
    shares.step(clock.now)
    shares.step(clock.now)
    assert told == [("silent", b"/srv"), ("answers", b"/srv")]
    assert [record.__dict__["event"] for record in caplog.records] == ["share_silent", "share_answers"]


def test_a_share_is_the_same_for_all_who_ask() -> None:
    """Also for an inbox that is closed and opened again while a thread hangs in it."""
    shares = Shares()
    assert shares.of(b"/srv") is shares.of(b"/srv")


def test_a_call_may_be_given_up() -> None:
    """Its answer or its error, if it comes in time; else the thread is left behind."""
    held = threading.Event()
    assert within(5.0, "test", lambda: 7) == 7
    with pytest.raises(OSError, match="gone"):
        within(5.0, "test", lambda: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(NoAnswer, match=r"inbox: no answer within 0\.05 s"):
        within(0.05, "inbox", held.wait)
    held.set()
