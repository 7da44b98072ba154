"""Reads the configuration: defaults, then the file, then the environment; and remembers where each value came from."""

from __future__ import annotations

import itertools
import os
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from daemon.config.schema import Config, InboxConfig, OptionsConfig, RuleConfig
from daemon.errors import ConfigError
from daemon.shares import NoAnswer, within
from monitor.notices.addresses import hidden
from monitor.rules import loading as rules

FILE_NAME: Final = "transcribed.toml"
SYSTEM_FILE: Final = Path("/etc/transcribed/transcribed.toml")
PREFIX: Final = "TRANSCRIBED_"

_SECTIONS: Final = ("options", "engine", "decode", "history", "database", "monitor", "alerts", "canary", "web")
_RULES: Final = ("monitor", "rules")  # a table of tables: no variable names one
_NOT_KEYS: Final = frozenset({"CONFIG", "INBOX"})  # variables with a meaning of their own

_REPLACED: Final = {
    "engine.slots": "replaced: lanes is how many calls into the model run at once (0: chosen for the device), max_open "
    "how many recordings are in the engine at once",
    "metrics_interval_s": "it is interval_s in [monitor] now",
}
"""Keys of earlier versions, and what is there instead."""

_SHARE_S: Final = 3.0  # a share that hangs must not keep the daemon from starting

_Table = dict[str, Any]  # TOML


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, its file (None: none was found), and the origin of each value that is no default."""

    config: Config
    file: Path | None
    origins: Mapping[str, str]


def load(file: Path | None, environment: Mapping[str, str], *, require_inbox: bool = False) -> Loaded:
    """Read and check the whole configuration.

    *file* None: ``$TRANSCRIBED_CONFIG``, else ``./transcribed.toml``, else the one in /etc, else defaults alone.
    Raises ConfigError with one message that names key, value, rule and the nearest valid key; with *require_inbox*
    also where no inbox is configured or one is no folder.
    """
    path = _find(file, environment)
    table, origins = ({}, {}) if path is None else _read(path)
    _apply_environment(table, origins, environment)
    _inherit_options(table)
    try:
        config = Config.model_validate(table)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from None
    except RuntimeError as error:
        raise ConfigError(f"state_dir: must be set, as this user has no home folder: {error}") from None
    _check_rules(config, origins)
    if require_inbox:
        _check_inboxes(config)
    return Loaded(config, path, origins)


def _find(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    named = file or (Path(environment["TRANSCRIBED_CONFIG"]) if environment.get("TRANSCRIBED_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"{named}: no such configuration file")
        return named.absolute()
    return next((path.absolute() for path in (Path(FILE_NAME), SYSTEM_FILE) if path.is_file()), None)


def _read(path: Path) -> tuple[_Table, dict[str, str]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    _resolve_paths(table, path.parent)
    return table, dict.fromkeys(_leaves(table), f"file {path}")


def _table(value: Any) -> _Table:
    """*value* if it is a table, else an empty one: the check names what is wrong with it."""
    return cast("_Table", value) if isinstance(value, dict) else {}


def _tables(value: Any) -> list[_Table]:
    return [_table(item) for item in _items(value)]


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value


def _leaves(table: _Table, prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(_table(value), f"{prefix}{key}.")
        elif key == "inbox":
            for index, inbox in enumerate(_tables(value)):
                yield from _leaves(inbox, f"inbox[{index}].")
        else:
            yield f"{prefix}{key}"


def _absolute(text: str, base: Path) -> str:
    """*text* as an absolute path; as it is where ``~name`` names nobody, for the check to refuse."""
    try:
        return str(base / Path(text).expanduser())
    except RuntimeError:
        return text


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in _items(value))


def _resolve_model(place: _Table, base: Path) -> None:
    # A model is a name or a folder; only what is written as a path is one.
    model = place.get("model")
    if isinstance(model, str) and model.startswith(("./", "../", "~")):
        place["model"] = _absolute(model, base)


def _resolve_paths(table: _Table, base: Path) -> None:
    """Paths in a file are relative to that file."""
    inboxes = _tables(table.get("inbox"))
    places = [
        (table, "state_dir"),
        (_table(table.get("engine")), "models_dir"),
        (_table(table.get("monitor")), "json_log"),
        (_table(table.get("web")), "users_file"),
        (_table(table.get("web")), "tokens_file"),
        *((inbox, "path") for inbox in inboxes),
    ]
    for place, key in places:
        if isinstance(place.get(key), str) and place[key]:
            place[key] = _absolute(place[key], base)
    alerts = _table(table.get("alerts"))
    if "to_files" in alerts:
        given = alerts["to_files"]
        alerts["to_files"] = [_absolute(path, base) for path in _items(given)] if _are_texts(given) else given
    for place in [_table(table.get("options")), *inboxes]:
        _resolve_model(place, base)


def _apply_environment(table: _Table, origins: dict[str, str], environment: Mapping[str, str]) -> None:
    variables = _variables()
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX) or name[len(PREFIX) :] in _NOT_KEYS:
            continue
        if name not in variables:
            replaced = {f"{PREFIX}{key.replace('.', '_')}".upper(): words for key, words in _REPLACED.items()}
            if name in replaced:
                raise ConfigError(f"{name}={value}: {replaced[name]}")
            raise ConfigError(
                f"{name}={hidden(value)}: no such setting{_nearest(name, [*variables, 'TRANSCRIBED_INBOX'])}"
            )
        section, key, annotation = variables[name]
        place = table if section is None else table.setdefault(section, {})
        if not isinstance(place, dict):
            continue  # the file has something else there, which the check names
        place[key] = _parse(value, annotation)
        origins[key if section is None else f"{section}.{key}"] = f"environment {name}"
    _resolve_model(_table(table.get("options")), Path.cwd())
    if "state_dir" not in table and (systemd := environment.get("STATE_DIRECTORY")):
        table["state_dir"] = systemd.split(":")[0]  # from StateDirectory= (systemd.exec(5)), which may name several
        origins["state_dir"] = "environment STATE_DIRECTORY"
    if inbox := environment.get("TRANSCRIBED_INBOX"):
        table["inbox"] = [{"path": _absolute(part, Path.cwd())} for part in inbox.split(":") if part]
        for key in [key for key in origins if key.startswith("inbox[")]:
            del origins[key]
        origins |= {f"inbox[{index}].path": "environment TRANSCRIBED_INBOX" for index in range(len(table["inbox"]))}


def _variables() -> dict[str, tuple[str | None, str, Any]]:
    """Every variable that may be set: its section, key and type."""
    found: dict[str, tuple[str | None, str, Any]] = {}
    for key, field in Config.model_fields.items():
        if key in _SECTIONS:
            model = field.annotation
            assert isinstance(model, type)
            assert issubclass(model, BaseModel)
            for inner, inner_field in model.model_fields.items():
                if (key, inner) == _RULES:
                    continue
                found[f"{PREFIX}{key}_{inner}".upper()] = (key, inner, inner_field.annotation)
        elif key != "inbox":
            found[f"{PREFIX}{key}".upper()] = (None, key, field.annotation)
    return found


def _parse(value: str, annotation: Any) -> Any:
    """The text of a variable as the type that its key wants; as text where it does not fit, for the check to refuse."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    if tuple in {get_origin(kind) for kind in kinds}:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        return [_absolute(part, Path.cwd()) for part in parts] if "Path" in str(annotation) else parts
    if "Path" in str(annotation) and value:
        return _absolute(value, Path.cwd())
    if not {bool, int, float}.intersection(kinds):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _inherit_options(table: _Table) -> None:
    """An inbox has the keys of ``[options]`` that it does not set itself."""
    options = {key: value for key, value in _table(table.get("options")).items() if key in OptionsConfig.model_fields}
    for inbox in _tables(table.get("inbox")):
        inbox |= {key: value for key, value in options.items() if key not in inbox}


def _check_rules(config: Config, origins: Mapping[str, str]) -> None:
    """The rules are made here, too, so that a wrong one stops the start and not the monitor."""
    if not config.monitor.rules:
        return
    try:
        rules.load(config.monitor.changed_rules())
    except rules.RuleError as error:
        origin = f" ({origins[error.key]})" if error.key in origins else ""
        raise ConfigError(f"{error.key} = {error.value!r}{origin}: {error.rule}") from None


def _check_inboxes(config: Config) -> None:
    if not config.inbox:
        raise ConfigError(
            "no inbox is configured: add an [[inbox]] with its path to transcribed.toml, or set TRANSCRIBED_INBOX"
        )
    real = [_real_folder(index, inbox.path) for index, inbox in enumerate(config.inbox)]
    for one, other in itertools.permutations(range(len(real)), 2):
        if real[one] in (real[other], *real[other].parents):
            names = f"{config.inbox[one].path} and {config.inbox[other].path}"
            raise ConfigError(f"inbox: {names} overlap once links are followed; each recording needs one inbox")


def _real_folder(index: int, path: Path) -> Path:
    """The folder that *path* leads to; *path* itself where its share does not answer: no reason not to start."""

    def look() -> tuple[Path, str]:
        what = "" if path.is_dir() else "is not a folder" if path.exists() else "does not exist"
        return Path(os.path.realpath(path)), what

    try:
        real, what = within(_SHARE_S, f"inbox {path}", look)
    except NoAnswer:
        return path
    if what:
        raise ConfigError(f"inbox[{index}].path = {str(path)!r}: {what}; create it or correct the path")
    return real


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    details = error.errors()
    shared = {detail["loc"][1:] for detail in details if detail["loc"][:1] == ("options",)}
    # A wrong value in [options] is wrong in every inbox that inherits it: say it once.
    own = [detail for detail in details if detail["loc"][:1] != ("inbox",) or detail["loc"][2:] not in shared]
    more = f"; and {len(own) - 5} more" if len(own) > 5 else ""
    return "; ".join(_explain_one(detail, origins) for detail in own[:5]) + more


def rule_of(detail: ErrorDetails) -> str:
    """The rule that a value broke, in words that can follow its name."""
    rule = detail["msg"].removeprefix("Value error, ")
    return rule[:1].lower() + rule[1:]


def _explain_one(detail: ErrorDetails, origins: Mapping[str, str]) -> str:
    location = detail["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    origin = next((f" ({origins[name]})" for name in (key, key.rpartition("[")[0]) if name in origins), "")
    value = repr(hidden(detail["input"]))  # addresses hold passwords
    if key in _REPLACED:
        return f"{key} = {value}{origin}: {_REPLACED[key]}"
    if detail["type"] == "extra_forbidden":
        return f"{key} = {value}{origin}: no such key{_nearest(str(location[-1]), _keys_at(location))}"
    rule = rule_of(detail)
    if not location:  # a rule about several keys: the message names them
        return rule
    if detail["type"] == "missing":
        return f"{key}: {rule}"
    return f"{key} = {value}{origin}: {rule}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    first = location[0] if len(location) > 1 else None
    if first == "inbox":
        return list(InboxConfig.model_fields)
    if location[:2] == _RULES:
        return list(RuleConfig.model_fields)
    model = Config.model_fields[first].annotation if isinstance(first, str) else Config
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return list(model.model_fields)


def _nearest(name: str, valid: list[str]) -> str:
    return rules.nearest(name, valid) or f"; valid: {', '.join(valid)}"
