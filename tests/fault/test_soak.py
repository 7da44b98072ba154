"""A few seconds of the soak: files come, everything is killed at random, and every file ends right."""

from __future__ import annotations

import os

import pytest

from tests.soak.soak import Settings, soak


@pytest.mark.fault(19, "SIGKILL of daemon, engine and decoders at random while files come")
@pytest.mark.fault(43, "SIGKILL of the engine at random")
@pytest.mark.fault(50, "SIGTERM at random")
@pytest.mark.skipif("ALL_FAULTS" not in os.environ, reason="takes a minute: only with make faults, without --short")
def test_files_end_right_whatever_is_killed() -> None:
    """Every recording has its own end and one set of transcripts; nothing is left over."""
    settings = Settings(for_s=20.0, seed=1, kill_every_s=2.5, file_every_s=1.5, most_unfinished=12, quiet_s=400.0)
    assert soak(settings, say=print) == []
