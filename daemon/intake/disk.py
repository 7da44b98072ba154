"""How much room the disk of a folder has. Touches the folder, so a dead share holds whoever asks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Disk:
    """Room for us, not for root. *free_inodes_ratio* is None where the filesystem does not count inodes."""

    free_bytes: int
    free_ratio: float
    free_inodes_ratio: float | None

    @classmethod
    def of(cls, folder: bytes) -> Self | None:
        """The disk that *folder* is on; None where the filesystem does not tell."""
        try:
            found = os.statvfs(folder)
        except OSError:  # whether the folder is there, the scan says
            return None
        # As df does: what is kept for root counts as used.
        n_blocks = found.f_blocks - found.f_bfree + found.f_bavail
        if n_blocks <= 0:
            return None
        inodes = found.f_favail / found.f_files if found.f_files > 0 else None
        return cls(found.f_bavail * found.f_frsize, found.f_bavail / n_blocks, inodes)
