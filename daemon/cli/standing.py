"""How the daemon is, in words: what `status` and `top` both say of its answer. Prints nothing.

The answer may come from a daemon of another version, so whatever is not in it is left out. All text is safe on a
terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from daemon.cli.common import duration
from daemon.log import escape
from monitor.alert import SEVERITIES
from monitor.wording import duration as in_words
from monitor.wording import number, say, size

Status = Mapping[str, Any]
"""What the control socket answers to "status": JSON."""

_FIRST: Final = ("running", "publishing", "queued", "waiting", "failed", "quarantined")

STAGES: Final = {"decode": "decoding", "engine": "transcribing", "publish": "publishing"}


def trouble(status: Status) -> bool:
    """Whether somebody should look: a loop, engine, inbox or the history does not work, or a critical alert is open."""
    offline = any(inbox.get("offline") for inbox in status.get("inboxes", ()))
    down = any(seat.get("state") == "down" for seat in _seats(status))
    critical = any(alert.get("severity") == "critical" for alert in status.get("alerts", ()))
    return bool(status.get("stuck") or status.get("history_trouble")) or down or offline or critical


def figures(status: Status, name: str) -> dict[str, float]:
    """The figures called *name* in the newest sample, by subject."""
    found: dict[str, float] = {}
    for key, value in status.get("figures", {}).items():
        head, _, subject = str(key).partition(" ")
        if head == name:
            found[subject] = float(value)
    return found


def engines(status: Status) -> Iterator[tuple[str, str]]:
    """Each engine process that is in use, or the first: its state, and its model, device and last error."""
    seats = _seats(status)
    in_use = [seat for seat in seats if seat.get("model")]
    for seat in in_use or seats[:1]:
        words = [f"{seat['model']} on {seat.get('device') or seat.get('wanted')}"] if seat.get("model") else []
        words += [str(seat["compute_type"])] if seat.get("device") and seat.get("compute_type") else []
        words += [_count(seat.get("n_jobs", 0), "recording", "inside")]
        if seat.get("last_error"):
            words.append(f"last error: {seat['last_error']}")
        yield str(seat.get("state")), escape(", ".join(words))


def gpus(status: Status) -> Iterator[tuple[str, str]]:
    """Each GPU: its number, and how it is."""
    lost, throttled = figures(status, "gpu_lost"), figures(status, "gpu_throttled")
    used = figures(status, "gpu_memory_used_bytes")
    total = figures(status, "gpu_memory_total_bytes")
    subjects = {subject for name in ("gpu_utilisation_ratio", "gpu_lost", *_GPU) for subject in figures(status, name)}
    for index in sorted(subjects | set(used), key=_natural):
        words = ["LOST"] if lost.get(index) else []
        if index in (load := figures(status, "gpu_utilisation_ratio")):
            words.append(f"{say('gpu_utilisation_ratio', load[index])} busy")
        if index in used:
            words.append(size(used[index]) + (f" of {size(total[index])}" if index in total else ""))
        words += [say(name, found[index]) for name in _GPU if index in (found := figures(status, name))]
        words += ["throttled"] if throttled.get(index) else []
        yield escape(index), ", ".join(words)


_GPU: Final = ("gpu_temperature_celsius", "gpu_power_w")


def machine(status: Status) -> str:
    """Load of the machine; "" where the daemon does not tell."""
    names = (("CPU", "host_cpu_used_ratio"), ("memory", "host_memory_used_ratio"), ("swap", "host_swap_used_ratio"))
    words = [f"{word} {say(name, found[''])}" for word, name in names if "" in (found := figures(status, name))]
    words += [say("host_temperature_celsius", value) for value in figures(status, "host_temperature_celsius").values()]
    free = figures(status, "folder_free_bytes")
    if free:
        folder, n_bytes = min(free.items(), key=lambda item: item[1])
        words.append(f"{size(n_bytes)} free in {escape(folder)}")
    return ", ".join(words)


def jobs(status: Status) -> str:
    """How many jobs are in each state: what is to be done, what went wrong, then the rest."""
    counts = {state: count for state, count in status.get("jobs", {}).items() if count}
    order = [*(state for state in _FIRST if state in counts), *(state for state in counts if state not in _FIRST)]
    return escape(", ".join(f"{counts[state]} {state}" for state in order)) or "none yet"


def queue(status: Status) -> str:
    """How long the queue is in time, how old, and how fast it shrinks; "" where the daemon does not tell."""
    words: list[str] = []
    if left_s := status.get("queue_eta_s"):
        words.append(f"done in about {in_words(left_s)}")
    wait_s = figures(status, "queue_oldest_wait_s").get("")
    if wait_s:
        words.append(f"oldest waits {in_words(wait_s)}")
    if (speed := status.get("speed_ratio")) is not None:
        words.append(f"{number(speed)} times real time")
    return ", ".join(words)


def history(status: Status) -> str:
    """What is wrong with the job history; "" where nothing is."""
    return escape(str(status.get("history_trouble") or ""))


def progress(activity: Mapping[str, Any]) -> str:
    """How far a job in hand is, and when it is done."""
    of = f" of {duration(activity['total_s'])}" if activity.get("total_s") else ""
    left_s = activity.get("eta_s")
    left = f", done in about {in_words(left_s)}" if left_s else ""
    stage = str(activity.get("stage"))
    return f"{STAGES.get(stage, escape(stage))} {duration(activity.get('done_s'))}{of}{left}"


def inbox(inbox: Mapping[str, Any]) -> str:
    """How an inbox is."""
    if inbox.get("offline"):
        return escape(f"offline: {inbox['offline']}")
    settle_s = inbox.get("settle_s")
    settles = f", settles in {settle_s:g} s" if settle_s is not None else ""
    return escape(f"watched by {inbox.get('watched_by')} ({inbox.get('because')}){settles}")


def canary(status: Status, now: datetime) -> str:
    """How the known clip fared; "" where there is none."""
    told: Mapping[str, Any] = status.get("canary") or {}
    words: list[str] = []
    if (since_s := told.get("on_its_way_s")) is not None:
        words.append(f"on its way for {in_words(since_s)}")
    elif told.get("waits_for"):
        words.append(f"waits: {told['waits_for']}")
    if told.get("last_at"):
        last = f"{age(told['last_at'], now)} ago"
        if (wrong := told.get("wrong_words_ratio")) is not None:
            last += f" {say('canary_wrong_words_ratio', wrong)} of its words were wrong"
        if (latency_s := told.get("latency_s")) is not None:
            last += f", {in_words(latency_s)} from drop to transcript"
        words.append(last)
    return escape("; ".join(words))


def alerts(status: Status) -> list[Mapping[str, Any]]:
    """The open alerts, the worst first, then the newest."""
    found = sorted(status.get("alerts", ()), key=lambda alert: str(alert.get("opened_at")), reverse=True)
    return sorted(found, key=_mildness)


def age(text: Any, now: datetime) -> str:
    """How long ago *text* (ISO 8601) was, in words; "?" if it is no time."""
    try:
        then = datetime.fromisoformat(str(text))
    except ValueError:
        return "?"
    return in_words(max((now - then.astimezone(UTC)).total_seconds(), 0.0))


def _mildness(alert: Mapping[str, Any]) -> int:
    severity = alert.get("severity")
    return -SEVERITIES.index(severity) if severity in SEVERITIES else 0


def _seats(status: Status) -> list[Mapping[str, Any]]:
    return list(status.get("engine", {}).get("seats", ()))


def _count(n: int, what: str, where: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'} {where}"


def _natural(index: str) -> tuple[int, str]:
    return (int(index) if index.isdecimal() else 1 << 30, index)
