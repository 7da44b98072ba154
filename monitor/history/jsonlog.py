"""One JSON line for each sample, in a file that is begun anew when it is full. For programs that follow a file."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import math
import os
from pathlib import Path
from typing import Any, Final, Protocol

from monitor.alert import Judgement
from monitor.figures import Sample
from monitor.history.rows import meaning, to_text

log = logging.getLogger(__name__)

_FILE_MODE: Final = 0o640  # less the umask: names of folders and recordings are not for everybody


class History(Protocol):
    """What keeps samples: `monitor.history.store.MetricsHistory`."""

    def add(self, sample: Sample, judgement: Judgement) -> Judgement:
        """Keep both; the judgement with the numbers of its alerts."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class JsonLog:
    """The file *path*; at *max_bytes* it becomes ``PATH.1``, and so on: *n_files* are kept, with the one that grows.

    It is opened for each line, so that others may rename or remove it at any time.
    """

    def __init__(self, path: Path, max_bytes: int, n_files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._n_files = n_files
        self._failing = False

    def write(self, sample: Sample, judgement: Judgement) -> None:
        """Add the line of *sample*. One that cannot be written is lost: the first of them is a warning in the log."""
        try:
            self._append(line(sample, judgement).encode("ascii") + b"\n")
        except OSError as error:
            if not self._failing:
                log.warning(
                    "%s cannot be written: %s; samples are missing in it until it can",
                    self._path,
                    error.strerror,
                    extra={"event": "json_log_blocked"},
                )
            self._failing = True
            return
        if self._failing:
            log.info("%s is written again", self._path, extra={"event": "json_log_written"})
        self._failing = False

    def _append(self, content: bytes) -> None:
        file = self._opened()
        try:
            size = os.fstat(file).st_size
            if size and size + len(content) > self._max_bytes:
                os.close(file)
                file = -1
                self._rotate()
                file, size = self._opened(), 0
            if os.write(file, content) < len(content):
                os.ftruncate(file, size)  # half a line would spoil the next one too
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            if file >= 0:
                os.close(file)

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, _FILE_MODE)

    def _rotate(self) -> None:
        names = [str(self._path), *(f"{self._path}.{n}" for n in range(1, self._n_files))]
        if len(names) == 1:
            os.unlink(self._path)
        for newer, older in reversed(list(itertools.pairwise(names))):
            with contextlib.suppress(FileNotFoundError):
                os.replace(newer, older)


class Recording:
    """Keeps samples in *history*, and in *json_log* if there is one."""

    def __init__(self, history: History, json_log: JsonLog | None = None) -> None:
        self._history = history
        self._json_log = json_log

    def add(self, sample: Sample, judgement: Judgement) -> Judgement:
        """Keep both; the judgement with the numbers of its alerts. Raises HistoryError, after the line was written."""
        try:
            judgement = self._history.add(sample, judgement)
        finally:
            if self._json_log is not None:
                self._json_log.write(sample, judgement)
        return judgement

    def close(self) -> None:
        """End it."""
        self._history.close()


def line(sample: Sample, judgement: Judgement) -> str:
    """*sample* as JSON, in ASCII: nothing in it that a terminal could obey.

    A figure with subjects is an object from subject to value. *alerts* are the open ones.
    """
    content = {
        "at": to_text(sample.at),
        "figures": _figures(sample),
        "words": {f"{key.name} {key.subject}".rstrip(): words for key, words in sample.words.items()},
        "alerts": [
            {"rule": alert.rule, "subject": alert.key.subject, "severity": alert.severity, "title": alert.title}
            for alert in judgement.open
        ],
    }
    return json.dumps({key: value for key, value in content.items() if value})


def _figures(sample: Sample) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for (name, subject), value in sample.figures.items():
        if not math.isfinite(value):
            continue  # JSON has no such numbers
        plain = int(value) if value == int(value) else round(value, 6)
        if subject or meaning(name).subject is not None:
            figures.setdefault(name, {})[subject] = plain
        else:
            figures[name] = plain
    return figures
