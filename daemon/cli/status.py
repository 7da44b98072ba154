"""``transcribed status``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daemon.cli import exits
from daemon.cli.common import duration, loaded, print_json
from daemon.control import NoDaemon, ask
from daemon.log import escape


def run(file: Path | None, *, as_json: bool) -> int:
    """Print how the daemon is; the exit code."""
    config = loaded(file).config
    try:
        status: dict[str, Any] = ask(config.state_dir, "status")
    except NoDaemon as error:
        if as_json:
            print_json({"state": "stopped", "reason": str(error)})
        else:
            print(f"not running: {error}")
        return exits.FAILED
    if as_json:
        print_json(status)
    else:
        _show(status)
    return exits.FAILED if _trouble(status) else exits.OK


def _trouble(status: dict[str, Any]) -> bool:
    offline = any(inbox["offline"] for inbox in status["inboxes"])
    down = any(seat["state"] == "down" for seat in status["engine"]["seats"])
    return bool(status["stuck"]) or down or offline


def _show(status: dict[str, Any]) -> None:
    engine = status["engine"]
    print(f"transcribed {status['version']}, process {status['pid']}, since {status['started_at']}")
    in_use = [seat for seat in engine["seats"] if seat["model"]]
    for seat in in_use or engine["seats"][:1]:
        where = f"{seat['model']} on {seat['device'] or seat['wanted']}"
        what = f" ({where}, {seat['compute_type']})" if seat["device"] else f" ({where})" if seat["model"] else ""
        print(f"engine      {seat['state']}{what}, {seat['n_jobs']} recordings inside")
        if seat["last_error"]:
            print(f"            last error: {escape(seat['last_error'])}")
    counts = ", ".join(f"{count} {state}" for state, count in status["jobs"].items() if count)
    print(f"jobs        {counts or 'none yet'}")
    for activity in status["in_hand"]:
        of = f" of {duration(activity['total_s'])}" if activity["total_s"] else ""
        progress = f"{activity['stage']} {duration(activity['done_s'])}{of}"
        print(f"  {activity['job']:>6}    {progress}  {escape(activity['path'])}")
    for inbox in status["inboxes"]:
        state = f"offline: {inbox['offline']}" if inbox["offline"] else f"watched by {inbox['watched_by']}"
        print(f"inbox       {escape(inbox['path'])}: {state} ({inbox['because']}), settles in {inbox['settle_s']:g} s")
    if status["stuck"]:
        print(f"stuck       {', '.join(status['stuck'])}")
