"""The API of a real daemon with the real model: uploads, actions, OpenAI's client, and all that must not work."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.audio import TranscriptionDiarized, TranscriptionVerbose

from daemon.web.access import people
from daemon.web.access.visitor import Role
from tests.harness import DATA, Daemon, word_error_rate

MEMO = "memo.wav"
OCTETS = "application/offset+octet-stream"


class _Staying(urllib.request.HTTPRedirectHandler):
    """Follows nothing."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        """No request."""


_STAYING = urllib.request.build_opener(_Staying)
FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def form(fields: Mapping[bytes, bytes], files: Mapping[str, bytes]) -> bytes:
    """A form with files, as a browser sends it."""
    parts = [b'name="%s"\r\n\r\n%s' % pair for pair in fields.items()]
    parts += [b'name="files"; filename="%s"\r\n\r\n%s' % (name.encode(), body) for name, body in files.items()]
    return b"".join(b"--B\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--B--\r\n"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def header(self, name: str) -> str:
        """One of the headers."""
        return {key.lower(): value for key, value in self.headers.items()}[name.lower()]

    @property
    def json(self) -> Any:
        """The content, read."""
        return json.loads(self.content)


@dataclass
class Service:
    """A running daemon with its pages, and the tokens of three programs."""

    daemon: Daemon
    port: int
    tokens: dict[str, str] = field(default_factory=dict[str, str])

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        by: str = "anna",
        headers: Mapping[str, str] | None = None,
        *,
        follow: bool = True,
    ) -> Answer:
        """A request; *body* is JSON unless it is bytes. An answer that leads elsewhere is followed where asked."""
        told = {"Authorization": f"Bearer {self.tokens.get(by, by)}"} if by else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            told["Content-Type"] = "application/json"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", body, {**told, **(headers or {})}, method=method
        )
        try:
            with (urllib.request.urlopen if follow else _STAYING.open)(request, timeout=30) as answer:
                return Answer(answer.status, dict(answer.headers.items()), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers.items()), error.read())

    def begin(self, name: str, content: bytes, by: str = "anna", **more: Any) -> str:
        """The number of a new upload."""
        wanted = {"folder": str(self.daemon.inbox), "name": name, "size_bytes": len(content), **more}
        answer = self.ask("POST", "/api/v1/uploads", wanted, by)
        assert answer.status == 201, answer.content
        number: str = answer.json["id"]
        return number

    def add(self, upload: str, content: bytes, offset: int = 0, by: str = "anna") -> Answer:
        """Bytes of an upload."""
        headers = {"Content-Type": OCTETS, "Upload-Offset": str(offset)}
        return self.ask("PATCH", f"/api/v1/uploads/{upload}", content, by, headers)

    def upload(self, name: str, content: bytes, by: str = "anna", **more: Any) -> dict[str, Any]:
        """A recording that was sent."""
        number = self.begin(name, content, by, **more)
        assert self.add(number, content, by=by).status == 204
        answer = self.ask("POST", f"/api/v1/uploads/{number}/finish", by=by)
        assert answer.status == 200, answer.content
        done: dict[str, Any] = answer.json
        return done

    def ended(self, job_id: int) -> dict[str, Any]:
        """The job, once it has ended."""
        found: dict[str, Any] = {}

        def over() -> bool:
            found.update(self.ask("GET", f"/api/v1/jobs/{job_id}").json)
            return found["state"] in ("done", "failed", "cancelled", "vanished", "quarantined")

        self.daemon.until(over, f"job {job_id} to end")
        return found

    def client(self, by: str = "anna") -> openai.OpenAI:
        """OpenAI's own client, changed in nothing but address and key."""
        key = self.tokens.get(by, by)
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Service]:
    root = tmp_path_factory.mktemp("api")
    tokens = {name: people.new_token() for name in ("anna", "ben", "rita")}
    roles = {"anna": Role.ACT, "ben": Role.ACT, "rita": Role.READ}
    known = {name: people.Person(name, roles[name], people.hashed_token(token)) for name, token in tokens.items()}
    (root / "tokens").write_text(people.written(known, "tokens"))
    (root / "users").write_text(people.written({}, "users"))
    for name in ("tokens", "users"):
        (root / name).chmod(0o600)
    port = _free_port()
    (root / "t.toml").write_text(
        f'[web]\nlisten = "127.0.0.1:{port}"\nlogin = ["password"]\n'
        f'tokens_file = "{root}/tokens"\nusers_file = "{root}/users"\n'
    )
    daemon = Daemon(root, models_dir, {"TRANSCRIBED_CONFIG": str(root / "t.toml")})
    try:
        yield Service(daemon.start(), port, tokens)
    finally:
        if daemon.running():
            daemon.stop()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def sample(name: str = MEMO, *, unlike: int = 0) -> bytes:
    """A recording; *unlike* makes its bytes others than those of every other."""
    return (DATA / name).read_bytes() + b"\0" * unlike


# Uploads.


def test_a_recording_that_is_sent_in_pieces_is_transcribed_in_its_folder(
    service: Service, texts: dict[str, dict[str, Any]]
) -> None:
    """It lands under its name with the language that was chosen, its transcript beside it; the API has the words."""
    content = sample()
    number = service.begin(
        "../Memo of Anna.wav", content, sha256=hashlib.sha256(content).hexdigest(), options={"language": "en"}
    )
    assert service.add(number, content[:50_000]).header("Upload-Offset") == "50000"
    told = service.ask("HEAD", f"/api/v1/uploads/{number}")
    assert (told.header("Upload-Offset"), told.header("Upload-Length")) == ("50000", str(len(content)))
    wrong = service.add(number, content, 0)
    assert (wrong.status, wrong.header("Upload-Offset")) == (409, "50000")
    assert service.ask("POST", f"/api/v1/uploads/{number}/finish").status == 409
    assert service.add(number, content[50_000:], 50_000).status == 204
    done = service.ask("POST", f"/api/v1/uploads/{number}/finish").json
    assert done["path"] == str(service.daemon.inbox / "Memo of Anna.wav")
    job = service.ended(done["job"])
    assert (job["state"], job["options"]["language"], job["origins"]) == ("done", "en", {"language": "upload"})
    text = service.ask("GET", f"/api/v1/jobs/{job['id']}/transcript?format=txt").content.decode()
    assert word_error_rate(texts[MEMO]["text"], text) < 0.2
    assert (service.daemon.inbox / "Memo of Anna.txt").read_text() == text
    events = service.ask("GET", f"/api/v1/jobs/{job['id']}/events").json["events"]
    assert (events[0]["kind"], events[0]["detail"]["by"]) == ("queued", "anna")


def test_the_scan_makes_no_second_job_of_what_was_sent(service: Service) -> None:
    """Also where the job failed before the scan saw the file: nobody dropped it again."""
    done = service.upload("no sound.wav", b"this is no sound at all" * 50)
    assert service.ended(done["job"])["state"] == "failed"
    seen = service.upload("seen.flac", sample("silence.flac"))
    service.ended(seen["job"])
    (service.daemon.inbox / "dropped.flac").write_bytes(sample("silence.flac", unlike=3))

    def dropped() -> bool:
        jobs = service.ask("GET", "/api/v1/jobs?text=dropped.flac&state=done").json["jobs"]
        return bool(jobs)

    service.daemon.until(dropped, "a file that was dropped")
    for name in ("no sound.wav", "seen.flac"):
        assert len(service.ask("GET", f"/api/v1/jobs?text={name.replace(' ', '%20')}").json["jobs"]) == 1


def test_an_upload_is_seen_by_its_sender_alone(service: Service) -> None:
    """To another program it is not there, whatever it does with its number."""
    number = service.begin("hers.wav", b"12345")
    for method, path in (("GET", ""), ("HEAD", ""), ("DELETE", ""), ("POST", "/finish")):
        assert service.ask(method, f"/api/v1/uploads/{number}{path}", by="ben").status == 404
    assert service.add(number, b"1", by="ben").status == 404
    assert number not in str(service.ask("GET", "/api/v1/uploads", by="ben").json)
    assert service.ask("DELETE", f"/api/v1/uploads/{number}").status == 204
    assert service.ask("GET", f"/api/v1/uploads/{number}").status == 404


@pytest.mark.parametrize(
    "wanted",
    [
        {"folder": "/etc"},
        {"folder": "INBOX/../.."},
        {"folder": "INBOX/.hidden"},
        {"folder": "INBOX/not there"},
        {"name": "passwd"},
        {"name": "x.txt"},
        {"size_bytes": 1 << 60},
        {"size_bytes": -1},
        {"size_bytes": "5"},
        {"options": {"model": "../../etc/passwd"}},
        {"options": {"hotwords": "<|endoftext|>"}},
        {"surprise": 1},
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(service: Service, wanted: dict[str, Any]) -> None:
    """Nothing is left of it in the folder."""
    inbox = str(service.daemon.inbox)
    whole: dict[str, Any] = {"folder": inbox, "name": "a.wav", "size_bytes": 5} | wanted
    whole["folder"] = str(whole["folder"]).replace("INBOX", inbox)
    before = sorted(os.listdir(inbox))
    answer = service.ask("POST", "/api/v1/uploads", whole)
    assert answer.status in (413, 422), answer.content
    assert answer.json["error"]["message"]
    assert sorted(os.listdir(inbox)) == before


def test_more_than_was_promised_is_cut_off(service: Service) -> None:
    """A sender that goes on for ever fills no disk."""
    number = service.begin("short.wav", b"12345")
    answer = service.add(number, bytes(3_000_000))
    assert answer.status in (413, 409), answer.content
    assert service.ask("GET", f"/api/v1/uploads/{number}").json["offset"] <= 5
    service.ask("DELETE", f"/api/v1/uploads/{number}")


def test_a_recording_that_claims_to_be_endless_fails_alone(service: Service) -> None:
    """A small file that says it holds days of sound is a failed job; the next recording is done."""
    head = b"RIFF" + struct.pack("<I", 0xFFFFFFF0) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 1, 1, 1, 8)
    bomb = head + b"data" + struct.pack("<I", 0xFFFFFF00) + bytes(400_000)
    job = service.ended(service.upload("bomb.wav", bomb)["job"])
    assert job["state"] in ("failed", "done", "waiting")
    assert service.ended(service.upload("after.flac", sample("silence.flac", unlike=9))["job"])["state"] == "done"


# Actions and questions.


def test_who_may_look_changes_nothing(service: Service) -> None:
    """A token of role read gets every answer and no change; one that nobody has gets nothing."""
    for path in ("/status", "/jobs", "/events", "/alerts", "/folders", "/suspects", "/search?q=garden"):
        assert service.ask("GET", f"/api/v1{path}", by="rita").status == 200, path
        assert service.ask("GET", f"/api/v1{path}", by="tr_guessed").status == 401, path
        assert service.ask("GET", f"/api/v1{path}", by="").status == 401, path
    for path in ("/jobs/1/retry", "/jobs/1/cancel", "/jobs/1/redo", "/jobs/retry", "/uploads"):
        assert service.ask("POST", f"/api/v1{path}", {}, by="rita").status == 403, path
    with pytest.raises(openai.PermissionDeniedError):
        service.client("rita").audio.transcriptions.create(file=(MEMO, sample()), model="whisper-1")


def test_tokens_cannot_be_guessed_in_a_row(service: Service) -> None:
    """After some wrong ones the next are not even looked at; who has a right one is not kept out."""
    statuses = [service.ask("GET", "/api/v1/jobs", by=f"tr_{n:032d}").status for n in range(60)]
    assert set(statuses) == {401, 429}
    assert service.ask("GET", "/api/v1/jobs").status == 200


def test_a_recording_is_done_again_as_somebody_wishes(service: Service) -> None:
    """With other options, by name; a job that is not in the right state, or not there, is not changed."""
    done = service.upload("again.flac", sample("silence.flac", unlike=17))
    first = service.ended(done["job"])
    answer = service.ask("POST", f"/api/v1/jobs/{first['id']}/redo", {"options": {"quality": "careful"}}, by="ben")
    assert answer.status == 201, answer.content
    again = service.ended(answer.json["job"])
    assert (again["options"]["quality"], again["origins"]["quality"]) == ("careful", "redo")
    events = service.ask("GET", f"/api/v1/jobs/{again['id']}/events").json["events"]
    assert events[0]["detail"]["by"] == "ben"
    versions = service.ask("GET", f"/api/v1/jobs/{first['id']}/versions").json["jobs"]
    assert [job["id"] for job in versions] == [again["id"], first["id"]]
    assert service.ask("POST", f"/api/v1/jobs/{first['id']}/retry").status == 409
    assert service.ask("POST", "/api/v1/jobs/999999/retry").status == 404
    assert service.ask("POST", f"/api/v1/jobs/{first['id']}/redo", {"options": {"model": "huge"}}).status == 422
    many = service.ask("POST", "/api/v1/jobs/cancel", {"jobs": [first["id"], 999999]}).json
    assert many == {"changed": [], "refused": [first["id"], 999999]}


def test_a_text_is_corrected_and_made_again_only_where_that_is_meant(service: Service) -> None:
    """The files follow; a second program that is late is told so."""
    job = service.ended(service.upload("correct me.wav", sample(unlike=41))["job"])
    place = f"/api/v1/jobs/{job['id']}"
    wanted = {"base": 1, "lines": [{"line": 0, "text": "Water in Rotterdam."}]}
    assert service.ask("POST", f"{place}/correct", wanted, by="rita").status == 403
    assert service.ask("POST", f"{place}/correct", wanted).json == {"version": 2}
    late = service.ask("POST", f"{place}/correct", wanted, by="ben")
    assert (late.status, late.json["error"]["newest"]) == (409, 2)
    beside = service.daemon.inbox / "correct me.txt"
    service.daemon.until(lambda: "Rotterdam" in beside.read_text(), "the text")
    told = service.ask("GET", f"{place}/corrections", by="rita").json
    assert [one["author"] for one in told["versions"]] == ["", "anna"]
    assert b"Rotterdam" not in service.ask("GET", f"{place}/transcript?format=txt&version=1").content
    refused = service.ask("POST", f"{place}/redo", {})
    assert (refused.status, refused.json["error"]["code"]) == (409, "corrected")
    assert service.ask("POST", f"{place}/restore", {"base": 2, "number": 1}, by="ben").json == {"version": 3}
    again = service.ask("POST", f"{place}/redo", {"over_corrections": True})
    assert again.status == 201, again.content
    service.ended(again.json["job"])
    over = service.ask("POST", f"{place}/restore", {"base": 3, "number": 2})
    assert (over.status, over.json["error"]["newest"]) == (409, 0)


def test_jobs_are_paged_by_their_numbers(service: Service) -> None:
    """Each page goes on where the last one ended, and none has a job twice."""
    for n in range(3):
        service.upload(f"page {n}.flac", sample("silence.flac", unlike=30 + n))
    seen: list[int] = []
    before = ""
    while True:
        page = service.ask("GET", f"/api/v1/jobs?limit=2{before}").json
        seen += [job["id"] for job in page["jobs"]]
        if page["older"] is None:
            break
        before = f"&before={page['older']}"
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) >= 3


# The forms of the pages, which work without a script.


def test_a_form_with_recordings_is_taken_as_a_whole(service: Service) -> None:
    """Each gets its job with what was chosen; of one that is no recording the page says so, and keeps the others."""
    inbox = str(service.daemon.inbox).encode()
    fields = {b"folder": inbox, b"language": b"en", b"task": b""}
    good = sample("silence.flac", unlike=70)
    answer = service.ask("POST", "/upload", form(fields, {"by form.flac": good}), headers=FORM, follow=False)
    assert answer.status == 303
    number = int(answer.header("Location").rpartition("=")[2])
    job = service.ended(number)
    assert (job["options"]["language"], job["origins"]["language"]) == ("en", "upload")
    files = {"notes.txt": b"x", "<i>by form 2.flac": sample("silence.flac", unlike=71), "no.sh": b"y"}
    mixed = service.ask("POST", "/upload", form(fields, files), headers=FORM)
    assert mixed.status == 422
    assert b"notes.txt" in mixed.content
    assert b"<i>" not in mixed.content
    names = os.listdir(service.daemon.inbox)
    assert "_i_by form 2.flac" in names
    assert not {"notes.txt", "no.sh"} & set(names)
    assert service.ask("POST", "/upload", form(fields, {"": b""}), headers=FORM).status == 422
    outside = service.ask("POST", "/upload", form({b"folder": b"/etc"}, {"a.flac": good}), headers=FORM)
    assert outside.status == 422
    assert service.ask("POST", "/upload", form(fields, {"a.flac": good}), by="rita", headers=FORM).status == 403
    assert service.ask("POST", "/upload", b"--B\r\n", headers=FORM).status == 400
    service.daemon.until(lambda: not list(service.daemon.inbox.glob(".tr-upload-*")), "no part to be left")


def test_the_buttons_of_a_job_do_what_the_api_does(service: Service) -> None:
    """They lead back to a page of the job; whoever may only look cannot press them."""
    job = service.upload("buttons.flac", sample("silence.flac", unlike=80))["job"]
    service.ended(job)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    redone = service.ask("POST", f"/jobs/{job}/redo", b"language=de&task=&quality=", headers=kind, follow=False)
    assert redone.status == 303
    again = int(redone.header("Location").rpartition("/")[2])
    assert service.ended(again)["options"]["language"] == "de"
    for path, status in ((f"/jobs/{job}/retry", 303), (f"/jobs/{job}/cancel", 303), ("/jobs/99999/retry", 404)):
        assert service.ask("POST", path, b"a=b", headers=kind, follow=False).status == status
    assert service.ask("POST", f"/jobs/{job}/priority", b"priority=top", headers=kind).status == 400
    assert service.ask("POST", f"/jobs/{job}/redo", b"language=xx", headers=kind).status == 409
    assert service.ask("POST", f"/jobs/{job}/redo", b"", by="rita", headers=kind).status == 403


# OpenAI's client.


def test_openai_s_client_gets_every_format(service: Service, texts: dict[str, dict[str, Any]]) -> None:
    """The words are there in each; nothing of the request stays in the list of jobs or on the disk."""
    client = service.client()
    said = texts[MEMO]["text"]
    text = client.audio.transcriptions.create(file=(MEMO, sample()), model="whisper-1").text
    assert word_error_rate(said, text) < 0.2
    for form in ("text", "srt", "vtt"):
        found: Any = client.audio.transcriptions.create(
            file=(MEMO, sample()), model="whisper-1", response_format=form, language="en"
        )
        assert "garden" in found
        assert ("-->" in found) == (form != "text")
    verbose = client.audio.transcriptions.create(
        file=(MEMO, sample()),
        model="base",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        prompt="A garden.",
        temperature=0.0,
    )
    assert isinstance(verbose, TranscriptionVerbose)
    assert verbose.language == "english"
    assert verbose.words
    assert verbose.segments
    assert [word.word.strip(",.") for word in verbose.words][:2] == ["The", "garden"]
    assert all(0 <= word.start <= word.end <= verbose.duration + 0.5 for word in verbose.words)
    diarized: Any = client.audio.transcriptions.create(
        file=(MEMO, sample()), model="whisper-1", response_format="diarized_json"
    )
    assert isinstance(diarized, TranscriptionDiarized)
    assert {segment.speaker for segment in diarized.segments} == {"A"}
    assert "memo" not in str(service.ask("GET", "/api/v1/jobs?limit=500&text=memo.wav").json["jobs"]).lower()
    service.daemon.until(lambda: not list((service.daemon.state_dir / "requests").iterdir()), "the requests to go")
    event = service.ask("GET", "/api/v1/events?limit=1").json["events"][0]
    assert (event["kind"], event["detail"]["by"], event["detail"]["outcome"]) == ("request", "anna", "ok")


def test_openai_s_client_can_translate_and_stream(service: Service) -> None:
    """Pieces that together are the whole text; English where another language was spoken."""
    client = service.client()
    events = list(client.audio.transcriptions.create(file=(MEMO, sample()), model="whisper-1", stream=True))
    pieces = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert events[-1].type == "transcript.text.done"
    assert pieces == events[-1].text
    assert "garden" in pieces
    with pytest.warns(DeprecationWarning, match="deprecated"):
        english = client.audio.translations.create(file=(MEMO, sample()), model="whisper-1")  # pyright: ignore[reportDeprecated]  # still there for whoever uses it
    assert "garden" in english.text
    assert "whisper-1" in [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    ("change", "error", "param"),
    [
        ({"file": ("x.wav", b"no sound, no sound")}, openai.BadRequestError, "file"),
        ({"file": ("x.wav", b"")}, openai.BadRequestError, "file"),
        ({"model": "gpt-99"}, openai.NotFoundError, "model"),
        ({"language": "klingon"}, openai.BadRequestError, "language"),
        ({"response_format": "mp3"}, openai.BadRequestError, "response_format"),
        ({"temperature": 7.0}, openai.BadRequestError, "temperature"),
        ({"prompt": "<|endoftext|>"}, openai.BadRequestError, "prompt"),
    ],
)
def test_openai_s_client_understands_every_no(
    service: Service, change: dict[str, Any], error: type[openai.APIStatusError], param: str
) -> None:
    """The error is of the class that a program expects, and names the field that is to blame."""
    asked: dict[str, Any] = {"file": (MEMO, sample()), "model": "whisper-1"} | change
    with pytest.raises(error) as told:
        service.client().audio.transcriptions.create(**asked)
    assert told.value.param == param
    assert told.value.message


def test_a_form_without_a_file_and_one_that_is_no_form_are_refused(service: Service) -> None:
    """In OpenAI's shape."""
    for kind, body in (
        (
            "multipart/form-data; boundary=B",
            b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--B--\r\n',
        ),
        ("multipart/form-data; boundary=B", b"nothing"),
        ("application/json", b"{}"),
    ):
        answer = service.ask("POST", "/v1/audio/transcriptions", body, headers={"Content-Type": kind})
        assert answer.status in (400, 404), answer.content
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}


def test_a_client_that_goes_away_has_its_job_cancelled(service: Service) -> None:
    """The recording is not transcribed for nobody, and is gone."""
    minutes = _long_wav(service, 40)
    body = (
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="long.wav"\r\n\r\n' + minutes + b"\r\n--B--\r\n"
    )
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {service.tokens['ben']}\r\n"
        f"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    requests = service.daemon.state_dir / "requests"
    with socket.create_connection(("127.0.0.1", service.port)) as sock:
        sock.sendall(head.encode() + body)
        service.daemon.until(lambda: any(path.name.endswith("long.wav") for path in requests.iterdir()), "the request")
    service.daemon.until(lambda: not list(requests.iterdir()), "the request to go", 60)
    event = service.ask("GET", "/api/v1/events?limit=1").json["events"][0]
    assert (event["kind"], event["detail"]["by"], event["detail"]["outcome"]) == ("request", "ben", "cancelled")


def _long_wav(service: Service, n_times: int) -> bytes:
    del service
    with wave.open(str(DATA / MEMO)) as one:
        frames, parameters = one.readframes(one.getnframes()), one.getparams()
    out = io.BytesIO()
    with wave.open(out, "wb") as long:
        long.setparams(parameters)
        long.writeframes(frames * n_times)
    return out.getvalue()


def test_several_programs_are_answered_at_once(service: Service) -> None:
    """Each with its own words, while pages and uploads go on."""
    found: dict[str, str] = {}

    def ask(name: str) -> None:
        found[name] = service.client().audio.transcriptions.create(file=(name, sample(name)), model="whisper-1").text

    threads = [threading.Thread(target=ask, args=(name,)) for name in (MEMO, "greeting.opus", "silence.flac")]
    for thread in threads:
        thread.start()
    assert service.ask("GET", "/api/v1/status").status == 200
    for thread in threads:
        thread.join()
    assert "garden" in found[MEMO]
    assert found["silence.flac"] == ""
    assert found["greeting.opus"]


@pytest.mark.parametrize("place", ["/api/v1", "/v1"])
def test_no_request_that_can_be_made_up_is_a_bug(service: Service, place: str) -> None:
    """schemathesis, by the description of the API: no answer is a 5xx, and each is one that is described."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{service.port}{place}/openapi.json"),
            *("--phases", "coverage,fuzzing", "--max-time", "6", "--no-color", "--generation-deterministic"),
            *("--header", f"Authorization: Bearer {service.tokens['anna']}", "--warnings", "off"),
            *("--checks", "not_a_server_error,status_code_conformance,response_schema_conformance"),
            *("--exclude-path", "/uploads/{upload_id}", "--exclude-method", "PATCH"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert '"event": "bug"' not in service.daemon.log.read_text()
