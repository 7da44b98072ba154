"""How it goes at this moment, as a page: what is in hand, what comes next, what ended, what is wrong. Pure.

Made of what the control socket answers to "status", and of some jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from daemon.folderpage.names import shown_text, shown_words
from daemon.web.views.history import Row, row
from daemon.web.views.telling import Badge, Moment, Recording, Teller, clock
from monitor.alert import SEVERITIES
from monitor.wording import say as figure_words
from storage.records import Job

Status = Mapping[str, Any]

SEVERITY_TONES: Final = {"critical": "bad", "warning": "warn", "info": "muted"}

_STATE_TONES: Final = {"ready": "ok", "starting": "run", "down": "bad", "unloaded": "muted"}


@dataclass(frozen=True, slots=True)
class Going:
    """A job in hand. *percent* is None where nobody knows."""

    id: int
    recording: Recording
    stage: str
    percent: int | None
    about: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and what it counts; *href* leads to what is counted."""

    value: str
    label: str
    href: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert."""

    title: str
    advice: str
    words: str
    badge: Badge
    opened: Moment


@dataclass(frozen=True, slots=True)
class Device:
    """An engine process or a GPU."""

    name: str
    badge: Badge
    about: str


@dataclass(frozen=True, slots=True)
class NowPage:
    """The page. *troubles* are sentences of what keeps the service from working."""

    figures: tuple[Figure, ...]
    troubles: tuple[str, ...]
    alerts: tuple[AlertRow, ...]
    going: tuple[Going, ...]
    queue: tuple[Row, ...]
    more_queued: str
    ended: tuple[Row, ...]
    devices: tuple[Device, ...]
    machine: tuple[Figure, ...]
    as_of: Moment


def now_page(status: Status, queue: Sequence[Job], ended: Sequence[Job], teller: Teller) -> NowPage:
    """The page."""
    jobs: Mapping[str, int] = status.get("jobs", {})
    n_queued = jobs.get("queued", 0) + jobs.get("waiting", 0)
    n_more = n_queued - len(queue)
    return NowPage(
        figures=tuple(_figures(status, teller)),
        troubles=tuple(_troubles(status, teller)),
        alerts=tuple(alert_row(alert, teller) for alert in _worst_first(status.get("alerts", ()))),
        going=tuple(_going(one, teller) for one in status.get("in_hand", ())),
        queue=tuple(row(job, teller) for job in queue),
        more_queued=teller.say("now.more", n=n_more) if n_more > 0 else "",
        ended=tuple(row(job, teller) for job in ended),
        devices=(*_engines(status, teller), *_gpus(status, teller)),
        machine=tuple(_machine(status, teller)),
        as_of=teller.moment(teller.at),
    )


def _figures(status: Status, teller: Teller) -> Iterator[Figure]:
    say = teller.say

    def number(n: int) -> str:
        return teller.count(n, n)

    jobs: Mapping[str, int] = status.get("jobs", {})
    yield Figure(number(len(status.get("in_hand", ()))), say("now.running"), "#going")
    n_waiting = jobs.get("queued", 0) + jobs.get("waiting", 0)
    yield Figure(number(n_waiting), say("now.waiting"), "/history?state=busy")
    if left_s := status.get("queue_eta_s"):
        yield Figure(teller.duration(left_s), say("now.left"))
    n_failed = jobs.get("failed", 0) + jobs.get("quarantined", 0)
    yield Figure(number(n_failed), say("now.failed"), "/history?state=failed", "bad" if n_failed else "")
    yield Figure(number(jobs.get("done", 0)), say("now.done"), "/history?state=done")
    if (speed := status.get("speed_ratio")) is not None:
        yield Figure(say("web.times", n=speed), say("now.speed"))


def _troubles(status: Status, teller: Teller) -> Iterator[str]:
    say = teller.say
    if trouble := status.get("history_trouble"):
        yield say("now.history_trouble", words=shown_words(str(trouble)))
    if stuck := status.get("stuck"):
        yield say("now.stuck", loops=shown_words(", ".join(stuck)))
    for inbox in status.get("inboxes", ()):
        if inbox.get("offline"):
            yield say("now.offline", folder=shown_text(inbox["path"]), words=shown_words(str(inbox["offline"])))


def _worst_first(alerts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    newest = sorted(alerts, key=lambda alert: str(alert.get("opened_at")), reverse=True)
    return sorted(newest, key=_mildness, reverse=True)


def _mildness(alert: Mapping[str, Any]) -> int:
    severity = alert.get("severity")
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0


def alert_row(alert: Mapping[str, Any], teller: Teller) -> AlertRow:
    """An alert as ``status`` tells it."""
    severity = str(alert.get("severity"))
    badge = Badge(teller.say(f"severity.{severity}"), SEVERITY_TONES.get(severity, "muted"))
    opened = teller.moment(datetime.fromisoformat(str(alert["opened_at"])))
    title, advice, words = (shown_words(str(alert.get(key) or "")) for key in ("title", "advice", "words"))
    return AlertRow(title, advice, words, badge, opened)


def _going(activity: Mapping[str, Any], teller: Teller) -> Going:
    say = teller.say
    stage, total_s, done_s = str(activity.get("stage")), activity.get("total_s"), activity.get("done_s") or 0.0
    about: list[str] = []
    percent = None
    if stage == "engine" and total_s:
        percent = max(0, min(100, int(100 * done_s / total_s)))
        about = [say("now.of", done=clock(done_s), total=clock(total_s))]
    if (left_s := activity.get("eta_s")) is not None and left_s >= 1:
        about.append(say("now.eta", time=teller.duration(left_s)))
    folder, _, name = str(activity.get("path")).rpartition("/")
    known = Recording(shown_text(name), shown_text(folder), folder)
    key = f"stage.{stage}"
    return Going(int(activity["job"]), known, say(key) if teller.words.has(key) else stage, percent, ", ".join(about))


def figures_of(status: Status, name: str) -> dict[str, float]:
    """The figures called *name* in the newest sample, by subject."""
    found: dict[str, float] = {}
    for key, value in status.get("figures", {}).items():
        head, _, subject = str(key).partition(" ")
        if head == name:
            found[subject] = float(value)
    return found


def _engines(status: Status, teller: Teller) -> Iterator[Device]:
    engine: Mapping[str, Any] = status.get("engine") or {}
    seats: Sequence[Mapping[str, Any]] = engine.get("seats", ())
    in_use = [seat for seat in seats if seat.get("model")] or list(seats[:1])
    for seat in in_use:
        state = str(seat.get("state"))
        key = f"engine.{state}"
        badge = Badge(teller.say(key) if teller.words.has(key) else state, _STATE_TONES.get(state, "muted"))
        about = [str(part) for part in (seat.get("model"), seat.get("compute_type")) if part]
        if n_jobs := seat.get("n_jobs"):
            about.append(teller.say("now.inside", n=n_jobs))
        if seat.get("last_error") and state != "ready":
            about.append(shown_words(str(seat["last_error"])))
        yield Device(shown_text(str(seat.get("device") or seat.get("wanted"))), badge, ", ".join(about))


_GPU: Final = ("gpu_utilisation_ratio", "gpu_memory_used_ratio", "gpu_temperature_celsius", "gpu_power_w")


def _gpus(status: Status, teller: Teller) -> Iterator[Device]:
    lost, throttled = figures_of(status, "gpu_lost"), figures_of(status, "gpu_throttled")
    told = {name: figures_of(status, name) for name in _GPU}
    for index in sorted({subject for found in (lost, *told.values()) for subject in found}):
        badge = Badge(teller.say("engine.ready"), "ok")
        if lost.get(index):
            badge = Badge(teller.say("now.gpu_lost"), "bad")
        elif throttled.get(index):
            badge = Badge(teller.say("now.gpu_throttled"), "warn")
        about = [figure_words(name, found[index]) for name, found in told.items() if index in found]
        yield Device(f"GPU {shown_text(index)}", badge, ", ".join(about))


def _machine(status: Status, teller: Teller) -> Iterator[Figure]:
    for key, name in (("cpu", "host_cpu_used_ratio"), ("memory", "host_memory_used_ratio")):
        found = figures_of(status, name)
        if "" in found:
            yield Figure(figure_words(name, found[""]), teller.say(f"now.{key}"))
    free = figures_of(status, "folder_free_bytes")
    if free:
        yield Figure(figure_words("folder_free_bytes", min(free.values())), teller.say("now.free"))
