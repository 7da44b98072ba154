"""The files for Prometheus and Grafana are held against what the page really has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from monitor.figures import FIGURES
from monitor.pages.endpoints import label_of, series_name, shown_names
from monitor.rules import loading as rules
from monitor.rules.thresholds import render

MONITOR = Path(__file__).parents[2] / "monitor"
DASHBOARD = MONITOR / "grafana" / "transcribed.json"
RULES = sorted((MONITOR / "prometheus").glob("*.yml"))
PROMTOOL = shutil.which("promtool") or ""
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed (Debian: prometheus)")

KEYS = {"rule", "subject", "severity", "instance", "job", "version"}
"""Labels that are of no figure."""


def expressions_of(dashboard: str) -> list[str]:
    """Every expression in it, at whatever depth."""
    found: list[str] = []

    def note(table: dict[str, Any]) -> dict[str, Any]:
        if "expr" in table:
            found.append(table["expr"])
        return table

    json.loads(dashboard, object_hook=note)
    return found


def expressions() -> list[str]:
    """Every expression that we hand out."""
    found = expressions_of(DASHBOARD.read_text(encoding="utf-8"))
    for file in RULES:
        found += re.findall(r"^ *expr: (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found


def test_there_are_files_to_check() -> None:
    """Both kinds are found, and the expressions in them."""
    assert [file.name for file in RULES] == ["alerts.yml", "thresholds.yml"]
    assert len(expressions()) > 60


@pytest.mark.parametrize("expression", expressions())
def test_every_series_that_is_asked_for_exists(expression: str) -> None:
    """No panel is empty, and no rule asleep, because a figure was renamed."""
    names = set(re.findall(r"transcribed_\w+", expression))
    assert names <= set(shown_names())
    known = KEYS | {str(label_of(shown_names()[name].name)) for name in names if shown_names()[name].name}
    assert set(re.findall(r"(\w+)=~?\"", expression)) | set(re.findall(r"by \((\w+)\)", expression)) <= known


def test_the_labels_in_legends_exist() -> None:
    """A legend names the subject by the label that the series has."""
    labels = KEYS | {meaning.subject for meaning in FIGURES.values()}
    for file in (DASHBOARD, *RULES):
        text = file.read_text(encoding="utf-8")
        assert set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", text)) <= labels


def test_the_dashboard_has_all_that_grafana_wants() -> None:
    """Panels with ids of their own that do not lie on each other, and a source that is chosen on import."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"


def test_the_thresholds_are_our_rules() -> None:
    """The file is what `python -m monitor.rules.thresholds` prints: write it anew when rules change."""
    assert (MONITOR / "prometheus" / "thresholds.yml").read_text(encoding="utf-8") == render(rules.load())


def test_configured_rules_can_be_printed_too() -> None:
    """A rule with quotes and braces in its words, a counter, and jobs, of which Prometheus knows no numbers."""
    mine = {"figure": "engine_flags", "above": 5.0, "title": 'too "many": {value}', "advice": "look at {{this}}"}
    fast = {"figure": "job_overtime_ratio", "below": 0.1, "title": "job {subject} {words}", "advice": "x"}
    made = rules.load({"mine": mine, "fast": fast})
    text = render(made)
    assert "expr: transcribed_engine_flags_total > 5" in text
    assert r'summary: "too \"many\": {{ $value | humanize }}"' in text
    assert 'summary: "job ID"' in text
    assert series_name("job_overtime_ratio") == "transcribed_job_overtime_ratio"


@needs_promtool
@pytest.mark.parametrize("file", RULES, ids=[file.name for file in RULES])
def test_promtool_accepts_the_rules(file: Path) -> None:
    """Syntax, expressions and templates."""
    done = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stdout


@needs_promtool
def test_every_expression_of_the_dashboard_can_be_asked(tmp_path: Path) -> None:
    """They are put into rules, which promtool can check."""
    asked = [expr.replace("$instance", ".*") for expr in expressions_of(DASHBOARD.read_text(encoding="utf-8"))]
    recorded = [f"      - record: r{index}\n        expr: {json.dumps(expr)}\n" for index, expr in enumerate(asked)]
    file = tmp_path / "rules.yml"
    file.write_text("groups:\n  - name: g\n    rules:\n" + "".join(recorded))
    done = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


SCENES = """
rule_files: [{alerts}, {thresholds}]
evaluation_interval: 30s
tests:
  - interval: 30s
    input_series:
      - series: up{{job="transcribed", instance="a"}}
        values: 1x10 0x20
      - series: transcribed_sample_timestamp_seconds{{instance="a"}}
        values: 0+30x10 300x40
      - series: transcribed_alert_open{{instance="a", rule="gpu_lost", subject="0", severity="critical"}}
        values: _x10 1x10 _x20
      - series: transcribed_gpu_temperature_celsius{{gpu="0", instance="a"}}
        values: 80x4 91x20 84x20
    alert_rule_test:
      - eval_time: 4m
        alertname: TranscribedDown
        exp_alerts: []
      - eval_time: 12m
        alertname: TranscribedDown
        exp_alerts:
          - exp_labels: {{severity: critical, job: transcribed, instance: a}}
            exp_annotations:
              summary: transcribed on a does not answer
              description: "systemctl status transcribed; journalctl -u transcribed -n 50 (78 is a wrong setting)"
      - eval_time: 4m
        alertname: TranscribedFiguresOld
        exp_alerts: []
      - eval_time: 12m
        alertname: TranscribedFiguresOld
        exp_alerts:
          - exp_labels: {{severity: critical, instance: a}}
            exp_annotations:
              summary: The figures of transcribed on a are 7m 0s old
              description: "Its monitor hangs, or the clocks differ: timedatectl, then journalctl -u transcribed -n 50."
      - eval_time: 7m
        alertname: TranscribedAlert
        exp_alerts:
          - exp_labels: {{severity: critical, instance: a, rule: gpu_lost, subject: "0"}}
            exp_annotations:
              summary: "transcribed on a: gpu_lost 0"
              description: "`transcribed alerts` there says what is wrong, with figure, limit and what to do."
      - eval_time: 2m
        alertname: TranscribedGpuTemperature
        exp_alerts: []
"""


@needs_promtool
def test_the_rules_say_what_is_wrong(tmp_path: Path) -> None:
    """A daemon that is gone, one that stands still, and an alert of its own that is passed on; promtool plays it."""
    alerts, thresholds = RULES
    file = tmp_path / "scenes.yml"
    file.write_text(SCENES.format(alerts=alerts, thresholds=thresholds))
    done = subprocess.run([PROMTOOL, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
