"""Pages of a long history: what is found, in which order, and that each page goes on where the last one ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import web_reading
from storage.jobs import JobStore
from storage.records import Fingerprint, JobState, NewJob, Outcome
from storage.searching import NothingToFind
from storage.web_reading import JobsPage, TooSlow, Wanted, WebReading
from tests.unit.history import AT, INBOX, claim, days, new, result, transcribe


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with closing(JobStore.open(tmp_path / "transcribed.db", "me")) as opened:
        yield opened


@pytest.fixture
def reading(store: JobStore, tmp_path: Path) -> Iterator[WebReading]:
    """The history as it is when a test asks first."""
    del store
    with closing(WebReading.open(tmp_path / "transcribed.db")) as opened:
        yield opened


def fill(store: JobStore) -> None:
    """Twenty jobs in two folders: every fifth failed, every third is German."""
    for number in range(1, 21):
        folder = b"/srv/inbox/anna" if number % 2 else b"/srv/inbox/ben"
        path = folder + b"/talk %d.wav" % number
        if number % 5 == 0:
            job = claim(store, path, days(number))
            store.fail(job, "broken", days(number))
        else:
            told = result(Outcome.OK)
            if number % 3:
                told = type(told)(told.outcome, "", "en", 0.9, "base", "cpu", "int8", 1.0, 1, 2)
            transcribe(store, path, f"this is talk {number}", at=days(number), told=told)


def numbers(page: JobsPage) -> list[int]:
    return [job.id for job in page.jobs]


def all_pages(reading: WebReading, wanted: Wanted, limit: int) -> list[int]:
    """The jobs of every page, one after the other."""
    found: list[int] = []
    before: int | None = None
    for _ in range(1000):
        page = reading.jobs_page(wanted, before, limit)
        found += numbers(page)
        before = page.older
        if before is None:
            return found
    raise AssertionError("the pages have no end")


def test_newest_first_and_on_from_there(store: JobStore, reading: WebReading) -> None:
    """The first page has the newest jobs, and each next one those before, until none is left."""
    fill(store)
    first = reading.jobs_page(Wanted(), None, 8)
    assert numbers(first) == list(range(20, 12, -1))
    assert numbers(reading.jobs_page(Wanted(), first.older, 8)) == list(range(12, 4, -1))
    assert all_pages(reading, Wanted(), 8) == list(range(20, 0, -1))


def test_each_filter(store: JobStore, reading: WebReading) -> None:
    """Folder, state, language, day and part of the name each leave what they should."""
    fill(store)
    failed = Wanted(frozenset({JobState.FAILED, JobState.QUARANTINED}))
    assert numbers(reading.jobs_page(failed)) == [20, 15, 10, 5]
    assert numbers(reading.jobs_page(Wanted(folder=b"/srv/inbox/ben"), None, 3)) == [20, 18, 16]
    assert numbers(reading.jobs_page(Wanted(folder=b"/srv/inbox/be"))) == []
    assert numbers(reading.jobs_page(Wanted(language="de"))) == [18, 12, 9, 6, 3]
    assert numbers(reading.jobs_page(Wanted(text="TALK 1"), None, 3)) == [19, 18, 17]
    between = Wanted(since=days(3), until=days(6))
    assert numbers(reading.jobs_page(between)) == [5, 4, 3]
    both = Wanted(frozenset({JobState.DONE}), folder=b"/srv/inbox", language="de", text="talk 1")
    assert numbers(reading.jobs_page(both)) == [18, 12]


def test_counts(store: JobStore, reading: WebReading, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many as there are; one more than is counted where there are more."""
    fill(store)
    assert reading.count(Wanted()) == 20
    assert reading.count(Wanted(frozenset({JobState.FAILED}))) == 4
    assert reading.count(Wanted(folder=b"/srv/inbox/anna", language="de")) == 2
    monkeypatch.setattr(web_reading, "MOST_COUNTED", 7)
    assert reading.count(Wanted()) == 8
    assert reading.count(Wanted(frozenset({JobState.DONE, JobState.FAILED}))) == 8


def test_looks_at_some_and_says_where_to_go_on(
    store: JobStore, reading: WebReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is found among the newest jobs, the page says so and the next one looks at older ones."""
    fill(store)
    monkeypatch.setattr(web_reading, "LOOK", 5)
    page = reading.jobs_page(Wanted(text="talk 3."))
    assert (numbers(page), page.looked, page.older) == ([], True, 16)
    assert all_pages(reading, Wanted(text="talk 3."), 50) == [3]
    some = Wanted(frozenset({JobState.DONE, JobState.FAILED}), language="de")
    assert all_pages(reading, some, 2) == [18, 12, 9, 6, 3]


def test_hidden_inboxes_are_left_out(store: JobStore, reading: WebReading) -> None:
    """Neither jobs of such an inbox nor of one below the folder are shown, counted or listed as ended."""
    transcribe(store, b"/srv/inbox/a.wav", "one", at=days(1))
    transcribe(store, b"/state/canary/b.wav", "two", at=days(2), inbox=b"/state/canary")
    transcribe(store, b"/state/canary/in/c.wav", "three", at=days(3), inbox=b"/state/canary/in")
    transcribe(store, b"/state/canary2/d.wav", "four", at=days(4), inbox=b"/state/canary2")
    hidden = (b"/state/canary",)
    assert numbers(reading.jobs_page(Wanted(but_not_in=hidden))) == [4, 1]
    assert reading.count(Wanted(folder=b"/state", but_not_in=hidden)) == 1
    assert [job.id for job in reading.ended_lately(5, hidden)] == [4, 1]


def test_a_folder_with_many_files_is_walked_by_job(
    store: JobStore, reading: WebReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to find the jobs of a folder find the same."""
    fill(store)
    wanted = Wanted(folder=b"/srv/inbox/anna")
    few = all_pages(reading, wanted, 3)
    monkeypatch.setattr(web_reading, "FEW_FILES", 2)
    assert all_pages(reading, wanted, 3) == few == [19, 17, 15, 13, 11, 9, 7, 5, 3, 1]


def test_lately_ended_by_their_end(store: JobStore, reading: WebReading) -> None:
    """The order is that of the ends, whatever the order of the jobs."""
    store.enqueue([new(b"/srv/inbox/a.wav"), new(b"/srv/inbox/b.wav")], AT)
    first, second = store.claim(AT), store.claim(AT)
    assert first is not None
    assert second is not None
    store.fail(second, "broken", days(1))
    store.fail(first, "broken", days(2))
    assert [job.id for job in reading.ended_lately(5)] == [first.id, second.id]


def test_versions_of_a_recording(store: JobStore, reading: WebReading) -> None:
    """All jobs of its path, the newest first, whichever is asked for."""
    for day in (1, 2, 3):
        transcribe(store, b"/srv/inbox/a.wav", "one", at=days(day))
    transcribe(store, b"/srv/inbox/b.wav", "other", at=days(4))
    assert [job.id for job in reading.versions(1)] == [3, 2, 1]
    assert [job.id for job in reading.versions(3, 2)] == [3, 2]
    assert reading.versions(99) == []
    assert reading.job(99) is None
    assert (reading.document(1), reading.document(99)) == (b"packed", None)
    assert [event.kind for event in reading.latest_events(1)][-1] == "done"
    assert reading.languages() == ["de"]


def test_search_goes_on_where_it_ended(store: JobStore, reading: WebReading) -> None:
    """Every line is found once over all pages, in all of the history and in a folder."""
    for day in range(1, 6):
        transcribe(store, b"/srv/inbox/anna/%d.wav" % day, *(f"budget {n}" for n in range(4)), at=days(day))
        transcribe(store, b"/srv/inbox/ben/%d.wav" % day, "the budget", "nothing", at=days(day))
    for folder, n_lines in ((None, 25), (b"/srv/inbox/anna", 20), (b"/srv/inbox/ben", 5), (b"/srv/inbox/x", 0)):
        found: list[int] = []
        before: int | None = None
        while True:
            page = reading.search_page(["budget"], before, 3, folder)
            found += [hit.id for hit in page.hits]
            assert len(page.hits) <= 3
            before = page.older
            if before is None:
                break
        assert len(found) == len(set(found)) == n_lines
    with pytest.raises(NothingToFind):
        reading.search_page(["?!"])


def test_a_search_that_takes_too_long_gives_what_it_has(
    store: JobStore, reading: WebReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended, and the page says that there may be more."""
    fill(store)
    monkeypatch.setattr(web_reading, "_SEARCH_S", -1.0)
    monkeypatch.setattr(web_reading, "_INSTRUCTIONS", 1)
    page = reading.search_page(["talk"])
    assert page.cut


def test_a_page_that_takes_too_long_is_given_up(
    store: JobStore, reading: WebReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions end when the time of the page is over; counting gives no number then."""
    fill(store)
    monkeypatch.setattr(web_reading, "_INSTRUCTIONS", 1)
    monkeypatch.setattr(web_reading, "_COUNT_S", -1.0)
    assert reading.count(Wanted(language="de")) is None
    assert reading.count(Wanted(frozenset({JobState.DONE}), language="de")) is None
    reading.until = 0.0
    with pytest.raises(TooSlow):
        reading.jobs_page(Wanted())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.sets(st.sampled_from([JobState.DONE, JobState.FAILED, JobState.QUEUED])),
    folder=st.sampled_from([None, b"/srv/inbox", b"/srv/inbox/anna", b"/srv/inbox/ben/", b"/no"]),
    language=st.sampled_from(["", "de", "en"]),
    since=st.sampled_from([None, 1, 4, 19, 30]),
    until=st.sampled_from([None, 0, 7, 20]),
    text=st.sampled_from(["", "talk 1", "ANNA", "%", "_"]),
    limit=st.integers(1, 7),
    look=st.sampled_from([1, 3, 20_000]),
    few=st.sampled_from([0, 3000]),
)
def test_pages_are_what_a_filter_over_all_gives(
    filled: Path,
    states: set[JobState],
    folder: bytes | None,
    language: str,
    since: int | None,
    until: int | None,
    text: str,
    limit: int,
    look: int,
    few: int,
) -> None:
    """Whatever is asked for, the pages together are all jobs that fit, each once, the newest first."""
    wanted = Wanted(
        frozenset(states),
        folder,
        language,
        days(since) if since is not None else None,
        days(until) if until is not None else None,
        text,
    )
    with pytest.MonkeyPatch.context() as patch, closing(WebReading.open(filled)) as reading:
        everything = reading.jobs_page(Wanted(), None, 1000).jobs
        patch.setattr(web_reading, "LOOK", look)
        patch.setattr(web_reading, "FEW_FILES", few)
        fits = [
            job.id
            for job in everything
            if (not states or job.state in states)
            and (folder is None or job.path.startswith(folder.rstrip(b"/") + b"/"))
            and (not language or job.language == language)
            and (since is None or job.created_at >= days(since))
            and (until is None or job.created_at < days(until))
            and text.casefold() in job.path.decode().casefold()
        ]
        assert all_pages(reading, wanted, limit) == fits
        assert reading.count(wanted) == len(fits)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history that is only read."""
    path = tmp_path_factory.mktemp("history") / "transcribed.db"
    with closing(JobStore.open(path, "me")) as store:
        fill(store)
        late = NewJob(b"/srv/inbox/anna/late.wav", INBOX, Fingerprint(1, 2, 3, 4, 5), {"model": "base"}, "d")
        store.enqueue([late], days(21) + timedelta(hours=1))
    return path
