"""What the documents say is held against the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer.main
from pydantic import BaseModel

from daemon.cli.app import app
from daemon.config import (
    AlertsConfig,
    CanaryConfig,
    Config,
    DatabaseConfig,
    DecodeConfig,
    EngineConfig,
    HistoryConfig,
    InboxConfig,
    MonitorConfig,
    OptionsConfig,
    WebConfig,
    load,
)
from daemon.options import FORMATS
from monitor.rules import loading as rules
from storage.records import JobState

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every command that can be typed."""
    group = typer.main.get_command(app)
    names = getattr(group, "commands", {})
    return [name for name in names if name != "db"] + ["db path"]


@pytest.mark.parametrize("command", commands())
def test_the_readme_names_every_command(command: str) -> None:
    """A command that is not in the README does not exist for its readers."""
    assert f"`transcribed {command}" in README


TABLES = (OptionsConfig, EngineConfig, DecodeConfig, HistoryConfig, DatabaseConfig, MonitorConfig, AlertsConfig)


@pytest.mark.parametrize("model", [Config, InboxConfig, *TABLES, CanaryConfig, WebConfig])
def test_the_page_of_the_configuration_names_every_key(model: type[BaseModel]) -> None:
    """None is left for the reader of the code to find."""
    named = re.compile(r"^(?:# )?(\w+) = |[.[](\w+)(?=[].])", re.MULTILINE)
    missing = set(model.model_fields) - {name for names in named.findall(CONFIGURATION) for name in names}
    assert missing == set()


@pytest.mark.parametrize("page", [README, CONFIGURATION], ids=["README", "configuration"])
def test_the_configuration_in_a_page_is_valid(page: str, tmp_path: Path) -> None:
    """Copied, it loads, with every commented-out key put in too; and its values are the defaults where it says so."""
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    for text in (example, re.sub(r"^# (?=\w+ = |\[)", "", example, flags=re.MULTILINE)):
        config = load(_written(tmp_path, text), {}).config
        assert config.inbox[0].path == Path("/srv/inbox")
    defaults = load(_written(tmp_path, "[[inbox]]\npath = '/srv/inbox'"), {}).config
    read = load(_written(tmp_path, example), {}).config
    for key in set(Config.model_fields) - {"state_dir"}:
        assert getattr(read, key) == getattr(defaults, key), key


def _written(folder: Path, text: str) -> Path:
    file = folder / "written.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("word", [*FORMATS, "waiting", "failed", "quarantined", "78"])
def test_the_readme_explains_what_people_see(word: str) -> None:
    """Formats, states that need somebody, and the exit code of a wrong setting."""
    assert word in README


def test_the_architecture_names_every_state_and_only_modules_that_exist() -> None:
    """A page that is not true is worse than none."""
    assert [state.value for state in JobState if f"`{state.value}`" not in ARCHITECTURE] == []
    for path in set(
        re.findall(r"`((?:daemon/|storage/|monitor/|intake/|decode/|engine/|outputs/)[\w/]*\.py)`", ARCHITECTURE)
    ):
        assert (ROOT / path).exists() or (ROOT / "daemon" / path).exists(), path
    for module in set(re.findall(r"`((?:daemon|storage|monitor)(?:\.\w+)+)`", ARCHITECTURE)):
        parts = module.split(".")
        exists = any((ROOT / Path(*parts[:n])).with_suffix(".py").exists() for n in (len(parts), len(parts) - 1))
        assert exists or (ROOT / Path(*parts)).is_dir(), module


def test_the_page_of_operations_names_every_rule_and_its_own_rules_load(tmp_path: Path) -> None:
    """Whoever is told of an alert finds its name there; what it shows how to change can be changed so."""
    assert [rule.name for rule in rules.load() if f"`{rule.name}`" not in OPERATIONS] == []
    (example,) = re.findall(r"```toml\n(.*?)```", OPERATIONS, re.DOTALL)
    load(_written(tmp_path, "[[inbox]]\npath = '/srv/inbox'\n" + example), {})
    assert len(rules.load(tomllib.loads(example)["monitor"]["rules"])) == len(rules.load()) + 1
