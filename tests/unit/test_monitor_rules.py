"""The rules: what each says, what may be configured, and what is said of a rule that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from daemon.cli.app import app
from daemon.config.load import load as load_config
from daemon.errors import ConfigError
from monitor.alert import SEVERITIES
from monitor.figures import FIGURES, Key
from monitor.rules.loading import RuleError, load
from monitor.rules.rule import Rule

DEFAULTS = {rule.name: rule for rule in load()}


def only(overrides: Mapping[str, Mapping[str, object]], name: str) -> Rule:
    return next(rule for rule in load(overrides) if rule.name == name)


@pytest.mark.parametrize("rule", DEFAULTS.values(), ids=DEFAULTS)
def test_each_default_rule_is_whole(rule: Rule) -> None:
    """It looks at a known figure, has a reason and a next step, and its title reads well with and without words."""
    assert rule.figure in FIGURES
    assert rule.severity in SEVERITIES
    assert len(rule.why) > 20
    assert len(rule.advice) > 40
    assert rule.is_cleared_by(rule.clear)
    assert not rule.is_broken_by(rule.clear)
    for words in ("", "because of that"):
        title = rule.title_for(Key(rule.figure, "THIS"), rule.limit, words)
        assert not title.endswith((":", " "))
        assert "{" not in title + rule.advice_for(Key(rule.figure, "THIS"), rule.limit, words)
        has_subject = FIGURES[rule.figure].subject is not None and rule.name != "on_cpu"  # the CPU, whatever was wanted
        assert ("THIS" in title) == has_subject


def test_every_matter_has_its_rule() -> None:
    """What is promised is watched, each by a rule on its figure."""
    assert {rule.figure for rule in DEFAULTS.values()} == set(
        """gpu_memory_used_ratio gpu_temperature_celsius host_memory_used_ratio recent_failed_ratio
        gpu_lost gpu_readable gpu_throttled gpu_ecc_errors engine_on_spare folder_full_in_s folder_free_bytes
        state_free_bytes folder_free_inodes_ratio queue_still_s queue_oldest_wait_s queue_held_s
        job_overtime_ratio speed_of_usual_ratio
        process_rss_slope_bytes_per_h engine_restarts_in_row engine_up inbox_offline outputs_blocked
        inbox_watch_degraded database_trouble loops_stuck host_clock_step_s canary_wrong_words_ratio canary_overdue_s
        canary_speed_of_usual_ratio canary_latency_of_usual_ratio""".split()
    )


@pytest.mark.parametrize(
    ("name", "limit"), [("gpu_memory", 0.9), ("gpu_temperature", 85), ("host_memory", 0.9), ("failures", 0.05)]
)
def test_the_four_usual_limits(name: str, limit: float) -> None:
    """GPU memory over 90 %, GPU over 85 °C, memory over 90 %, failures over 5 %."""
    assert (DEFAULTS[name].limit, DEFAULTS[name].is_above) == (limit, True)


def test_causes_are_known_and_come_first() -> None:
    """A cause that breaks with the same sample is opened first, so it is the one that is told."""
    order = list(DEFAULTS)
    for rule in DEFAULTS.values():
        for cause in rule.causes:
            assert order.index(cause) < order.index(rule.name), f"{cause} of {rule.name}"


def test_every_rule_is_in_the_manual() -> None:
    """Whoever gets an alert finds its name there."""
    manual = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [name for name in DEFAULTS if f"`{name}`" not in manual] == []


def test_a_cause_opens_before_its_effect() -> None:
    """Where both go bad at once, and neither figure is a time itself, the cause is not the slower one to open."""
    for rule in DEFAULTS.values():
        for cause in rule.causes:
            if not DEFAULTS[cause].figure.endswith("_s") and not rule.figure.endswith(("_s", "_in_row", "_ratio")):
                assert DEFAULTS[cause].for_s <= rule.for_s, f"{cause} of {rule.name}"


def test_a_limit_is_moved_and_what_clears_it_moves_along() -> None:
    """Who asks for 80 % instead of 90 does not have to say 75 instead of 85."""
    rule = only({"gpu_memory": {"above": 0.8}}, "gpu_memory")
    assert rule.limit == 0.8
    assert rule.clear == pytest.approx(0.8 * 0.85 / 0.9)
    assert only({"gpu_memory": {"above": 0.8, "clear": 0.7}}, "gpu_memory").clear == 0.7
    assert only({"disk_full": {"below": 10_000_000_000}}, "disk_full").clear == 20_000_000_000
    assert rule.title == DEFAULTS["gpu_memory"].title


def test_what_is_none_is_not_given() -> None:
    """A table of which only one key was set changes only that."""
    given = {"above": None, "severity": "critical", "enabled": True, "title": None}
    assert only({"gpu_memory": given}, "gpu_memory").severity == "critical"
    assert only({"gpu_memory": given}, "gpu_memory").limit == 0.9


def test_a_rule_is_switched_off_also_as_a_cause() -> None:
    """It is gone, and those that it explains stay."""
    names = [rule.name for rule in load({"engine_down": {"enabled": False}})]
    assert "engine_down" not in names
    assert "queue_still" in names


def test_a_new_rule_needs_a_figure_and_a_limit() -> None:
    """The rest has defaults that fit."""
    rule = only(
        {"archive": {"figure": "folder_free_ratio", "subject": "/srv/archive*", "below": 0.2, "for_s": 60}}, "archive"
    )
    assert (rule.limit, rule.clear, rule.is_above, rule.for_s, rule.clear_for_s) == (0.2, 0.2, False, 60, 60)
    assert rule.watches(Key("folder_free_ratio", "/srv/archive/1"))
    assert not rule.watches(Key("folder_free_ratio", "/srv/inbox"))
    title = rule.title_for(Key("folder_free_ratio", "/srv/archive"), 0.12, "")
    assert title == "folder_free_ratio of /srv/archive is 12 %, its limit 20 %"
    assert "[monitor.rules.archive]" in rule.advice_for(Key("folder_free_ratio", "/srv/archive"), 0.12, "")


WRONG: tuple[tuple[str, dict[str, object], str, str], ...] = (
    ("gpu_memry", {"above": 0.8}, "monitor.rules.gpu_memry.above = 0.8", "did you mean gpu_memory?"),
    ("gpu_memry", {"enabled": False}, "monitor.rules.gpu_memry.enabled", "did you mean gpu_memory?"),
    ("gpu_memory", {"above_": 0.8}, "monitor.rules.gpu_memory.above_ = 0.8", "did you mean above?"),
    ("gpu_memory", {"above": 80}, "monitor.rules.gpu_memory.above = 80", "write 0.8"),
    ("gpu_memory", {"above": 800}, "monitor.rules.gpu_memory.above = 800", "between 0 and 1"),
    ("gpu_memory", {"below": 0.1}, "monitor.rules.gpu_memory.below = 0.1", "write above"),
    ("gpu_memory", {"clear": 0.95}, "monitor.rules.gpu_memory.clear = 0.95", "at or under above = 0.9"),
    ("disk_full", {"clear": 5.0}, "monitor.rules.disk_full.clear = 5.0", "at or over below"),
    ("gpu_memory", {"figure": "host_memory_used_ratio"}, "monitor.rules.gpu_memory.figure", "a name of its own"),
    ("gpu_memory", {"severity": "loud"}, "monitor.rules.gpu_memory.severity = 'loud'", "info, warning, critical"),
    ("gpu_memory", {"for_s": -1}, "monitor.rules.gpu_memory.for_s = -1.0", "0 or more"),
    ("gpu_memory", {"for_s": "10m"}, "monitor.rules.gpu_memory.for_s = '10m'", "a number"),
    ("gpu_memory", {"above": float("nan")}, "monitor.rules.gpu_memory.above = nan", "a number"),
    ("gpu_memory", {"above": True}, "monitor.rules.gpu_memory.above = True", "a number"),
    ("gpu_memory", {"title": "{figure}"}, "monitor.rules.gpu_memory.title", "{value}, {limit}, {subject}, {words}"),
    ("gpu_memory", {"title": "{value.real}"}, "monitor.rules.gpu_memory.title", "no meaning"),
    ("gpu_memory", {"title": "{value:>9}"}, "monitor.rules.gpu_memory.title", "no meaning"),
    ("gpu_memory", {"advice": "{"}, "monitor.rules.gpu_memory.advice", "written twice"),
    ("host_memory", {"title": "{subject}"}, "monitor.rules.host_memory.title", "{value}, {limit}, {words}"),
    ("mine", {"figure": "gpu_memory", "above": 1}, "monitor.rules.mine.figure = 'gpu_memory'", "no such figure"),
    ("mine", {"figure": "jobs"}, "monitor.rules.mine = 'no limit'", "either above or below"),
    ("mine", {"figure": "jobs", "above": 1, "below": 0}, "monitor.rules.mine = 'above and below'", "either"),
    ("mine", {"above": 1}, "monitor.rules.mine.above = 1", "which figure"),
    ("mine", {}, "monitor.rules.mine.figure = None", "which figure"),
    ("on_cpu", {"causes": ["slow"]}, "monitor.rules.on_cpu.causes", "circle"),
)


@pytest.mark.parametrize(("name", "table", "where", "remedy"), WRONG)
def test_a_wrong_rule_is_named_with_its_remedy(name: str, table: dict[str, object], where: str, remedy: str) -> None:
    """Table, key, value, and what to write instead."""
    with pytest.raises(RuleError) as caught:
        load({name: table})
    assert where in str(caught.value)
    assert remedy in str(caught.value)


def test_a_wrong_rule_stops_the_start(tmp_path: Path) -> None:
    """It is a mistake of the configuration, named with its file; so is a key that no rule has."""
    file = tmp_path / "transcribed.toml"
    file.write_text("[monitor.rules.gpu_memory]\nabove = 80\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"monitor\.rules\.gpu_memory\.above = 80\.0 \(file .*toml\): .*write 0\.8"):
        load_config(file, {})
    file.write_text("[monitor.rules.gpu_memory]\nabove_ = 0.8\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"above_ = 0\.8 .*did you mean above\?"):
        load_config(file, {})


def test_what_is_configured_reaches_the_rules(tmp_path: Path) -> None:
    """Only what was written down differs from the defaults."""
    file = tmp_path / "transcribed.toml"
    file.write_text(
        "[monitor.rules.oldest_wait]\nabove = 600\n"
        '[monitor.rules.mine]\nfigure = "jobs"\nsubject = "failed"\nabove = 9\n'
        "[monitor.rules.slow]\nenabled = false\n",
        encoding="utf-8",
    )
    config = load_config(file, {"TRANSCRIBED_STATE_DIR": str(tmp_path)}).config
    rules = {rule.name: rule for rule in load(config.monitor.changed_rules())}
    assert rules["oldest_wait"].limit == 600
    assert rules["mine"].subject == "failed"
    assert rules.keys() == DEFAULTS.keys() - {"slow"} | {"mine"}
    untouched = rules["gpu_memory"]
    assert all(
        getattr(untouched, field.name) == getattr(DEFAULTS["gpu_memory"], field.name) for field in fields(untouched)
    )


@pytest.mark.parametrize("rule", DEFAULTS.values(), ids=DEFAULTS)
def test_an_advice_names_what_there_is(rule: Rule) -> None:
    """Each command of ours in it exists, with the options that it is given."""
    commands = typer.main.get_group(app).commands
    for line in re.findall(r"`transcribed ([^`]+)`", rule.advice):
        name, *arguments = line.split()
        options = {option for parameter in commands[name].params for option in parameter.opts} | {"--help"}
        assert {argument for argument in arguments if argument.startswith("--")} <= options
