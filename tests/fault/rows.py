"""The faults that the suite is about, one row each, and why some cannot be tested here.

A test takes part with ``@pytest.mark.fault(NUMBER, "how it is brought about")``. The reasons are in docs/operations.md
too.
"""

from __future__ import annotations

from typing import Final

ROWS: Final[dict[int, str]] = {
    1: "slow copy with pauses",
    2: "copy that sets the size first, or the times back",
    3: "copy under a temporary name (rsync)",
    4: "temporary names of browsers and clients",
    5: "rename, move or link into the inbox",
    6: "whole folder moved in",
    7: "storm of events, touch or chmod while queued",
    8: "recording or transcript edited after the end",
    9: "recording deleted before or during its job",
    10: "recording replaced while it is decoded",
    11: "FIFO, device, link, folder under the name of a recording",
    12: "recording that may not be read",
    13: "file names that are no UTF-8",
    14: "file names as long as names can be",
    15: "recordings that would share a transcript's name",
    16: "folder of the recordings turned read-only",
    17: "disk of the inbox full",
    18: "disk of the state folder full",
    19: "kill -9 at every state and call",
    20: "power cut",
    21: "fsync reports an error",
    22: "two daemons on one state folder or inbox",
    23: "queue of file events overflows",
    24: "limits of inotify reached",
    25: "watch dies, or its handler raises",
    26: "inbox unmounted, empty below its mount, or made anew",
    27: "share that is dead or hangs",
    28: "clock jumps, times in the far future or past",
    29: "database locked by another program",
    30: "database damaged",
    31: "database read-only or on a network filesystem",
    32: "database deleted or replaced under the daemon",
    33: "a hundred thousand files at once",
    34: "empty file",
    35: "truncated or damaged recording",
    36: "silence, noise, no speech",
    37: "loops and prompts in the text of the model",
    38: "recording that claims absurd length, rate or channels",
    39: "content that is not what the name says",
    40: "playlist or list of files under the name of a recording",
    41: "decoder taken over by a hostile recording",
    42: "decoder or engine hangs",
    43: "engine aborts or crashes",
    44: "kernel ends the engine for want of memory",
    45: "GPU out of memory",
    46: "GPU context broken for good",
    47: "GPU lost, its driver hangs or does not match",
    48: "library of the GPU missing or aborting",
    49: "memory grows over days",
    50: "SIGTERM in a long job",
    51: "migration of the database interrupted",
    52: "log cannot be written",
    53: "file names that forge log lines or spreadsheet cells",
    54: "path traversal on the pages that are served",
    55: "scripts in names and transcripts on our pages",
    56: "requests of other sites to the pages",
    57: "slow or huge requests to the pages",
    58: "our own outputs taken for recordings",
}

NOT_HERE: Final[dict[int, str]] = {
    46: "needs a GPU whose context is broken on purpose",
}
"""Rows without a test, and why. A row must be here or have one."""
