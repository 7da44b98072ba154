"""When people are told, and of what."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alert import Alert, Severity
from monitor.figures import Key
from monitor.notices.messages import MOST_LISTED, Ended, Message, News, of_alerts, of_ended, plain, together
from monitor.notices.notices import FREE_PER_HOUR, STORM_GAP_CRITICAL_S, STORM_GAP_S, EndedJobs, Notices, Policy

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOT = Key("gpu_temperature_celsius", "0")
FULL = Key("host_memory_used_ratio")


def alert(key: Key = FULL, severity: Severity = "warning", *, opened_s: float = 0.0, id: int | None = None) -> Alert:  # noqa: A002
    """An alert that opened *opened_s* after AT."""
    at = AT + timedelta(seconds=opened_s)
    return Alert(
        rule="high",
        key=key,
        severity=severity,
        title="Memory of the machine 93 %, more than 90 %",
        advice="Look at `top`.",
        words="",
        limit=0.9,
        first=0.91,
        last=0.93,
        peak=0.95,
        opened_at=at,
        seen_at=at,
        id=id,
    )


def over(one: Alert, at_s: float) -> Alert:
    """*one*, resolved *at_s* after AT."""
    return replace(one, resolved_at=AT + timedelta(seconds=at_s))


class Clock:
    """Feeds notices as the monitor does, with one clock for both times."""

    def __init__(self, policy: Policy | None = None, told: dict[int, datetime] | None = None) -> None:
        self.notices = Notices(policy or Policy(zone=UTC), told)

    def at(self, s: float, open: tuple[Alert, ...] = (), resolved: tuple[Alert, ...] = ()) -> News | None:  # noqa: A002
        """What goes out *s* after AT."""
        at = AT + timedelta(seconds=s)
        self.notices.take(open, resolved, s, at)
        return self.notices.due(s, at)


def test_an_alert_is_told_once_and_its_end_once() -> None:
    """Not again with each sample while it is open."""
    clock, one = Clock(), alert()
    assert clock.at(0, (one,)) == News([one], [], [])
    assert [clock.at(s, (one,)) for s in range(10, 3000, 10)] == [None] * 299
    ended = over(one, 3000)
    assert clock.at(3000, (), (ended,)) == News([], [ended], [])
    assert clock.at(3100) is None


def test_one_message_goes_out_in_the_group_interval() -> None:
    """The first alert is told at once; what follows within the interval comes together when it is over."""
    clock, first, second, third = Clock(), alert(), alert(HOT, opened_s=10), alert(Key("engine_up"), opened_s=20)
    assert clock.at(0, (first,)) is not None
    assert clock.at(10, (first, second)) is None
    assert clock.at(20, (first, second, third)) is None
    assert clock.at(60, (first, second, third)) == News([second, third], [], [])


def test_what_was_never_told_is_not_told_when_it_is_over() -> None:
    """An alert that opens and ends within the interval leaves no trace but in the log and the history."""
    clock, first, second = Clock(), alert(), alert(HOT)
    clock.at(0, (first,))
    clock.at(10, (first, second))
    assert clock.at(50, (first,), (over(second, 50),)) is None
    assert clock.at(60, (first,)) is None


def test_what_opens_again_before_its_end_was_told_never_ended() -> None:
    """Flapping faster than messages go is not told of."""
    clock, one = Clock(), alert()
    clock.at(0, (one,))
    assert clock.at(10, (), (over(one, 10),)) is None
    again = alert(opened_s=30)
    assert clock.at(30, (again,)) is None
    assert clock.at(60, (again,)) is None


def test_mild_alerts_are_not_told() -> None:
    """Below min_severity neither the alert nor its end is."""
    clock, one = Clock(), alert(severity="info")
    assert clock.at(0, (one,)) is None
    assert clock.at(100, (), (over(one, 100),)) is None


def test_what_lasts_is_told_again() -> None:
    """After repeat_s, with all else that is open, so that not each one comes at its own time; 0 means never."""
    policy = Policy(repeat_s=3600, zone=UTC)
    clock, one, other = Clock(policy), alert(), alert(HOT)
    clock.at(0, (one,))
    clock.at(600, (one, other))
    assert clock.at(3599, (one, other)) is None
    assert clock.at(3600, (one, other)) == News([], [], [one, other])
    assert clock.at(7199, (one, other)) is None
    assert clock.at(7200, (one, other)) == News([], [], [one, other])
    never = Clock(replace(policy, repeat_s=0))
    never.at(0, (one,))
    assert never.at(10**7, (one,)) is None


@pytest.mark.parametrize(
    ("hours", "quiet", "loud"),
    [
        ((time(22), time(7)), ["22:00", "23:59", "00:00", "06:59"], ["07:00", "21:59", "12:00"]),
        ((time(12), time(13, 30)), ["12:00", "13:29"], ["11:59", "13:30", "00:00"]),
        ((time(8), time(8)), [], ["08:00", "07:59"]),
    ],
)
def test_quiet_hours_are_local_and_may_go_over_midnight(
    hours: tuple[time, time], quiet: list[str], loud: list[str]
) -> None:
    """The end is not part of them; from and to alike means never."""
    zone = timezone(timedelta(hours=-5))
    policy = Policy(quiet_hours=hours, zone=zone)

    def local(text: str) -> datetime:
        return datetime.combine(AT.date(), time.fromisoformat(text), zone).astimezone(UTC)

    assert [text for text in quiet + loud if policy.quiet(local(text))] == quiet


def test_only_critical_ones_are_told_in_quiet_hours() -> None:
    """The others are told when they end, if they are open still; the end of a critical one is told at once."""
    clock = Clock(Policy(quiet_hours=(time(12), time(13)), zone=UTC))
    mild, passing, grave = alert(), alert(Key("engine_up")), alert(HOT, "critical")
    assert clock.at(0, (mild, passing)) is None
    assert clock.at(10, (mild, passing, grave)) == News([grave], [], [])
    ended = over(grave, 600)
    assert clock.at(600, (mild,), (ended, over(passing, 600))) == News([], [ended], [])
    assert clock.at(3599, (mild,)) is None
    assert clock.at(3600, (mild,)) == News([mild], [], [])


def test_a_storm_is_slowed_down() -> None:
    """After the free messages of an hour one goes each ten minutes; a new critical alert waits five at most."""
    clock = Clock()
    times = [s for s in range(0, 7200, 10) if clock.at(s, (alert(Key("jobs", str(s))),)) is not None]
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[: FREE_PER_HOUR - 1] == [60] * (FREE_PER_HOUR - 1)
    assert set(gaps[FREE_PER_HOUR - 1 :]) == {int(STORM_GAP_S)}
    last = times[-1]
    grave = alert(HOT, "critical")
    assert clock.at(last + STORM_GAP_CRITICAL_S - 1, (grave,)) is None
    assert clock.at(last + STORM_GAP_CRITICAL_S, (grave,)) is not None


def test_a_restart_neither_forgets_nor_repeats() -> None:
    """What was told before it is not told again but when it is due; what was not told is; the end of it is."""
    told_at = AT - timedelta(hours=23)
    known, unknown = alert(id=1), alert(HOT, id=2)
    clock = Clock(told={1: told_at})
    assert clock.at(0, (known, unknown)) == News([unknown], [], [])
    assert clock.at(3500, (known, unknown)) is None
    assert clock.at(3600, (known, unknown)) == News([], [], [known, unknown])
    other = Clock(told={1: told_at})
    assert other.at(0, (), (over(known, 0),)) == News([], [over(known, 0)], [])


def test_a_clock_that_jumped_back_does_not_repeat_at_once() -> None:
    """An alert told in what is now the future counts as told just now."""
    one = alert(id=1)
    clock = Clock(told={1: AT + timedelta(days=400)})
    assert clock.at(0, (one,)) is None
    assert clock.at(86_400, (one,)) == News([], [], [one])


def test_ended_jobs_are_told_together() -> None:
    """The first at once, then all of the interval; each inbox by itself; none in quiet hours."""
    jobs, policy = EndedJobs(), Policy(zone=UTC)
    first, second, third = (Ended("ok", f"/in/{name}.wav", "") for name in "abc")
    jobs.take("/in", first)
    assert jobs.due(policy, 0, AT) == {"/in": ([first], 0)}
    jobs.take("/in", second)
    jobs.take("/in", third)
    jobs.take("/other", first)
    assert jobs.due(policy, 30, AT) == {"/other": ([first], 0)}
    assert jobs.due(replace(policy, quiet_hours=(time(11), time(13))), 60, AT) == {}
    assert jobs.due(policy, 60, AT) == {"/in": ([second, third], 0)}
    assert jobs.due(policy, 600, AT) == {}


def test_of_very_many_ended_jobs_the_failed_ones_are_kept() -> None:
    """Memory stays small in a drop of a hundred thousand files, and no failure is hidden by it."""
    jobs = EndedJobs()
    for number in range(1000):
        jobs.take("/in", Ended("ok", f"/in/{number}.wav", ""))
    jobs.take("/in", Ended("failed", "/in/bad.wav", "no audio"))
    ended, n_more = jobs.due(Policy(), 0, AT)["/in"]
    assert len(ended) + n_more == 1001
    assert ended[0].recording == "/in/bad.wav"


def test_a_message_names_all_that_is_known() -> None:
    """What is wrong, where, the figure and its limit, since when, and what to do next."""
    one = replace(
        alert(HOT, "critical"),
        title="GPU 0 is too hot: 93 °C, more than 85 °C",
        words="recording /srv/inbox/meeting.wav",
        limit=85,
        last=93,
        peak=95,
    )
    message = of_alerts(News([one]), "box", AT + timedelta(minutes=3), UTC)
    assert message == Message(
        "transcribed on box: critical: GPU 0 is too hot: 93 °C, more than 85 °C",
        "CRITICAL GPU 0 is too hot: 93 °C, more than 85 °C\n"
        "  recording /srv/inbox/meeting.wav\n"
        "  gpu_temperature_celsius of 0: now 93 °C, worst 95 °C, limit 85 °C\n"
        "  since 2026-03-01 12:00\n"
        "  next: Look at `top`.",
        "failure",
    )
    ended = of_alerts(News([], [over(one, 200)]), "box", AT + timedelta(seconds=200), UTC)
    assert ended.title == "transcribed on box: resolved: GPU 0 is too hot: 93 °C, more than 85 °C"
    assert "open for 3 min 20 s, from 2026-03-01 12:00; worst 95 °C" in ended.body
    assert ended.kind == "success"


def test_of_what_is_yes_or_no_the_title_says_all() -> None:
    """A line with its limit would say nothing."""
    one = replace(alert(Key("gpu_lost", "0")), first=1, last=1, peak=1, limit=0)
    opened, ended = (of_alerts(news, "box", AT, UTC).body for news in (News([one]), News([], [over(one, 60)])))
    assert "limit" not in opened
    assert "worst" not in ended


def test_what_the_title_says_is_not_said_twice() -> None:
    """Many titles have the words in them."""
    one = replace(alert(), title="The inbox /in is away: no route", words="no route")
    assert of_alerts(News([one]), "box", AT, UTC).body.count("no route") == 1


def test_several_alerts_are_one_list_with_the_worst_first() -> None:
    """A long one ends with how many are left out, and where they are to be seen."""
    mild = [alert(Key("inbox_offline", f"/in{number}")) for number in range(MOST_LISTED)]
    message = of_alerts(News([*mild, alert(HOT, "critical")], [over(alert(), 60)]), "box", AT, UTC)
    assert message.title.startswith(f"transcribed on box: {MOST_LISTED + 1} new, 1 resolved: ")
    assert message.body.startswith("CRITICAL ")
    assert message.body.endswith("and 2 more: transcribed alerts")
    assert message.kind == "failure"


def test_nothing_in_a_name_can_forge_a_line_or_call_a_channel() -> None:
    """Line ends, escape sequences, marks that turn text, lone surrogates, and what chats obey."""
    hostile = "a\nRESOLVED all is well\x1b[2J\u202egpj.\udcff @everyone <!channel> @here.wav"
    told = plain(hostile)
    assert told.isprintable()
    assert "@everyone" not in told
    assert "<!channel>" not in told
    assert told.encode()
    one = replace(alert(Key("inbox_scan_s", hostile)), words=f"of {hostile}", title=hostile)
    message = of_alerts(News([one]), hostile.replace("\n", ""), AT, UTC)
    assert len(message.body.splitlines()) == 5
    ended = of_ended(hostile, [Ended("failed", hostile, hostile)], 0, "box")
    assert len([line for line in ended.body.splitlines() if line]) == 3
    assert "\n" not in ended.title


def test_a_message_stays_short() -> None:
    """Whatever is in its parts."""
    one = replace(alert(), words="x" * 10**6, title="y" * 10**6, advice="z" * 10**6)
    message = of_alerts(News([one] * 50), "box", AT, UTC)
    assert len(message.title) < 200
    assert len(together([message] * 20).body) < 13_000


def test_of_messages_that_waited_the_newest_is_read_first() -> None:
    """Whatever does not fit is the oldest; what is bad is not coloured as good because something else ended since."""
    old = [Message(f"old {number}", "x" * 3000, "failure") for number in range(9)]
    waited = together([*old, Message("new", "it is over", "success")])
    assert waited.title == "new (and 9 earlier)"
    assert waited.body.startswith("new\n\nit is over\n\nold 8\n\nxxx")
    assert waited.body.endswith("and more: transcribed alerts --all")
    assert waited.kind == "failure"


def test_a_message_that_fills_all_the_room_is_cut() -> None:
    """With its title it is too long for the message that is made of several: its beginning is told all the same."""
    waited = together([Message("a", "b", "success"), Message("long", "x" * 11_999, "warning")])
    assert waited.body.startswith("long\n\nxxx")
    assert len(waited.body) < 13_000


def test_the_ends_of_jobs_are_said_in_one_line_each() -> None:
    """With the reason below; the title counts."""
    ended = [Ended("failed", "/in/b.wav", "no audio in it"), Ended("ok", "/in/a.wav", "")]
    message = of_ended("/in", ended, 3, "box")
    assert message.title == "transcribed on box: 5 recordings"
    assert message.body == (
        "Inbox /in\n\nfailed: /in/b.wav\n  no audio in it\n\nok: /in/a.wav\n\nand 3 more: transcribed jobs"
    )
    assert of_ended("/in", ended, 0, "box").title == "transcribed on box: 2 recordings: 1 done, 1 failed"
    assert of_ended("/in", ended[1:], 0, "box") == Message(
        "transcribed on box: ok: a.wav", "Inbox /in\n\nok: /in/a.wav", "success"
    )


KEYS = [Key("jobs", str(number)) for number in range(4)]
_step = st.tuples(st.sampled_from([10, 30, 70, 700, 4000]), st.frozensets(st.sampled_from(KEYS)))


@settings(max_examples=150, deadline=None)
@given(st.lists(_step, max_size=60), st.sampled_from([0.0, 3000.0]))
def test_whatever_opens_and_ends_is_told_in_order_and_at_a_pace(
    steps: list[tuple[int, frozenset[Key]]], repeat_s: float
) -> None:
    """An end only of what was told, nothing twice, one message an interval; and in the end all that is open is told."""
    clock = Clock(Policy(repeat_s=repeat_s, zone=UTC))
    open_alerts: dict[Key, Alert] = {}
    told: set[Key] = set()
    now, last = 0.0, -1e9
    for gap_s, keys in [*steps, *([(700, steps[-1][1])] * 2 if steps else [])]:
        now += gap_s
        resolved = tuple(over(open_alerts.pop(key), now) for key in sorted(open_alerts.keys() - keys))
        for key in sorted(keys - open_alerts.keys()):
            open_alerts[key] = alert(key, opened_s=now)
        news = clock.at(now, tuple(open_alerts.values()), resolved)
        if news is None:
            continue
        assert now - last >= 60
        last = now
        opened, ended = {one.key for one in news.opened}, {one.key for one in news.resolved}
        assert ended <= told
        assert not opened & told
        assert {one.key for one in news.standing} <= told
        assert not ended & open_alerts.keys()
        told = told - ended | opened
    assert told == open_alerts.keys()
