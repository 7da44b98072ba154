"""What ``transcribed transcribe`` prints of a recording."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from daemon.cli.transcribe import report
from daemon.oneshot import Done
from daemon.options import JobOptions
from daemon.outputs.document import Document
from daemon.transcript import Segment, Transcript


def line(text: str, speaker: str = "") -> Segment:
    return Segment(0.0, 1.0, text, -0.2, 1.2, 0.0, 0.0, speaker=speaker)


def printed(capsys: pytest.CaptureFixture[str], *english: Segment) -> str:
    """What is on stdout of two lines with this translation."""
    said = (line("Guten Tag.", "Anna"), line("Grüß Gott.", "Ben"))
    transcript = Transcript(said, "de", 1.0, "base", "cpu", "int8", translation=english)
    options = JobOptions(task="both")
    document = Document(transcript, options, "call.wav", "ab", 2.0, None, "ok", "", "us", "2026-03-01T12:00:00Z")
    report(Done(b"call.wav", document, (), ""), Console(file=io.StringIO()), stdout=True)
    return capsys.readouterr().out


def test_the_text_says_who_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each."""
    assert printed(capsys) == "Anna: Guten Tag.\nBen: Grüß Gott.\n"


def test_a_translation_beside_the_text_comes_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks for both gets both, without a file too."""
    text = printed(capsys, line("Good day.", "Anna"), line("Hello.", "Ben"))
    assert text == "Anna: Guten Tag.\nBen: Grüß Gott.\n\nAnna: Good day.\nBen: Hello.\n"
