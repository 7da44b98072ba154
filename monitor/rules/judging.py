"""Turns samples into alerts by the rules. Pure: time is what the samples say, and who is told is not known here.

For each rule and figure there is at most one open alert; what counts is for how long the figure was past the limit, or
good again. A sample speaks for the time since the one before, but never for more than three intervals: a suspended
machine, a stopped daemon and a clock that jumps, either way, count as a short pause.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from monitor.alert import Alert, Judgement
from monitor.figures import FIGURES, Key, Sample
from monitor.rules.rule import Rule

_LONGEST_GAP: Final = 3.0
"""In intervals: two samples may be late or lost."""

_CALM_S: Final = 3 * 3600.0
"""An alert that comes back before this is the same trouble, and has to be good for twice as long each time."""

_MOST_DOUBLINGS: Final = 5
_LEAST_CALM_S: Final = 60.0
"""What is doubled where a rule has no or a very short `clear_for_s`."""


@dataclass(slots=True)
class _State:
    """What is remembered of one rule and figure, in seconds that were sampled."""

    alert: Alert | None = None
    bad_s: float | None = None  # for how long it has been past the limit; None: it is not
    good_s: float | None = None  # for how long the figure of an open alert has been good; None: it is not
    absent_s: float = 0.0
    worst: float = 0.0
    n_returns: int = 0
    over_s: float | None = None  # since the last alert was over

    def is_idle(self) -> bool:
        """Whether nothing of it needs to be remembered."""
        return self.alert is None and self.bad_s is None and self.over_s is None


class Judge:
    """Judges one sample after the other. *open_alerts* are those of the last run: neither forgotten nor told again.

    Samples come every *interval_s*. Not for use from several threads.
    """

    def __init__(self, rules: Iterable[Rule], open_alerts: Sequence[Alert] = (), *, interval_s: float = 10.0) -> None:
        self._rules = tuple(rules)
        self._by_name = {rule.name: rule for rule in self._rules}
        self._longest_s = _LONGEST_GAP * interval_s
        self._states = {(alert.rule, alert.key): _State(alert, worst=alert.peak) for alert in open_alerts}
        self._at: datetime | None = None

    def judge(self, sample: Sample) -> Judgement:
        """What *sample* changed. Alerts have no id but where they came with one."""
        elapsed_s = self._elapsed_s(sample.at)
        before = {place: state.alert for place, state in self._states.items() if state.alert is not None}
        resolved = [*self._without_rule(sample.at)]
        figures: dict[str, list[tuple[Key, float]]] = {}
        for key, value in sample.figures.items():
            if math.isfinite(value):
                figures.setdefault(key.name, []).append((key, value))
        for rule in self._rules:
            watched = [(key, value) for key, value in figures.get(rule.figure, ()) if rule.watches(key)]
            resolved += self._judge_rule(rule, watched, sample, elapsed_s)
        self._states = {place: state for place, state in self._states.items() if not state.is_idle()}
        now_open = {place: state.alert for place, state in self._states.items() if state.alert is not None}
        opened = tuple(alert for place, alert in now_open.items() if place not in before)
        return Judgement(opened, tuple(resolved), tuple(now_open.values()))

    @property
    def n_remembered(self) -> int:
        """Of how many rules and figures something is remembered."""
        return len(self._states)

    def _elapsed_s(self, at: datetime) -> float:
        before, self._at = self._at, at
        return 0.0 if before is None else min(max((at - before).total_seconds(), 0.0), self._longest_s)

    def _without_rule(self, at: datetime) -> Iterator[Alert]:
        """Alerts of the last run whose rule was switched off, or is about something else now."""
        for (name, key), state in list(self._states.items()):
            rule = self._by_name.get(name)
            if state.alert is not None and (rule is None or not rule.watches(key)):
                yield _over(state.alert, at, "the rule is not in use any more")
                del self._states[name, key]

    def _judge_rule(
        self, rule: Rule, watched: Sequence[tuple[Key, float]], sample: Sample, elapsed_s: float
    ) -> Iterator[Alert]:
        """The alerts of *rule* that are over, its figures in *sample* being *watched*."""
        for key, value in watched:
            if (alert := self._judge_value(rule, key, value, sample, elapsed_s)) is not None:
                yield alert
        present = {key for key, _ in watched}
        for (name, key), state in self._states.items():
            if name != rule.name or key in present:
                continue
            if (alert := self._judge_absent(rule, sample.at, elapsed_s, state)) is not None:
                yield alert

    def _judge_value(self, rule: Rule, key: Key, value: float, sample: Sample, elapsed_s: float) -> Alert | None:
        """The alert of *rule* and *key* if it is over."""
        state = self._states.get((rule.name, key))
        if state is None:
            if not rule.is_broken_by(value):
                return None
            state = self._states[rule.name, key] = _State()
        state.absent_s = 0.0
        _age(state, elapsed_s)
        if state.alert is None:
            self._consider(rule, key, value, sample, elapsed_s, state)
            return None
        words = sample.words.get(key) or state.alert.words
        peak = rule.worse(state.alert.peak, value)
        state.alert = replace(state.alert, last=value, peak=peak, seen_at=sample.at, words=words)
        return _calm(rule, value, sample.at, elapsed_s, state)

    def _consider(self, rule: Rule, key: Key, value: float, sample: Sample, elapsed_s: float, state: _State) -> None:
        """Open the alert if *value* was bad for long enough, and no cause is known."""
        if not rule.is_broken_by(value) or self._is_explained(rule, key):
            state.bad_s = None
            return
        state.bad_s = 0.0 if state.bad_s is None else state.bad_s + elapsed_s
        state.worst = value if state.bad_s == 0 else rule.worse(state.worst, value)
        if state.bad_s < rule.for_s:
            return
        words = sample.words.get(key, "")
        state.n_returns = 0 if state.over_s is None else min(state.n_returns + 1, _MOST_DOUBLINGS)
        state.alert = Alert(
            rule=rule.name,
            key=key,
            severity=rule.severity,
            title=rule.title_for(key, value, words),
            advice=rule.advice_for(key, value, words),
            words=words,
            limit=rule.limit,
            first=value,
            last=value,
            peak=state.worst,
            opened_at=sample.at,
            seen_at=sample.at,
        )
        state.bad_s = state.good_s = state.over_s = None

    def _judge_absent(self, rule: Rule, at: datetime, elapsed_s: float, state: _State) -> Alert | None:
        """The open alert, if its figure has been away for too long; until then, it stays as it is."""
        _age(state, elapsed_s)
        state.absent_s += elapsed_s
        if state.absent_s > self._longest_s:
            state.bad_s = state.good_s = None
        if state.alert is None or state.absent_s < rule.gone_s:
            return None
        what = FIGURES[rule.figure].subject or "figure"
        return _end(state, at, f"this {what} is not there any more, or cannot be read")

    def _is_explained(self, rule: Rule, key: Key) -> bool:
        """Whether an alert of one of the rule's causes is open: of the same subject, where both have one of a kind."""
        return any(
            name in rule.causes
            and state.alert is not None
            and (self._by_name[name].explains_all or _is_related(key, other))
            for (name, other), state in self._states.items()
        )


def _is_related(one: Key, other: Key) -> bool:
    return _kind(one) != _kind(other) or one.subject == other.subject


def _kind(key: Key) -> str | None:
    """Of its subject. An inbox is called as its folder is."""
    kind = FIGURES[key.name].subject
    return "folder" if kind == "inbox" else kind


def _age(state: _State, elapsed_s: float) -> None:
    """Forget an alert that was over long ago."""
    if state.over_s is not None:
        state.over_s += elapsed_s
        if state.over_s > _CALM_S:
            state.over_s, state.n_returns = None, 0


def _calm(rule: Rule, value: float, at: datetime, elapsed_s: float, state: _State) -> Alert | None:
    """The open alert, if *value* has been good for long enough: the longer, the more often it came back."""
    if not rule.is_cleared_by(value):
        state.good_s = None
        return None
    state.good_s = 0.0 if state.good_s is None else state.good_s + elapsed_s
    wanted_s = rule.clear_for_s
    if state.n_returns:
        wanted_s = min(max(wanted_s, _LEAST_CALM_S) * 2**state.n_returns, max(_CALM_S, wanted_s))
    if state.good_s < wanted_s:
        return None
    return _end(state, at, "")


def _end(state: _State, at: datetime, why: str) -> Alert:
    assert state.alert is not None
    alert = _over(state.alert, at, why)
    state.alert = state.good_s = None
    state.absent_s = 0.0
    state.over_s = 0.0
    return alert


def _over(alert: Alert, at: datetime, why: str) -> Alert:
    words = "; ".join(part for part in (alert.words, why) if part)
    return replace(alert, words=words, resolved_at=at)
