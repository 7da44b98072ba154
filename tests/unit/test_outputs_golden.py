from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from typing import Final
from xml.etree import ElementTree as ET

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from daemon.options import FORMATS
from daemon.outputs.formats import render
from daemon.outputs.subtitles import Shape
from daemon.outputs.typesetting import cleaned, name_of
from tests.golden import NAMES, document, files, paragraphs
from tests.harness import DATA
from tests.subtitle_rules import broken_rules, read_srt


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_as_it_was(name: str) -> None:
    """Whoever means to change one writes them again (tests/golden.py)."""
    found = dict(files(name))
    assert len(found) == (2 * len(FORMATS) - 1 if name == "german" else len(FORMATS))
    for path, content in found.items():
        assert content.decode() == path.read_bytes().decode(), path.name


@pytest.mark.parametrize("name", ["lecture", "chinese", "cut-off", "call", "german", "german.en", "english"])
def test_subtitles_of_our_clips_keep_every_rule(name: str) -> None:
    """What was spoken at a usual speed."""
    srt, vtt = ((DATA / "golden" / f"{name}.{format}").read_text(encoding="utf-8") for format in ("srt", "vtt"))
    assert [broken for broken in broken_rules(read_srt(srt, vtt), Shape()) if not broken.unavoidable] == []


def test_a_word_document_can_be_read_whatever_was_said() -> None:
    """What XML cannot hold is not in it, what would be a tag is text, and it says whose it is."""
    hostile = document("hostile")
    content = render(hostile, "docx")
    for name in zipfile.ZipFile(io.BytesIO(content)).namelist():
        if name.endswith((".xml", ".rels")):
            ET.fromstring(zipfile.ZipFile(io.BytesIO(content)).read(name))
    assert "<script>alert(1)</script>" in paragraphs(content)
    call = docx.Document(io.BytesIO(render(document("call-hostile"), "docx"))).paragraphs
    assert "<script>alert(5)</script>: I said <b>this</b> --> and that." in call[2].text
    assert not any("thumbnail" in name for name in zipfile.ZipFile(io.BytesIO(content)).namelist())
    properties = docx.Document(io.BytesIO(content)).core_properties
    assert (properties.author, properties.language) == ("", "en")
    assert properties.title == cleaned(hostile.recording)


ODD: Final = "# - 1. <b> *x* _y_ [a](b) ![c](d) `e` | f ~~g~~ &lt; http://h <http://i> $j$"


@given(st.lists(st.text(max_size=80), min_size=1, max_size=3), st.text(max_size=40))
def test_nothing_that_is_said_is_markdown(said: list[str], name: str) -> None:
    """To a CommonMark parser (rich brings it) with tables and strikethrough: plain text under one heading."""
    talk = document("lecture")
    segments = [
        replace(talk.transcript.segments[0], start_s=n * 9.0, end_s=n * 9.0 + 1.0, text=text)
        for n, text in enumerate([*said, ODD])
    ]
    talk = replace(talk, recording=name or "x", transcript=replace(talk.transcript, segments=tuple(segments)))
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(render(talk, "md").decode())
    kinds = {token.type for token in parsed}
    assert kinds <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline"),
        *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
    }
    assert [token.type for token in parsed].count("heading_open") == 1
    assert [token.type for token in parsed].count("bullet_list_open") == 1
    paragraphs = [token.children or [] for token in parsed[parsed.index(_last_of_list(parsed)) :] if token.children]
    assert {child.type for children in paragraphs for child in children} <= {"text", "text_special"}
    shown = ["".join(child.content for child in children) for children in paragraphs]
    assert shown == [text for text in map(cleaned, (segment.text for segment in segments)) if text]


@given(st.text(max_size=60) | st.just(ODD))
def test_a_name_is_bold_and_no_markdown(speaker: str) -> None:
    """Whoever may choose it: one bold text, as it is shown elsewhere."""
    talk = document("lecture")
    segment = replace(talk.transcript.segments[0], text="words", speaker=speaker)
    talk = replace(talk, transcript=replace(talk.transcript, segments=(segment,)))
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(render(talk, "md").decode())
    *_, last = [token.children or [] for token in parsed if token.children]
    name = name_of(speaker)
    kinds = [child.type for child in last if child.type not in ("text", "text_special")]
    assert kinds == (["strong_open", "strong_close"] if name else [])
    assert "".join(child.content for child in last) == (f"{name}: words" if name else "words")


def _last_of_list(tokens: list[Token]) -> Token:
    return next(token for token in tokens if token.type == "bullet_list_close")


@settings(max_examples=30)
@given(st.text(max_size=200), st.text(max_size=60))
def test_a_word_document_holds_what_may_be_shown_of_any_text(said: str, name: str) -> None:
    """Whatever the model, or the name of a file, comes up with."""
    talk = document("lecture")
    segment = replace(talk.transcript.segments[0], text=said)
    talk = replace(talk, recording=name, transcript=replace(talk.transcript, segments=(segment,)))
    found = docx.Document(io.BytesIO(render(talk, "docx"))).paragraphs
    assert found[0].text == cleaned(name)
    assert [paragraph.text for paragraph in found[2:]] == [text for text in [cleaned(said)] if text]


def test_a_word_document_runs_from_right_to_left_where_its_text_does() -> None:
    """Paragraph by paragraph."""
    talk = document("lecture")
    segments = [
        replace(talk.transcript.segments[0], start_s=at_s, end_s=at_s + 1, text=text)
        for at_s, text in ((0.0, "مرحبا بالعالم"), (9.0, "Hello world"))
    ]
    arabic = replace(talk, transcript=replace(talk.transcript, segments=tuple(segments)))
    first, second = docx.Document(io.BytesIO(render(arabic, "docx"))).paragraphs[-2:]
    assert [run.font.rtl for run in (*first.runs, *second.runs)] == [True, None]
    xml = zipfile.ZipFile(io.BytesIO(render(arabic, "docx"))).read("word/document.xml").decode()
    assert xml.count("<w:bidi/>") == 1


def test_the_same_document_gives_the_same_bytes() -> None:
    """A Word document is an archive, which would have the time of day in it."""
    assert render(document("lecture"), "docx") == render(document("lecture"), "docx")


def test_words_are_as_whisperx_has_them_and_segments_as_podcasts() -> None:
    """Programs that read those find what they look for."""
    content = json.loads(render(document("lecture"), "json"))
    for segment in content["segments"]:
        assert {"start", "end", "text", "words"} <= segment.keys()
        assert (segment["startTime"], segment["endTime"], segment["body"]) == tuple(
            segment[key] for key in ("start", "end", "text")
        )
        for word in segment["words"]:
            assert {"word", "start", "end", "score"} <= word.keys()
    assert content["word_segments"] == [word for segment in content["segments"] for word in segment["words"]]
    assert content["language"] == "en"


def test_who_speaks_is_where_both_look_for_it() -> None:
    """Podcasts in the segments, WhisperX in the words as well; not where nobody knows."""
    content = json.loads(render(document("call"), "json"))
    first, *_, last = content["segments"]
    assert first["speaker"] == "Anna"
    assert {word["speaker"] for word in first["words"]} == {"Anna"}
    assert {word.get("speaker") for word in content["word_segments"]} == {"Anna", "Ben Müller", None}
    assert "speaker" not in last.keys() | last["words"][0].keys()


def test_a_translation_says_so() -> None:
    """In the header; the words are English by then."""
    talk = document("chinese")
    translated = replace(talk, options=replace(talk.options, task="translate"))
    assert "- **Language:** zh, translated to en\n" in render(translated, "md").decode()
    assert translated.language == "en"
    beside = document("german")
    assert "- **Language:** de\n" in render(beside, "md").decode()
    assert "- **Language:** de, translated to en\n" in render(beside, "md.en").decode()


def test_json_has_text_and_translation_in_one_file() -> None:
    """Each with its segments; what is English already has none."""
    content = json.loads(render(document("german"), "json"))
    assert content["text"].startswith("Guten Morgen")
    assert content["translation"]["text"].startswith("Good morning")
    assert (content["language"], content["translation"]["language"]) == ("de", "en")
    assert [line["speaker"] for line in content["translation"]["segments"]] == [
        line["speaker"] for line in content["segments"]
    ]
    assert json.loads(render(document("english"), "json"))["translation"] is None
    assert "translation" not in json.loads(render(document("lecture"), "json"))
