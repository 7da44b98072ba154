"""The page of a folder and the notes in it, as they are written: whatever names people give, and in each language."""

from __future__ import annotations

import os
from datetime import timedelta, timezone
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from daemon.folderpage import page
from daemon.folderpage.names import NOTE_SUFFIX, is_own_sign, link, note_name, shown, shown_words
from daemon.folderpage.note import note
from daemon.folderpage.state import Awaiting, Failure, Finished, Running, State, coarse
from daemon.folderpage.view import Writer
from daemon.intake.rules import judge_file
from daemon.words import LANGUAGES, Language, catalogue
from storage.records import Told
from tests.hostile_pages import AT, HOSTILE, Elements, hostile_state

BERLIN = timezone(timedelta(hours=1))


@pytest.mark.fault(55, "hostile names on the page in the folder")
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_name_becomes_anything_but_text(language: Language) -> None:
    """The page has the elements and attributes of the template and no other, and each name is in it, to be read."""
    view = Writer(catalogue(language), AT, BERLIN).view(hostile_state())
    found = Elements(page.html(view))
    plain = Elements(page.html(Writer(catalogue(language), AT, BERLIN).view(harmless())))
    assert found.tags <= plain.tags | {"div"}
    assert found.attributes <= plain.attributes
    assert all(shown(name) in found.text for name in HOSTILE)
    assert {"script", "link", "img", "iframe"} & found.tags == set()


def harmless() -> State:
    """A page with all that a page can have."""
    return State(
        folder=b"Interviews",
        running=(Running(b"Archive/council.mp3", "engine", 43, 1500.0), Running(b"memo.m4a", "decode", None, None)),
        n_running=2,
        waiting=(Awaiting(b"talk.mp4", Told("incomplete"), "incomplete", AT + timedelta(minutes=4)),),
        n_waiting=33,
        failed=(Failure(b"concert.wav", AT - timedelta(days=2), 7, Told("too_long", {"limit_h": 12.0}), "too long"),),
        n_failed=1,
        done=(Finished(b"a b.m4a", AT, 754.2, 3600.0, "partial", True, (("txt", b"a b.txt"), ("srt", b"a b.srt"))),),
        left_s=2820.0,
    )


def test_what_waits_says_when_it_is_done_and_whether_it_comes_first() -> None:
    """As far as anybody knows; one that waits for something else says that instead."""
    waiting = (
        Awaiting(b"soon.wav", left_s=120.0, first=True),
        Awaiting(b"later.wav", left_s=None, last=True),
        Awaiting(b"cut.mp4", Told("incomplete"), "incomplete", None, 60.0),
    )
    view = Writer(catalogue("en"), AT, BERLIN).view(State(folder=b"in", waiting=waiting, n_waiting=3))
    (section,) = view.sections
    assert [row.about for row in section.rows] == ["before the others, done in about 2 min", "after the others", ""]


@pytest.mark.fault(54, "names that look like paths, in links of the page in the folder")
def test_every_link_stays_in_the_folder_and_leads_to_the_file() -> None:
    """Relative, percent-encoded from the bytes of the name, and no scheme."""
    found = Elements(page.html(Writer(catalogue("en"), AT, BERLIN).view(hostile_state())))
    assert len(found.links) == len(HOSTILE)
    for name, address in zip(HOSTILE, found.links, strict=True):
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
        assert unquote_to_bytes(parts.path) == b"./" + name + b".txt"


def test_nothing_in_the_plain_page_or_a_note_moves_the_cursor_or_the_writing() -> None:
    """One recording is one line; no control character and no bidirectional control is in it."""
    view = Writer(catalogue("en"), AT, BERLIN).view(hostile_state())
    notes = [note(Failure(name, AT, 1, None, os.fsdecode(name)), catalogue("en"), BERLIN) for name in HOSTILE]
    for written in (page.text(view).decode(), *notes):
        assert not set(written) & set("\r\x1b\x07\u202e\u2066\u2028")
    assert page.text(view).decode().count("\n- ") == 4 * len(HOSTILE)


def test_a_name_is_shown_as_what_it_is() -> None:
    """What cannot be seen has a number; scripts and emoji are left as they are."""
    assert shown(b"caf\xe9\n.mp3") == "caf\\xe9\\x0a.mp3"
    assert shown("a\u202eb".encode()) == "a\\u202eb"
    family = "Ä 会议 مكالمة 👨‍👩‍👧.wav"
    assert shown(family.encode()) == family
    assert len(shown_words("x" * 5000)) < 1100
    assert link(b"javascript:x/%2e") == "./javascript%3Ax/%252e"


@pytest.mark.parametrize("name", [*HOSTILE, "ß".encode() * 126 + b".mp3"])
def test_a_note_has_a_name_that_every_disk_takes(name: bytes) -> None:
    """At most 255 bytes, told from that of another long name, never that of a recording."""
    found = note_name(name, 255)
    assert len(found) <= 255
    assert found.endswith(NOTE_SUFFIX.encode())
    assert found.startswith(name) or note_name(name[:-5] + b"x" + name[-4:], 255) != found
    assert not judge_file(os.fsdecode(found)).recording
    assert is_own_sign(os.fsdecode(found))


def test_the_page_tells_what_waits_runs_failed_and_is_done() -> None:
    """With progress, forecast, reason and advice, times as people there have them."""
    written = page.text(Writer(catalogue("de"), AT, BERLIN).view(harmless())).decode()
    assert "Stand: 04.03.2026, 14:05 Uhr." in written
    assert "2 in Arbeit, 33 warten." in written
    assert "Alles Wartende ist in etwa 47 min fertig." in written
    assert "- Archive/council.mp3\n    43 %, fertig in etwa 25 min\n" in written
    assert "Die Aufnahme ist länger als die Grenze von 12 Stunden." in written
    assert "Nächster Versuch: 14:09." in written
    assert "  und 32 weitere\n" in written
    assert "Unvollständig: Nur 13 min von 1 h waren lesbar." in written


def test_a_page_is_shown_anew_and_lets_nothing_in() -> None:
    """It refreshes by itself, sooner while something happens, and its policy allows no script and no other address."""
    busy = page.html(Writer(catalogue("en"), AT, BERLIN).view(harmless())).decode()
    idle = page.html(Writer(catalogue("en"), AT, BERLIN).view(State(b"Inbox"))).decode()
    assert '<meta http-equiv="refresh" content="10">' in busy
    assert '<meta http-equiv="refresh" content="60">' in idle
    assert "default-src 'none'" in busy
    assert "http://" not in busy
    assert "https://" not in busy
    assert "Put a recording into this folder" in idle


def test_the_first_line_says_what_there_is_to_do() -> None:
    """All done is only said where nothing failed."""
    failed = State(b"Inbox", failed=(Failure(b"a.wav", AT, 1, None, "no"),), n_failed=1)
    writer = Writer(catalogue("en"), AT, BERLIN)
    assert writer.view(failed).summary == ("Nothing waits. 1 could not be transcribed: see below what can be done.",)
    done = State(b"Inbox", done=(Finished(b"a.wav", AT, 1.0, 1.0, "ok", False, ()),))
    assert writer.view(done).summary == ("Nothing to do: everything here is done.",)


def test_a_reason_without_a_sentence_is_told_in_its_own_words() -> None:
    """One of an earlier version, of a later one, or with other figures: nothing is left out."""
    writer = Writer(catalogue("zh"), AT, BERLIN)
    for told in (None, Told("of_tomorrow"), Told("too_long"), Told("too_long", {"hours": 3})):
        assert "the words\\x07" in writer.reason(told, "the\nwords\x07")[0]


def test_pages_and_notes_are_known_by_how_they_begin() -> None:
    """In every language; what a person writes is not taken for one."""
    for language in LANGUAGES:
        view = Writer(catalogue(language), AT, BERLIN).view(State(b"Inbox"))
        assert page.is_html(page.html(view))
        assert page.is_text(page.text(view))
    assert not page.is_html(b"<!DOCTYPE html><html>")
    assert not page.is_text(b"")


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, None), (3.0, 10.0), (44.0, 40.0), (95.0, 120.0), (4000.0, 3900.0)]
)
def test_a_forecast_is_as_coarse_as_it_is_sure(seconds: float | None, told: float | None) -> None:
    """So a page does not change for a second more or less."""
    assert coarse(seconds) == told
