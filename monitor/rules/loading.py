"""What is out of order: the rules of defaults.toml, changed and added to by what is configured. Knows no samples."""

from __future__ import annotations

import difflib
import math
import string
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import Any, Final

from monitor.alert import SEVERITIES
from monitor.figures import FIGURES
from monitor.rules.rule import GONE_S, Rule
from monitor.wording import one_line

_PLACES: Final = ("value", "limit", "subject", "words")
"""What a title and an advice may name."""

_OWN_RULE: Final = {"for_s": 300.0, "severity": "warning"}
"""What a configured rule has where it does not say."""


class RuleError(ValueError):
    """Raised when a rule cannot be made: its *key* (``monitor.rules.NAME.KEY``) has a *value* that breaks *rule*."""

    def __init__(self, key: str, value: object, rule: str) -> None:
        super().__init__(f"{key} = {value!r}: {rule}")
        self.key = key
        self.value = value
        self.rule = rule


def load(overrides: Mapping[str, Mapping[str, object]] | None = None) -> tuple[Rule, ...]:
    """The rules of defaults.toml with *overrides* (rule name -> key -> value; a value of None counts as not given).

    A new name makes a new rule. What opens others' causes comes first. Raises RuleError.
    """
    tables = {name: dict(table) for name, table in _defaults().items()}
    for name, given in (overrides or {}).items():
        wanted = {key: value for key, value in given.items() if value is not None}
        if wanted.pop("enabled", True) is False:
            if name not in tables:
                raise RuleError(f"monitor.rules.{name}.enabled", False, f"no such rule{nearest(name, tables)}")
            del tables[name]
        elif name in tables:
            tables[name] = _changed(name, tables[name], wanted)
        else:
            tables[name] = _added(name, wanted, tables)
    return _ordered(tuple(_rule(name, table) for name, table in tables.items()))


@cache
def _defaults() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(files("monitor.rules").joinpath("defaults.toml").read_text(encoding="utf-8"))


def _changed(name: str, default: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The default rule with what is *wanted*; where only its limit moves, the value that clears it moves along."""
    if "figure" in wanted and wanted["figure"] != default["figure"]:
        raise RuleError(
            f"monitor.rules.{name}.figure",
            wanted["figure"],
            f"this rule is about {default['figure']}; give a rule about another figure a name of its own",
        )
    side = "above" if "above" in default else "below"
    other = "below" if side == "above" else "above"
    if other in wanted:
        raise RuleError(f"monitor.rules.{name}.{other}", wanted[other], f"this rule has a limit {side}: write {side}")
    table = {**default, **wanted}
    if side in wanted and "clear" not in wanted:
        limit = _finite(name, side, wanted[side])
        is_scalable = limit > 0 and default[side] > 0
        table["clear"] = default["clear"] * limit / default[side] if is_scalable else limit
    return table


def _added(name: str, wanted: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
    if "figure" not in wanted:
        first = next(iter(wanted.items()), ("figure", None))
        raise RuleError(
            f"monitor.rules.{name}.{first[0]}",
            first[1],
            f"no such rule{nearest(name, tables)}; a new one says which figure it is about",
        )
    table: dict[str, Any] = {**_OWN_RULE, **wanted}
    meaning = FIGURES.get(str(wanted["figure"]))
    of = " of {subject}" if meaning and meaning.subject else ""
    table.setdefault("title", f"{wanted['figure']}{of} is {{value}}, its limit {{limit}}: {{words}}")
    table.setdefault("advice", _doubled(f"This rule is your own: [monitor.rules.{name}] in the configuration."))
    table.setdefault("clear_for_s", table["for_s"])
    return table


def _rule(name: str, table: Mapping[str, Any]) -> Rule:
    _check_names(name, table)
    sides = [side for side in ("above", "below") if side in table]
    if len(sides) != 1:
        raise RuleError(
            f"monitor.rules.{name}", " and ".join(sides) or "no limit", "must have one limit: either above or below"
        )
    side = sides[0]
    limit = _finite(name, side, table[side])
    clear = _finite(name, "clear", table.get("clear", limit))
    _check_range(name, side, table["figure"], limit)
    if clear > limit if side == "above" else clear < limit:
        where = "at or under above" if side == "above" else "at or over below"
        raise RuleError(
            f"monitor.rules.{name}.clear", clear, f"must be {where} = {limit:g}: that is where it is good again"
        )
    severity = table["severity"]
    if severity not in SEVERITIES:
        raise RuleError(f"monitor.rules.{name}.severity", severity, f"must be one of {', '.join(SEVERITIES)}")
    return Rule(
        name=name,
        figure=table["figure"],
        limit=limit,
        is_above=side == "above",
        clear=clear,
        for_s=_span(name, "for_s", table),
        clear_for_s=_span(name, "clear_for_s", table),
        severity=severity,
        title=_template(name, "title", table),
        advice=_template(name, "advice", table),
        why=table.get("why", ""),
        subject=table.get("subject", "*"),
        gone_s=_span(name, "gone_s", {"gone_s": GONE_S, **table}),
        causes=tuple(table.get("causes", ())),
        explains_all=bool(table.get("explains_all", False)),
    )


_KEYS: Final = frozenset({field.name for field in fields(Rule)} - {"name", "limit", "is_above"} | {"above", "below"})


def _check_names(name: str, table: Mapping[str, Any]) -> None:
    for key in table:
        if key not in _KEYS:
            raise RuleError(f"monitor.rules.{name}.{key}", table[key], f"no such key{nearest(key, sorted(_KEYS))}")
    if table["figure"] not in FIGURES:
        near = nearest(str(table["figure"]), FIGURES)
        raise RuleError(f"monitor.rules.{name}.figure", table["figure"], f"no such figure{near}")


def _check_range(name: str, side: str, figure: str, limit: float) -> None:
    is_share = figure.endswith(("_used_ratio", "_free_ratio", "_inodes_ratio", "_failed_ratio", "_utilisation_ratio"))
    if is_share and not 0 <= limit <= 1:
        remedy = f": write {limit / 100:g}" if 1 < limit <= 100 else ""
        raise RuleError(f"monitor.rules.{name}.{side}", limit, f"is a share, so between 0 and 1{remedy}")


def _finite(name: str, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RuleError(f"monitor.rules.{name}.{key}", value, "must be a number")
    return float(value)


def _span(name: str, key: str, table: Mapping[str, Any]) -> float:
    seconds = _finite(name, key, table[key])
    if seconds < 0:
        raise RuleError(f"monitor.rules.{name}.{key}", seconds, "must be 0 or more seconds")
    return seconds


def _template(name: str, key: str, table: Mapping[str, Any]) -> str:
    template = table[key]
    where = f"monitor.rules.{name}.{key}"
    subject = FIGURES[table["figure"]].subject
    places = [place for place in _PLACES if place != "subject" or subject is not None]
    allowed = f"may name {', '.join(f'{{{place}}}' for place in places)}; a brace itself is written twice"
    try:
        parts = list(string.Formatter().parse(template))
    except (ValueError, TypeError) as error:
        raise RuleError(where, template, f"{error}; {allowed}") from None
    for _, place, form, conversion in parts:
        if place is not None and (place not in places or form or conversion):
            raise RuleError(where, template, f"{{{place}}} has no meaning here; it {allowed}")
    return one_line(template) if key == "title" else template


def _ordered(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """*rules* with each behind its causes, so that both break with one sample and only the cause is told."""
    by_name = {rule.name: rule for rule in rules}
    placed: dict[str, Rule] = {}

    def place(rule: Rule, waiting: tuple[str, ...]) -> None:
        if rule.name in waiting:
            raise RuleError(f"monitor.rules.{rule.name}.causes", list(rule.causes), "goes round in a circle")
        for cause in rule.causes:
            if cause in by_name and cause not in placed:  # one that is not there was switched off
                place(by_name[cause], (*waiting, rule.name))
        placed.setdefault(rule.name, rule)

    for rule in rules:
        place(rule, ())
    return tuple(placed.values())


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def nearest(name: str, valid: Iterable[str]) -> str:
    """The end of a sentence that proposes the one of *valid* that may have been meant; empty if none is near."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean {close[0]}?" if close else ""
