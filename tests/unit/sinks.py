"""Servers on loopback that take messages and keep them: mail, and HTTP as webhooks and ntfy are spoken to."""

from __future__ import annotations

import json
import queue
import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from typing import Any, cast


class Server(socketserver.ThreadingTCPServer):
    """On a free port of loopback; *got* has what came, *status* is what HTTP requests are answered with."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.got: queue.Queue[Any] = queue.Queue()
        self.status = 200
        self.patience = threading.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


@dataclass
class Post:
    """A request: where it went, and its JSON."""

    path: str
    content: dict[str, Any] = field(default_factory=dict[str, Any])


class Web(BaseHTTPRequestHandler):
    """Takes JSON."""

    def do_POST(self) -> None:
        """Keep it."""
        server = cast("Server", self.server)
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.got.put(Post(self.path, content))
        self.send_response(server.status)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Mail(socketserver.StreamRequestHandler):
    """Takes one mail, as RFC 5321 says."""

    def handle(self) -> None:
        """Speak with one client."""
        self._say("220 sink")
        while line := self.rfile.readline():
            match line[:4].upper():
                case b"EHLO" | b"HELO":
                    self._say("250 sink")
                case b"DATA":
                    self._say("354 go on")
                    self._take()
                    self._say("250 taken")
                case b"QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 ok")

    def _take(self) -> None:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        mail = message_from_bytes(b"".join(lines), policy=policy.default)
        cast("Server", self.server).got.put(mail)

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class Silent(socketserver.BaseRequestHandler):
    """Accepts and never answers, until its `patience` is set."""

    def handle(self) -> None:
        """Wait."""
        server = cast("Server", self.server)
        server.got.put(None)
        server.patience.wait(60)


@contextmanager
def sink(handler: type[socketserver.BaseRequestHandler]) -> Generator[Server]:
    """A server, while it runs."""
    with Server(handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.patience.set()
            server.shutdown()
            thread.join()


def text_of(mail: EmailMessage) -> str:
    """What a reader without HTML sees."""
    part = mail.get_body(("plain",)) or mail.get_body(("html",))
    assert part is not None
    return str(part.get_content())
