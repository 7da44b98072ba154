"""From samples to alerts: each rule opens, holds, ends and does not flap; gaps, clocks and restarts change nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alert import Alert, Judgement
from monitor.figures import FIGURES, Key, Sample
from monitor.history.store import MetricsHistory
from monitor.rules.judging import Judge
from monitor.rules.loading import load
from monitor.rules.rule import Rule

AT = datetime(2025, 3, 1, 8, tzinfo=UTC)
STEP_S = 10.0
DAY = round(86_400 / STEP_S)

RULES = {rule.name: rule for rule in load()}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def the_key(rule: Rule) -> Key:
    return Key(rule.figure, "it" if FIGURES[rule.figure].subject else "")


def bad(rule: Rule) -> float:
    """A value just past the limit."""
    return rule.limit + 0.01 * max(abs(rule.limit), 1) if rule.is_above else rule.limit - 0.01 * max(abs(rule.limit), 1)


def worse(rule: Rule) -> float:
    return bad(rule) + (1 if rule.is_above else -1)


class Run:
    """A judge that is given samples, one each 10 s, and what came of it."""

    def __init__(self, rules: Iterable[Rule], open_alerts: Sequence[Alert] = (), at: datetime = AT) -> None:
        self.judge = Judge(rules, open_alerts)
        self.at = at
        self.opened: list[Alert] = []
        self.resolved: list[Alert] = []
        self.open: tuple[Alert, ...] = ()

    def see(self, figures: Mapping[Key, float], words: Mapping[Key, str] | None = None) -> Judgement:
        """One sample."""
        judgement = self.judge.judge(Sample(self.at, figures, words or {}))
        self.opened += judgement.opened
        self.resolved += judgement.resolved
        self.open = judgement.open
        self.at += timedelta(seconds=STEP_S)
        return judgement

    def stay(self, figures: Mapping[Key, float], for_s: float, words: Mapping[Key, str] | None = None) -> None:
        """Samples that are all the same, the last one *for_s* after the first."""
        for _ in range(math.ceil(for_s / STEP_S) + 1):
            self.see(figures, words)

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many opened, how many ended, how many are open."""
        return len(self.opened), len(self.resolved), len(self.open)


def opened(rule: Rule, words: str = "") -> Run:
    """A run in which the alert of *rule* has just opened."""
    run = Run([rule])
    run.stay({the_key(rule): bad(rule)}, rule.for_s, {the_key(rule): words} if words else {})
    assert run.counts == (1, 0, 1)
    return run


@each_rule
def test_it_opens(rule: Rule) -> None:
    """Past the limit for as long as the rule says, not a sample earlier; the alert says all there is to say."""
    run, key = Run([rule]), the_key(rule)
    run.stay({key: rule.limit}, rule.for_s + 600)
    assert run.counts == (0, 0, 0)
    n_before = math.ceil(rule.for_s / STEP_S)
    for _ in range(n_before):
        run.see({key: bad(rule)})
    assert run.counts == (0, 0, 0)
    (alert,) = run.see({key: worse(rule)}, {key: "for a reason"}).opened
    assert (alert.rule, alert.key, alert.severity, alert.limit) == (rule.name, key, rule.severity, rule.limit)
    assert (alert.first, alert.last, alert.peak) == (worse(rule),) * 3
    assert alert.opened_at == alert.seen_at == run.at - timedelta(seconds=STEP_S)
    assert alert.title == rule.title_for(key, worse(rule), "for a reason")
    assert (alert.words, alert.id, alert.resolved_at) == ("for a reason", None, None)
    assert run.open == (alert,)


@each_rule
def test_it_holds(rule: Rule) -> None:
    """While the figure is bad, or only a little better than the limit, nobody hears of it again."""
    run, key = opened(rule), the_key(rule)
    run.see({key: worse(rule)})
    run.stay({key: bad(rule)}, 3600)
    if rule.clear != rule.limit:
        run.stay({key: (rule.clear + rule.limit) / 2}, 2 * max(rule.clear_for_s, 3600))
    assert run.counts == (1, 0, 1)
    (alert,) = run.open
    assert alert.peak == worse(rule)
    assert alert.seen_at == run.at - timedelta(seconds=STEP_S)
    assert alert.opened_at == run.opened[0].opened_at


@each_rule
def test_it_ends(rule: Rule) -> None:
    """Good again for as long as the rule says, not a sample earlier."""
    run, key = opened(rule), the_key(rule)
    for _ in range(math.ceil(rule.clear_for_s / STEP_S)):
        run.see({key: rule.clear})
    assert run.counts == (1, 0, 1)
    (alert,) = run.see({key: rule.clear}).resolved
    assert alert.resolved_at == alert.seen_at == run.at - timedelta(seconds=STEP_S)
    assert (alert.last, alert.peak, alert.opened_at) == (rule.clear, bad(rule), run.opened[0].opened_at)
    assert run.counts == (1, 1, 0)


@each_rule
def test_it_does_not_flap_with_each_sample(rule: Rule) -> None:
    """A figure that is bad in one sample and good in the next for hours opens it twice at the most."""
    run, key = Run([rule]), the_key(rule)
    for _ in range(DAY // 8):
        run.see({key: bad(rule)})
        run.see({key: rule.clear})
    assert len(run.opened) <= (2 if rule.for_s == 0 else 0)


@each_rule
def test_it_does_not_flap_slowly(rule: Rule) -> None:
    """One that is bad and good in turn, each for as long as counts, is one trouble: told twice in a day at most."""
    run, key = Run([rule]), the_key(rule)
    while run.at < AT + timedelta(days=1):
        run.stay({key: bad(rule)}, rule.for_s + STEP_S)
        run.stay({key: rule.clear}, rule.clear_for_s + STEP_S)
    assert 1 <= len(run.opened) <= 2


@each_rule
def test_noise_around_the_limit_does_not_flap(rule: Rule) -> None:
    """A figure that wavers about its limit at random is told a few times in six hours, not a hundred times."""
    run, key, rng = Run([rule]), the_key(rule), random.Random(7)
    width = max(abs(rule.limit - rule.clear), 0.01)
    for _ in range(DAY // 4):
        run.see({key: rng.gauss(rule.limit, width)})
    assert len(run.opened) <= 4


def test_a_return_after_a_quiet_day_is_new() -> None:
    """What is remembered of the last time is forgotten: it ends as fast as the first time."""
    rule = RULES["gpu_memory"]
    run, key = opened(rule), the_key(rule)
    run.stay({key: 0.5}, 86_400)
    run.stay({key: 0.95}, rule.for_s)
    assert run.counts == (2, 1, 1)
    run.stay({key: 0.5}, rule.clear_for_s)
    assert run.counts == (2, 2, 0)


def test_each_subject_has_its_own() -> None:
    """Two hot GPUs are two alerts, and one that cools down ends its own."""
    rule = RULES["gpu_temperature"]
    run, one, two = Run([rule]), Key(rule.figure, "0"), Key(rule.figure, "1")
    run.stay({one: 90, two: 91}, rule.for_s)
    assert [alert.key for alert in run.opened] == [one, two]
    run.stay({one: 60, two: 91}, rule.clear_for_s)
    assert [alert.key for alert in run.resolved] == [one]
    assert [alert.key for alert in run.open] == [two]


def test_a_figure_that_is_missing_for_a_moment_changes_nothing() -> None:
    """A reading that failed neither opens nor ends anything, and what was counted before it still counts."""
    rule = RULES["gpu_temperature"]
    run, key = Run([rule]), the_key(rule)
    run.stay({key: 90}, rule.for_s - 2 * STEP_S)
    run.see({})
    run.see({key: 90})
    assert run.counts == (0, 0, 0)
    run.see({key: 90})
    assert run.counts == (1, 0, 1)
    run.stay({}, rule.gone_s - 2 * STEP_S)
    run.see({key: 90})
    run.stay({}, rule.gone_s - 2 * STEP_S)
    assert run.counts == (1, 0, 1)
    assert run.open[0].last == 90


def test_a_figure_that_was_away_for_long_is_counted_anew() -> None:
    """Bad before and bad after, with a minute between of which nothing is known, is not bad throughout."""
    rule = RULES["gpu_temperature"]
    run, key = Run([rule]), the_key(rule)
    run.stay({key: 90}, rule.for_s - STEP_S)
    run.stay({}, 60)
    run.stay({key: 90}, rule.for_s - STEP_S)
    assert run.counts == (0, 0, 0)


def test_an_alert_whose_subject_is_gone_ends_in_words() -> None:
    """A job that was cancelled is not slow any more; the alert says why it is over."""
    rule = RULES["job_overtime"]
    run = opened(rule, "meeting.mp3")
    run.stay({}, rule.gone_s)
    assert run.counts == (1, 1, 0)
    assert run.resolved[0].words == "meeting.mp3; this job is not there any more, or cannot be read"
    assert run.resolved[0].resolved_at is not None


def test_a_pause_without_work_does_not_make_a_machine_fast() -> None:
    """Without recordings there is no speed; what was slow before lunch is not told again after it."""
    rule = RULES["slow"]
    run = opened(rule)
    run.stay({}, 2 * 3600)
    run.stay({the_key(rule): bad(rule)}, 2 * rule.for_s)
    assert run.counts == (1, 0, 1)


def test_a_value_that_is_no_number_is_a_missing_one() -> None:
    """A driver that says NaN has said nothing."""
    run = opened(RULES["gpu_temperature"])
    run.stay({the_key(RULES["gpu_temperature"]): math.nan}, 300)
    assert run.counts == (1, 0, 1)
    assert math.isfinite(run.open[0].last)


@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365), timedelta(hours=8), timedelta(hours=-1)])
def test_a_clock_that_jumps_is_no_time_that_passed(jump: timedelta) -> None:
    """Suspended for eight hours, or set by a year: nothing opens or ends for it, and all goes on after."""
    rule = RULES["gpu_temperature"]
    run, key = Run([rule]), the_key(rule)
    run.see({key: 90})
    run.at += jump
    run.see({key: 90})
    assert run.counts == (0, 0, 0)
    run.stay({key: 90}, rule.for_s)
    assert run.counts == (1, 0, 1)
    run.see({key: 60})
    run.at -= jump
    run.see({key: 60})
    assert run.counts == (1, 0, 1)
    run.stay({key: 60}, rule.clear_for_s)
    assert run.counts == (1, 1, 0)


def test_a_restart_neither_forgets_nor_repeats() -> None:
    """An alert that was open stays open under its number, and ends when the figure is good."""
    rule = RULES["gpu_temperature"]
    key = the_key(rule)
    before = replace(opened(rule, "fan 0 %").open[0], id=17)
    run = Run(RULES.values(), [before], AT + timedelta(hours=3))
    run.see({})
    assert run.open == (before,)
    run.stay({key: 88}, 3600)
    assert run.counts == (0, 0, 1)
    assert (run.open[0].id, run.open[0].opened_at, run.open[0].last) == (17, before.opened_at, 88)
    run.stay({key: 60}, rule.clear_for_s)
    assert [alert.id for alert in run.resolved] == [17]


def test_the_history_gives_back_what_was_open(tmp_path: Path) -> None:
    """Through the real file: opened, kept, open after a restart under the same number, ended, and not open any more."""
    rule = RULES["gpu_temperature"]
    run, key = Run([rule]), the_key(rule)
    history = MetricsHistory.open(tmp_path / "metrics.db", 4 * 1024**2)
    numbers: list[int | None] = []
    for index in range(40):
        if index == 20:
            history.close()
            history = MetricsHistory.open(tmp_path / "metrics.db", 4 * 1024**2)
            run = Run([rule], history.open_alerts(), run.at + timedelta(hours=1))
        sample = Sample(run.at, {key: 90.0 + index})
        kept = history.add(sample, run.see(sample.figures))
        numbers += [alert.id for alert in kept.open]
    assert len(run.opened) == 0
    assert set(numbers) == {1}
    assert [(alert.first, alert.peak) for alert in history.open_alerts()] == [(102, 129)]
    ended: list[int | None] = []
    while run.open:
        sample = Sample(run.at, {key: 50.0})
        ended += [alert.id for alert in history.add(sample, run.see(sample.figures)).resolved]
    assert ended == [1]
    assert history.open_alerts() == ()
    history.close()


def test_what_ended_while_nobody_looked_ends_after_the_restart() -> None:
    """A job that was late when the daemon stopped is not there any more."""
    before = replace(opened(RULES["job_overtime"]).open[0], id=4)
    run = Run(RULES.values(), [before], AT + timedelta(hours=3))
    run.stay({}, RULES["job_overtime"].gone_s)
    assert [alert.id for alert in run.resolved] == [4]


@pytest.mark.parametrize("rules", [[], [replace(RULES["gpu_temperature"], subject="other")]])
def test_an_alert_whose_rule_is_off_ends(rules: list[Rule]) -> None:
    """Nobody waits for the end of what is not looked at any more."""
    before = opened(RULES["gpu_temperature"], "hot").open[0]
    run = Run(rules, [before])
    run.see({the_key(RULES["gpu_temperature"]): 95})
    assert run.counts == (0, 1, 0)
    assert run.resolved[0].words == "hot; the rule is not in use any more"


def test_one_trouble_is_told_by_its_cause() -> None:
    """An engine that is down is told; that nothing moves and all waits follows from it, until it is up and still so."""
    run = Run(RULES.values())
    broken = {Key("engine_up", "cuda"): 0.0, Key("queue_still_s"): 5000.0, Key("queue_oldest_wait_s"): 20_000.0}
    run.stay({Key("engine_up", "cuda"): 0.0}, 600)
    run.stay(broken, 3600)
    assert [alert.rule for alert in run.opened] == ["engine_down"]
    run.stay({**broken, Key("engine_up", "cuda"): 1.0}, 30)
    run.stay({**broken, Key("engine_up", "cuda"): 1.0}, 60)
    assert [alert.rule for alert in run.opened] == ["engine_down", "queue_still"]
    assert [alert.rule for alert in run.resolved] == ["engine_down"]


def test_a_cause_that_breaks_with_the_same_sample_is_told_alone() -> None:
    """Both are bad from the first sample on; the cause comes first."""
    run = Run(RULES.values())
    run.stay({Key("database_trouble"): 1.0, Key("state_free_bytes"): 1000.0}, 3600)
    assert [alert.rule for alert in run.opened] == ["disk_full"]


def test_a_cause_explains_only_its_own_subject() -> None:
    """One inbox that is away does not excuse another one that cannot be written."""
    run = Run(RULES.values())
    run.stay({Key("inbox_offline", "/a"): 1.0}, 200)
    run.stay(
        {Key("inbox_offline", "/a"): 1.0, Key("outputs_blocked", "/a"): 2.0, Key("outputs_blocked", "/b"): 3.0}, 400
    )
    assert [(alert.rule, alert.key.subject) for alert in run.opened] == [
        ("inbox_offline", "/a"),
        ("outputs_blocked", "/b"),
    ]


def test_a_full_disk_explains_only_the_inbox_that_lies_on_it() -> None:
    """An inbox is called as its folder is, so one small share does not excuse the other."""
    run = Run(RULES.values())
    full = {Key("folder_free_bytes", "/a"): 1000.0}
    run.stay(full, 200)
    run.stay({**full, Key("outputs_blocked", "/a"): 2.0, Key("outputs_blocked", "/b"): 3.0}, 400)
    assert [(alert.rule, alert.key.subject) for alert in run.opened] == [
        ("folder_full", "/a"),
        ("outputs_blocked", "/b"),
    ]


def test_a_small_share_that_is_full_mutes_nothing_that_the_service_does() -> None:
    """An inbox on a stick may be full for good; that the history cannot be written is told beside it."""
    run = Run(RULES.values())
    small = {Key("folder_free_bytes", "/stick"): 1000.0, Key("state_free_bytes"): 5e11}
    run.stay(small, 200)
    run.stay({**small, Key("database_trouble"): 1.0}, 3600)
    assert [(alert.rule, alert.severity) for alert in run.opened] == [
        ("folder_full", "warning"),
        ("database_trouble", "critical"),
    ]


def test_a_share_with_some_room_is_no_alert() -> None:
    """A quota of half a gigabyte holds recordings and their transcripts."""
    run = Run(RULES.values())
    run.stay({Key("folder_free_bytes", "/quota"): 5e8, Key("state_free_bytes"): 5e11}, 3600)
    assert run.counts == (0, 0, 0)


def test_a_full_state_folder_is_told_alone() -> None:
    """Inboxes on the same disk are as full: one message."""
    run = Run(RULES.values())
    run.stay({Key("folder_free_bytes", folder): 1000.0 for folder in "ab"} | {Key("state_free_bytes"): 1000.0}, 3600)
    assert [alert.rule for alert in run.opened] == ["disk_full"]


def test_a_gpu_that_is_out_is_told_as_the_cpu_that_works_for_it() -> None:
    """Jobs go on, so that the engine of the GPU is down is no alert beside that; it is where there is no other."""
    run = Run(RULES.values())
    run.stay({Key("engine_up", "cuda"): 0.0, Key("engine_up", "cpu"): 1.0, Key("engine_on_spare", "cpu"): 1.0}, 3600)
    assert [alert.rule for alert in run.opened] == ["on_cpu"]


def test_the_newest_words_are_kept() -> None:
    """What the driver says changes; what it said last stays when it says nothing."""
    rule = RULES["gpu_lost"]
    run, key = opened(rule, "Xid 79"), the_key(rule)
    run.see({key: 1.0}, {key: "fallen off the bus"})
    run.see({key: 1.0})
    assert run.open[0].words == "fallen off the bus"
    assert run.open[0].title == "GPU it is lost: Xid 79"


def test_a_hostile_name_is_text() -> None:
    """Braces, line ends and escape sequences in a name do nothing to the title."""
    rule = RULES["inbox_offline"]
    run, key = Run([rule]), Key(rule.figure, "/srv/{words}\x1b[2J\n")
    run.stay({key: 1.0}, rule.for_s)
    assert run.opened[0].title == "The inbox /srv/{words}\\x1b[2J  is away"
    assert run.opened[0].key == key


def test_ten_thousand_jobs_leave_nothing_behind() -> None:
    """What is remembered is bounded by what is there, however many subjects have come and gone."""
    run = Run(RULES.values())
    for job in range(10_000):
        run.see({Key("job_overtime_ratio", str(job)): 50.0})
    run.stay({}, 120)
    assert run.judge.n_remembered == 0


def test_the_interval_sets_what_a_sample_speaks_for() -> None:
    """With a sample a minute, three minutes without one are no gap; with one each ten seconds they are."""
    rule, key = RULES["gpu_temperature"], the_key(RULES["gpu_temperature"])
    for interval_s, n_opened in ((60.0, 1), (10.0, 0)):
        judge = Judge([rule], interval_s=interval_s)
        judge.judge(Sample(AT, {key: 90}))
        judgement = judge.judge(Sample(AT + timedelta(seconds=180), {key: 90}))
        assert len(judgement.opened) == n_opened


VALUES = st.lists(st.one_of(st.none(), st.floats(60, 100), st.just(math.nan)), max_size=200)


@settings(max_examples=50, deadline=None)
@given(VALUES, st.lists(st.integers(-1000, 1000), min_size=200, max_size=200))
def test_whatever_comes_the_books_balance(values: list[float | None], steps: list[int]) -> None:
    """At most one alert is open, each ends once, the peak is the worst, and `open` is what opened and has not ended."""
    rule, key = (
        replace(RULES["gpu_temperature"], for_s=20, clear_for_s=20, gone_s=60),
        the_key(RULES["gpu_temperature"]),
    )
    judge, at, open_alerts = Judge([rule]), AT, 0
    for value, step in zip(values, steps, strict=False):
        judgement = judge.judge(Sample(at, {} if value is None else {key: value}))
        at += timedelta(seconds=step)
        open_alerts += len(judgement.opened) - len(judgement.resolved)
        assert len(judgement.open) == open_alerts <= 1
        assert all(alert.peak >= max(alert.first, alert.last, rule.limit) for alert in judgement.open)
        assert all(alert.resolved_at is None for alert in (*judgement.opened, *judgement.open))
        assert all(alert.resolved_at is not None for alert in judgement.resolved)
