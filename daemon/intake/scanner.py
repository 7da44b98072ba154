"""Walks an inbox: the truth about which recordings are there. Decides nothing about them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.intake.rules import OWN_TEMPORARY, judge_file, judge_folder
from storage.records import Fingerprint


@dataclass(slots=True)
class Scan:
    """What one walk found.

    *temporary* are files of our own that some earlier run left behind. *unreadable* are the folders and files about
    which nothing is known, each with the reason.
    """

    recordings: dict[bytes, Fingerprint] = field(default_factory=dict[bytes, Fingerprint])
    temporary: list[bytes] = field(default_factory=list[bytes])
    unreadable: dict[bytes, str] = field(default_factory=dict[bytes, str])


def scan(root: bytes, *, recursive: bool, alive: Callable[[], None] = lambda: None) -> Scan:
    """Find every recording below *root*. Links are not followed; a folder that cannot be read is noted, not raised.

    *alive* is called for each entry: on a slow share a walk may take minutes. Raises OSError only where *root* itself
    cannot be read. 100,000 files on a local disk take about 0.3 s.
    """
    found = Scan()
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            folders += _scan_folder(folder, found, recursive=recursive, alive=alive)
        except OSError as error:
            if folder == root:
                raise
            found.unreadable[folder] = error.strerror or str(error)
    return found


def _scan_folder(folder: bytes, found: Scan, *, recursive: bool, alive: Callable[[], None]) -> list[bytes]:
    subfolders: list[bytes] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            alive()
            name = os.fsdecode(entry.name)
            try:
                if entry.is_dir(follow_symlinks=False):
                    if recursive and judge_folder(name).recording:
                        subfolders.append(entry.path)
                elif judge_file(name).recording:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found.recordings[entry.path] = Fingerprint.of(status)
                elif OWN_TEMPORARY.fullmatch(name):
                    found.temporary.append(entry.path)
            except FileNotFoundError:
                continue  # gone since it was listed
            except PermissionError:
                raise  # names can be listed, nothing else: that is the folder's, and the same for all in it
            except OSError as error:
                found.unreadable[entry.path] = error.strerror or str(error)
    return subfolders
