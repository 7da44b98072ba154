import threading
import time
from collections.abc import Callable

import pytest

from daemon.ahead import LONG_BYTES, LONG_WAITS_S, Ahead, Share
from daemon.errors import JobCancelled

SHORT, LONG = LONG_BYTES, LONG_BYTES + 1
MAX_BYTES = 1000


class Clock:
    """A time that only tests move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class Recording(threading.Thread):
    """Begins when it may, then does what it is told."""

    def __init__(
        self, ahead: Ahead, name: str, begun: list[str], source_bytes: int = SHORT, person: bytes = b""
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.ahead, self.begun, self.source_bytes, self.person = ahead, begun, source_bytes, person
        self.may_leave = threading.Event()
        self.share: Share | None = None
        before = ahead.n_waiting + len(begun)
        self.start()
        wait_until(lambda: ahead.n_waiting + len(begun) == before + 1)

    def run(self) -> None:
        """Inside until told to leave."""
        with self.ahead.admitted(self.source_bytes, threading.Event(), self.person) as share:
            self.share = share
            self.begun.append(self.name)
            self.may_leave.wait(20)

    def decoded(self, n_bytes: int) -> None:
        """All of it is on the disk."""
        assert self.share is not None
        self.ahead.decoded(self.share, n_bytes)

    def leave(self) -> None:
        """Its transcript is made."""
        self.may_leave.set()
        self.join(20)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def test_as_many_as_there_are_decoders() -> None:
    """The next begins when one is decoded, not when it is done."""
    ahead, begun = Ahead(2, MAX_BYTES), list[str]()
    a, b, c = (Recording(ahead, name, begun) for name in "abc")
    assert begun == ["a", "b"]
    a.decoded(10)
    wait_until(lambda: begun == ["a", "b", "c"])
    for recording in (a, b, c):
        recording.leave()


def test_the_disk_is_not_filled() -> None:
    """None begins while so much waits for the model; short ones may go over it a little."""
    ahead, begun = Ahead(4, MAX_BYTES), list[str]()
    full = Recording(ahead, "full", begun, LONG)
    full.decoded(MAX_BYTES)
    long = Recording(ahead, "long", begun, LONG)
    memo = Recording(ahead, "memo", begun)
    assert begun == ["full", "memo"]
    memo.decoded(MAX_BYTES // 4)
    next_memo = Recording(ahead, "next memo", begun)
    assert begun == ["full", "memo"]
    full.leave()
    wait_until(lambda: sorted(begun[2:]) == ["long", "next memo"])
    for recording in (long, memo, next_memo):
        recording.leave()


def test_a_recording_that_grows_counts_as_it_grows() -> None:
    """Nobody knows its length at the start."""
    ahead, begun = Ahead(2, MAX_BYTES), list[str]()
    a = Recording(ahead, "a", begun)
    assert a.share is not None
    a.share.grew(MAX_BYTES * 2)
    b = Recording(ahead, "b", begun)
    assert begun == ["a"]
    a.leave()
    wait_until(lambda: begun == ["a", "b"])
    b.leave()


def test_something_always_goes_on() -> None:
    """A limit that is too small for one recording lets it in where nothing else is kept."""
    ahead, begun = Ahead(1, 1), list[str]()
    for name in ("a", "b"):
        recording = Recording(ahead, name, begun, LONG)
        recording.decoded(10**9)
        recording.leave()
    assert begun == ["a", "b"]


def test_long_recordings_leave_a_decoder_to_the_short() -> None:
    """A memo that comes after two meetings begins at once."""
    ahead, begun = Ahead(2, MAX_BYTES), list[str]()
    meeting, other = Recording(ahead, "meeting", begun, LONG), Recording(ahead, "other", begun, LONG)
    memo = Recording(ahead, "memo", begun)
    assert begun == ["meeting", "memo"]
    meeting.decoded(10)
    wait_until(lambda: begun == ["meeting", "memo", "other"])
    for recording in (meeting, other, memo):
        recording.leave()


def test_a_long_recording_is_passed_for_a_while_only() -> None:
    """By the short ones of the next minute."""
    clock = Clock()
    ahead, begun = Ahead(1, MAX_BYTES, clock), list[str]()
    first = Recording(ahead, "first", begun)
    long = Recording(ahead, "long", begun, LONG)
    clock.now = LONG_WAITS_S - 1
    early = Recording(ahead, "early", begun)
    clock.now = LONG_WAITS_S + 1
    late = Recording(ahead, "late", begun)
    for recording, n_begun in ((first, 2), (early, 3), (long, 4)):
        recording.leave()
        wait_until(lambda n=n_begun: len(begun) == n)  # type: ignore[misc]
    assert begun == ["first", "early", "long", "late"]
    late.leave()


def test_those_who_wait_can_be_sent_away() -> None:
    """One by one, or all when the service stops; what has begun goes on."""
    ahead, begun = Ahead(1, MAX_BYTES), list[str]()
    first = Recording(ahead, "first", begun)
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(JobCancelled), ahead.admitted(1, cancelled):
        pass
    assert ahead.n_waiting == 0
    ahead.close()
    with pytest.raises(JobCancelled), ahead.admitted(1, threading.Event()):
        pass
    first.decoded(10)
    first.leave()


def test_persons_take_turns_at_the_decoders() -> None:
    """Who has one there waits for who has none, whoever came first."""
    ahead = Ahead(2, MAX_BYTES)
    a, b = ahead.enter(SHORT, b"archive"), ahead.enter(SHORT, b"archive")
    c, other = ahead.enter(SHORT, b"archive"), ahead.enter(SHORT, b"anna")
    assert [share.decoding for share in (a, b, c, other)] == [True, True, False, False]
    ahead.decoded(a, 10)
    assert (c.decoding, other.decoding) == (False, True)
    ahead.decoded(other, 10)
    assert c.decoding


def test_nobodys_long_recordings_fill_the_disk() -> None:
    """One person has as much as is left at the most; the rest is for the next, and for whoever has no name."""
    ahead = Ahead(4, MAX_BYTES)
    for _ in range(2):
        ahead.decoded(ahead.enter(LONG, b"archive"), MAX_BYTES // 4)
    third = ahead.enter(LONG, b"archive")
    meeting = ahead.enter(LONG, b"anna")
    memo = ahead.enter(SHORT, b"archive")
    assert [share.decoding for share in (third, meeting, memo)] == [False, True, True]
    ahead.leave(third)
    assert ahead.n_waiting == 0
