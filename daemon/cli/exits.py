"""The exit codes of every command; 2 (usage) is the parser's."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
HISTORY_LOST: Final = 75
"""EX_TEMPFAIL of sysexits(3): the database was deleted, replaced or damaged; started again, the daemon mends it."""
CONFIG: Final = 78
"""EX_CONFIG of sysexits(3): systemd does not start us again on it (RestartPreventExitStatus=78)."""
