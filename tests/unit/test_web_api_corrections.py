"""Corrections by programs: over a real history, without a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.errors import TranscribedError
from daemon.versions import NotNow
from daemon.web.access.visitor import Role, Visitor
from daemon.web.api.apps import make_api
from tests.unit.web_pages import Office, line, office

NAUGHTY = "He said \u202e\x00\x1b[2J</script>\ud800".encode("utf-8", "replace").decode()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Office]:
    made = office(tmp_path)
    made.visitor = Visitor("anna", Role.ACT, "token")
    with closing(made.store):
        yield made


def talk(place: Office, *texts: str, speaker: str = "") -> int:
    """The number of a transcript with these lines."""
    return place.transcribed(
        "talk.wav", segments=tuple(line(text, 10.0 * n, speaker=speaker) for n, text in enumerate(texts))
    )


def client(place: Office) -> TestClient:
    app = Starlette(routes=[Mount("/api/v1", make_api(place.site()))])

    async def behind_gate(scope: Scope, receive: Receive, send: Send) -> None:
        scope["visitor"] = place.visitor
        await app(scope, receive, send)

    return TestClient(cast("ASGIApp", behind_gate), raise_server_exceptions=False)


def get(place: Office, path: str) -> Any:
    return client(place).get(f"/api/v1{path}")


def as_json(body: Any) -> dict[str, Any]:
    """*body* as it is sent; bytes as they are."""
    headers = {"Content-Type": "application/json"}
    return {"content": body, "headers": headers} if isinstance(body, bytes) else {"json": body}


def post(place: Office, path: str, body: Any) -> Any:
    return client(place).post(f"/api/v1{path}", **as_json(body))


def texts(place: Office, job_id: int, version: int | None = None) -> list[tuple[str, str]]:
    """Who says what, by the API."""
    asked = f"&version={version}" if version else ""
    found = get(place, f"/jobs/{job_id}/transcript?format=json{asked}").json()
    return [(one.get("speaker", ""), one["text"]) for one in found["segments"]]


def test_a_text_is_corrected_read_and_taken_back(place: Office) -> None:
    """Each version is by who made it, and can be read."""
    job_id = talk(place, "One.", "Two.", "Three.", speaker="Speaker 1")
    assert get(place, f"/jobs/{job_id}/corrections").json() == {
        "newest": 1,
        "versions": [],
        "files_due": None,
        "reason": "",
        "left_alone": [],
    }
    wanted = {
        "base": 1,
        "lines": [{"line": 0, "text": "One and a half."}, {"line": 1, "speaker": "Ben"}, {"line": 2, "text": ""}],
        "speakers": {"Speaker 1": "Anna"},
    }
    answer = post(place, f"/jobs/{job_id}/correct", wanted)
    assert (answer.status_code, answer.json()) == (200, {"version": 2})
    assert texts(place, job_id) == texts(place, job_id, 2) == [("Anna", "One and a half."), ("Ben", "Two.")]
    assert texts(place, job_id, 1) == [("Speaker 1", text) for text in ("One.", "Two.", "Three.")]
    assert post(place, f"/jobs/{job_id}/correct", {"base": 2}).json() == {"version": 2}
    assert post(place, f"/jobs/{job_id}/restore", {"base": 2, "number": 1}).json() == {"version": 3}
    assert len(texts(place, job_id)) == 3
    told = get(place, f"/jobs/{job_id}/corrections").json()
    assert [(one["number"], one["author"]) for one in told["versions"]] == [(1, ""), (2, "anna"), (3, "anna")]
    assert (told["newest"], told["files_due"]) == (3, 3)


def test_who_is_late_is_told_the_newest_version(place: Office) -> None:
    """And neither text is lost."""
    job_id = talk(place, "One.")
    post(place, f"/jobs/{job_id}/correct", {"base": 1, "lines": [{"line": 0, "text": "Theirs."}]})
    for path, more in (("correct", {"lines": [{"line": 0, "text": "Mine."}]}), ("restore", {"number": 1})):
        answer = post(place, f"/jobs/{job_id}/{path}", {"base": 1, **more})
        assert answer.status_code == 409
        error = answer.json()["error"]
        assert (error["code"], error["newest"]) == ("text_changed", 2)
    assert texts(place, job_id) == [("", "Theirs.")]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("correct", {"base": 1, "lines": [{"line": 5, "text": "x"}]}, 422, "bad_correction"),
        ("correct", {"base": 1, "lines": [{"line": -1, "text": "x"}]}, 422, "invalid"),
        ("correct", {"base": 1, "lines": [{"line": 0, "text": "x" * 5001}]}, 422, "invalid"),
        ("correct", {"base": 1, "lines": [{"line": 0, "speaker": "x" * 201}]}, 422, "invalid"),
        ("correct", {"base": 1, "lines": [{"line": "0", "text": "x"}]}, 422, "invalid"),
        ("correct", {"base": 1, "lines": [{"line": 0, "txt": "x"}]}, 422, "invalid"),
        ("correct", {"base": 1, "lines": [{"line": 2**63 - 1, "text": "x"}]}, 422, "bad_correction"),
        ("correct", {"base": 2**63 - 1}, 409, "text_changed"),
        ("correct", {"base": 2**63}, 422, "invalid"),
        ("correct", {"lines": []}, 422, "invalid"),
        ("correct", {"base": True}, 422, "invalid"),
        ("correct", b'{"base": 1, "lines": [{"line": 0, "text": "\\ud800"}]}', 422, "invalid"),
        ("correct", b'{"base": ' + b"9" * 5000 + b"}", 400, "bad"),
        ("restore", {"base": 1, "number": 2}, 404, "no_transcript"),
        ("restore", {"base": 1, "number": 2**63 - 1}, 404, "no_transcript"),
        ("restore", {"base": 1}, 422, "invalid"),
    ],
)
def test_nonsense_is_refused_in_words(place: Office, path: str, body: Any, status: int, code: str) -> None:
    """Nothing is changed by it."""
    job_id = talk(place, "One.")
    answer = post(place, f"/jobs/{job_id}/{path}", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.json()["error"]["message"]
    assert place.store.versions(job_id) == []


def test_what_is_not_there_is_not_found(place: Office) -> None:
    """A job without a text, a version, a job; and a number that no computer has room for is one of these."""
    job_id = talk(place, "One.")
    waits = place.new("waits.wav").id
    for path in (f"/jobs/{waits}/corrections", "/jobs/999/corrections", f"/jobs/{job_id}/transcript?version=2"):
        assert get(place, path).status_code == 404, path
    for path in ("correct", "restore"):
        body = {"base": 1} | ({"number": 1} if path == "restore" else {})
        assert post(place, f"/jobs/{waits}/{path}", body).status_code == 404
        assert post(place, f"/jobs/999/{path}", body).status_code == 404
        assert post(place, f"/jobs/{'9' * 5000}/{path}", body).status_code == 422
        assert place.client().post(f"/jobs/{'9' * 5000}/{path}").status_code in (400, 404)
    assert get(place, f"/jobs/{'9' * 5000}/corrections").status_code == 422


def test_a_hostile_text_is_a_text(place: Office) -> None:
    """Without what is not shown and what turns it round."""
    job_id = talk(place, "One.")
    wanted = {"base": 1, "lines": [{"line": 0, "text": NAUGHTY, "speaker": NAUGHTY}]}
    assert post(place, f"/jobs/{job_id}/correct", wanted).status_code == 200
    plain = "He said [2J</script>?"
    assert texts(place, job_id) == [(plain, plain)]


@pytest.mark.parametrize(("error", "status"), [(NotNow("no room"), 503), (TranscribedError("no"), 409)])
def test_a_refusal_is_told(
    place: Office, monkeypatch: pytest.MonkeyPatch, error: TranscribedError, status: int
) -> None:
    """With what stands in the way."""

    def refuse(*_: object) -> None:
        raise error

    job_id = talk(place, "One.")
    monkeypatch.setattr("daemon.versions.Versions.correct", refuse)
    answer = post(place, f"/jobs/{job_id}/correct", {"base": 1})
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, str(error))
