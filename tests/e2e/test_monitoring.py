"""The daemon watches itself: samples, alerts and the canary of a real one, and what it answers."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.harness import Daemon, MakeDaemon, copy_sample

RULES = """
[monitor.rules.inbox_offline]
for_s = 0
clear_for_s = 0
"""


def status(daemon: Daemon) -> dict[str, Any]:
    """What `transcribed status --json` prints."""
    answer: dict[str, Any] = json.loads(daemon.run("status", "--json", check=False).stdout)
    return answer


def rules_open(daemon: Daemon) -> list[str]:
    """The rules whose alerts are open."""
    return [alert["rule"] for alert in status(daemon).get("alerts", ())]


def queried(database: Path, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def test_a_daemon_watches_itself(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """The canary comes back and leaves nothing; an inbox that goes away is an alert until it is back."""
    (tmp_path / "rules.toml").write_text(RULES)
    settings = {
        "TRANSCRIBED_CONFIG": str(tmp_path / "rules.toml"),
        "TRANSCRIBED_MONITOR_INTERVAL_S": "1",
        "TRANSCRIBED_CANARY_INTERVAL_S": "2",
    }
    daemon = make_daemon(**settings).start()
    copy_sample("memo.wav", daemon.inbox)
    daemon.until(lambda: status(daemon)["canary"]["last_at"], "the canary")
    daemon.until(lambda: status(daemon)["jobs"]["done"] == 1, "the recording")
    told = status(daemon)
    assert told["canary"]["wrong_words_ratio"] <= 0.1
    assert told["canary"]["speed_ratio"] > 0
    assert [inbox["path"] for inbox in told["inboxes"]] == [str(daemon.inbox)]
    daemon.until(lambda: status(daemon)["figures"].get("engine_windows auto"), "the engine's counts")
    assert status(daemon)["figures"]["jobs done"] == 1

    daemon.inbox.rename(tmp_path / "away")
    daemon.until(lambda: "inbox_offline" in rules_open(daemon), "the alert")
    assert daemon.stop() == 0
    daemon.inbox.mkdir()  # as the folder below a share that is not mounted
    daemon.start()
    daemon.until(lambda: "inbox_offline" in rules_open(daemon), "the alert of the run before")
    daemon.inbox.rmdir()
    (tmp_path / "away").rename(daemon.inbox)
    daemon.until(lambda: "inbox_offline" not in rules_open(daemon), "the end of the alert")
    assert daemon.stop() == 0

    alerts = queried(daemon.state_dir / "metrics.db", "SELECT rule, resolved_at FROM v_alerts")
    assert [rule for rule, _ in alerts].count("inbox_offline") == 1
    assert all(resolved_at for rule, resolved_at in alerts if rule == "inbox_offline")
    paths = [Path(path).name for (path,) in queried(daemon.state_dir / "transcribed.db", "SELECT path FROM v_jobs")]
    assert [name for name in paths if not name.startswith("canary-")] == ["memo.wav"]
    assert len(paths) <= 2  # one may have been on its way
