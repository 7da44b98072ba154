"""What programs of others make of our subtitles."""

from __future__ import annotations

import html
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.outputs.formats import Document, contents_of
from daemon.outputs.subtitle_files import shape_of, until_ms
from daemon.outputs.subtitles import Cue, cues_of
from daemon.transcript import Segment
from tests.golden import GOLDEN, NAMES, document
from tests.subtitle_readers import Seen, by_ffmpeg, by_srt, by_webvtt, voices_by_webvtt

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

TRANSLATED = ["german"]

FILES = [*NAMES, *(f"{name}.en" for name in TRANSLATED)]

SPEAKING = [name for name in FILES if name != "nobody"]


def shown(name: str) -> Document:
    """What the subtitles of that name are made of."""
    found = document(name.removesuffix(".en"))
    return (found.translated or found) if name.endswith(".en") else found


def cues(name: str) -> list[Cue]:
    what = shown(name)
    return cues_of(what.transcript.segments, what.language, shape_of(what), until_ms(what))


def expected(name: str, *, with_names: bool = False) -> Seen:
    """The cues as they should come out; names of speakers stand in the text where there is no other place for them."""
    return [
        (
            cue.start_ms,
            cue.end_ms,
            re.sub("-{2,}>", "->", "\n".join(cue.rows).removeprefix("" if with_names else cue.lead)),
        )
        for cue in cues(name)
    ]


@pytest.mark.parametrize("name", SPEAKING)
def test_srt_is_read_by_two_parsers(name: str) -> None:
    """Both find every cue, with its times and its text; nothing in it is a tag or a code."""
    content = _golden(name, "srt")
    seen = by_srt(content)
    assert by_ffmpeg(content, "srt") == seen
    found, said = seen[: len(expected(name))], expected(name, with_names=True)
    assert [times for *times, _ in found] == [times for *times, _ in said]
    alike = str.maketrans("\u2039\u203a{}", "<>()")
    assert [text.translate(alike) for *_, text in found] == [text.translate(alike) for *_, text in said]
    assert not any(re.search(r"<[a-zA-Z/!]|\{\\", text) for *_, text in seen)


@pytest.mark.parametrize("name", SPEAKING)
def test_vtt_is_read_by_two_parsers(name: str) -> None:
    """Both find every cue and who speaks; escaped characters are as they were said."""
    content = _golden(name, "vtt")
    assert by_webvtt(content) == expected(name)
    voices = [re.sub("-{2,}>", "->", cue.speaker) for cue in cues(name)]
    assert [voice for *_, voice in voices_by_webvtt(content)] == voices
    by_other = [(start, end, html.unescape(text)) for start, end, text in by_ffmpeg(content, "webvtt")]
    tags = [f"<v {voice}>" if voice else "" for voice in voices]
    assert by_other == [(start, end, tag + text) for tag, (start, end, text) in zip(tags, expected(name), strict=True)]


@pytest.mark.parametrize("name", SPEAKING)
def test_lrc_is_read_by_ffmpeg(name: str) -> None:
    """Each cue is a line at its time, to the hundredth; nothing that was said is a time."""
    starts = [start for start, _, text in by_ffmpeg(_golden(name, "lrc"), "lrc") if text]
    assert starts == [start // 10 * 10 for start, *_ in expected(name)]


def test_no_cue_is_no_error() -> None:
    """A recording in which nobody spoke has subtitles without any."""
    assert by_srt(_golden("nobody", "srt")) == by_webvtt(_golden("nobody", "vtt")) == []


@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=30)), min_size=1, max_size=4))
def test_whatever_is_said_by_whom_is_one_text_to_every_parser(said: list[tuple[str, str]]) -> None:
    """No text and no name makes a cue, ends one, or hides in one."""
    segments = tuple(
        Segment(n * 9.0, n * 9.0 + 6.0, text, 0.0, 1.0, 0.0, 0.0, speaker=speaker)
        for n, (text, speaker) in enumerate(said)
    )
    talk = document("lecture")
    talk = replace(talk, transcript=replace(talk.transcript, segments=segments))
    contents = {format: content.decode() for format, content in contents_of(talk, ("srt", "vtt")).items()}
    n_cues = len(cues_of(segments, "en", shape_of(talk)))
    assert len(by_srt(contents["srt"])) == len(by_webvtt(contents["vtt"])) == n_cues
    if n_cues:
        assert len(by_ffmpeg(contents["srt"], "srt")) == len(by_ffmpeg(contents["vtt"], "webvtt")) == n_cues


def _golden(name: str, format: str) -> str:
    return (GOLDEN / f"{name}.{format}").read_text(encoding="utf-8")


PAGE = """<!doctype html><meta charset="utf-8"><body><pre id="result"></pre><script>
window.alert = () => { document.body.dataset.executed = "yes"; };
const seen = {};
Promise.all(%s.map(name => new Promise(done => {
  const video = document.body.appendChild(document.createElement("video"));
  const track = video.appendChild(document.createElement("track"));
  const end = cues => { seen[name] = cues; done(); };
  track.onload = () => end(Array.from(track.track.cues, cue => {
    const shown = document.createElement("div");
    shown.append(cue.getCueAsHTML());
    document.body.append(shown);
    const times = [cue.startTime, cue.endTime].map(seconds => Math.round(seconds * 1000));
    const elements = Array.from(shown.querySelectorAll("*"), element => element.title);
    return [...times, shown.textContent, elements];
  }));
  track.onerror = () => end("error");
  track.kind = "subtitles"; track.src = name + ".vtt"; track.track.mode = "hidden";
}))).then(() => { document.getElementById("result").textContent = JSON.stringify(seen); });
</script>"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The golden WebVTT files, and a page with a track element for each, where a browser can load them."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in FILES:
        (folder / f"{name}.vtt").write_bytes((GOLDEN / f"{name}.vtt").read_bytes())
    (folder / "page.html").write_text(PAGE % json.dumps(FILES), encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/page.html"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_a_browser_shows_every_cue_and_runs_none(site: str, tmp_path: Path) -> None:
    """The track element of a real one: all cues, their text as it was said, no element made of it but who says it."""
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [CHROMIUM, *options, "--virtual-time-budget=20000", "--dump-dom", site],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    (result,) = re.findall(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    seen = json.loads(html.unescape(result))
    assert "data-executed" not in done.stdout
    for name in FILES:
        assert [tuple(cue[:3]) for cue in seen[name]] == expected(name), name
        voices = [re.sub("-{2,}>", "->", cue.speaker) for cue in cues(name)]
        assert [cue[3] for cue in seen[name]] == [[voice] if voice else [] for voice in voices], name
