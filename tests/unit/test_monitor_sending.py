"""Messages go out: to real servers on loopback, in time or not at all, and without their secrets in a log."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from monitor.alert import Alert, Judgement
from monitor.history.errors import HistoryFull
from monitor.notices.addresses import (
    Address,
    AddressError,
    addresses_of,
    credential,
    distinct,
    hidden,
    others_can_read,
    read_addresses,
    without_secrets,
)
from monitor.notices.courier import Courier, Letter
from monitor.notices.messages import Message, of_test
from monitor.notices.notices import Policy
from monitor.notices.outbox import KEPT_S, MOST_WAITING, RETRY_S, Outbox, Parcel, message_of
from monitor.notices.post import IDLE_S, InboxNotices, Post, Setup
from tests.unit.sinks import Mail, Silent, Web, sink, text_of
from tests.unit.test_monitor_notices import AT, HOT, alert, over

MESSAGE = Message("a title", "a <body> & more\nof two lines: \\n :smile: größer", "failure")
SECRET = "hunter2-Tok,en]x"


def address(url: str, index: int = 0) -> Address:
    """An address of the configuration."""
    return Address(url, f"alerts.to[{index}]")


class Kept:
    """A sender that keeps the letters and answers as it is told."""

    def __init__(self) -> None:
        self.rounds: list[list[Letter]] = []
        self.down: set[str] = set()
        self.closed = False

    def send(self, letters: Sequence[Letter]) -> list[str | None]:
        """Fail those that are down."""
        self.rounds.append(list(letters))
        return ["it is down" if letter.address.url in self.down else None for letter in letters]

    def close(self) -> None:
        """Nothing is in progress."""
        self.closed = True

    def titles(self) -> list[str]:
        """Of all messages, in the order of sending."""
        return [letter.message.title for letters in self.rounds for letter in letters if letter.message]


class Office:
    """A post with a clock of its own, stepped by hand."""

    def __init__(self, *urls: str, setup: Setup | None = None, told: dict[int, datetime] | None = None) -> None:
        self.now = 0.0
        self.sender = Kept()
        self.recorded: list[tuple[tuple[int, ...], datetime]] = []
        self.post = Post(
            setup or Setup(Policy(zone=UTC), tuple(address(url, index) for index, url in enumerate(urls))),
            told=told,
            record_told=lambda ids, at: self.recorded.append((tuple(ids), at)),
            sender=self.sender,
            host="box",
            clock=lambda: self.now,
        )

    @property
    def at(self) -> datetime:
        """The wall clock."""
        return AT + timedelta(seconds=self.now)

    def tell(self, *opened: Alert, resolved: tuple[Alert, ...] = ()) -> None:
        """What a sample changed."""
        self.post.tell(Judgement(opened, resolved, opened), self.at)

    def deliver(self) -> float:
        """A round."""
        return self.post.deliver(self.now, self.at)


@pytest.fixture
def courier() -> Generator[Courier]:
    """A courier with a deadline for a loaded machine."""
    courier = Courier(30)
    yield courier
    courier.close()


def test_mail_webhook_and_ntfy_take_opened_and_resolved_alerts(courier: Courier) -> None:
    """From the judgement to the servers, through the thread that sends, with all that a person needs."""
    with sink(Mail) as mail, sink(Web) as hook, sink(Web) as ntfy:
        urls = [
            f"mailto://127.0.0.1:{mail.port}?from=box@example.org&to=admin@example.org&mode=insecure",
            f"json://127.0.0.1:{hook.port}/hook",
            f"ntfy://127.0.0.1:{ntfy.port}/topic",
        ]
        recorded: list[tuple[int, ...]] = []
        now = [0.0]
        post = Post(
            Setup(Policy(group_s=0, zone=UTC), addresses_of(urls, "alerts.to")),
            record_told=lambda ids, _at: recorded.append(tuple(ids)),
            sender=courier,
            host="box",
            clock=lambda: now[0],
        )
        post.start()
        one = replace(alert(HOT, "critical", id=7), title="GPU 0 is too hot: 93 °C", words="/srv/größer.wav")
        post.tell(Judgement((one,), (), (one,)), AT)
        title = "transcribed on box: critical: GPU 0 is too hot: 93 °C"
        for got in (hook.got.get(timeout=30), ntfy.got.get(timeout=30)):
            assert got.content["title"] == title
            assert "next: Look at `top`." in got.content["message"]
            assert "/srv/größer.wav" in got.content["message"]
        letter = mail.got.get(timeout=30)
        assert letter["subject"] == title
        assert letter["to"] == "admin@example.org"
        assert "/srv/größer.wav" in text_of(letter)
        ended = over(one, 60)
        now[0] = 60.0
        post.tell(Judgement((), (ended,), ()), AT)
        for server in (hook, ntfy):
            assert server.got.get(timeout=30).content["title"] == title.replace("critical", "resolved")
        assert mail.got.get(timeout=30)["subject"] == title.replace("critical", "resolved")
        post.close()
    assert recorded == [(7,)]


def test_a_message_arrives_as_it_was_written(courier: Courier) -> None:
    """Markup, backslashes, smileys and umlauts are text, in a mail too."""
    with sink(Mail) as mail, sink(Web) as hook:
        urls = [f"mailto://127.0.0.1:{mail.port}?from=a@example.org&to=b@example.org", f"json://127.0.0.1:{hook.port}"]
        reasons = courier.send([Letter(address(url), MESSAGE) for url in urls])
        assert reasons == [None, None]
        assert hook.got.get(timeout=30).content["message"] == MESSAGE.body
        told = text_of(mail.got.get(timeout=30))
    assert "<body> & more" in told
    assert "\\n :smile: größer" in told


def test_each_letter_has_a_fate_of_its_own(courier: Courier) -> None:
    """One server that refuses, one that is not there, one service that nobody knows, and one that takes it."""
    with sink(Web) as good, sink(Web) as bad:
        bad.status = 500
        urls = [
            f"json://127.0.0.1:{bad.port}/x",
            "json://127.0.0.1:1/x",
            "slak://x",
            f"json://127.0.0.1:{good.port}/x",
        ]
        refused, absent, unknown, taken = courier.send([Letter(address(url), of_test("box")) for url in urls])
    assert taken is None
    assert refused is not None
    assert "500" in refused
    assert absent is not None
    assert "Connection refused" in absent
    assert unknown is not None
    assert "does not understand the address" in unknown


def test_a_server_that_hangs_costs_the_deadline_and_no_more() -> None:
    """The others get theirs meanwhile; the process is gone afterwards."""
    courier = Courier(3)
    with sink(Silent) as silent, sink(Web) as good:
        # Its own limit is beyond ours.
        urls = [f"json://127.0.0.1:{silent.port}/?rto=100&cto=100", f"json://127.0.0.1:{good.port}/"]
        begun = time.monotonic()
        hung, taken = courier.send([Letter(address(url), MESSAGE) for url in urls])
        assert time.monotonic() - begun < 15
    assert (hung, taken) == ("no answer within 3 s", None)
    courier.close()


def test_what_the_process_left_behind_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of it in a session of its own keeps its pipes open: the deadline holds all the same."""
    program, left = tmp_path / "program", tmp_path / "left"
    program.write_text(f"#!/bin/sh\nsetsid sh -c 'echo $$ >{left}; exec sleep 60' &\nexec sleep 60\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    begun = time.monotonic()
    assert Courier(2).send([Letter(address("json://x"), MESSAGE)]) == ["no answer within 2 s"]
    assert time.monotonic() - begun < 30
    os.kill(int(left.read_text(encoding="ascii")), signal.SIGKILL)


def test_the_end_of_the_service_ends_what_hangs() -> None:
    """`close` from another thread lets `send` return, and later ones send nothing."""
    courier = Courier(60)
    with sink(Silent) as silent:
        letter = Letter(address(f"json://127.0.0.1:{silent.port}/?rto=100"), MESSAGE)
        answers: list[list[str | None]] = []
        thread = threading.Thread(target=lambda: answers.append(courier.send([letter])))
        thread.start()
        silent.got.get(timeout=30)
        courier.close()
        thread.join(10)
    assert not thread.is_alive()
    (((reason,)),) = answers
    assert reason is not None
    assert "ended early" in reason
    assert courier.send([letter]) == ["the process that sends could not be started: the service ends"]


def test_an_address_is_looked_at_without_a_message(courier: Courier) -> None:
    """A wrong one is known before there is something to tell; nothing is sent."""
    with sink(Web) as hook:
        letters = [Letter(address(url), None) for url in (f"json://127.0.0.1:{hook.port}/", "slack://a")]
        good, bad = courier.send(letters)
        assert hook.got.empty()
    assert good is None
    assert bad is not None


@pytest.mark.parametrize(
    "url",
    [
        f"json://user:{SECRET}@127.0.0.1:1/path",
        f"json://127.0.0.1:1/{SECRET}",
        f"json://127.0.0.1:1/?token={quote(SECRET)}",
        f"slack://{SECRET}",
        f"ntfy://{quote(SECRET, safe='')}@127.0.0.1:1/topic",
        f"mailto://user:{quote(SECRET, safe='')}@127.0.0.1:1?from=a@example.org",
        f"nobody://{SECRET}",
        f"discord://{SECRET}",
        f"tgram://123456789:{SECRET.replace(',', 'x').replace(']', 'y')}/12315544/",
    ],
)
def test_no_reason_holds_a_secret(courier: Courier, url: str) -> None:
    """Whatever a library says of an address that it cannot use, or a server that it cannot reach."""
    if url.startswith(("slack", "discord", "tgram")):  # theirs are servers elsewhere
        (reason,) = courier.send([Letter(address(url), None)])
    else:
        (reason,) = courier.send([Letter(address(url), MESSAGE)])
        assert reason is not None
    for form in (SECRET, quote(SECRET), quote(SECRET, safe=""), "hunter2"):
        assert form not in (reason or "")


def test_an_address_shows_where_it_stands_and_not_what_it_holds() -> None:
    """Neither its name nor its repr, as in a traceback, has the secret."""
    one = address(f"Slack://{SECRET}")
    assert one.name == "slack (alerts.to[0])"
    assert SECRET not in repr(one)
    assert hidden(["slack://a/b", {"x": f"json://u:{SECRET}@h"}, 3, "plain"]) == [
        "slack://***",
        {"x": "json://***"},
        3,
        "plain",
    ]
    said = f"could not reach bot{SECRET.upper()}/send at example.org with text"
    told = without_secrets(said, f"tgram://{SECRET}/?format=text")
    assert told == "could not reach bot***/send at example.org with ***"


@pytest.mark.parametrize("url", ["", "hello", "slack:/x", "://x", "a b://c", "json://", " json://x"])
def test_what_is_no_address_is_refused_without_saying_it(url: str) -> None:
    """It may be a secret that was put in the wrong place."""
    with pytest.raises(AddressError, match=r"^alerts\.to\[0\]: not an address; write it as") as caught:
        addresses_of([url], "alerts.to")
    assert not url or url not in str(caught.value)


def test_a_file_has_an_address_a_line(tmp_path: Path) -> None:
    """Empty lines and comments are left out; who is named twice is told once."""
    path = tmp_path / "alerts"
    path.write_bytes(b"\xef\xbb\xbf# ours\n\n  json://a/b  \r\nslack://x/y/z\njson://a/b\n")
    found = read_addresses(path)
    assert [(one.url, one.origin) for one in found] == [
        ("json://a/b", f"{path} line 3"),
        ("slack://x/y/z", f"{path} line 4"),
        ("json://a/b", f"{path} line 5"),
    ]
    assert distinct(found) == found[:2]


def test_a_file_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Missing, a folder, a FIFO that would be waited for, very large, or without addresses in it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"#" * 70_000)
    (tmp_path / "words").write_text(f"json://x\n{SECRET}\n")
    for name in ("missing", "fifo", "large", "words", "."):
        with pytest.raises(AddressError, match=str(tmp_path)) as caught:
            read_addresses(tmp_path / name)
        assert SECRET not in str(caught.value)


def test_files_that_others_can_read_are_known(tmp_path: Path) -> None:
    """Our own group may: a file of root's that the service's group reads is a good way."""
    path = tmp_path / "alerts"
    path.touch()
    for mode, known in ((0o600, False), (0o640, False), (0o604, True), (0o644, True)):
        path.chmod(mode)
        assert others_can_read(path) is known


def test_systemd_passes_addresses_on_as_a_credential(tmp_path: Path) -> None:
    """`LoadCredential=alerts:FILE`; without it nothing is read."""
    assert credential({}) is None
    assert credential({"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None
    (tmp_path / "alerts").write_text("json://x\n")
    assert credential({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == tmp_path / "alerts"


def test_who_cannot_be_told_is_tried_again_and_gets_all_in_one() -> None:
    """The others are told at once; what waited goes as one message, and the alerts count as told."""
    office = Office("json://up", "json://down")
    office.sender.down = {"json://down"}
    office.deliver()
    first, second = alert(id=1), alert(HOT, id=2)
    office.tell(first)
    assert office.deliver() == IDLE_S  # nothing is due before the address may be tried again
    office.now = 60
    office.tell(first, second)
    office.deliver()
    office.sender.down = set()
    office.now = 60 + RETRY_S[1]
    office.deliver()
    office.tell(first, second)
    assert [len(letters) for letters in office.sender.rounds] == [2, 2, 2, 1]
    assert "(and 1 earlier)" in office.sender.titles()[-1]
    assert [ids for ids, _ in office.recorded] == [(1,), (1, 2)]


def test_an_address_that_stays_down_is_tried_less_and_less_often() -> None:
    """After an hour, hourly; a delivery makes it as good as new."""
    box = Outbox(address("json://x"))
    box.put(Parcel(MESSAGE, 0))
    assert [box.failed(0) for _ in range(7)] == [*RETRY_S, RETRY_S[-1], RETRY_S[-1]]
    assert box.due_in_s(0) == RETRY_S[-1]
    box.delivered(box.waiting())
    assert box.due_in_s(0) is None
    box.put(Parcel(MESSAGE, 0))
    assert box.due_in_s(0) == 0
    assert box.failed(0) == RETRY_S[0]


def test_not_more_than_so_many_messages_wait_and_none_for_ever() -> None:
    """The oldest are given up, and counted."""
    box = Outbox(address("json://x"))
    for number in range(MOST_WAITING + 3):
        box.put(Parcel(Message(str(number), "", "info"), float(number)))
    assert next(parcel.message.title for parcel in box.waiting()) == "3"
    assert box.n_lost == 3
    assert message_of(box.waiting()).title == f"{MOST_WAITING + 2} (and {MOST_WAITING - 1} earlier)"
    assert box.due_in_s(KEPT_S + 10.5) == 0
    assert box.n_lost == 3 + 8
    assert box.due_in_s(10 * KEPT_S) is None


def test_what_is_given_up_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Also where nothing is left to be sent to that address."""
    office = Office("json://x")
    office.sender.down = {"json://x"}
    office.tell(alert(id=1))
    while office.now <= KEPT_S + RETRY_S[-1]:
        office.now += office.deliver()
    lost = [record.getMessage() for record in caplog.records if record.__dict__["event"] == "told_never"]
    assert lost == ["1 messages to json (alerts.to[0]) were given up"]


def test_an_alert_that_reached_nobody_is_told_to_who_is_named_instead() -> None:
    """A wrong address is mended: what it was not told is told now. What somebody was told is not told again."""
    office = Office("json://wrong")
    office.sender.down = {"json://wrong"}
    office.tell(alert(id=1))
    office.deliver()
    office.post.change(Setup(Policy(zone=UTC), (address("json://right"),)))
    office.now = 100
    office.tell(alert(id=1))
    office.deliver()
    office.post.change(Setup(Policy(zone=UTC), (address("json://another"),)))
    office.now = 200
    office.tell(alert(id=1))
    office.deliver()
    sent = [letter.address.url for letters in office.sender.rounds for letter in letters if letter.message]
    assert sent == ["json://wrong", "json://right"]


def test_jobs_that_ended_just_before_the_end_are_told() -> None:
    """They would have been told together, later; there is no later."""
    box = address("json://x")
    sender = Kept()
    setup = Setup(Policy(zone=UTC), (), {"/in": InboxNotices(frozenset({"failed"}), (box,))})
    post = Post(setup, sender=sender, host="box", clock=lambda: 0.0)
    post.tell_job("/in", "failed", "/in/a.wav", "no audio")
    post.deliver(0, AT)
    post.tell_job("/in", "failed", "/in/b.wav", "no audio")
    post.deliver(0, AT)
    assert sender.titles() == ["transcribed on box: failed: a.wav"]
    post.start()
    post.close()
    assert sender.titles() == ["transcribed on box: failed: a.wav", "transcribed on box: failed: b.wav"]


def test_what_was_told_is_recorded_on_the_thread_that_tells() -> None:
    """Not on the one that sends: the history may be slow, and an error in it must not stop messages."""
    office = Office("json://x")
    office.tell(alert(id=3))
    office.now = 5
    office.deliver()
    assert office.recorded == []
    office.tell(alert(id=3))
    assert office.recorded == [((3,), AT + timedelta(seconds=5))]


def test_what_was_told_last_is_recorded_at_the_end() -> None:
    """So the next start does not tell it again."""
    office = Office("json://x")
    office.tell(alert(id=3))
    office.deliver()
    office.post.close()
    assert office.recorded == [((3,), AT)]
    assert office.sender.closed


def test_a_history_that_cannot_be_written_does_not_stop_the_post(caplog: pytest.LogCaptureFixture) -> None:
    """That is expected trouble, so it is a warning; after a restart the alert is told again."""

    def fail(_ids: Sequence[int], _at: datetime) -> None:
        raise HistoryFull("disk full")

    sender = Kept()
    post = Post(Setup(Policy(), (address("json://x"),)), record_told=fail, sender=sender, clock=lambda: 0.0)
    post.tell(Judgement(open=(alert(id=1),)), AT)
    post.deliver(0, AT)
    post.tell(Judgement(open=(alert(id=1),)), AT)
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (line.levelno, line.exc_info) == (logging.WARNING, None)
    assert line.getMessage() == "The monitor goes on without its record of who was told: disk full"
    assert len(sender.titles()) == 1


def test_nobody_is_told_without_an_address() -> None:
    """And what is open then counts as not told: who is named later is."""
    office = Office()
    office.tell(alert(id=1))
    assert office.deliver() == IDLE_S
    office.post.change(Setup(Policy(zone=UTC), (address("json://x"),)))
    office.tell(alert(id=1))
    office.deliver()
    office.deliver()
    assert len(office.sender.titles()) == 1


def test_a_changed_configuration_holds_from_then_on() -> None:
    """What waits for an address that is gone is given up."""
    office = Office("json://old")
    office.sender.down = {"json://old"}
    office.tell(alert(id=1))
    office.deliver()
    office.post.change(Setup(Policy(zone=UTC), (address("json://new"),)))
    office.now = 100
    office.tell(alert(id=1), alert(HOT, id=2))
    office.deliver()
    sent = [letter.address.url for letters in office.sender.rounds for letter in letters if letter.message]
    assert sent == ["json://old", "json://new"]


def test_an_address_of_no_service_is_logged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """Not only when the first alert is lost."""
    office = Office(f"slak://{SECRET}")
    office.sender.down = {f"slak://{SECRET}"}
    office.deliver()
    assert "no alert can go to slak (alerts.to[0]): it is down" in caplog.text
    assert SECRET not in caplog.text
    office.deliver()
    assert len(office.sender.rounds) == 1


def test_a_folder_may_say_of_which_ends_is_told() -> None:
    """But not to whom: an inbox that names nobody tells nobody."""
    to = InboxNotices(frozenset({"failed"}), (address("json://boss"),))
    office = Office(setup=Setup(Policy(zone=UTC), (), {"/in": to, "/none": InboxNotices(frozenset(), ())}))
    office.post.tell_job("/in", "failed", "/in/quiet/a.wav", "", [])
    office.post.tell_job("/none", "ok", "/none/b.wav", "", ["done"])
    office.deliver()
    assert office.sender.titles() == []
    office.post.tell_job("/in", "ok", "/in/loud/c.wav", "", ["done"])
    office.deliver()
    assert office.sender.titles() == ["transcribed on box: ok: c.wav"]


def test_the_ends_of_jobs_are_told_to_those_of_their_inbox() -> None:
    """Of the kinds that it names; not of jobs that a person cancelled, nor of inboxes without notices."""
    to = InboxNotices(frozenset({"failed"}), (address("json://boss"),))
    both = InboxNotices(frozenset({"done", "failed"}), (address("json://all"),))
    office = Office(setup=Setup(Policy(zone=UTC), (), {"/in": to, "/other": both}))
    for inbox in ("/in", "/other", "/third"):
        for outcome in ("ok", "failed", "cancelled", "vanished", "duplicate"):
            office.post.tell_job(inbox, outcome, f"{inbox}/{outcome}.wav", "")
    office.deliver()
    (letters,) = office.sender.rounds
    assert [(letter.address.url, letter.message and letter.message.title) for letter in letters] == [
        ("json://boss", "transcribed on box: failed: failed.wav"),
        ("json://all", "transcribed on box: 2 recordings: 1 done, 1 failed"),
    ]


def test_telling_never_waits_for_what_is_being_sent() -> None:
    """While a server hangs, the monitor and the jobs go on."""
    courier = Courier(60)
    with sink(Silent) as silent:
        urls = (address(f"json://127.0.0.1:{silent.port}/?rto=100"),)
        notices = InboxNotices(frozenset({"done"}), urls)
        post = Post(Setup(Policy(group_s=0), urls, {"/in": notices}), sender=courier)
        post.start()
        post.tell(Judgement(open=(alert(),)), AT)
        silent.got.get(timeout=30)
        begun = time.monotonic()
        for number in range(1000):
            post.tell(Judgement(open=(alert(), replace(alert(), rule=str(number)))), AT)
            post.tell_job("/in", "ok", "/in/a.wav", "")
        assert time.monotonic() - begun < 2
        courier.close()
        post.close()


def test_a_bug_in_sending_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next round is tried."""
    tried = threading.Semaphore(0)

    class Broken(Kept):
        def send(self, letters: Sequence[Letter]) -> list[str | None]:
            tried.release()
            raise RuntimeError("boom")

    post = Post(Setup(Policy(), (address("json://x"),)), sender=Broken())
    post.start()
    for _ in range(2):
        assert tried.acquire(timeout=20)
        post.tell_job("/in", "ok", "a", "")
        post.change(Setup(Policy(), (address("json://x"),)))
    post.close()
    assert "messages could not be sent" in caplog.text


def test_the_process_that_sends_reads_addresses_from_stdin_alone(courier: Courier, tmp_path: Path) -> None:
    """Arguments can be read by every user of the machine."""
    with sink(Silent) as silent:
        letter = Letter(address(f"json://127.0.0.1:{silent.port}/{SECRET}?rto=60"), MESSAGE)
        thread = threading.Thread(target=courier.send, args=([letter],))
        thread.start()
        silent.got.get(timeout=30)
        mine = [path for path in _children() if b"monitor.notices.sending" in _read(path / "cmdline")]
        assert mine
        assert not [path for path in mine if b"hunter2" in _read(path / "cmdline") + _read(path / "environ")]
        courier.close()
        thread.join(10)


def _children() -> list[Path]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [Path("/proc") / pid for task in tasks for pid in task.read_text().split()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
