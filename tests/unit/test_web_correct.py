"""Correcting a text in a browser without JavaScript: the form, what it answers, the versions."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.outputs.kept import unpacked
from daemon.web.access.visitor import Role, Visitor
from daemon.web.views.versions import differences
from storage.records import NewJob, Outcome, Result
from tests.unit.web_pages import AT, Office, document, line, office

HOSTILE = "</textarea><script>alert(1)</script>"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Office]:
    made = office(tmp_path)
    with closing(made.store):
        yield made


def talk(place: Office, *texts: str, speaker: str = "") -> int:
    """The number of a transcript with these lines, ten seconds apart."""
    lines = tuple(line(text, 10.0 * n, speaker=speaker) for n, text in enumerate(texts))
    return place.transcribed("talk.wav", segments=lines)


def fields_of(answer: Any) -> dict[str, str]:
    """What a browser would send of the form."""
    form = answer.text.partition('id="correct"')[2].partition("</form>")[0]
    fields = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', form))
    fields |= dict(re.findall(r'<textarea name="(t\d+)"[^>]*>([^<]*)</textarea>', form))
    return {name: html.unescape(value) for name, value in fields.items()}


def post(place: Office, job_id: int, fields: dict[str, str], what: str = "correct") -> Any:
    return place.client().post(
        f"/jobs/{job_id}/{what}", data=fields, headers={"accept": "text/html"}, follow_redirects=False
    )


def lines_of(place: Office, job_id: int) -> list[str]:
    kept = unpacked(place.store.document(job_id) or b"")
    assert kept is not None
    return [one.text for one in kept.document.transcript.segments]


def test_the_form_is_the_text_and_what_is_changed_is_a_new_version(place: Office) -> None:
    """By who wrote it; lines that were not touched are as they were."""
    place.visitor = Visitor("anna", Role.ACT, "session")
    job_id = talk(place, "Good morning.", "How are you?")
    fields = fields_of(place.get(f"/jobs/{job_id}/correct"))
    assert (fields["t0"], fields["t1"], fields["base"]) == ("Good morning.", "How are you?", "1")
    answer = post(place, job_id, fields | {"t1": "How are you, Rotterdam?"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    assert lines_of(place, job_id) == ["Good morning.", "How are you, Rotterdam?"]
    assert [(one.number, one.author) for one in place.store.versions(job_id)] == [(1, ""), (2, "anna")]
    page = place.get(f"/jobs/{job_id}").text
    assert "Corrected by anna" in page
    assert f"/jobs/{job_id}/correct" in page
    again = post(place, job_id, fields_of(place.get(f"/jobs/{job_id}/correct")) | {"then": "stay"})
    assert again.headers["location"] == f"/jobs/{job_id}/correct?part=1"
    assert len(place.store.versions(job_id)) == 2  # nothing was changed


def test_a_line_can_be_taken_away_and_a_speaker_be_named(place: Office) -> None:
    """In one line, or in all."""
    job_id = talk(place, "One.", "Two.", "Three.", speaker="Speaker 1")
    fields = fields_of(place.get(f"/jobs/{job_id}/correct"))
    assert fields["s0"] == "Speaker 1"
    post(place, job_id, fields | {"t1": " ", "s0": "Ben", "rename": "Speaker 1", "name": "Anna"})
    kept = unpacked(place.store.document(job_id) or b"")
    assert kept is not None
    assert [(one.speaker, one.text) for one in kept.document.transcript.segments] == [
        ("Ben", "One."),
        ("Anna", "Three."),
    ]


def test_who_is_late_sees_both_and_loses_nothing(place: Office) -> None:
    """Lines of theirs, lines of others, and lines that others took away; saving again keeps what is shown."""
    job_id = talk(place, "One.", "Two.", "Three.", "Four.")
    first = fields_of(place.get(f"/jobs/{job_id}/correct"))
    place.visitor = Visitor("ben", Role.ACT, "session")
    post(place, job_id, first | {"t0": "Theirs.", "t1": "", "t3": "Both."})
    place.visitor = Visitor("anna", Role.ACT, "session")
    answer = post(place, job_id, first | {"t0": "Mine.", "t1": "Lost?", "t2": "Three and a half.", "t3": "Both."})
    assert answer.status_code == 409
    assert "ben corrected the text meanwhile" in answer.text
    fields = fields_of(answer)
    assert {name: value for name, value in fields.items() if name[0] == "t"} == {
        "t0": "Mine.",
        "t1": "Three and a half.",
        "t2": "Both.",
    }
    assert fields["base"] == "2"
    assert '<q dir="auto">Theirs.</q>' in answer.text
    assert answer.text.count("<q ") == 1
    assert "Lost?" in answer.text.partition('id="lost-title"')[2].partition("</section>")[0]
    assert post(place, job_id, fields).status_code == 303
    assert lines_of(place, job_id) == ["Mine.", "Three and a half.", "Both."]


def test_who_names_speakers_too_late_loses_no_name(place: Office) -> None:
    """The names are shown beside the lines, though the newest text has none."""
    job_id = talk(place, "One.", "Two.")
    fields = fields_of(place.get(f"/jobs/{job_id}/correct?speakers=1"))
    post(place, job_id, fields | {"t0": "Theirs."})
    answer = post(place, job_id, fields | {"s1": "Anna"})
    assert answer.status_code == 409
    assert fields_of(answer)["s1"] == "Anna"
    assert post(place, job_id, fields_of(answer)).status_code == 303
    assert lines_of(place, job_id) == ["Theirs.", "Two."]


def test_what_cannot_be_kept_is_still_in_the_form(place: Office) -> None:
    """With the reason; a moment later it can be."""
    job_id = talk(place, "One.")
    fields = fields_of(place.get(f"/jobs/{job_id}/correct")) | {"t0": "Mine."}
    job = place.store.job(job_id)
    assert job is not None
    place.store.redo([NewJob(job.path, job.inbox, job.fingerprint, job.options, job.options_digest)], job.created_at)
    again = place.store.claim(AT)
    assert again is not None
    assert again.id != job_id
    place.store.publishing(again, [], Result(Outcome.OK, "", "en", 1.0, "base", "cpu", "int8", 1.0, 0, 0), AT)
    answer = post(place, job_id, fields)
    assert answer.status_code == 400
    assert "at this moment" in answer.text
    assert fields_of(answer)["t0"] == "Mine."
    place.store.fail(again, "no", AT)
    assert post(place, job_id, fields).status_code == 303


def test_what_is_different_in_very_much_is_shown_at_once(place: Office) -> None:
    """As many lines as a page has, and words of long lines as a whole."""
    before = [" ".join(["a", "b"] * 45), *[" ".join(["a", "b"] * 300)] * 100] * 15
    after = [" ".join(["b", "a", "a"] * 30), *[" ".join(["b", "a", "a"] * 200)] * 100] * 15
    many = [tuple(line(text, 400.0 * n, timed=False) for n, text in enumerate(texts)) for texts in (before, after)]
    old, new = (document("x", segments=lines) for lines in many)
    began = time.process_time()
    found = differences(old, new)
    assert time.process_time() - began < 3
    assert len(found) == 1515


def test_a_long_text_is_corrected_in_parts(place: Office) -> None:
    """Each with its own lines."""
    job_id = talk(place, *(f"Line {n}." for n in range(450)))
    third = fields_of(place.get(f"/jobs/{job_id}/correct?part=3"))
    assert [name for name in third if name[0] == "t"] == [f"t{n}" for n in range(400, 450)]
    answer = post(place, job_id, third | {"t449": "The end.", "then": "stay"})
    assert answer.headers["location"] == f"/jobs/{job_id}/correct?part=3"
    assert lines_of(place, job_id)[448:] == ["Line 448.", "The end."]


def test_versions_can_be_read_compared_and_taken_again(place: Office) -> None:
    """What was changed is shown by words."""
    job_id = talk(place, "Good morning Amsterdam.", "Bye.")
    for text in ("Good morning Rotterdam.", "Good evening Rotterdam."):
        fields = fields_of(place.get(f"/jobs/{job_id}/correct"))
        post(place, job_id, fields | {"t0": text})
    page = re.sub(r"<span class=\"visually-hidden\">[^<]*</span>", "", place.get(f"/jobs/{job_id}/versions").text)
    assert "Good<del> morning</del><ins> evening</ins> Rotterdam." in page
    assert "Bye." not in page
    first = place.get(f"/jobs/{job_id}/versions?new=1").text
    assert "Good morning Amsterdam." in first
    assert "Bye." in first
    answer = post(place, job_id, {"base": "3", "number": "1"}, "restore")
    assert answer.status_code == 303
    assert lines_of(place, job_id)[0] == "Good morning Amsterdam."
    late = post(place, job_id, {"base": "3", "number": "2"}, "restore")
    assert "transcribed_flash" in late.headers["set-cookie"]
    assert len(place.store.versions(job_id)) == 4
    for nonsense in ("?new=99&old=77", "?new=x", "?old=2&new=2", "?old=-1"):
        assert place.get(f"/jobs/{job_id}/versions{nonsense}").status_code == 200


def test_nothing_that_is_written_is_read_as_html(place: Office) -> None:
    """In the form, in the difference, as a speaker, as a conflict."""
    job_id = talk(place, "One.", HOSTILE, speaker=HOSTILE)
    first = place.get(f"/jobs/{job_id}/correct")
    fields = fields_of(first)
    assert fields["t1"] == HOSTILE
    pages = [first, post(place, job_id, fields | {"t0": HOSTILE}), place.get(f"/jobs/{job_id}/versions")]
    pages += [post(place, job_id, fields | {"t0": f"{HOSTILE}2"}), place.get(f"/jobs/{job_id}")]
    assert [page.status_code for page in pages] == [200, 303, 200, 409, 200]
    assert not any("<script>alert" in page.text for page in pages)


def test_who_may_only_look_reads_the_versions_and_gets_no_form(place: Office) -> None:
    """The gate refuses what they post."""
    job_id = talk(place, "One.")
    place.visitor = Visitor("carl", Role.READ, "session")
    assert place.get(f"/jobs/{job_id}/correct").status_code == 403
    page = place.get(f"/jobs/{job_id}/versions")
    assert page.status_code == 200
    assert "/restore" not in page.text
    assert "/correct" not in place.get(f"/jobs/{job_id}").text


@pytest.mark.parametrize(
    "fields",
    [
        {"base": "7", "t0": "x"},
        {"base": "1", "t999": "x"},
        {"base": "1", "t0": "x" * 6000},
        {"t0": "x"},
        {"base": "99999999999999999999", "t0": "x"},
    ],
)
def test_nonsense_changes_nothing(place: Office, fields: dict[str, str]) -> None:
    """It is an error of who asks, not of the service."""
    job_id = talk(place, "One.")
    assert post(place, job_id, fields).status_code in (400, 409)
    assert place.store.versions(job_id) == []
    assert post(place, 999, fields).status_code == 404
    assert post(place, job_id, {"base": "1", "number": "5"}, "restore").status_code == 409


def test_a_text_that_a_later_one_replaced_cannot_be_corrected(place: Office) -> None:
    """What was written is still on the page, to be copied."""
    job_id = talk(place, "One.")
    fields = fields_of(place.get(f"/jobs/{job_id}/correct"))
    job = place.store.job(job_id)
    assert job is not None
    place.store.touched(job.path, replace(job.fingerprint, mtime_ns=1), job.created_at)
    talk(place, "Two.")
    assert place.get(f"/jobs/{job_id}/correct").status_code == 409
    answer = post(place, job_id, fields | {"t0": "Mine."})
    assert answer.status_code == 409
    assert ">Mine.</textarea>" in answer.text
    assert 'type="submit">Save' not in answer.text
