"""Log lines on stdout: one event, one line, plain or JSON. Nothing that a file name holds can forge a line."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

_HOSTILE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, line separators, marks that turn the direction of text (Trojan Source), lone surrogates."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_LEVELS: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""syslog(3) priorities, which journald reads from the start of a line (sd-daemon(3))."""


def escape(text: str) -> str:
    r"""*text* with every character that could forge or hide part of a line as ``\\xNN`` or ``\\uNNNN``."""
    return _HOSTILE.sub(lambda match: _numbered(ord(match[0])), text)


def _numbered(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class PlainFormatter(logging.Formatter):
    """``14:40:12 info job 3 ok: a.wav``; under systemd a priority instead of time and level."""

    def __init__(self, *, journald: bool) -> None:
        super().__init__()
        self._journald = journald

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows on the same line, escaped."""
        message = record.getMessage()
        if record.exc_info:
            message += " | " + self.formatException(record.exc_info)
        if self._journald:
            return f"<{_LEVELS.get(record.levelname, 6)}>{escape(message)}"
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        return f"{at} {record.levelname.lower()} {escape(message)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, message, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        content = {"at": at, "level": record.levelname.lower(), "message": record.getMessage()} | _extras(record)
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        # ASCII only: JSON's own escapes leave nothing that a terminal could obey.
        return json.dumps(content, default=str, ensure_ascii=True)


def _accept_all(stream: TextIO) -> None:
    if isinstance(stream, io.TextIOWrapper):  # not so where a test or a wrapper put something in its place
        stream.reconfigure(errors="backslashreplace")  # a name that the locale cannot write must not lose its line


def _is_journal(stream: TextIO, journal_stream: str) -> bool:
    """Whether *stream* is what systemd connected; programs started from a desktop only inherit the variable."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False  # closed, or no file at all
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


class _QuietStream(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """A full disk or a closed pipe under stdout must not reach the work that logged."""


def set_up(log_format: Literal["auto", "plain", "json"], level: str) -> None:
    """Send every record to stdout. ``auto`` is plain on a terminal and under systemd, JSON else."""
    journald = _is_journal(sys.stdout, os.environ.get("JOURNAL_STREAM", ""))
    _accept_all(sys.stdout)
    if log_format == "auto":
        log_format = "plain" if journald or sys.stdout.isatty() else "json"
    handler = _QuietStream(sys.stdout)
    handler.setFormatter(JsonFormatter() if log_format == "json" else PlainFormatter(journald=journald))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
