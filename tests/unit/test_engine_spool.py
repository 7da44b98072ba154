from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daemon.engine.spool import Spool
from daemon.transcript import SAMPLE_RATE_HZ


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    loud = np.full(10 * SAMPLE_RATE_HZ, 1000, "<i2")
    loud[:3] = (-32768, 0, 16384)
    loud[7 * SAMPLE_RATE_HZ : 7 * SAMPLE_RATE_HZ + SAMPLE_RATE_HZ // 5] = 3
    loud.tofile(path)
    opened = Spool(str(path))
    yield opened
    opened.close()


def test_samples_are_floats_between_minus_one_and_one(spool: Spool) -> None:
    """Sixteen bits, little-endian, from anywhere in the file."""
    samples = spool.read(0, 3)
    assert samples.dtype == np.float32
    assert list(samples) == [-1.0, 0.0, 0.5]
    assert list(spool.read(2, 4)) == [0.5, np.float32(1000 / 32768)]
    assert spool.read(5, 5).shape == (0,)


def test_a_spool_file_that_is_too_short_is_an_error(spool: Spool) -> None:
    """Never silence instead of samples that are not there."""
    with pytest.raises(OSError, match="the spool file ends before sample 176000: 32000 of 64000 bytes"):
        spool.read(9 * SAMPLE_RATE_HZ, 11 * SAMPLE_RATE_HZ)


def test_the_quietest_moment_is_found(spool: Spool) -> None:
    """A forced cut falls into the shortest of pauses rather than into a word."""
    cut_s = spool.quietest(2 * SAMPLE_RATE_HZ, 10 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    assert 7.0 <= cut_s <= 7.2


def test_where_there_is_no_room_the_middle_will_do(spool: Spool) -> None:
    """A tenth of a second has no quietest tenth."""
    assert spool.quietest(1000, 1100) == 1050


def test_a_file_that_is_not_there_is_an_error(path: Path) -> None:
    """At once, not at the first window."""
    with pytest.raises(FileNotFoundError):
        Spool(str(path / "missing"))
