"""``python -m tests.soak [--minutes 30] [--seed N]``: a daemon with the real model, killed all the time; see README.

Ends with 1 if a promise is broken; the folder with the log is kept then.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from functools import partial

from tests.soak.soak import Settings, soak


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long files arrive and processes are killed")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="the same files, the same plan")
    parser.add_argument("--kill-every", type=float, default=5.0, metavar="S", help="mean seconds between two kills")
    parser.add_argument("--file-every", type=float, default=5.0, metavar="S", help="mean seconds between two files")
    parser.add_argument("--keep", action="store_true", help="keep the folder, whatever comes of it")
    chosen = parser.parse_args()
    settings = Settings(chosen.minutes * 60, chosen.seed, chosen.kill_every, chosen.file_every, keep=chosen.keep)
    return 1 if soak(settings, say=partial(print, flush=True)) else 0


if __name__ == "__main__":
    sys.exit(main())
