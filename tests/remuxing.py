"""Recordings for tests in another container: the same packets, so the same sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av


def remuxed(source: Path, target: Path, form: str) -> Path:
    """*target* has the packets of *source*, as they are, in a container of *form*, as FFmpeg names it."""
    with av.open(str(source)) as before, av.open(str(target), "w", format=form) as opened:
        after: Any = opened  # its types are unknown in part
        stream = before.streams.audio[0]
        copied = after.add_stream_from_template(stream)
        after.metadata["title"] = "Something else"
        for packet in before.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                after.mux(packet)
    return target
