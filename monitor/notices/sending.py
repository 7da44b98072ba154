"""Sends messages through Apprise, in a process of its own: the only module that knows it.

``python -P -m monitor.notices.sending``: one JSON object on stdin, with letters (url, title, body, kind) and a
deadline; each letter is answered with one JSON line on stdout as soon as it is known whether it went: its index, and
the reason why not, or null. A letter without a title is only looked at: can its address be understood? In a process of
its own, because it can be ended, whatever hangs, and because its libraries and the secrets then leave the memory.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final, Protocol, TextIO, cast

import apprise

from monitor.notices.addresses import without_secrets

_APP_ID: Final = "transcribed"


class _Server(Protocol):
    """What we use of a service of Apprise."""

    overflow_mode: object
    notify_format: object


class _Door(Protocol):
    """What we use of `apprise.Apprise`, whose types are not whole."""

    def instantiate(self, url: str, *, asset: apprise.AppriseAsset) -> _Server | None: ...
    def add(self, servers: _Server) -> bool: ...
    def notify(self, *, body: str, title: str, notify_type: str, body_format: str) -> bool | None: ...


class _Said(logging.Handler):
    """Keeps what Apprise says of each thread's letter: the reason of a failure is only in its log."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: dict[int, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep warnings, and of the details only what the socket said: the rest holds addresses and messages."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING or "xception:" in text:
            # Of a long tale the cause: "HTTPConnectionPool(...): Max retries exceeded ... (Caused by ...)".
            cause = text.partition("Caused by ")[2] or text
            self.lines.setdefault(threading.get_ident(), []).append(cause)

    def reason(self) -> str:
        """All that was said in this thread, as one line."""
        return "; ".join(self.lines.get(threading.get_ident(), ()))[:2000]


def _asset() -> apprise.AppriseAsset:
    return apprise.AppriseAsset(
        storage_mode="memory",  # nothing on disk
        app_id=_APP_ID,
        app_desc=_APP_ID,
        app_url="",
        async_mode=False,  # we have a thread for each letter
        image_url_mask="",  # no picture from elsewhere
        image_url_logo="",
        image_path_mask="",
        interpret_escapes=False,  # a name may hold \\n or :smile:
        interpret_emojis=False,
    )


def send(letter: Mapping[str, Any], said: _Said) -> str | None:
    """The reason why *letter* did not go, without what is secret in its address; None if it went."""
    url = str(letter["url"])
    try:
        return _send(url, letter, said)
    except Exception as error:  # noqa: BLE001  # a bug of one service of a hundred must be that letter's reason alone
        return without_secrets(f"{type(error).__name__}: {error}", url)


def _send(url: str, letter: Mapping[str, Any], said: _Said) -> str | None:
    door = cast("_Door", apprise.Apprise(asset=_asset()))
    server = door.instantiate(url, asset=_asset())
    if server is None:
        return f"Apprise does not understand the address: {without_secrets(said.reason(), url)}"
    if not letter["title"]:
        return None
    if "overflow=" not in url:
        server.overflow_mode = apprise.OverflowMode.SPLIT  # else a chat with a limit would refuse a long one
    if url.lower().startswith("mailto") and "format=" not in url:
        server.notify_format = apprise.NotifyFormat.TEXT  # its HTML would be of lines that no reader can break
    door.add(server)
    # Not the server's own notify: only this one makes of our text what the service wants.
    went = door.notify(
        body=str(letter["body"]), title=str(letter["title"]), notify_type=str(letter["kind"]), body_format="text"
    )
    return None if went else without_secrets(said.reason(), url) or "the service did not take it, and gave no reason"


def _answer(out: TextIO, index: int, letter: Mapping[str, Any], said: _Said) -> None:
    reason = send(letter, said)
    # One write for one line: others answer at the same time.
    os.write(out.fileno(), (json.dumps({"index": index, "reason": reason}) + "\n").encode())


def main() -> None:
    """Answer the request on stdin; end by itself soon after its deadline, whatever hangs and whoever started us."""
    request: dict[str, Any] = json.load(sys.stdin)
    signal.alarm(int(request["deadline_s"]) + 5)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints must not answer for us
    said = _Said()
    logger = logging.getLogger("apprise")
    logger.handlers[:] = [said]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    threads = [
        threading.Thread(target=_answer, args=(out, index, letter, said), daemon=True)
        for index, letter in enumerate(request["letters"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with contextlib.suppress(OSError):
        out.close()
    os._exit(0)  # nothing to tidy, and no library may hold up the end


if __name__ == "__main__":
    main()
