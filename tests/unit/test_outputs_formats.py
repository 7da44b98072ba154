from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import Any

import docx
import pytest

from daemon.options import FORMATS, Format, JobOptions
from daemon.outputs.formats import Document, contents_of, render, suffix_of
from daemon.transcript import Segment, Transcript, Word

LINE_CHARS = 42


def said(text: str, start_s: float = 0.0, end_s: float = 2.0, **more: Any) -> Segment:
    return Segment(start_s, end_s, text, -0.25, 1.5, 0.01, 0.0, **more)


def document(
    *segments: Segment, outcome: str = "ok", notice: str = "", recording: str = "memo.wav", **options: Any
) -> Document:
    return Document(
        transcript=Transcript(segments, "en", 0.98765, "base", "cpu", "int8"),
        options=JobOptions(**options),
        recording=recording,
        source_sha256="ab" * 32,
        audio_s=61.23456,
        declared_s=None,
        outcome=outcome,
        notice=notice,
        made_by="transcribed 1.0",
        made_at="2025-03-01T12:00:00Z",
    )


def shown(what: Document, format: Format) -> str:
    """The file as text; of a Word document its paragraphs."""
    content = render(what, format)
    if format != "docx":
        return content.decode()
    return "\n".join(paragraph.text for paragraph in docx.Document(io.BytesIO(content)).paragraphs)


def texts(content: bytes) -> list[str]:
    """The lines of words of an SRT file."""
    return [line for line in content.decode().splitlines() if line and not line.isdigit() and "-->" not in line]


TWO = document(said("Good morning, everybody.", 0.0, 1.5), said("Let us begin.", 3661.25, 3662.9995))


def test_text_has_a_paragraph_for_what_is_said_without_a_pause() -> None:
    """A .txt holds the words and nothing else; a line is a paragraph, with an empty one between two."""
    assert render(TWO, "txt") == b"Good morning, everybody.\n\nLet us begin.\n"
    close = (said("One.", 0, 1), said("Two.", 2.9, 3), said("Three.", 5.0, 6))
    assert render(document(*close), "txt") == b"One. Two.\n\nThree.\n"
    assert render(document(*close, paragraph_pause_s=1.5), "txt") == b"One.\n\nTwo.\n\nThree.\n"
    assert render(document(*close, paragraph_pause_s=0.0), "txt") == b"One.\nTwo.\nThree.\n"


def test_a_paragraph_without_a_pause_ends_with_a_sentence() -> None:
    """Nobody reads half an hour in one piece; but a sentence is not torn for it."""
    segments = [said("word " * 30 + ("end." if n % 4 == 3 else "and"), n, n + 1) for n in range(16)]
    paragraphs = render(document(*segments), "txt").decode().split("\n\n")
    assert len(paragraphs) == 2
    assert all(paragraph.rstrip().endswith("end.") for paragraph in paragraphs)


def test_lines_of_scripts_without_spaces_are_joined_without_them() -> None:
    """Chinese and Japanese have none between sentences; Korean has."""
    assert render(document(said("今天很好。"), said("明天见。")), "txt").decode() == "今天很好。明天见。\n"
    assert render(document(said("안녕하세요"), said("네 그래요")), "txt").decode() == "안녕하세요 네 그래요\n"


def test_paragraphs_say_when_they_begin_if_that_is_asked_for() -> None:
    """In hours, minutes and seconds, in each format that has paragraphs."""
    timed = document(*TWO.transcript.segments, paragraph_times=True)
    assert render(timed, "txt").decode() == "[00:00:00] Good morning, everybody.\n\n[01:01:01] Let us begin.\n"
    assert "**01:01:01** Let us begin.\n" in render(timed, "md").decode()
    assert "01:01:01  Let us begin." in shown(timed, "docx")


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
    assert "AT&amp;T &lt;v Bob&gt; x -&gt; y &amp;lt;\n" in content


def test_srt_has_no_tags_either() -> None:
    """It has no way to escape them, so they get brackets that look alike; a comparison keeps its own."""
    content = render(document(said("AT&T <v Bob> {\\an8}x 1 < 2 > 0 <b", 0.0, 5.0)), "srt").decode()
    assert content.split("\n", 2)[2] == "AT&T \u2039v Bob\u203a (\\an8)x 1 < 2 > 0 \u2039b\n"


@pytest.mark.parametrize("format", FORMATS)
def test_line_breaks_in_the_words_are_spaces(format: Format) -> None:
    """No line break, tab or separator that the model may invent reaches a file."""
    text = " one\ntwo\r\n\r\nthree\tfour\u2028five\x85six\x0b "
    content = shown(document(said(text), said("end")), format)
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
    assert cues[-1].splitlines()[2:] == ["[partial: only 60 s", "of 120 s could be decoded]"]
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
def test_every_script_is_written_as_it_is(format: Format, text: str) -> None:
    """Right-to-left, CJK, combining marks and joined emoji are UTF-8 without BOM, neither escaped nor reordered."""
    content = shown(document(said(text)), format)
    assert text in (content.replace("\n", "") if format in ("srt", "vtt") else content)
    assert not render(document(said(text)), format).startswith(b"\xef\xbb\xbf")


def test_a_name_that_is_no_utf8_can_be_written() -> None:
    """The recording's name may hold bytes that are no text; every file is still valid UTF-8 and valid JSON."""
    odd = document(said("words"), recording=b"caf\xe9.wav".decode("utf-8", "surrogateescape"))
    content = render(odd, "json")
    assert json.loads(content.decode("utf-8"))["recording"] == "caf\udce9.wav"


def test_the_keys_of_the_json_are_a_contract() -> None:
    """Programs rely on these keys; a change of their meaning raises the version."""
    word = Word(0.1, 0.52345, " Good", 0.91239)
    segment = said("Good", 0.1, 0.5239, words=(word,), suspect=("loop",))
    spoken = document(segment, word_timestamps=True)
    content = json.loads(contents_of(spoken)["json"])
    assert content.pop("options") == spoken.options.to_dict()
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
        "text": "Good",
        "segments": [
            {
                "id": 0,
                "start": 0.1,
                "end": 0.524,
                "text": "Good",
                "startTime": 0.1,
                "endTime": 0.524,
                "body": "Good",
                "avg_logprob": -0.25,
                "compression_ratio": 1.5,
                "no_speech_prob": 0.01,
                "temperature": 0.0,
                "suspect": ["loop"],
                "words": [{"start": 0.1, "end": 0.523, "word": " Good", "probability": 0.9124, "score": 0.9124}],
            }
        ],
        "suspects": [],
        "word_segments": [{"start": 0.1, "end": 0.523, "word": " Good", "probability": 0.9124, "score": 0.9124}],
        "subtitles": {"n_cues": 1, "n_too_fast": 0},
        "made_by": "transcribed 1.0",
        "made_at": "2025-03-01T12:00:00Z",
    }


def test_words_and_suspicions_are_left_out_where_there_are_none() -> None:
    """No empty lists in each segment; nor words that are there for the subtitles alone."""
    for segment in (said("Good"), said("Good", words=(Word(0.1, 0.5, "Good", 0.9),))):
        content = json.loads(render(document(segment), "json"))
        assert content.keys().isdisjoint({"word_segments", "subtitles"})
        assert content["segments"][0].keys().isdisjoint({"words", "suspect"})


def test_lines_have_a_language_of_their_own_where_each_window_has() -> None:
    """Else it is that of the recording, and is said once."""
    talk = document(replace(said("Guten Tag"), language="de"), said("Good day", 3.0), multilingual=True)
    assert [line.get("language") for line in json.loads(render(talk, "json"))["segments"]] == ["de", None]
    plain = replace(talk, options=replace(talk.options, multilingual=False))
    assert "language" not in json.loads(render(plain, "json"))["segments"][0]


CALL = (
    said("Hello?", 0.0, 1.0, speaker="Anna"),
    said("Hello, Anna.", 1.2, 2.0, speaker="Ben"),
    said("How are you?", 2.1, 3.0, speaker="Ben"),
    said("Fine.", 9.0, 10.0, speaker="Ben"),
)


def test_each_paragraph_says_who_speaks() -> None:
    """A new one begins with each turn; one after a pause has the name again, so that it can be quoted alone."""
    assert render(document(*CALL), "txt").decode() == ("Anna: Hello?\n\nBen: Hello, Anna. How are you?\n\nBen: Fine.\n")
    timed = document(*CALL, paragraph_times=True)
    assert render(timed, "txt").decode().startswith("[00:00:00] Anna: Hello?\n\n[00:00:01] Ben: Hello, Anna.")
    assert "**00:00:01** **Ben:** Hello, Anna. How are you?\n" in render(timed, "md").decode()
    assert "- **Speakers:** Anna, Ben\n" in render(timed, "md").decode()
    runs = [run for one in docx.Document(io.BytesIO(render(document(*CALL), "docx"))).paragraphs for run in one.runs]
    assert [run.text for run in runs if run.bold][-3:] == ["Anna: ", "Ben: ", "Ben: "]


def test_a_word_of_somebody_else_does_not_tear_a_sentence() -> None:
    """Who talks over it comes after it; who speaks in a pause, or after its end, does not."""
    anna = said("I went to the", 0.0, 3.0, speaker="Anna"), said("doctor.", 3.1, 4.0, speaker="Anna")
    over, between = said("Mhm.", 1.0, 1.5, speaker="Ben"), said("Mhm.", 3.0, 3.1, speaker="Ben")
    assert render(document(anna[0], over, anna[1]), "txt") == b"Anna: I went to the doctor.\n\nBen: Mhm.\n"
    torn = b"Anna: I went to the\n\nBen: Mhm.\n\nAnna: doctor.\n"
    assert render(document(anna[0], between, anna[1]), "txt") == torn
    late = replace(anna[1], start_s=5.5, end_s=6.0)
    assert render(document(anna[0], over, late), "txt") == torn
    whole = replace(anna[0], text="I went there.")
    assert render(document(whole, over, anna[1]), "txt").count(b"Anna:") == 2


def test_a_table_has_a_column_of_speakers_where_there_are_any() -> None:
    """The last one, so that programs find the others where they were; a name is no formula either."""
    lines = render(document(*CALL, said("x", 11.0, 12.0, speaker="=A1")), "tsv").decode().splitlines()
    assert lines[0] == "start\tend\ttext\tspeaker"
    assert lines[1] == "0\t1000\tHello?\tAnna"
    assert lines[-1] == "11000\t12000\tx\t'=A1"


@pytest.mark.parametrize(
    "speaker",
    [
        "<script>alert(1)</script>",
        "a\nb\r\n\r\n00:00:01.000 --> 00:00:02.000",
        "\u202egnp\u2066",
        "x" * 300,
        "e" + "\u0301" * 300,
        "nul\x00esc\x1b[31m",
        "\ud800",
        "--->",
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_no_name_breaks_a_file(format: Format, speaker: str) -> None:
    """It comes out of a file's name or of settings on a share: one line, not long, no control character."""
    content = shown(document(said("first", 0.0, 1.0, speaker=speaker), said("then", 8.0, 9.0)), format)
    without = shown(document(said("first", 0.0, 1.0), said("then", 8.0, 9.0)), format)
    assert "first" in content
    if format != "json":  # which has it whole
        n_more = {"docx": 1, "md": 1, "srt": 1}.get(format, 0)
        assert content.count("\n") <= without.count("\n") + n_more
        assert len(content) < len(without) + 250
        assert not set(content) & set("\x00\x1b\r\u202e\u2066\ud800")
    else:
        assert json.loads(content)["segments"][0]["speaker"] == " ".join(speaker.split())


def test_a_name_of_which_nothing_can_be_seen_is_none() -> None:
    """Spaces, marks without width, a colon."""
    for speaker in ("", " ", "\u200b", "\u202e\x00", ": :"):
        assert render(document(said("Hello", speaker=speaker)), "txt") == b"Hello\n"
        assert b"<v" not in render(document(said("Hello", speaker=speaker)), "vtt")


def both(*segments: Segment, english: tuple[Segment, ...], language: str = "de", **options: Any) -> Document:
    """A document with its translation."""
    found = document(*segments, **options)
    return replace(
        found,
        transcript=replace(found.transcript, language=language, translation=english),
        options=replace(found.options, task="both"),
    )


def test_a_translation_has_files_of_its_own() -> None:
    """One more of each format, but for JSON, which has both."""
    talk = both(said("Guten Tag"), english=(said("Good day"),))
    contents = contents_of(talk)
    assert sorted(contents) == ["json", "srt", "srt.en", "txt", "txt.en", "vtt", "vtt.en"]
    assert (contents["txt"], contents["txt.en"]) == (b"Guten Tag\n", b"Good day\n")
    assert render(talk, "srt.en").endswith(b"Good day\n")
    assert (suffix_of(talk), talk.language) == ("", "de")
    assert talk.translated is not None
    assert talk.translated.language == "en"


@pytest.mark.parametrize("english", [(), (said("Good  day"),)])
def test_what_is_english_has_no_second_files(english: tuple[Segment, ...]) -> None:
    """Nobody wants to read the same twice; headers say why there is one."""
    talk = both(said("Good day"), english=english, language="en")
    assert sorted(contents_of(talk)) == ["json", "srt", "txt", "vtt"]
    assert "- **Translation:** none, this is English\n" in render(talk, "md").decode()
    assert "NOTE translation: none, this is English\n" in render(talk, "vtt").decode()
    assert render(talk, "txt") == b"Good day\n"
    with pytest.raises(KeyError):
        render(talk, "txt.en")


def test_silence_has_no_translation() -> None:
    """And is not called English."""
    silence = both(english=(), language="", outcome="no_speech", notice="no speech detected")
    assert sorted(contents_of(silence)) == ["json", "srt", "txt", "vtt"]
    assert "Translation" not in render(silence, "md").decode()


def test_two_languages_never_share_a_name() -> None:
    """English with some German: the text has no suffix then, since its translation is the English one."""
    talk = both(said("Good day"), said("Guten Tag", 3.0), english=(said("Good day"), said("Good day", 3.0)))
    english = replace(talk, transcript=replace(talk.transcript, language="en"))
    with_suffix = replace(english, options=replace(english.options, language_suffix=True))
    assert "txt.en" in contents_of(with_suffix)
    assert suffix_of(with_suffix) == ""
    assert suffix_of(replace(talk, options=replace(talk.options, language_suffix=True))) == ".de"


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
    assert max(map(len, lines)) - min(map(len, lines)) <= 20


def test_a_line_of_just_42_characters_stays_whole() -> None:
    """The limit itself is allowed; one more character makes two lines of about half."""
    fits = "a" * 20 + " " + "b" * 21
    assert texts(render(document(said(fits)), "srt")) == [fits]
    assert texts(render(document(said(fits + "b")), "srt")) == ["a" * 20, "b" * 22]


def test_a_word_is_never_broken() -> None:
    """A word longer than a line stays in one piece: the player wraps it."""
    address = "https://example.org/" + "x" * 60
    assert address in texts(render(document(said(f"see {address} now")), "srt"))
    assert texts(render(document(said("a well-known-and-often-hyphenated-word " * 2)), "srt"))[0].endswith("-word")
