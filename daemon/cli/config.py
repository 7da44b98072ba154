"""``transcribed config``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemon.cli.common import loaded, print_json
from monitor.notices.addresses import hidden


def run(file: Path | None, *, as_json: bool) -> None:
    """Print every key with its effective value and its origin. Raises ConfigError."""
    found = loaded(file)
    content: dict[str, Any] = hidden(found.config.model_dump(mode="json"))
    origins = {key: _origin(key, found.origins) for key, _ in _leaves(content)}
    if as_json:
        print_json({"config": content, "origins": origins, "file": str(found.file) if found.file else None})
        return
    print(f"# file: {found.file or 'none found; defaults and environment'}")
    for key, value in _leaves(content):
        print(f"{key} = {json.dumps(value, ensure_ascii=False)}  # {origins[key]}")


def _origin(key: str, origins: Any) -> str:
    if key in origins:
        return str(origins[key])
    option = f"options.{key.rpartition('.')[2]}"
    if key.startswith("inbox[") and option in origins:
        return f"{option}: {origins[option]}"
    return "default"


def _leaves(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType]  # JSON
        elif key == "inbox":
            for index, inbox in enumerate(value):
                yield from _leaves(inbox, f"inbox[{index}].")
        else:
            yield f"{prefix}{key}", value
