"""``transcribed run``."""

from __future__ import annotations

import os
from pathlib import Path

from daemon import log
from daemon.config import load
from daemon.service import Service


def run(file: Path | None) -> None:
    """Run the daemon until it is told to stop. Raises ConfigError."""
    loaded = load(file, os.environ, require_inbox=True)
    log.set_up(loaded.config.log_format, loaded.config.log_level)
    Service(loaded, os.environ).run()
