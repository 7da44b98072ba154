"""The text of transcripts in the history: when it is there, and how it is found."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.jobs import JobStore
from storage.reading import JobReader
from storage.records import Outcome, StoredSegment
from storage.scripts import spaced, unspaced
from storage.searching import MAX_TERMS, Hit, NothingToFind, match_of
from storage.texts import utc_text
from tests.unit.history import AT, INBOX, claim, days, lines, publish, result, transcribe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def store(path: Path) -> Iterator[JobStore]:
    store = JobStore.open(path, "daemon-1")
    yield store
    store.close()


def texts(hits: list[Hit]) -> list[str]:
    return [hit.text for hit in hits]


def check_index(path: Path) -> None:
    """FTS5 compares its index with every text of the table; it raises where they differ."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO segment_search (segment_search, rank) VALUES ('integrity-check', 1)")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Un café frappé, s'il vous plaît.", "CAFE FRAPPE"),
        ("cafe\u0301 au lait", "café"),
        ("Die Straße nach Köln", "STRAßE koln"),
        ("Ångström and naïve", "angstrom"),
        ("हिन्दी भाषा", "हिन्दी"),
        ("我们在北京开会讨论预算。", "北京"),
        ("我们在北京开会讨论预算。", "预"),
        ("東京タワーに行きました", "タワー"),
        ("สวัสดีครับทุกคน", "ครับ"),
        ("회의에서 만나요", "회의"),
        ("We met in 北京 twice", "in 北京"),
        ("O'Neil said don't", "don't"),
        ("The budgeting round", "budget*"),
        ("the annual budget", '"annual budget"'),
        ("the annual budget for Peru", 'peru "annual budget'),
    ],
)
def test_words_are_found_in_any_script_whatever_their_case_and_accents(store: JobStore, text: str, asked: str) -> None:
    """Scripts without spaces too, by one character or more."""
    transcribe(store, b"/srv/inbox/a.wav", text, "something else")
    assert texts(store.search(asked.split() if '"' not in asked else [asked])) == [text]


@pytest.mark.parametrize("asked", [["京北"], ["budget annual"], ["annua"], ['"budget the"']])
def test_what_was_not_said_is_not_found(store: JobStore, asked: list[str]) -> None:
    """Another order of the words of a phrase, or of the characters of a word; a part of a word."""
    transcribe(store, b"/srv/inbox/a.wav", "the annual budget", "我们在北京开会")
    assert store.search(asked) == []


@pytest.mark.parametrize(
    "hostile",
    [
        *('"', '""', '"a', 'a"b"c"', "*", "a*b*", "NEAR(a b)", "NEAR(", "text:a", "{text}:a", "a AND", "NOT", "OR OR"),
        *(
            "^a",
            "a + b",
            "-a",
            "(",
            ")",
            "a)",
            "--",
            ";",
            "'",
            "\\",
            "a\x00b",
            "\udcff",
            "%",
            "a\nb",
            "^",
            "{",
            ":",
            "," * 500,
        ),
    ],
)
def test_no_question_is_an_error_of_sql(store: JobStore, hostile: str) -> None:
    """Whatever a person types is words, or a clear refusal."""
    transcribe(store, b"/srv/inbox/a.wav", "a b near text not or and")
    for words in ([hostile], ["a", hostile], hostile.split() or [hostile]):
        with contextlib.suppress(NothingToFind):
            store.search(words)


def test_words_of_the_query_language_are_words(store: JobStore) -> None:
    """AND, OR, NOT and NEAR are looked for like any other word."""
    transcribe(store, b"/srv/inbox/a.wav", "either or", "not near")
    assert texts(store.search(["NOT", "NEAR"])) == ["not near"]
    assert texts(store.search(["OR"])) == ["either or"]


def test_a_question_may_not_be_endless() -> None:
    """SQLite's parser has limits, and nobody asks so much."""
    with pytest.raises(NothingToFind, match=f"at most {MAX_TERMS} words"):
        match_of(["a"] * (MAX_TERMS + 1))
    with pytest.raises(NothingToFind, match="characters"):
        match_of(["a" * 2000])


def test_a_hit_says_where_and_when_and_what_matched(store: JobStore) -> None:
    """The recording, the times in it, and marks around the words, between characters without spaces too."""
    job_id = transcribe(store, b"/srv/inbox/a\xff.wav", "one", "The Annual Budget 北京预算", at=days(1))
    (hit,) = store.search(["annual budget", "京预"])
    assert (hit.job_id, hit.path, hit.finished_at) == (job_id, b"/srv/inbox/a\xff.wav", days(1))
    assert (hit.number, hit.start_s, hit.end_s) == (2, 4.0, 7.5)
    assert hit.marked == "The \x02Annual Budget\x03 北\x02京预\x03算"
    assert hit.text == "The Annual Budget 北京预算"


def test_the_newest_comes_first_and_a_recording_in_order_of_time(store: JobStore) -> None:
    """Recordings by when their text came, lines as they were spoken."""
    transcribe(store, b"/srv/inbox/old.wav", "budget one", "budget two")
    transcribe(store, b"/srv/inbox/new.wav", "budget three", "no", "budget four")
    assert texts(store.search(["budget"])) == ["budget three", "budget four", "budget one", "budget two"]
    assert texts(store.search(["budget"], limit=1)) == ["budget four"]


def test_folder_and_time_narrow_it(store: JobStore) -> None:
    """A folder is not a beginning of a name; bytes that are no text are fine."""
    for name in (b"a/x.wav", b"ab/x.wav", b"a/deep\xff/x.wav"):
        transcribe(store, INBOX + b"/" + name, "budget of " + name.decode("latin-1"))
    transcribe(store, INBOX + b"/a/late.wav", "budget late", at=days(9))
    found = store.search(["budget"], folder=INBOX + b"/a")
    assert [hit.path[len(INBOX) + 1 :] for hit in found] == [b"a/late.wav", b"a/deep\xff/x.wav", b"a/x.wav"]
    assert [hit.path for hit in store.search(["budget"], folder=INBOX + b"/a/deep\xff/")] == [found[1].path]
    assert texts(store.search(["budget"], since=days(1))) == ["budget late"]


def test_text_shows_when_its_job_is_done_not_before(store: JobStore, path: Path) -> None:
    """It is on disk with the intent, so a crash after that loses nothing; a job that is given up has none."""
    job = claim(store, b"/srv/inbox/a.wav", AT)
    store.publishing(job, [], result(), AT, lines("the budget"))
    assert store.search(["budget"]) == []
    store.publishing(job, [], result(), AT, lines("the new budget"))
    store.finish(job, result(), AT)
    assert texts(store.search(["budget"])) == ["the new budget"]
    second = claim(store, b"/srv/inbox/b.wav", AT)
    store.publishing(second, [], result(), AT, lines("another budget"))
    store.requeue(second, "the folder is full", AT, refund=True)
    assert texts(store.search(["budget"])) == ["the new budget"]
    check_index(path)


def test_only_the_newest_transcript_of_a_recording_is_searched(store: JobStore) -> None:
    """A duplicate has no text of its own: that of the job before still counts. The earlier text stays in the table."""
    transcribe(store, b"/srv/inbox/a.wav", "old budget")
    transcribe(store, b"/srv/inbox/a.wav", "new budget")
    assert texts(store.search(["budget"])) == ["new budget"]
    job = claim(store, b"/srv/inbox/a.wav", AT)
    publish(store, job, [], AT, result(Outcome.DUPLICATE, "same content"))
    assert texts(store.search(["budget"])) == ["new budget"]


def test_odd_text_is_kept_as_it_is(store: JobStore, path: Path) -> None:
    """Lone surrogates become text; characters that mark hits go; nothing else changes."""
    transcribe(store, b"/srv/inbox/a.wav", "budget \udcff \x02x\x03 北 京  東", "")
    (hit,) = store.search(["budget"])
    assert hit.text == "budget \\udcff x 北 京  東"
    check_index(path)


def test_spacing_can_be_taken_back() -> None:
    """Also between spaces that were there before, and with marks put in."""
    text = "a 北 京b  東  "
    assert unspaced(spaced(text)) == text
    assert unspaced(" \x02北  京\x03 ") == "\x02北京\x03"


def test_a_reader_searches_beside_a_writer(store: JobStore, path: Path) -> None:
    """The command line opens the file read-only, whether a daemon runs or not."""
    transcribe(store, b"/srv/inbox/a.wav", "budget")
    with closing(JobReader.open(path)) as reader:
        assert texts(reader.search(["budget"])) == ["budget"]
        transcribe(store, b"/srv/inbox/b.wav", "budget again")
        assert len(reader.search(["budget"])) == 2


N_TRANSCRIPTS = 10_000


def test_a_phrase_in_ten_thousand_transcripts_is_found_at_once(store: JobStore, path: Path) -> None:
    """Common words, rare words, a phrase of common words: each within 100 ms, the best of three."""
    fill(path, N_TRANSCRIPTS)
    for asked in (["of the"], ["quarterly zebra"], ["the"], ["th*"], ["nothing of the sort"]):
        taken = [timed(store, asked) for _ in range(3)]
        assert min(taken) < 0.1, (asked, taken)
    assert texts(store.search(["quarterly zebra"])) == ["a quarterly zebra"]


def timed(store: JobStore, asked: list[str]) -> float:
    begin = time.perf_counter()
    store.search(asked)
    return time.perf_counter() - begin


def fill(path: Path, n: int, n_lines: int = 20) -> None:
    """*n* done jobs with *n_lines* lines each, put in at once; some words come as often as in English."""
    draw = random.Random(1)  # no secret
    words = ["the", "of", "and", "to", "a", "in", *(f"word{index}" for index in range(5000))]
    weights = [1 / (index + 2) for index in range(len(words))]
    spoken = [" ".join(draw.choices(words, weights, k=12)) for _ in range(5000)]
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO file VALUES (?, ?, ?, ?, '/srv/inbox', ?, '/srv/inbox')",
            [(i, f"/srv/inbox/{i}.wav".encode(), INBOX, f"/srv/inbox/{i}.wav", f"{i}.wav") for i in range(1, n + 1)],
        )
        database.executemany(
            "INSERT INTO job (id, file_id, state, outcome, max_attempts, options, options_digest, size_bytes, mtime_ns,"
            " ctime_ns, source_device, source_inode, created_at, finished_at)"
            " VALUES (?, ?, 'done', 'ok', 3, '{}', '', 1, 1, 1, 1, 1, ?, ?)",
            [(i, i, utc_text(AT), utc_text(AT)) for i in range(1, n + 1)],
        )
        rows = (
            (job, number, 4.0 * number, 4.0 * number + 3, draw.choice(spoken), -0.2)
            for job in range(1, n + 1)
            for number in range(1, n_lines + 1)
        )
        insert = "INSERT INTO segment (job_id, number, start_s, end_s, text, avg_logprob) VALUES (?, ?, ?, ?, ?, ?)"
        database.executemany(insert, rows)
        database.execute(insert, (n // 2, n_lines + 1, 99.0, 100.0, "a quarterly zebra", -0.2))
        database.execute("INSERT INTO segment_search (segment_search) VALUES ('rebuild')")


def test_a_long_transcript_holds_the_writer_for_a_moment(store: JobStore) -> None:
    """Ten hours of speech, 5,000 lines; the bound is generous, for a busy machine."""
    job = claim(store, b"/srv/inbox/a.wav", AT)
    spoken = lines(*(f"line {index} of a very long meeting about nothing" for index in range(5000)))
    begin = time.perf_counter()
    store.publishing(job, [], result(), AT, spoken)
    assert time.perf_counter() - begin < 1.0


def test_a_line_without_a_probability_is_kept(store: JobStore, path: Path) -> None:
    """What a model computes on a GPU can be no number; SQLite would take that for nothing at all and refuse the row."""
    job = claim(store, b"/srv/inbox/a.wav", AT)
    publish(store, job, [StoredSegment(0.0, 1.0, "a line", float("nan"))], AT)
    assert texts(store.search(["line"])) == ["a line"]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT avg_logprob < -1e9 FROM v_segments").fetchall() == [(1,)]
