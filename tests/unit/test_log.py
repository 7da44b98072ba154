from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.log import JsonFormatter, PlainFormatter, escape, set_up

HOSTILE = [
    "a\n2026-01-01 error forged.wav",
    "a\r\nb",
    "\x1b[31mred\x1b[0m",
    "\x9b31mred",
    "gpj.\u202ewav",
    "\u2066hidden\u2069",
    "\u2028line",
    "\x85next",
    b"caf\xe9".decode("utf-8", "surrogateescape"),
    "nul\x00nul",
    "del\x7f",
    "tab\there",
]

log = logging.getLogger("test_log")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The logging of the test run is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str, *arguments: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("test", level, __file__, 1, message, arguments, None)


@pytest.mark.fault(53, "newlines, ANSI and bidi marks in names")
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_a_record_is_one_line_whatever_a_name_holds(
    capsys: pytest.CaptureFixture[str], log_format: str, name: str
) -> None:
    """Line breaks, terminal codes, marks of direction, lone surrogates and NUL reach no reader as such."""
    set_up(log_format, "info")  # type: ignore[arg-type]  # parametrised
    log.info("job %d done: %s", 3, name, extra={"event": "job_done", "path": name})
    out = capsys.readouterr().out
    (line,) = out.splitlines()
    assert out.endswith("\n")
    assert line.isprintable()
    line.encode("utf-8")


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_a_traceback_stays_on_its_line(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    """One event is one line, also with the traceback of a bug."""
    set_up(log_format, "info")  # type: ignore[arg-type]  # parametrised
    try:
        raise ValueError("bad\nname")
    except ValueError:
        log.exception("failed")
    (line,) = capsys.readouterr().out.splitlines()
    assert "ValueError: bad" in line


def test_json_has_the_message_and_the_fields_of_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line parses; extra fields are keys beside time, level and message."""
    set_up("json", "info")
    log.warning("job %d: %s", 3, "caf\u00e9\n", extra={"event": "job_done", "path": b"x", "audio_s": 1.5})
    content = json.loads(capsys.readouterr().out)
    assert content.pop("at").endswith("Z")
    assert content == {
        "level": "warning",
        "message": "job 3: caf\u00e9\n",
        "event": "job_done",
        "path": "b'x'",
        "audio_s": 1.5,
    }


def test_escapes_are_readable() -> None:
    """What is escaped shows its number; the rest stays as it is, also other scripts."""
    assert escape("a\nb\x1b\x00\x9b") == r"a\x0ab\x1b\x00\x9b"
    assert escape("\u202e\u2028\udce9") == r"\u202e\u2028\udce9"
    assert escape("caf\u00e9 語 \U0001f399") == "caf\u00e9 語 \U0001f399"


def test_plain_lines_have_time_and_level() -> None:
    """On a terminal a line begins with the time of day and the level."""
    line = PlainFormatter(journald=False).format(record("hello %s", "you", level=logging.WARNING))
    assert line[8:] == " warning hello you"
    assert line[2] == line[5] == ":"


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (50, 2)]
)
def test_under_systemd_a_line_begins_with_its_priority(level: int, priority: int) -> None:
    """Journald reads the level from a number in angle brackets, and adds the time itself."""
    assert PlainFormatter(journald=True).format(record("hello", level=level)) == f"<{priority}>hello"


def test_a_message_cannot_forge_its_priority() -> None:
    """A name with a line break and a priority stays inside its line."""
    line = PlainFormatter(journald=True).format(record("%s", "a\n<0>emergency"))
    assert line == r"<6>a\x0a<0>emergency"


def test_auto_asks_who_reads_stdout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """JSON into a file; plain with priorities where stdout is the stream that systemd connected."""
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        set_up("auto", "info")
        log.info("one")
        status = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        set_up("auto", "info")
        log.info("two")
        monkeypatch.setenv("JOURNAL_STREAM", "1:2")  # only inherited, as in a terminal of a desktop
        set_up("auto", "info")
        log.info("three")
    one, two, three = (tmp_path / "log").read_text().splitlines()
    assert json.loads(one)["message"] == "one"
    assert two == "<6>two"
    assert json.loads(three)["message"] == "three"


def test_the_level_is_respected(capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not written."""
    set_up("plain", "warning")
    log.info("quiet")
    log.warning("loud")
    out = capsys.readouterr().out
    assert "quiet" not in out
    assert "loud" in out


def test_set_up_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    """A second call does not double the lines."""
    set_up("plain", "info")
    set_up("plain", "info")
    log.info("once")
    assert capsys.readouterr().out.count("once") == 1


@pytest.mark.fault(52, "stdout closed")
def test_a_closed_stdout_does_not_reach_the_work(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A record that cannot be written is dropped without a word."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    set_up("json", "info")
    stream.close()
    log.info("nobody hears")
    assert capfd.readouterr().err == ""


@pytest.mark.fault(52, "a reader that is gone")
def test_a_broken_pipe_does_not_reach_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of our lines may go away."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w", encoding="utf-8", buffering=1)
    monkeypatch.setattr(sys, "stdout", stream)
    set_up("json", "info")
    os.close(reading)
    log.info("nobody hears")
    try:
        stream.close()
    except BrokenPipeError:
        pass  # what was left in its buffer


def test_a_locale_without_the_letters_loses_no_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where stdout cannot take a letter of a name, the line comes with the letter's number."""
    with (tmp_path / "log").open("w", encoding="iso-8859-1") as file:
        monkeypatch.setattr(sys, "stdout", file)
        set_up("plain", "info")
        log.info("job done: 語.wav")
    assert (tmp_path / "log").read_text().endswith("job done: \\u8a9e.wav\n")


def test_fields_that_json_does_not_know_are_text() -> None:
    """A path, a set or an exception as an extra field does not cost the line."""
    odd = record("x")
    odd.path = Path("/inbox")
    odd.error = ValueError("no")
    content = json.loads(JsonFormatter().format(odd))
    assert (content["path"], content["error"]) == ("/inbox", "no")
