"""``transcribed prune``: through the daemon when it runs, else under its lock."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemon.cli.common import loaded, print_json, reader, writer
from daemon.clock import utc_now
from daemon.config import Config
from daemon.control import NoDaemon, ask
from daemon.retention import Place, Presence, Pruned, Stage, preview, step


def run(file: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Remove what is old, or only count it."""
    config = loaded(file).config
    pruned = _preview(config) if dry_run else _prune(config)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(pruned), "rules": config.history.model_dump()})
        return
    verb = "would go" if dry_run else "went"
    print(f"{pruned.n_events} events, {pruned.n_texts} texts of earlier transcripts, {pruned.n_jobs} jobs {verb}")
    if not any(config.history.model_dump().values()):
        print("[history] keeps everything for ever; see keep_events_days, keep_versions, keep_jobs_days")


def _preview(config: Config) -> Pruned:
    with reader(config) as history:
        return preview(history, config.history, Presence().gone, utc_now())


def _prune(config: Config) -> Pruned:
    pruned = Pruned()
    place: Place | None = Place()
    while place is not None:
        try:
            answer: dict[str, Any] = ask(config.state_dir, "prune", stage=place.stage.value, after=place.after)
        except NoDaemon:
            return pruned + _prune_directly(config, place)
        pruned += Pruned(**answer["removed"])
        rest = answer["rest"]
        place = Place(Stage(rest["stage"]), rest["after"]) if rest else None
    return pruned


def _prune_directly(config: Config, place: Place | None) -> Pruned:
    pruned, at, gone = Pruned(), utc_now(), Presence().gone
    with writer(config) as store:
        while place is not None:
            removed, place = step(store, config.history, gone, at, place)
            pruned += removed
    return pruned
