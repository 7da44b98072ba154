# ruff: noqa: RUF001  # commas of Chinese
from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.corrections import MOST_CHARS, SOMEBODY, BadCorrection, Edit, Edits, corrected, n_words, timed
from daemon.options import FORMATS
from daemon.outputs.document import Document
from daemon.outputs.formats import contents_of, render
from daemon.outputs.kept import Kept, packed, unpacked
from daemon.outputs.typesetting import cleaned
from daemon.suspects import Suspect
from daemon.transcript import Segment, Word
from storage.records import Fingerprint
from tests.golden import NAMES, document

AT = "2026-03-02T12:00:00Z"

TEXTS = st.one_of(
    st.text(max_size=120),
    st.lists(
        st.sampled_from(["Good", "morning,", "Ben", "this", "is", "今天", "们，", "-", "ﷺ", "é"]), max_size=20
    ).map(" ".join),
)


def by_anna(talk: Document, *edits: tuple[int, str], **speakers: str) -> Document:
    """*talk* as Anna corrected it: lines by their place with their new text."""
    return corrected(talk, Edits({number: Edit(text) for number, text in edits}, speakers), "Anna", AT).document


def words_of(line: Segment) -> list[tuple[str, float, float]]:
    return [(word.text, word.start_s, word.end_s) for word in line.words]


def test_words_that_stay_keep_their_times_and_new_ones_share_the_gap() -> None:
    """One word for one takes its place; a word that only sounds the same is the same."""
    line = document("call").transcript.segments[0]
    assert line.text == "Good morning, Ben, this is Anna from the workshop."
    made = by_anna(
        document("call"), (0, "Good morning Ben. This is Hannah from our big workshop.")
    ).transcript.segments[0]
    assert words_of(made) == [
        ("Good", 0.5, 0.82),
        ("morning", 0.82, 1.41),
        ("Ben.", 1.41, 1.73),
        ("This", 1.73, 2.06),
        ("is", 2.06, 2.25),
        ("Hannah", 2.25, 2.58),
        ("from", 2.58, 2.91),
        ("our", 2.91, 3.04),
        ("big", 3.04, 3.17),
        ("workshop.", 3.17, 3.81),
    ]
    assert (made.start_s, made.end_s, made.speaker) == (line.start_s, line.end_s, line.speaker)


def test_characters_of_chinese_are_aligned_one_by_one() -> None:
    """A word of several characters stays one where all of it stays."""
    times = (Word(0, 0.5, "今天", 0.9), Word(0.5, 1.0, "我们，", 0.9), Word(1.5, 2.0, "好", 0.9))
    line = Segment(0.0, 2.0, "今天我们，好", -0.1, 1.0, 0.0, 0.0, times)
    assert [word.text for word in timed(line, "今天他们，好")] == ["今天", "他", "们，", "好"]
    assert [(word.text, word.start_s) for word in timed(line, "今天我们，不好")][2:] == [("不", 1.0), ("好", 1.5)]


@settings(deadline=None)
@given(TEXTS, st.sampled_from([name for name in NAMES if name != "nobody"]), st.integers(0, 2))
def test_whatever_is_written_the_times_stay_in_their_line(text: str, name: str, number: int) -> None:
    """In order, inside the line, and with all of the text; what was there keeps its times."""
    lines = document(name).transcript.segments
    line = lines[min(number, len(lines) - 1)]
    text = cleaned(text)
    found = timed(line, text)
    if not line.words or not text:
        assert found == ()
        return
    assert "".join("".join(word.text for word in found).split()) == "".join(text.split())
    first, last = min(line.start_s, line.words[0].start_s), max(line.end_s, line.words[-1].end_s)
    assert all(first - 0.001 <= word.start_s <= word.end_s <= last + 0.001 for word in found)
    assert all(one.start_s <= other.start_s + 0.001 for one, other in pairwise(found))
    same = timed(line, cleaned(line.text))
    assert [(word.start_s, word.end_s) for word in same] == [(word.start_s, word.end_s) for word in line.words]


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.integers(0, 2), st.tuples(TEXTS, st.text(max_size=60)), max_size=3), st.sampled_from(NAMES))
def test_every_format_can_be_written_of_what_a_person_wrote(edits: dict[int, tuple[str, str]], name: str) -> None:
    """And it is kept and read again as it was."""
    talk = document(name)
    lines = {n: Edit(*edit) for n, edit in edits.items() if n < len(talk.transcript.segments)}
    made = corrected(talk, Edits(lines), "Anna <b>", AT).document
    assert set(FORMATS) <= contents_of(replace(made, options=replace(made.options, formats=FORMATS))).keys()
    kept = Kept(made, Fingerprint(1, 2, 3, 4, 5), "d")
    assert unpacked(packed(kept)) == kept


def test_a_line_without_text_is_gone_and_other_lines_are_as_they_were() -> None:
    """So are their times, and what the model thought of them."""
    talk = document("call")
    made = by_anna(talk, (1, "  \n"))
    assert made.transcript.segments == (talk.transcript.segments[0], *talk.transcript.segments[2:])
    assert n_words(made.transcript) < n_words(talk.transcript)


def test_nothing_is_changed_by_the_same_text() -> None:
    """However its spaces are."""
    talk = document("call")
    first = talk.transcript.segments[0]
    same = corrected(talk, Edits({0: Edit(f" {first.text.replace(' ', '  ')} ", first.speaker)}), "Anna", AT)
    assert same.n_lines == 0
    assert same.document.transcript == talk.transcript


def test_a_speaker_is_named_in_one_line_or_in_all() -> None:
    """A name for one line comes before that for all; the words stay what they are."""
    talk = document("call")
    before = [line.speaker for line in talk.transcript.segments]
    edits = Edits({0: Edit(speaker="Hannah")}, {"Anna": "Anna Weber"})
    made = corrected(talk, edits, "Anna", AT).document.transcript.segments
    expected = ["Anna Weber" if name == "Anna" else name for name in before]
    assert [line.speaker for line in made] == ["Hannah", *expected[1:]]
    assert [line.words for line in made] == [line.words for line in talk.transcript.segments]
    assert not any(line.corrected for line in made)


def test_the_doubts_about_a_text_go_with_it() -> None:
    """Places to listen to where a person wrote anew, figures of the model, probabilities of words."""
    talk = document("lecture")
    first, second = talk.transcript.segments[:2]
    doubts = tuple(
        Suspect(line.start_s, line.end_s, ("low_confidence",), n, line.text, 1.0)
        for n, line in enumerate((first, second), start=1)
    )
    talk = replace(talk, suspects=doubts)
    made = by_anna(talk, (0, "Water is everywhere around us, always."))
    assert made.suspects == doubts[1:]
    shown = json.loads(render(made, "json"))
    assert shown["corrected"] == {"by": "Anna", "at": AT}
    line = shown["segments"][0]
    assert (line["corrected"], line["avg_logprob"], line["no_speech_prob"]) == (True, None, None)
    assert "probability" not in line["words"][0]
    assert "corrected" not in shown["segments"][1]
    assert "probability" in shown["segments"][1]["words"][0]


def test_the_document_says_who_corrected_it_but_not_between_the_words() -> None:
    """In the header of Markdown and Word; text and subtitles are what is said."""
    made = by_anna(document("call"), (0, "Hello Ben."))
    assert "- **Corrected:** Anna, 2026-03-02" in render(made, "md").decode()
    assert render(made, "txt").decode().startswith("Anna: Hello Ben.")
    assert "2026" not in render(made, "srt").decode()


def test_a_translation_stays_and_an_english_text_needs_none() -> None:
    """Where the translation was the text itself it is the corrected one."""
    german = document("german")
    assert by_anna(german, (0, "Guten Tag.")).transcript.translation == german.transcript.translation
    english = document("english")
    assert english.needs_no_translation
    assert by_anna(english, (0, "Good day.")).needs_no_translation


@pytest.mark.parametrize(
    "edits",
    [
        Edits({10_000: Edit("x")}),
        Edits({-1: Edit("x")}),
        Edits({0: Edit("x" * (MOST_CHARS + 1))}),
        Edits({0: Edit(speaker="x" * 300)}),
        Edits(speakers={"Anna": "x" * 300}),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(edits: Edits) -> None:
    """Nothing of it is done."""
    with pytest.raises(BadCorrection, match=r"there is no line|too long"):
        corrected(document("call"), edits, "Anna", AT)


def test_a_name_of_a_person_is_never_empty() -> None:
    """An empty one would be the machine's."""
    assert corrected(document("call"), Edits({0: Edit("x")}), "\u202e ", AT).document.corrected_by == SOMEBODY


def test_a_long_line_is_corrected_at_once() -> None:
    """Also where its words were chosen so that comparing them takes minutes; what is the same at its ends stays."""
    texts = ["begin", *["a", "b"] * 1240, "end"]
    words = tuple(Word(n, n + 1, text, 0.9) for n, text in enumerate(texts))
    line = Segment(0.0, len(texts), " ".join(texts), -0.1, 1.0, 0.0, 0.0, words)
    began = time.process_time()
    made = timed(line, " ".join(["begin", *["b", "a", "a"] * 820, "end"]))
    assert time.process_time() - began < 5
    assert (made[0].text, made[0].end_s, made[-1].text, made[-1].start_s) == ("begin", 1, "end", len(texts) - 1)
    assert all(one.end_s <= other.start_s + 0.001 for one, other in pairwise(made))


def test_a_name_is_meant_as_it_is_shown() -> None:
    """What cannot be seen of it, nobody can write."""
    talk = document("call")
    lines = tuple(replace(line, speaker=" An\u202ena\n") for line in talk.transcript.segments)
    made = corrected(
        replace(talk, transcript=replace(talk.transcript, segments=lines)), Edits(speakers={"Anna": "Ben"}), "x", AT
    )
    assert {line.speaker for line in made.document.transcript.segments} == {"Ben"}
