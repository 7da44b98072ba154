"""``transcribed transcribe``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from daemon.cli import exits
from daemon.cli.common import duration, loaded, readable
from daemon.errors import TranscribedError
from daemon.log import escape
from daemon.oneshot import Done, open_oneshot, options_for, recordings_in
from daemon.outputs.document import Document
from daemon.outputs.typesetting import name_of


class _AudioColumn(ProgressColumn):
    """``3:20 of 12:05, 8.4x``: audio done, audio in all, and seconds of audio per second."""

    def render(self, task: Task) -> Text:
        if not task.total:
            return Text(f"{duration(task.completed)} decoded")
        speed = f", {task.speed:.1f}x" if task.speed else ""
        return Text(f"{duration(task.completed)} of {duration(task.total)}{speed}")


class _Bars:
    """One bar a recording, on stderr; nothing where that is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), _AudioColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[bytes, TaskID] = {}
        self._lock = threading.Lock()

    def update(self, path: bytes, stage: str, done_s: float, total_s: float) -> None:
        """Show where a recording is."""
        with self._lock:
            if path not in self._tasks:
                name = Text(readable(path.rpartition(b"/")[2])).markup
                self._tasks[path] = self.progress.add_task(name, total=None)
            self.progress.update(self._tasks[path], completed=done_s, total=total_s if stage == "engine" else None)

    def remove(self, path: bytes) -> None:
        """A recording is done."""
        with self._lock:
            if (task := self._tasks.pop(path, None)) is not None:
                self.progress.remove_task(task)


def run(
    paths: Sequence[Path], file: Path | None, overrides: Mapping[str, object], folder: Path | None, *, stdout: bool
) -> int:
    """Transcribe *paths*; the exit code. Raises ConfigError, TranscribedError."""
    config = loaded(file).config
    options = options_for(config, overrides)
    if folder is not None and not folder.is_dir():
        raise TranscribedError(f"{folder}: no such folder to write to; create it first")
    recordings = recordings_in(paths)
    if not recordings:
        raise TranscribedError("no recordings there: no file has the extension of an audio or video type")
    bars = _Bars()
    n_failed = 0
    with bars.progress, open_oneshot(config, options.model, _print_output) as oneshot:
        for done in oneshot.transcribe(recordings, options, folder, bars.update, write=not stdout):
            bars.remove(done.path)
            n_failed += bool(done.error)
            report(done, bars.progress.console, stdout=stdout)
    return exits.FAILED if n_failed else exits.OK


def report(done: Done, console: Console, *, stdout: bool) -> None:
    """What came of a recording, for a person; with *stdout* its text, and a translation beside it below that."""
    if done.document is None:
        print(f"transcribed: {readable(done.path)}: {escape(done.error)}", file=sys.stderr)
        return
    if stdout:
        _print_text(done.document)
        if (english := done.document.translated) is not None:
            print()
            _print_text(english)
    notice = f" ({done.document.notice})" if done.document.notice else ""
    names = ", ".join(readable(path.rpartition(b"/")[2]) for path in done.files)
    console.print(
        Text(f"{readable(done.path)}: {duration(done.document.audio_s)}{notice}" + (f" -> {names}" if names else "")),
        highlight=False,
        soft_wrap=True,
    )


def _print_text(document: Document) -> None:
    for segment in document.transcript.segments:
        name = name_of(segment.speaker)
        print(f"{name}: {segment.text}" if name else segment.text)


def _print_output(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr)
