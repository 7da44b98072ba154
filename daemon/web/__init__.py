"""The web page: see, search, listen, upload, act. Needs the extra ``web``; the daemon works without.

Of what is in here, the rest of the daemon imports something only where pages are asked for (`daemon.opening`).
"""

from __future__ import annotations

import importlib.util
from typing import Final

WANTED: Final = ("argon2", "fastapi", "python_multipart")
"""What the extra ``web`` brings."""


def installed() -> bool:
    """Whether the extra is."""
    return all(importlib.util.find_spec(name) is not None for name in WANTED)
