"""What the documents say is held against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from daemon.cli.app import app
from daemon.config import Config, DatabaseConfig, DecodeConfig, EngineConfig, HistoryConfig, InboxConfig, load
from daemon.options import FORMATS
from storage.records import JobState

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("model", [Config, InboxConfig, EngineConfig, DecodeConfig, DatabaseConfig, HistoryConfig])
def test_the_readme_names_every_key(model: type[Config]) -> None:
    """Every key of the configuration is there, in the example or in the text."""
    missing = [key for key in model.model_fields if not re.search(rf"\b{key}\b", README)]
    assert missing == []


def test_the_configuration_in_the_readme_is_valid(tmp_path: Path) -> None:
    """Copied, it loads, with every commented-out key put in too; and its values are the defaults where it says so."""
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    for text in (example, re.sub(r"^# (?=\w+ = )", "", example, flags=re.MULTILINE)):
        file = tmp_path / "transcribed.toml"
        file.write_text(text, encoding="utf-8")
        config = load(file, {}).config
        assert config.inbox[0].path == Path("/srv/inbox")
    defaults = load(_written(tmp_path, ""), {}).config
    read = load(_written(tmp_path, example), {}).config
    for section in ("options", "engine", "decode", "database"):
        assert getattr(read, section) == getattr(defaults, section)


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
