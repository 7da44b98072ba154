"""``python -m tests.fault.small_daemon FOLDER``: a daemon that does one recording and ends, to be killed by strace."""

import sys
from pathlib import Path

from tests.world import World

world = World(Path(sys.argv[1]))
world.start()
for _ in range(8):
    world.step(2.0)
    world.work()
world.close()
