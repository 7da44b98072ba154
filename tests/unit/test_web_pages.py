"""What is on the pages: over a real history, as a browser gets them."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.intake.folder_settings import Limits, check, of_inbox, parse
from daemon.intake.settings_mistakes import Mistake, Mistaken
from daemon.suspects import Suspect
from daemon.web.access.visitor import Role, Visitor
from daemon.web.wording import LANGUAGES, Language, words
from monitor.alert import Alert, Judgement
from monitor.figures import Key, Sample
from monitor.history.store import MetricsHistory
from storage.records import JobState
from tests.unit.web_pages import AT, Office, line, office

TIMES = "\N{MULTIPLICATION SIGN}"
HOSTILE = b"<script>alert(1)</script>\xe2\x80\xae\xff\"' onload=x.wav"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Office]:
    made = office(tmp_path)
    with closing(made.store):
        yield made


def text_of(answer: Any) -> str:
    """What stands on a page, without its marks."""
    assert answer.status_code == 200, answer.text
    body = re.sub(r"<[^>]*>", " ", answer.text.partition("<main")[2])
    return " ".join(html.unescape(body).split())


def test_history_shows_jobs_and_the_way_to_older_ones(place: Office) -> None:
    """Each row leads to its job; 50 are on a page, and the next page has the rest."""
    for number in range(60):
        place.new(f"talk {number}.wav")
    first = place.get("/history")
    assert "Recordings: 60" in text_of(first)
    assert first.text.count('<th scope="row"') == 50
    older = re.search(r'href="(/history\?before=\d+)"', first.text)
    assert older is not None
    second = place.get(older[1])
    assert second.text.count('<th scope="row"') == 10
    assert 'href="/jobs/1"' in second.text


def test_history_keeps_what_was_asked_for(place: Office) -> None:
    """The form shows it, the rows obey it, and nonsense in the address is passed over."""
    place.transcribed("anna/memo.wav", language="de")
    place.new("ben/talk.wav")
    folder = f"{place.inbox}/anna"
    page = place.get(f"/history?folder={folder}&lang=de&state=done&q=MEMO&since=2026-03-01&until=2026-03-05")
    assert "memo.wav" in text_of(page)
    assert "talk.wav" not in text_of(page)
    assert f'value="{folder}"' in page.text
    assert '<option value="de" selected>' in page.text
    nonsense = place.get("/history?state=xx&since=yesterday&until=99999-1-1&before=-3&lang=%00&q=%ff")
    assert nonsense.status_code == 200


def test_hidden_jobs_are_on_no_page(place: Office) -> None:
    """A job of an inbox that people do not know of is listed nowhere and has no page."""
    place.new("mine.wav")
    hidden = place.root / "state" / "canary"
    job = place.store.newest(os.fsencode(place.inbox / "mine.wav"))
    assert job is not None
    from storage.records import NewJob

    new = NewJob(os.fsencode(hidden / "x.wav"), os.fsencode(hidden), job.fingerprint, job.options, "d")
    (number,) = place.store.enqueue([new], AT)
    assert "x.wav" not in text_of(place.get("/history"))
    assert place.get(f"/jobs/{number}").status_code == 404
    assert place.get(f"/jobs/{number}/audio").status_code == 404


@pytest.mark.parametrize("number", ["0", "-1", "99", "9" * 18, "9" * 30, "9" * 5000, "1e3", "%00", "٣", "../1"])
def test_no_such_job(place: Office, number: str) -> None:
    """Whatever stands in the address, what is not there is not found."""
    for below in ("", "/audio", "/download/txt"):
        assert place.get(f"/jobs/{number}{below}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/history?until=9999-12-31",
        "/history?since=0001-01-01&until=0001-01-01",
        f"/history?before={'9' * 18}",
        "/history?before=-1&state=no&lang=%00",
        "/history?q=%25_%27%22%00&folder=%00",
        f"/history?q={'%22' * 2000}",
        f"/search?q={'%22' * 2000}",
        f"/search?q={'a+' * 900}",
        "/search?q=a+OR+NEAR(b,c)*^%7B%7D:-&days=-1&before=0",
        "/search?q=%ED%A0%80&folder=%FF%00",
        "/health?span=%00",
        "/folders?path=/%00",
        f"/folders?path=/{'x/' * 3000}",
    ],
)
def test_no_question_is_a_bug(place: Office, path: str) -> None:
    """Whatever stands behind the question mark, there is a page."""
    assert place.get(path).status_code == 200


def test_an_address_with_too_many_fields_is_refused(place: Office) -> None:
    """It is no page's."""
    assert place.get(f"/history?{'a=1&' * 100}").status_code == 400


def test_hostile_names_and_texts_are_only_text(place: Office) -> None:
    """Names, lines and reasons that look like HTML, or turn the writing, are shown as what they are."""
    spoken = line("<img src=x onerror=alert(1)> ‮ budget")
    number = place.transcribed(HOSTILE, segments=(spoken,), language='"><b>')
    for path in ("/", "/history", f"/jobs/{number}", "/search?q=budget", f"/history?q={'%3Cb%3E%22%27'}"):
        page = place.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert '<b>"' not in page.text
        assert "\u202e" not in page.text
        assert 'lang=""><b>' not in page.text
    page = place.get(f"/jobs/{number}")
    assert "&lt;script&gt;" in page.text
    assert page.headers["content-type"].startswith("text/html")


def test_a_folder_that_is_no_text_can_be_asked_for(place: Office) -> None:
    """The link to its recordings finds them, though its name is no UTF-8."""
    place.new(b"gru\xff\xdf/a.wav")
    place.new("b.wav")
    found = re.search(r'href="(/history\?folder=[^"]*%FF[^"]*)"', place.get("/history").text)
    assert found is not None
    page = place.get(html.unescape(found[1]))
    assert "a.wav" in text_of(page)
    assert "b.wav" not in text_of(page)


def test_words_have_their_times(place: Office) -> None:
    """Each word is a link to the recording at its second; only where the text has a space stands one."""
    lines = (line("Good morning, Rotterdam."), line("Second line here.", 4.0), line("A long pause.", 60.0))
    number = place.transcribed("memo.wav", segments=lines)
    page = place.get(f"/jobs/{number}")
    assert f'href="/jobs/{number}/audio#t=0.50" data-start="0.50">morning,</a>' in page.text
    assert "Good morning, Rotterdam. Second line here." in re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page.text))
    assert page.text.count('<p dir="auto">') == 2
    assert "0:01:00" in page.text


def test_a_text_without_spaces_gets_none(place: Office) -> None:
    """Chinese words stand as they stood in the line; a line without words is one link."""
    from daemon.transcript import Word

    spoken = tuple(Word(n / 2, n / 2 + 0.4, sign, 0.9) for n, sign in enumerate("会议开始"))
    first = replace(line("会议开始"), words=spoken)
    number = place.transcribed("memo.wav", segments=(first, line("没有词的时间", 4.0, timed=False)), language="zh")
    page = place.get(f"/jobs/{number}")
    assert "会议开始" in re.sub(r"<[^>]*>", "", page.text)
    assert 'data-start="4.00">没有词的时间</a>' in page.text
    assert '<div class="transcript" id="transcript" lang="zh">' in page.text


def test_doubtful_places_are_listed_and_marked(place: Office) -> None:
    """The worst first, each with its reason in words and a way to hear it; the lines in it are marked."""
    suspects = (
        Suspect(0.0, 3.5, ("low_confidence",), 2, "Good morning", 3.0),
        Suspect(60.0, 63.5, ("loop", "of_a_later_version"), 1, "again and again", 3.0),
    )
    lines = (line("Good morning."), line("Certain.", 4.0), line("Again and again.", 60.0))
    number = place.transcribed("memo.wav", segments=lines, suspects=suspects)
    page = place.get(f"/jobs/{number}")
    shown = text_of(page)
    assert shown.index("the text repeats itself; of a later version") < shown.index("hardly understood")
    assert page.text.count('class="line doubt"') == 2
    assert 'data-start="60.00" data-end="63.50"' in page.text


def test_speakers_and_translation(place: Office) -> None:
    """A new paragraph begins with each speaker, and the English text stands below with times of its own."""
    lines = (line("Guten Morgen.", speaker="Anna"), line("Hallo.", 4.0, speaker="Ben"))
    number = place.transcribed(
        "memo.wav", segments=lines, translation=(line("Good morning.", timed=False),), language="de"
    )
    page = place.get(f"/jobs/{number}")
    assert re.findall(r'<b class="speaker">([^<]*)</b>', page.text)[:2] == ["Anna:", "Ben:"]
    assert "In English" in text_of(page)
    assert 'data-start="0.00">Good morning.</a>' in page.text
    english = place.get(f"/jobs/{number}/download/txt.en")
    assert b"Good morning." in english.content
    assert "memo.en.txt" in english.headers["content-disposition"]


def test_long_texts_come_in_parts(place: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part has a link; a time in the address opens the part that it is in."""
    monkeypatch.setattr("daemon.web.views.recording.WORDS_IN_PART", 10)
    lines = tuple(line(f"these are five words {n}", 10.0 * n) for n in range(12))
    suspects = (Suspect(100.0, 103.5, ("loop",), 1, "x", 3.0),)
    number = place.transcribed("memo.wav", segments=lines, suspects=suspects)
    first = place.get(f"/jobs/{number}")
    assert len(re.findall(rf'class="chip" href="/jobs/{number}\?part=\d+#text-title"', first.text)) == 12
    assert "words 0" in text_of(first)
    assert f'href="/jobs/{number}?t=100.00#player"' in first.text
    assert "words 10" in text_of(place.get(f"/jobs/{number}?t=100.00"))
    assert "words 11" in text_of(place.get(f"/jobs/{number}?part=99"))
    for nonsense in ("t=-1", "t=nan", "t=inf", "t=x", "part=0", "part=x", "t=9999999999"):
        assert place.get(f"/jobs/{number}?{nonsense}").status_code == 200


def test_every_file_of_a_transcript_can_be_had(place: Office) -> None:
    """All formats, made from the history, under the name that they have beside the recording."""
    number = place.transcribed('Größe "1".wav')
    for kind in ("txt", "srt", "vtt", "json", "tsv", "md", "docx", "lrc"):
        answer = place.get(f"/jobs/{number}/download/{kind}")
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == (
            f"attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%221%22.{kind}"
        )
    assert json.loads(place.get(f"/jobs/{number}/download/json").content)["language"] == "en"
    assert place.get(f"/jobs/{number}/download/txt.en").status_code == 404
    assert place.get(f"/jobs/{number}/download/exe").status_code == 404


def test_settings_versions_and_events(place: Office) -> None:
    """What was set and where it comes from, the other tries at the recording, and what happened to it."""
    place.transcribed("memo.wav")
    second = place.transcribed("memo.wav", b"RIFF changed")
    page = place.get(f"/jobs/{second}")
    shown = text_of(page)
    assert "the Whisper model" in shown
    assert 'href="/jobs/1"' in page.text
    assert "sound read" in shown
    older = place.get("/jobs/1")
    assert "This is an older version." in text_of(older)
    assert f'href="/jobs/{second}"' in older.text


def test_what_may_be_done_is_offered_to_who_may(place: Office) -> None:
    """A failed job can be tried again, a queued one cancelled; who may only look sees no form."""
    job = place.new("memo.wav", state="running")
    place.store.fail(job, "broken", AT)
    queued = place.new("other.wav")
    failed_page, queued_page = place.get(f"/jobs/{job.id}"), place.get(f"/jobs/{queued.id}")
    assert f'action="/jobs/{job.id}/retry"' in failed_page.text
    assert f'action="/jobs/{job.id}/cancel"' not in failed_page.text
    assert f'action="/jobs/{queued.id}/cancel"' in queued_page.text
    assert f'action="/jobs/{queued.id}/priority"' in queued_page.text
    place.visitor = Visitor("eve", Role.READ, "session")
    assert "/retry" not in place.get(f"/jobs/{job.id}").text


def test_search_marks_what_was_found(place: Office) -> None:
    """Hits stand under their recording with their time, which leads to that second."""
    number = place.transcribed("memo.wav", segments=(line("The budget of Rotterdam.", 75.0),))
    page = place.get("/search?q=budget+rotter*")
    assert "<mark>budget</mark> of <mark>Rotterdam</mark>." in page.text
    assert f'href="/jobs/{number}?t=75.00#player">0:01:15</a>' in page.text
    assert "No transcript has these words" in text_of(place.get("/search?q=nothing"))
    assert "There is nothing to search for" in text_of(place.get("/search?q=%3F%21"))
    assert "<mark>" not in place.get(f"/search?q=budget&folder={place.inbox}/anna").text
    assert place.get('/search?q="open&days=7&before=x&folder=%ff').status_code == 200


def test_now_says_what_happens(place: Office) -> None:
    """What is in hand with how far it is, what waits, what ended, and what is wrong."""
    number = place.transcribed("done.wav")
    waiting = place.new("waiting.wav")
    place.status = {
        "jobs": {"done": 1, "queued": 1, "failed": 2},
        "in_hand": [
            {"job": 7, "path": "/srv/in/<b>.wav", "stage": "engine", "done_s": 30, "total_s": 60, "eta_s": 12.0},
            {"job": 8, "path": "/srv/in/c.wav", "stage": "decode", "done_s": 0, "total_s": 0, "eta_s": None},
        ],
        "inboxes": [{"path": "/srv/in", "offline": "not mounted"}],
        "alerts": [
            {"severity": "critical", "title": "GPU lost", "opened_at": "2026-03-02T11:00:00Z"},
        ],
        "engine": {"seats": [{"state": "ready", "model": "base", "device": "cpu", "n_jobs": 1}]},
        "figures": {"host_cpu_used_ratio": 0.5, "gpu_lost 0": 1.0, "gpu_utilisation_ratio 1": 0.25},
        "queue_eta_s": 45.0,
        "speed_ratio": 12.5,
    }  # fmt: skip
    page = place.get("/")
    shown = text_of(page)
    for words_ in (
        "The folder /srv/in is not reachable: not mounted",
        "GPU lost",
        "<b>.wav transcribing",
        "50 % · 0:00:30 of 0:01:00, done in about 12 s",
        "c.wav reading the sound",
        "waiting.wav in the queue",
        "done.wav done",
        "cpu ready base, recordings inside: 1",
        "GPU 0 gone",
        "GPU 1 ready 25 %",
        f"12.5{TIMES} of real time",
        "45 s until all is done",  # what is in hand is in it
    ):
        assert words_ in shown, words_
    assert f'href="/jobs/{number}"' in page.text
    assert f'href="/jobs/{waiting.id}"' in page.text
    assert '<noscript><meta http-equiv="refresh"' in page.text


def test_now_tells_of_changes(place: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who listens gets all pieces of the page first, then those that changed, then the stream ends in its time."""
    monkeypatch.setattr("daemon.web.pages.now.EVERY_S", 0.05)
    monkeypatch.setattr("daemon.web.pages.now.LONGEST_S", 0.6)
    monkeypatch.setattr("daemon.web.pages.now.STILL_S", 0.1)
    events: list[dict[str, str]] = []
    with place.client().stream("GET", "/now/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for text in answer.iter_lines():
            if text.startswith("data: "):
                events.append(json.loads(text[6:]))
                place.status = {"jobs": {}, "in_hand": [], "inboxes": [], "stuck": ["dispatcher"]}
    assert set(events[0]) == {"alarms", "figures", "going", "queue", "ended", "devices"}
    assert [set(event) for event in events[1:]] == [{"alarms"}]
    assert "dispatcher" in events[1]["alarms"]


def test_only_so_many_may_listen(place: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is told so; a place is free again when somebody left."""
    monkeypatch.setattr("daemon.web.pages.now.MOST_LOOKING", 1)
    monkeypatch.setattr("daemon.web.pages.now.LONGEST_S", 0.0)
    client = place.client()
    for _ in range(3):
        assert client.get("/now/events").status_code == 200
    monkeypatch.setattr("daemon.web.pages.now.MOST_LOOKING", 0)
    assert place.get("/now/events").status_code == 503


def test_health_without_figures(place: Office) -> None:
    """It says that there are none yet, and still shows the open alerts."""
    figures = (0.1, 0.1, 0.1, 0.1)
    place.alerts = (Alert("disk", Key("free", "/x"), "warning", "Disk full", "Make room", "", *figures, AT, AT),)
    shown = text_of(place.get("/health"))
    assert "There are no figures yet." in shown
    assert "Disk full" in shown


def test_health_draws_figures(place: Office) -> None:
    """A plot for each kind of figure that there is, with its last value and a text of what is to be seen."""
    metrics = MetricsHistory.open(place.root / "state" / "metrics.db", 64 * 1024**2)
    with closing(metrics):
        for minute in range(60, 0, -1):
            at = AT - timedelta(minutes=minute)
            figures = {Key("host_cpu_used_ratio"): minute / 100, Key("jobs", "queued"): 3.0}
            metrics.add(Sample(at, figures), Judgement())
    for span in ("hour", "day", "month", "nonsense"):
        page = place.get(f"/health?span={span}")
        shown = text_of(page)
        assert "Processor in use" in shown
        assert "Temperature of the GPU" not in shown
        assert page.text.count("<path") >= 4
        assert "style=" not in page.text


def test_folders_show_what_holds(place: Office) -> None:
    """The settings of the inbox and of its folders, with where each comes from, and why a path is as it is."""
    root = os.fsencode(place.inbox)
    place.store.keep_settings(root, {root + b"/anna": {"language": "de", "quality": "careful"}}, [])
    place.status["inboxes"] = [{"path": str(place.inbox), "watched_by": "events", "because": "ext4", "settle_s": 3.0}]
    page = place.get("/folders")
    shown = text_of(page)
    assert 'hotwords words and names that are likely to occur "Rotterdam" from the configuration' in shown
    assert 'language the language spoken; not set: it is detected "de"' in shown
    assert "A file begins 3 s after its last change." in shown
    place.new("memo.wav")
    why = text_of(place.get(f"/folders?path={place.inbox}/memo.wav"))
    assert "recording: .wav" in why
    assert "job 1 is queued" in why
    for path in ("/etc/passwd", "x", "/" + "a" * 5000, "%00", "%ff", "/%ff"):
        assert place.get(f"/folders?path={path}").status_code == 200


def test_folders_show_a_mistake_in_settings_that_were_never_taken(place: Office) -> None:
    """In words, before the others; what a file says and how its folder is called is only text."""
    root = os.fsencode(place.inbox)
    hostile = root + b"/z<b>\xe2\x80\xae\xff"
    said = parse(b'"<script>alert(1)</script>" = "\xe2\x80\xae<img src=x>"\n')
    with pytest.raises(Mistaken) as refused:
        check(said, of_inbox(place.config.inbox[0]).values, Limits.of(place.config.inbox[0]))
    place.mistakes = {hostile: refused.value.mistakes, root + b"/ben": (Mistake("not_utf8"),)}
    place.store.keep_settings(root, {root + b"/anna": {"language": "de"}, root + b"/ben": {"language": "fr"}}, [])
    page = place.get("/folders")
    shown = text_of(page)
    assert '<script>alert(1)</script> = "\\u202e<img src=x>": there is no such setting' in shown
    assert "this folder has the settings of the folder around it" in shown
    assert "/z<b>\\u202e\\xff mistake" in shown
    assert "<script>alert" not in page.text
    assert "<img" not in page.text
    assert "z<b>" not in page.text
    ben, z, anna = (shown.index(f"{place.inbox}/{name}") for name in ("ben", "z", "anna"))
    assert ben < z < anna
    assert "what the file said before still counts" in shown[ben:z]
    assert '"fr"' in shown[ben:z]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_in_every_language(place: Office, language: Language) -> None:
    """All words are there, and the page says which language it is in."""
    number = place.transcribed("memo.wav", suspects=(Suspect(0.0, 3.5, ("loop",), 1, "x", 3.0),))
    for path in ("/", "/history", "/search?q=good", f"/jobs/{number}", "/health", "/folders"):
        page = place.get(path, **{"accept-language": language})
        assert page.status_code == 200
        assert f'<html lang="{words(language).tag}"' in page.text


def test_all_languages_have_the_same_sentences() -> None:
    """No sentence is missing in any, and each has room for the same figures."""
    english = words("en").sentences
    for language in LANGUAGES:
        other = words(language).sentences
        assert set(other) == set(english)
        for key, sentence in english.items():
            assert set(re.findall(r"{(\w+)}", other[key])) == set(re.findall(r"{(\w+)}", sentence)), key


def test_every_state_has_a_word() -> None:
    """Also those that no test reaches."""
    english = words("en")
    assert all(english.has(f"state.{state}") for state in JobState)
