"""The pages over a real history and made-up answers of the daemon, for tests of what is on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.actor import Pulse
from daemon.answers import Answers
from daemon.config import Config, InboxConfig
from daemon.intake.settings_mistakes import Mistake
from daemon.options import JobOptions
from daemon.outputs.document import Document
from daemon.outputs.kept import Kept, lines_of, packed, stretches_of
from daemon.suspects import Suspect
from daemon.transcript import Segment, Transcript, Word
from daemon.web.access.visitor import LOCAL, Visitor
from daemon.web.answering import HANDLERS
from daemon.web.pages import correct, folders, health, history, now, recording, search
from daemon.web.site import Site
from monitor.alert import Alert
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, NewJob, Output, Result

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@dataclass
class Office:
    """A history, an inbox, and what the daemon answers; pages of it by `get`."""

    root: Path
    store: JobStore
    status: dict[str, Any] = field(default_factory=lambda: {"jobs": {}, "in_hand": [], "inboxes": []})
    alerts: tuple[Alert, ...] = ()
    visitor: Visitor = LOCAL
    mistakes: dict[bytes, tuple[Mistake, ...]] = field(default_factory=dict[bytes, tuple[Mistake, ...]])

    @property
    def inbox(self) -> Path:
        """The one inbox."""
        return self.root / "inbox"

    @property
    def config(self) -> Config:
        """What is configured."""
        return Config(state_dir=self.root / "state", inbox=(InboxConfig(path=self.inbox, hotwords="Rotterdam"),))

    def site(self) -> Site:
        """The daemon as pages see it."""

        def ask(command: str, **arguments: object) -> Any:
            if command in ("correct", "restore"):
                nothing: Any = None
                answers = Answers(self.store, nothing, nothing, {}, Pulse(), AT, lambda: self.config)
                return answers.commands()[command](arguments)
            return self.status if command == "status" else None

        def shows(inbox: bytes) -> bool:
            return inbox == os.fsencode(self.inbox)

        def mistakes(inbox: bytes) -> dict[bytes, tuple[Mistake, ...]]:
            return self.mistakes if shows(inbox) else {}

        made = SimpleNamespace(
            version="1",
            config=lambda: self.config,
            database=self.root / "state" / "transcribed.db",
            metrics=self.root / "state" / "metrics.db",
            store=self.store,
            status=lambda: self.status,
            ask=ask,
            open_alerts=lambda: self.alerts,
            inboxes=lambda: self.config.inbox,
            mistakes=mistakes,
            shows=shows,
            clock=lambda: AT,
        )
        return cast("Site", made)

    def client(self) -> TestClient:
        """Somebody with a browser."""
        site = self.site()
        routes: list[BaseRoute] = []
        for page in (now, history, search, recording, correct, health, folders):
            routes += page.routes(site)
        app = Starlette(routes=routes, exception_handlers=cast("Any", HANDLERS))

        async def behind_gate(scope: Scope, receive: Receive, send: Send) -> None:
            scope["visitor"], scope["csrf"] = self.visitor, "token"
            await app(scope, receive, send)

        return TestClient(cast("ASGIApp", behind_gate), raise_server_exceptions=False)

    def get(self, path: str, **headers: str) -> Any:
        """The answer to a GET."""
        return self.client().get(path, headers={"accept": "text/html", **headers})

    def new(self, name: str | bytes, content: bytes = b"RIFF", *, state: str = "queued", **options: object) -> Job:
        """A recording in the inbox with its job, which is running."""
        path = os.path.join(os.fsencode(self.inbox), name if isinstance(name, bytes) else name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(content)
        fingerprint = Fingerprint.of(os.stat(path))
        asked = replace(JobOptions(), **cast("Any", options))
        job = NewJob(path, os.fsencode(self.inbox), fingerprint, asked.to_dict(), asked.digest())
        self.store.enqueue([job], AT)
        claimed = self.store.claim(AT) if state != "queued" else None
        found = claimed or self.store.newest(path)
        assert found is not None
        return found

    def transcribed(self, name: str | bytes, content: bytes = b"RIFF", **told: Any) -> int:
        """The number of a done job of a recording in the inbox; see `document` for *told*."""
        job = self.new(name, content, state="running")
        made = document(os.fsdecode(os.path.basename(job.path)), **told)
        result_ = Result(
            cast("Any", made.outcome), made.notice, made.transcript.language, 0.98, "base", "cpu", "int8", 4.0, 1, 6
        )
        text = Output("txt", job.path + b".txt", b".tr-0.part", "0" * 64)
        kept = packed(Kept(made, job.fingerprint, job.options_digest))
        self.store.decoded(job, source_sha256="5" * 64, audio_s=90.0, declared_s=90.0, speech_s=60.0, at=AT)
        self.store.publishing(job, [text], result_, AT, lines_of(made.transcript), kept, stretches_of(made))
        self.store.finish(job, result_, AT)
        return job.id


def words(text: str, start_s: float = 0.0) -> tuple[Word, ...]:
    """*text* as the engine gives words, one each half second."""
    parts = text.split(" ")
    return tuple(Word(start_s + n / 2, start_s + n / 2 + 0.4, part, 0.9) for n, part in enumerate(parts))


def line(text: str, start_s: float = 0.0, *, timed: bool = True, speaker: str = "") -> Segment:
    """A line of a transcript."""
    spoken = words(text, start_s) if timed else ()
    return Segment(start_s, start_s + 3.5, text, -0.2, 1.2, 0.1, 0.0, spoken, speaker=speaker)


def document(
    recording_name: str,
    *lines: Segment,
    segments: tuple[Segment, ...] = (),
    translation: tuple[Segment, ...] = (),
    suspects: tuple[Suspect, ...] = (),
    language: str = "en",
    outcome: str = "ok",
    options: Mapping[str, object] | None = None,
) -> Document:
    """A document with these lines."""
    found = (*lines, *segments) or (line("Good morning, Rotterdam."),)
    asked = replace(JobOptions(), **cast("Any", dict(options or {})))
    return Document(
        Transcript(found, language, 0.98, "base", "cpu", "int8", translation),
        asked,
        recording_name,
        "5" * 64,
        90.0,
        90.0,
        outcome,
        "",
        "transcribed 1",
        "2026-03-02T12:00:00Z",
        suspects,
    )


def office(root: Path) -> Office:
    """An office without recordings."""
    (root / "state").mkdir()
    (root / "inbox").mkdir()
    return Office(root, JobStore.open(root / "state" / "transcribed.db", "me"))
