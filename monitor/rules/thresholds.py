"""The rules as Prometheus has them, for who would rather have it judge.

``python -m monitor.rules.thresholds`` prints them.

`monitor/prometheus/thresholds.yml` is what it prints for the rules as they come. Causes are no matter of Prometheus:
an inhibition of its Alertmanager can do what they do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from monitor.pages.endpoints import label_of, series_name
from monitor.rules import loading as rules
from monitor.rules.rule import Rule
from monitor.wording import say

_HEADER: Final = """\
# The rules of transcribed (monitor/rules/defaults.toml) as Prometheus has them (2.42 or later), in place of the group
# transcribed-inside of alerts.yml. Printed by `python -m monitor.rules.thresholds`: change the rules, not this file.

groups:
  - name: transcribed-thresholds
    rules:
"""


def render(made: Sequence[Rule]) -> str:
    """The file for these rules."""
    return _HEADER + "\n".join("\n".join(_lines(rule)) + "\n" for rule in made)


def _lines(rule: Rule) -> Iterator[str]:
    name = "".join(part.capitalize() for part in rule.name.split("_"))
    yield f"      - alert: Transcribed{name}"
    yield f"        expr: {series_name(rule.figure)} {'>' if rule.is_above else '<'} {rule.limit:.12g}"
    if rule.for_s:
        yield f"        for: {rule.for_s:.0f}s"
    if rule.clear_for_s:
        yield f"        keep_firing_for: {rule.clear_for_s:.0f}s"
    yield "        labels:"
    yield f"          severity: {rule.severity}"
    yield "        annotations:"
    yield f"          summary: {json.dumps(_filled(rule, rule.title), ensure_ascii=False)}"
    yield f"          description: {json.dumps(_filled(rule, rule.advice), ensure_ascii=False)}"


def _filled(rule: Rule, template: str) -> str:
    """*template* with Prometheus' own places. It knows no words, and of jobs not which."""
    label = label_of(rule.figure)
    places = {
        "value": f"{{{{ $value{_humanize(rule.figure)} }}}}",
        "limit": say(rule.figure, rule.limit),
        "subject": f"{{{{ $labels.{label} }}}}" if label else "ID",
        "words": "",
    }
    return template.format(**places).rstrip(" :,;")


def _humanize(figure: str) -> str:
    if figure.endswith("_s"):
        return " | humanizeDuration"
    if figure.endswith("_ratio") and say(figure, 0.5).endswith("%"):
        return " | humanizePercentage"
    return " | humanize1024" if "_bytes" in figure else " | humanize"


if __name__ == "__main__":
    print(render(rules.load()), end="")  # noqa: T201  # this is what it is for
