"""The process that sends messages, seen from the service: started for each round, and ended at its deadline.

Knows nothing of Apprise, nor of what is in a message.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from monitor.notices.addresses import Address, without_secrets
from monitor.notices.messages import Message

DEADLINE_S: Final = 40.0
"""For all letters of a round, which are sent at once: a mail server may take its time."""

_MOST_CHARS: Final = 400
_GRACE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Letter:
    """A message for one address; without a message only the address is looked at."""

    address: Address
    message: Message | None


class Courier:
    """Sends letters, each round in a process of its own. `send` is for one thread; `close` for any."""

    def __init__(self, deadline_s: float = DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def send(self, letters: Sequence[Letter]) -> list[str | None]:
        """For each letter None if it went, else why not, without secrets. Returns soon after the deadline."""
        if not letters:
            return []
        try:
            process = self._start()
        except OSError as error:
            return [f"the process that sends could not be started: {error}"] * len(letters)
        output, words, hung = self._run(process, json.dumps(self._request(letters)).encode())
        silent = f"no answer within {self._deadline_s:g} s" if hung else f"the process that sends ended early: {words}"
        reasons: list[str | None] = [silent] * len(letters)
        for line in output.splitlines():
            answer = _answer_of(line)
            if answer is not None and 0 <= answer[0] < len(reasons):
                reasons[answer[0]] = answer[1]
        return [reason and _told(reason, letters) for reason in reasons]

    def close(self) -> None:
        """End the round in progress, and begin no other."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                _kill(self._process)

    def _request(self, letters: Sequence[Letter]) -> dict[str, Any]:
        return {
            "deadline_s": self._deadline_s,
            "letters": [
                {
                    "url": letter.address.url,
                    "title": letter.message.title if letter.message else "",
                    "body": letter.message.body if letter.message else "",
                    "kind": letter.message.kind if letter.message else "info",
                }
                for letter in letters
            ],
        }

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise OSError("the service ends")
            self._process = subprocess.Popen(
                # Addresses go through stdin: arguments and environment can be read by others.
                [sys.executable, "-P", "-m", "monitor.notices.sending"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is not for it, and what it starts dies with it
            )
            return self._process

    def _run(self, process: subprocess.Popen[bytes], request: bytes) -> tuple[bytes, str, bool]:
        """What it answered, the last that it said besides, and whether it had to be ended."""
        hung = False
        try:
            output, errors = process.communicate(request, self._deadline_s)
        except subprocess.TimeoutExpired:
            hung = True
            _kill(process)
            output, errors = _last_of(process)
        finally:
            with self._lock:
                self._process = None
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            process.poll()  # it ended, or hangs: then it is looked after when the next one is started
        lines = errors.decode("utf-8", "backslashreplace").strip().splitlines() or [f"status {process.returncode}"]
        return output, lines[-1], hung


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # not yet waited for, so the number is still its own


def _last_of(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What a process that was ended has said.

    What hangs in the kernel outlives SIGKILL, and what it started may keep its pipes open: nobody waits for those.
    """
    try:
        return process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired as error:
        return error.output or b"", error.stderr or b""


def _told(reason: str, letters: Sequence[Letter]) -> str:
    for letter in letters:
        reason = without_secrets(reason, letter.address.url)
    return reason if len(reason) <= _MOST_CHARS else f"{reason[:_MOST_CHARS]} ..."


def _answer_of(line: bytes) -> tuple[int, str | None] | None:
    try:
        answer: dict[str, Any] = json.loads(line)
        return int(answer["index"]), None if answer["reason"] is None else str(answer["reason"])
    except (ValueError, TypeError, KeyError):
        return None
