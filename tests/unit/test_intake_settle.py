"""When a file is finished, as pure arithmetic on fingerprints and times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.intake.settle import Settling
from storage.records import Fingerprint

FIRST = Fingerprint(size_bytes=10, mtime_ns=1, ctime_ns=1, device=1, inode=1)
PATH = b"/inbox/a.wav"


@pytest.fixture
def settling() -> Settling:
    return Settling(3.0)


def test_a_file_is_still_once_nothing_changed_for_long_enough(settling: Settling) -> None:
    """The wait begins at the first look, also for a file that is old."""
    settling.observe(PATH, FIRST, 100.0)
    settling.observe(PATH, FIRST, 102.9)
    assert settling.still(102.9) == []
    assert settling.still(103.0) == [PATH]


@pytest.mark.parametrize("field", ["size_bytes", "mtime_ns", "ctime_ns", "device", "inode"])
def test_each_change_begins_the_wait_anew(settling: Settling, field: str) -> None:
    """Not only the size: a preallocated file has its final size from the start."""
    settling.observe(PATH, FIRST, 100.0)
    settling.observe(PATH, replace(FIRST, **{field: 99}), 102.0)
    assert settling.still(104.9) == []
    assert settling.still(105.0) == [PATH]


def test_a_file_that_never_rests_is_never_given_up(settling: Settling) -> None:
    """After an hour of changes it is finished like any other, and it is known since when it is waited for."""
    for second in range(3600):
        settling.observe(PATH, replace(FIRST, size_bytes=second), float(second))
        assert settling.still(float(second)) == []
    assert settling.still(3602.0) == [PATH]
    watched = settling.watched(PATH)
    assert watched is not None
    assert watched.first_seen == 0.0


def test_a_file_that_is_put_off_rests_until_then(settling: Settling) -> None:
    """It is not among the files to look at, and it is still at once when its time comes."""
    settling.observe(PATH, FIRST, 0.0)
    settling.postpone(PATH, 60.0, "cannot be opened")
    assert settling.active(59.0) == []
    assert settling.still(59.0) == []
    assert settling.active(60.0) == settling.still(60.0) == [PATH]


def test_a_change_ends_the_delay_and_its_reason(settling: Settling) -> None:
    """An empty file that got content is an ordinary file that settles."""
    settling.observe(PATH, FIRST, 0.0)
    settling.postpone(PATH, 60.0, "empty")
    settling.observe(PATH, replace(FIRST, size_bytes=11), 10.0)
    watched = settling.watched(PATH)
    assert watched is not None
    assert watched.reason == ""
    assert settling.still(13.0) == [PATH]


def test_a_look_without_a_change_keeps_delay_and_reason(settling: Settling) -> None:
    """A scan that comes by does not make a file that was put off active."""
    settling.observe(PATH, FIRST, 0.0)
    settling.postpone(PATH, 60.0, "empty")
    settling.observe(PATH, FIRST, 30.0)
    assert settling.active(30.0) == []


def test_forgotten_files_are_gone(settling: Settling) -> None:
    """Forgetting is safe for a file that is not there."""
    settling.observe(PATH, FIRST, 0.0)
    settling.forget(PATH)
    settling.forget(PATH)
    assert settling.items() == []
    assert settling.paths() == set()
    assert settling.items() == []
    assert settling.watched(PATH) is None
