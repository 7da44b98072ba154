from __future__ import annotations

import json
import math
from typing import Any

import pytest

from daemon.options import FORMATS, JobOptions
from daemon.outputs.formats import LINE_CHARS, Document, render
from daemon.transcript import Segment, Transcript, Word


def said(text: str, start_s: float = 0.0, end_s: float = 2.0, **more: Any) -> Segment:
    return Segment(start_s, end_s, text, -0.25, 1.5, 0.01, 0.0, **more)


def document(*segments: Segment, outcome: str = "ok", notice: str = "", recording: str = "memo.wav") -> Document:
    return Document(
        transcript=Transcript(segments, "en", 0.98765, "base", "cpu", "int8"),
        options=JobOptions(),
        recording=recording,
        source_sha256="ab" * 32,
        audio_s=61.23456,
        declared_s=None,
        outcome=outcome,
        notice=notice,
        made_by="transcribed 1.0",
        made_at="2025-03-01T12:00:00Z",
    )


def texts(content: bytes) -> list[str]:
    """The lines of words of an SRT file."""
    return [line for line in content.decode().splitlines() if line and not line.isdigit() and "-->" not in line]


TWO = document(said("Good morning, everybody.", 0.0, 1.5), said("Let us begin.", 3661.25, 3662.9995))


def test_text_has_a_line_for_each_segment() -> None:
    """A .txt holds the words and nothing else."""
    assert render(TWO, "txt") == b"Good morning, everybody.\nLet us begin.\n"


def test_srt_numbers_its_cues_from_one() -> None:
    """Cues are numbered, have a comma before the milliseconds, and an empty line between them; hours are counted."""
    assert render(TWO, "srt").decode() == (
        "1\n00:00:00,000 --> 00:00:01,500\nGood morning, everybody.\n"
        "\n"
        "2\n01:01:01,250 --> 01:01:03,000\nLet us begin.\n"
    )


def test_vtt_begins_with_its_signature() -> None:
    """WebVTT has its header, a point before the milliseconds, and always shows the hours."""
    assert render(TWO, "vtt").decode() == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.500\nGood morning, everybody.\n"
        "\n"
        "01:01:01.250 --> 01:01:03.000\nLet us begin.\n"
    )


def test_tsv_counts_milliseconds() -> None:
    """Times of a .tsv are whole milliseconds, as in the tool that set this format."""
    assert render(TWO, "tsv").decode() == (
        "start\tend\ttext\n0\t1500\tGood morning, everybody.\n3661250\t3663000\tLet us begin.\n"
    )


@pytest.mark.parametrize(
    ("seconds", "clock"),
    [
        (0.0004, "00:00:00,000"),
        (0.9994, "00:00:00,999"),
        (0.9995, "00:00:01,000"),
        (59.9996, "00:01:00,000"),
        (3599.9999, "01:00:00,000"),
        (100 * 3600.0, "100:00:00,000"),
        (-0.25, "00:00:00,000"),
    ],
)
def test_times_are_rounded_before_they_are_split(seconds: float, clock: str) -> None:
    """Rounding up carries into seconds, minutes and hours: there is never a 60th second or a 1000th millisecond."""
    assert f"{clock} --> " in render(document(said("x", seconds, seconds + 1)), "srt").decode()


@pytest.mark.parametrize("text", ["a --> b", "a ---> b", "a ----> b", "-->", "--->-->"])
def test_an_arrow_in_the_words_does_not_end_a_cue(text: str) -> None:
    """However many dashes it has, only the line of the times holds an arrow."""
    for format in ("srt", "vtt"):
        lines = [line for line in render(document(said(text)), format).decode().splitlines() if "-->" in line]
        assert len(lines) == 1
        assert lines[0].startswith("00:00:00")


def test_vtt_escapes_what_would_be_a_tag() -> None:
    """Ampersands and angle brackets are words in WebVTT, not tags or entities."""
    content = render(document(said("AT&T <v Bob> x -> y &lt;")), "vtt").decode()
    assert "AT&amp;T &lt;v Bob> x -&gt; y &amp;lt;\n" in content
    assert "AT&T <v Bob>" in render(document(said("AT&T <v Bob> x")), "srt").decode()


@pytest.mark.parametrize("format", FORMATS)
def test_line_breaks_in_the_words_are_spaces(format: str) -> None:
    """No line break, tab or separator that the model may invent reaches a file."""
    text = " one\ntwo\r\n\r\nthree\tfour\u2028five\x85six\x0b "
    content = render(document(said(text), said("end")), format).decode()  # type: ignore[arg-type]  # parametrised
    assert "one two three four five six" in content.replace("\n", " " if format in ("srt", "vtt") else "\n")
    assert "\t" not in content.partition("one")[2].partition("six")[0]
    assert "\r" not in content
    if format in ("srt", "vtt"):
        assert "\n\n\n" not in content


def test_an_empty_transcript_is_an_empty_file_of_its_kind() -> None:
    """Silence gives files that a player opens: no cue, no invented word."""
    silence = document(outcome="no_speech", notice="no speech detected")
    assert render(silence, "txt") == b"[no speech detected]\n"
    assert render(silence, "srt") == b""
    assert render(silence, "vtt") == b"WEBVTT\n\nNOTE no speech detected\n"
    assert render(silence, "tsv") == b"start\tend\ttext\n"
    content = json.loads(render(silence, "json"))
    assert (content["outcome"], content["text"], content["segments"]) == ("no_speech", "", [])


def test_a_notice_comes_before_the_words() -> None:
    """Whoever reads a partial transcript learns it first."""
    partial = document(said("Half of"), outcome="partial", notice="partial: only 60 s of 120 s could be decoded")
    assert render(partial, "txt").decode().splitlines()[0] == "[partial: only 60 s of 120 s could be decoded]"
    assert render(partial, "vtt").decode().splitlines()[2] == "NOTE partial: only 60 s of 120 s could be decoded"
    assert json.loads(render(partial, "json"))["notice"].startswith("partial")


def test_subtitles_say_at_their_end_that_the_rest_is_missing() -> None:
    """They have no place for a comment; whoever watches to the end sees why there is no more."""
    partial = document(said("Half of"), outcome="partial", notice="partial: only 60 s of 120 s could be decoded")
    cues = render(partial, "srt").decode().split("\n\n")
    assert cues[-1].splitlines()[0] == "2"
    assert cues[-1].splitlines()[2] == "[partial: only 60 s of 120 s could be decoded]"
    assert render(document(said("All")), "srt").decode().count("-->") == 1


@pytest.mark.parametrize(
    "text",
    [
        "مرحبا بالعالم، هذا اختبار قصير",
        "שלום עולם",
        "こんにちは、世界。これは試験です。",
        "e\u0301te\u0301 nai\u0308f",
        "👩‍👩‍👧 family",
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_every_script_is_written_as_it_is(format: str, text: str) -> None:
    """Right-to-left, CJK, combining marks and joined emoji are UTF-8 without BOM, neither escaped nor reordered."""
    content = render(document(said(text)), format)  # type: ignore[arg-type]  # parametrised
    assert text in content.decode("utf-8")
    assert not content.startswith(b"\xef\xbb\xbf")


def test_a_name_that_is_no_utf8_can_be_written() -> None:
    """The recording's name may hold bytes that are no text; every file is still valid UTF-8 and valid JSON."""
    odd = document(said("words"), recording=b"caf\xe9.wav".decode("utf-8", "surrogateescape"))
    content = render(odd, "json")
    assert json.loads(content.decode("utf-8"))["recording"] == "caf\udce9.wav"


def test_the_keys_of_the_json_are_a_contract() -> None:
    """Programs rely on these keys; a change of their meaning raises the version."""
    word = Word(0.1, 0.52345, " Good", 0.91239)
    content = json.loads(render(document(said("Good", 0.1, 0.5239, words=(word,), suspect=("loop",))), "json"))
    assert content == {
        "version": 1,
        "outcome": "ok",
        "notice": "",
        "recording": "memo.wav",
        "source_sha256": "ab" * 32,
        "audio_s": 61.235,
        "declared_s": None,
        "language": "en",
        "language_probability": 0.9877,
        "model": "base",
        "device": "cpu",
        "compute_type": "int8",
        "options": {
            "model": "base",
            "language": None,
            "task": "transcribe",
            "quality": "fast",
            "beam_size": 5,
            "multilingual": False,
            "hotwords": None,
            "initial_prompt": None,
            "word_timestamps": False,
            "formats": ["txt", "srt", "vtt", "json"],
        },
        "text": "Good",
        "segments": [
            {
                "id": 0,
                "start": 0.1,
                "end": 0.524,
                "text": "Good",
                "avg_logprob": -0.25,
                "compression_ratio": 1.5,
                "no_speech_prob": 0.01,
                "temperature": 0.0,
                "suspect": ["loop"],
                "words": [{"start": 0.1, "end": 0.523, "word": " Good", "probability": 0.9124}],
            }
        ],
        "made_by": "transcribed 1.0",
        "made_at": "2025-03-01T12:00:00Z",
    }


def test_words_and_suspicions_are_left_out_where_there_are_none() -> None:
    """A transcript without word times has no empty lists in each segment."""
    (segment,) = json.loads(render(document(said("Good")), "json"))["segments"]
    assert "words" not in segment
    assert "suspect" not in segment


def test_the_json_is_valid_whatever_the_model_reports() -> None:
    """NaN and infinity are no JSON: they become null, so that every reader takes the file."""
    odd = Segment(0.0, 1.0, "x", math.nan, math.inf, -math.inf, 0.0)
    content = render(document(odd), "json").decode()
    (segment,) = json.loads(content)["segments"]
    assert (segment["avg_logprob"], segment["compression_ratio"], segment["no_speech_prob"]) == (None, None, None)
    assert "NaN" not in content


def test_subtitle_lines_are_short_and_balanced() -> None:
    """No line is over 42 characters, there are as few as possible, and they are of about one length."""
    text = "The committee met on Thursday to discuss the budget for the coming year and agreed on nothing."
    lines = texts(render(document(said(text)), "srt"))
    assert " ".join(lines) == text
    assert len(lines) == math.ceil(len(text) / LINE_CHARS)
    assert max(map(len, lines)) <= LINE_CHARS
    assert max(map(len, lines)) - min(map(len, lines)) <= 12


def test_a_line_of_just_42_characters_stays_whole() -> None:
    """The limit itself is allowed; one more character makes two lines of about half."""
    fits = "a" * 20 + " " + "b" * 21
    assert texts(render(document(said(fits)), "srt")) == [fits]
    assert texts(render(document(said(fits + "b")), "srt")) == ["a" * 20, "b" * 22]


def test_a_word_is_never_broken() -> None:
    """A word longer than a line, or a script without spaces, stays in one piece: the player wraps it."""
    address = "https://example.org/" + "x" * 60
    assert address in texts(render(document(said(f"see {address} now")), "srt"))
    chinese = "这是一个没有空格的很长的句子" * 5
    assert texts(render(document(said(chinese)), "srt")) == [chinese]
    assert texts(render(document(said("a well-known-and-often-hyphenated-word " * 2)), "srt"))[0].endswith("-word")
