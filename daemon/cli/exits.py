"""The exit codes of every command; 2 (usage) is the parser's."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
CONFIG: Final = 78
"""EX_CONFIG of sysexits(3): systemd does not start us again on it (RestartPreventExitStatus=78)."""
