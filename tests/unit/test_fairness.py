"""Who is who, how long a recording may be, and how many places one may take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.fairness import RANKS, WORDS, Place, expected_s, person_of, ranked, room, weight_of
from daemon.intake.rules import EXTENSIONS
from daemon.pace import Forecast
from storage.records import Fingerprint, NewJob

INBOX = b"/srv/inbox"


def long(person: bytes) -> Place:
    return Place(person, INBOX, is_long=True)


def short(person: bytes) -> Place:
    return Place(person, INBOX, is_long=False)


@pytest.mark.parametrize(
    ("path", "fair_by", "person"),
    [
        (b"/srv/inbox/anna/a.wav", "folder", b"/srv/inbox/anna"),
        (b"/srv/inbox/anna/2024/may/a.wav", "folder", b"/srv/inbox/anna"),
        (b"/srv/inbox/a.wav", "folder", b"owner:1001"),
        (b"/srv/inbox/anna/a.wav", "owner", b"owner:1001"),
        (b"/srv/inbox/\xff\n/a.wav", "folder", b"/srv/inbox/\xff\n"),
    ],
)
def test_a_person_is_a_top_folder_or_an_owner(path: bytes, fair_by: str, person: bytes) -> None:
    """Files outside of any folder go by their owner always."""
    assert person_of(path, INBOX, "owner" if fair_by == "owner" else "folder", 1001) == person


def test_where_the_owner_is_not_known_the_inbox_is_the_person() -> None:
    """All such recordings take turns as one."""
    assert person_of(b"/srv/inbox/a.wav", INBOX) == INBOX
    assert person_of(b"/srv/inbox/anna/a.wav", INBOX, "owner") == INBOX


@given(st.sampled_from(sorted(EXTENSIONS)), st.integers(0, 10**13))
def test_every_size_has_a_length(extension: str, size_bytes: int) -> None:
    """More bytes of one kind are more audio."""
    length_s = expected_s(f"/a/b.{extension.upper()}".encode(), size_bytes)
    assert 0 <= length_s <= expected_s(f"/a/b.{extension}".encode(), size_bytes + 10**6)


def test_a_minute_is_expected_to_be_short_and_a_meeting_long() -> None:
    """Whatever a device writes."""
    assert expected_s(b"memo.m4a", 480_000) < 600 < expected_s(b"meeting.mp3", 60 * 960_000)
    assert expected_s(b"memo.wav", 10_584_000) < 600


def test_options_decide_the_priority() -> None:
    """By its word; old options have none."""
    for word, rank in RANKS.items():
        job = NewJob(b"a", b"b", Fingerprint(1, 2, 3, 4, 5), {"priority": word}, "d")
        assert (ranked(job).priority, WORDS[rank]) == (rank, word)
    assert ranked(NewJob(b"a", b"b", Fingerprint(1, 2, 3, 4, 5), {}, "d")).priority == 0
    assert weight_of(1) > weight_of(0) > weight_of(-1) > 0


# Places


def taken(n_places: int, *wanted: Place) -> list[Place]:
    """What is in hand when each of *wanted* takes as many places as it may, one person after the other."""
    in_hand: list[Place] = []
    for place in wanted:
        while len(in_hand) < n_places:
            left = room(in_hand, n_places, {})
            no_long = place.is_long and (not left.long_too or place.person in left.full_of_long)
            if place.person in left.full or no_long:
                break
            in_hand.append(place)
    return in_hand


def test_an_archive_leaves_room_for_everybody() -> None:
    """One person's long recordings take half, the next one's half of the rest; the last places are for short ones."""
    in_hand = taken(34, long(b"a"), long(b"b"), long(b"c"), long(b"d"))
    assert [in_hand.count(long(person)) for person in (b"a", b"b", b"c", b"d")] == [17, 9, 4, 0]
    assert taken(34, *in_hand, short(b"e")).count(short(b"e")) == 4


def test_one_persons_memos_leave_room_too() -> None:
    """An eighth of the places."""
    assert len(taken(34, short(b"a"))) == 30


def test_a_limit_of_the_inbox_counts_for_each_person() -> None:
    """It is lower than ours, or has no effect."""
    left = room([short(b"a"), short(b"a"), short(b"b")], 34, {INBOX: 2})
    assert left.full == {b"a"}
    assert room([short(b"a")], 34, {INBOX: 0, b"/other": 1}).full == frozenset()


def test_few_places_are_not_kept_empty() -> None:
    """Where there are one or two, somebody may have them."""
    assert len(taken(1, long(b"a"))) == 1
    assert len(taken(2, short(b"a"))) == 2
    assert len(taken(2, long(b"a"), long(b"b"))) == 1 + (room([long(b"a")], 2, {}).long_too)


def test_who_has_no_name_is_not_limited() -> None:
    """The recordings that nobody knows the person of are not one person's."""
    assert room([short(b"")] * 33, 34, {INBOX: 1}).full == frozenset()


_PLACES = st.lists(st.builds(Place, st.sampled_from([b"a", b"b", b"c"]), st.just(INBOX), st.booleans()), max_size=64)


@given(_PLACES, st.integers(1, 64))
def test_a_newcomer_is_never_full(in_hand: list[Place], n_places: int) -> None:
    """Who has nothing in hand may begin, while there is a place."""
    left = room(in_hand[:n_places], n_places, {})
    assert b"new" not in left.full
    assert b"new" not in left.full_of_long


# When it is done


def test_a_memo_beside_an_archive_is_soon_done() -> None:
    """Those in hand share the speed by person, so the archive costs a memo its own length once more."""
    forecast = Forecast(10.0, {b"archive": 100_000.0})
    assert forecast.done_in_s(b"anna", 0.0, 60.0) == pytest.approx(12.0)
    assert forecast.done_in_s(b"archive", 50_000.0, 1000.0) == pytest.approx(15_100.0)


def test_nobody_knows_without_a_speed() -> None:
    """Then nothing is said."""
    assert Forecast(None, {}).done_in_s(b"a", 0.0, 1.0) is None
    assert Forecast(0.0, {}).done_in_s(b"a", 0.0, 1.0) is None
