import json
import subprocess
import sys
from dataclasses import replace

import pytest

from daemon.engine.protocol import (
    Cancel,
    Done,
    Failed,
    Failure,
    Fatal,
    Heartbeat,
    Job,
    JobReport,
    LanguageFound,
    ProtocolError,
    Ready,
    ServerSettings,
    WindowDone,
    parse_command,
    parse_report,
    to_message,
)
from daemon.options import JobOptions
from daemon.transcript import Segment, Span, Word

SEGMENT = Segment(0.5, 1.5, "Hé", -0.1, 1.2, 0.0, 0.2, (Word(0.5, 1.0, "Hé", 0.9),), ("repetition",))
JOB = Job(7, "/spool/7", 160000, (Span(0, 100), Span(200, 300)), JobOptions(hotwords="Müller"), 100, "de")


@pytest.mark.parametrize("command", [JOB, replace(JOB, person="/srv/in/Anna", weight=0.5), Cancel(7)])
def test_commands_survive_the_wire(command: Job | Cancel) -> None:
    """What arrives equals what was sent, types and all."""
    assert parse_command(json.loads(json.dumps(to_message(command)))) == command


@pytest.mark.parametrize(
    "report",
    [
        Ready("base", "cpu", "int8", 12, 1.5, 0.3),
        Fatal(Failure.CONFIG, "no such model"),
        Heartbeat(),
        LanguageFound(7, "de", 0.98),
        WindowDone(7, (SEGMENT,), 100, 0.1),
        WindowDone(7, (SEGMENT,), 100, 0.1, (replace(SEGMENT, text="in English"),)),
        Done(7),
        Failed(7, Failure.OUT_OF_MEMORY, "full"),
    ],
)
def test_reports_survive_the_wire(report: Ready | Fatal | Heartbeat | JobReport) -> None:
    """What arrives equals what was sent, types and all."""
    assert parse_report(json.loads(json.dumps(to_message(report)))) == report


def test_settings_survive_the_command_line() -> None:
    """The one argument of the engine process."""
    settings = ServerSettings("base", "cpu", "auto", 2, 0, 0, "low", "/models", allow_download=False)
    assert ServerSettings.from_json(settings.to_json()) == settings
    with pytest.raises(ProtocolError, match="lanes"):
        ServerSettings.from_json(settings.to_json().replace('"lanes":2', '"lanes":"two"'))


@pytest.mark.parametrize("message", [{}, {"type": "surprise"}, {"type": "window", "id": "seven"}])
def test_nonsense_is_refused(message: dict[str, object]) -> None:
    """A peer of another version is noticed at its first message."""
    with pytest.raises(ProtocolError):
        parse_report(message)
    with pytest.raises(ProtocolError):
        parse_command(message)


def test_the_client_imports_no_machine_learning() -> None:
    """The daemon stays small, and no GPU driver can take it down."""
    code = "import sys, daemon.engine.client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"ctranslate2", "faster_whisper", "onnxruntime", "av", "numpy", "tokenizers", "huggingface_hub"}
    assert not heavy & {name.partition(".")[0] for name in loaded.split()}
