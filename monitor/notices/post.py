"""Tells people of alerts and of ended jobs. What asks for it never waits: a thread of its own sends.

Knows neither where addresses come from nor how a message is sent.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal, Protocol

from monitor.alert import Judgement
from monitor.guard import Guard
from monitor.notices.addresses import Address, distinct
from monitor.notices.courier import Courier, Letter
from monitor.notices.messages import Ended, News, of_alerts, of_ended, plain
from monitor.notices.notices import EndedJobs, Notices, Policy
from monitor.notices.outbox import Outbox, Parcel, message_of

log = logging.getLogger(__name__)

IDLE_S: Final = 5.0
"""How often the thread looks whether ended jobs may be told, when nothing wakes it."""

CLOSE_S: Final = 5.0
"""How long the end of the service waits for what is being sent."""

NoticeKind = Literal["done", "failed"]

_KINDS: Final[Mapping[str, NoticeKind]] = {
    "ok": "done",
    "partial": "done",
    "no_speech": "done",
    "failed": "failed",
    "quarantined": "failed",
}
"""Nobody is told of the others: a person cancelled the job, the recording went away, or it was only touched."""


@dataclass(frozen=True, slots=True)
class InboxNotices:
    """Of which ends of jobs in an inbox is told, and to whom."""

    kinds: frozenset[NoticeKind]
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """Who is told what, and when. *inboxes* by path."""

    policy: Policy = field(default_factory=Policy)
    addresses: tuple[Address, ...] = ()
    inboxes: Mapping[str, InboxNotices] = field(default_factory=dict[str, InboxNotices])

    def everybody(self) -> tuple[Address, ...]:
        """All addresses that are used anywhere, each once."""
        every = [*self.addresses, *(address for inbox in self.inboxes.values() for address in inbox.addresses)]
        return distinct(every)


class Sender(Protocol):
    """What `Courier` does."""

    def send(self, letters: Sequence[Letter]) -> Sequence[str | None]:
        """For each letter None if it went, else why not."""
        ...

    def close(self) -> None:
        """End what is being sent."""
        ...


class Post:
    """Tells those of *setup*. `tell` is for the monitor's thread, the rest for any.

    *told*: when alerts that are still open were told before this start, by their number in the history. *record_told*
    is called on the monitor's thread, or by `close`, with the numbers of those that were told to at least one address.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        told: Mapping[int, datetime] | None = None,
        record_told: Callable[[Sequence[int], datetime], None] = lambda _ids, _at: None,
        sender: Sender | None = None,
        host: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sender = sender or Courier()
        self._host = plain(host or socket.gethostname())
        self._clock = clock
        self._record_told = record_told
        self._guard = Guard()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        # All of these only with the lock.
        self._setup = setup
        self._notices = Notices(setup.policy, told)
        self._jobs = EndedJobs()
        self._outboxes: dict[str, Outbox] = {}
        self._delivered: dict[int, datetime] = {}
        self._reached: set[int] = set(told or ())  # alerts that are open and that somebody was told of
        self._unchecked = True
        self._stirred = False

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._run, name="post", daemon=True)
        self._thread.start()

    def change(self, setup: Setup) -> None:
        """From now on as *setup* says.

        What waits for an address that is no longer told is given up; what is open and went nowhere else is told anew.
        """
        with self._changed:
            self._setup = setup
            self._notices.policy = setup.policy
            kept = {address.url for address in setup.everybody()}
            given_up = _alerts_in(outbox for url, outbox in self._outboxes.items() if url not in kept)
            self._outboxes = {url: outbox for url, outbox in self._outboxes.items() if url in kept}
            self._notices.never_told(given_up - self._reached - _alerts_in(self._outboxes.values()))
            self._unchecked = True
            self._stir()

    def tell(self, judgement: Judgement, at: datetime) -> None:
        """Know what a sample changed; whoever is to be told will be. Never waits."""
        now = self._clock()
        with self._changed:
            self._notices.take(judgement.open, judgement.resolved, now, at)
            self._reached -= {alert.id for alert in judgement.resolved if alert.id is not None}
            if self._setup.addresses and (news := self._notices.due(now, at)) is not None:
                self._put(self._setup.addresses, self._parcel(news, now, at))
        self._hand_over_told()

    def tell_job(
        self, inbox: str, outcome: str, recording: str, reason: str, kinds: Collection[object] | None = None
    ) -> None:
        """A job in *inbox* ended; *outcome* and *reason* as in the history, the rest are paths. Never waits.

        *kinds* are the ends of which is told; None: those of the inbox.
        """
        job = Ended(outcome, recording, reason)
        kind = _KINDS.get(outcome)
        with self._changed:
            notices = self._setup.inboxes.get(inbox)
            if notices is not None and kind in (notices.kinds if kinds is None else kinds) and notices.addresses:
                self._jobs.take(inbox, job)
                self._stir()

    def close(self) -> None:
        """Send what has not been tried yet, if that takes no longer than a few seconds, and end."""
        with self._changed:
            self._closing = True
            self._stir()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        self._sender.close()
        self._hand_over_told()

    def deliver(self, now: float, at: datetime) -> float:
        """Send all that is due at *now*; after how many seconds to come again. Waits for those who take it."""
        with self._changed:
            self._take_ended(now, at)
            check = self._setup.everybody() if self._unchecked else ()
            self._unchecked = False
            boxes = [box for box in self._outboxes.values() if box.due_in_s(now) == 0.0]
            rounds = [(box, box.waiting()) for box in boxes]
        if check and not rounds:
            self._check(check)
        if rounds:
            letters = [Letter(box.address, message_of(parcels)) for box, parcels in rounds]
            reasons = self._sender.send(letters)
            with self._changed:
                for (box, parcels), reason in zip(rounds, reasons, strict=True):
                    self._settle(box, parcels, reason, at)
        with self._changed:
            waits = [box.due_in_s(self._clock()) for box in self._outboxes.values()]
            for box in self._outboxes.values():
                _report_lost(box)
        return min([IDLE_S, *(wait_s for wait_s in waits if wait_s is not None)])

    def _run(self) -> None:
        while True:
            try:
                rest_s = self.deliver(self._clock(), datetime.now(UTC))
            except Exception:  # a bug here must not end what tells of bugs
                log.exception("messages could not be sent", extra={"event": "bug"})
                rest_s = IDLE_S
                if self._closing:
                    return
            with self._changed:
                if self._closing:
                    self._take_ended(self._clock(), datetime.now(UTC))
                    if not self._untried():
                        return
                if not self._closing and not self._stirred:
                    self._changed.wait(rest_s)
                self._stirred = False

    def _stir(self) -> None:
        """Let the next round begin at once, also if the last one is not over. Only with the lock."""
        self._stirred = True
        self._changed.notify_all()

    def _untried(self) -> bool:
        now = self._clock()
        return any(box.due_in_s(now) == 0.0 and not box.n_failures for box in self._outboxes.values())

    def _parcel(self, news: News, now: float, at: datetime) -> Parcel:
        ids = tuple(alert.id for alert in (*news.opened, *news.standing) if alert.id is not None)
        return Parcel(of_alerts(news, self._host, at, self._setup.policy.zone), now, ids)

    def _put(self, addresses: Sequence[Address], parcel: Parcel) -> None:
        for address in addresses:
            self._outboxes.setdefault(address.url, Outbox(address)).put(parcel)
        self._stir()

    def _take_ended(self, now: float, at: datetime) -> None:
        for inbox, (ended, n_more) in self._jobs.due(self._setup.policy, now, at, last=self._closing).items():
            notices = self._setup.inboxes.get(inbox)
            if notices is not None:  # else nobody is told any more
                self._put(notices.addresses, Parcel(of_ended(inbox, ended, n_more, self._host), now))

    def _check(self, addresses: Sequence[Address]) -> None:
        """Say of an address that nothing could ever be sent to, before something is."""
        reasons = self._sender.send([Letter(address, None) for address in addresses])
        for address, reason in zip(addresses, reasons, strict=True):
            if reason is not None:
                log.error("no alert can go to %s: %s", address.name, reason, extra={"event": "address_unusable"})

    def _settle(self, box: Outbox, parcels: Sequence[Parcel], reason: str | None, at: datetime) -> None:
        if reason is None:
            box.delivered(parcels)
            told = {alert_id: at for parcel in parcels for alert_id in parcel.alert_ids}
            self._delivered |= told
            self._reached |= told.keys()
            log.info("told %s: %s", box.address.name, parcels[-1].message.title, extra={"event": "told"})
        else:
            wait_s = box.failed(self._clock())
            log.warning(
                "could not tell %s: %s; tried again in %g s",
                box.address.name,
                reason,
                wait_s,
                extra={"event": "not_told"},
            )

    def _hand_over_told(self) -> None:
        with self._changed:
            delivered, self._delivered = self._delivered, {}
        for at in set(delivered.values()):
            ids = sorted(alert_id for alert_id, told_at in delivered.items() if told_at == at)
            # Those that are not recorded are told again after a restart, which is better than never.
            self._guard.run("record of who was told", self._clock(), partial(self._record_told, ids, at), None)


def _alerts_in(boxes: Iterable[Outbox]) -> set[int]:
    """Those that are told with what waits there."""
    return {alert_id for box in boxes for parcel in box.waiting() for alert_id in parcel.alert_ids}


def _report_lost(box: Outbox) -> None:
    if box.n_lost:
        log.error("%d messages to %s were given up", box.n_lost, box.address.name, extra={"event": "told_never"})
        box.n_lost = 0
