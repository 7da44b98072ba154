"""The files of settings in the folders of one inbox: read when they changed, and answered where they are wrong.

One thread uses it, that of the inbox, inside a touch of its share. What a file means is for `folder_settings`.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from daemon.clock import monotonic_s
from daemon.config import InboxConfig
from daemon.intake.folder_settings import (
    MOST_BYTES,
    FolderSettings,
    Limits,
    Said,
    Values,
    of_inbox,
    parse,
    resolve,
)
from daemon.intake.scanner import Scan
from daemon.intake.settings_mistakes import FILE_NAME, NOTE_NAME, Mistake, Mistaken, note_of
from daemon.outputs.notes import folder_in, remove_note, write_note
from daemon.words import catalogue
from storage.jobs import JobStore
from storage.records import Fingerprint

log = logging.getLogger(__name__)

_WORK_S: Final = 2.0  # as in `admission`: jobs do not wait for ever for notes
_MOST_LOGGED: Final = 20  # in a scan: whoever can write to a share must not fill the log
_UNREAD: Final = Fingerprint(-1, 0, 0, 0, 0)  # that of no file: whatever is there is read
_NOT_OURS: Final = {
    errno.EACCES: Mistake("unreadable"),
    errno.EPERM: Mistake("unreadable"),
    errno.ELOOP: Mistake("link"),
    errno.ENXIO: Mistake("no_file"),
}


@dataclass(frozen=True, slots=True)
class _File:
    """As it was when it was read last. *again*: it may have been half written, so it is read once more."""

    fingerprint: Fingerprint
    again: bool = False


class SettingsFiles:
    """What the files say, as of the last scan; the last that each said without a mistake is kept in *store*."""

    def __init__(self, config: InboxConfig, store: JobStore) -> None:
        self._inbox = config
        self._root: Final = os.fsencode(config.path)
        self._store = store
        self._limits = Limits.of(config)
        self._words = catalogue(config.messages)
        self._files: dict[bytes, _File] = {}
        self._last_good: dict[bytes, Values] = {}
        self._mistakes: Mapping[bytes, tuple[Mistake, ...]] = {}
        self._told: dict[bytes, str] = {}
        self._silent: set[bytes] = set()  # folders that take no note
        self._foreign: set[bytes] = set()  # folders where a file that is not ours has the name of the note
        self._left_alone: set[bytes] = set()
        self._n_logged = 0
        self._judged = self.settings = FolderSettings(self._root, of_inbox(config), fair_by=config.fair_by)
        """*settings* may be read by any thread."""

    @property
    def mistakes(self) -> Mapping[bytes, Sequence[Mistake]]:
        """What is wrong with the files that are not taken, by folder. Safe from any thread."""
        return self._mistakes

    def learn(self) -> None:
        """Take what the history knows of the last run."""
        if self._limits.keys:
            self._last_good = dict(self._store.folder_settings(self._root))
            known = {folder: Said(values) for folder, values in self._last_good.items()}
            self.settings = resolve(self._inbox, known, self._last_good).settings

    def ignored(self) -> dict[bytes, Fingerprint]:
        """The folders that a scan may pass by, as long as their file of settings is still this one."""
        files = self.settings.files
        return {
            folder: file.fingerprint
            for folder, file in self._files.items()
            if folder in files and files[folder].values["ignore"] is True and not file.again
        }

    def update(self, found: Scan, alive: Callable[[], None]) -> bool:
        """Take what a scan *found*, and answer; whether it should be looked again soon. *alive* as for `scan`."""
        if not self._limits.keys:
            return False
        gone = self._gone(found)
        changed = [
            folder
            for folder, fingerprint in found.settings.items()
            if (file := self._files.get(folder)) is None or file.fingerprint != fingerprint or file.again
        ]
        if gone or changed:
            self._take(found.settings, changed, gone, alive)
        answered = not (self._mistakes or found.notes) or self._answer(found.notes, alive)
        return not answered or any(self._files[folder].again for folder in changed)

    def leave_alone(self, found: Scan, known: Collection[bytes]) -> set[bytes]:
        """Take the recordings that are to be ignored out of *found*; which. Those *known* were judged before."""
        ignored: set[bytes] = set()
        if self.settings.ignore_something:
            anew = self.settings is not self._judged
            for path in found.recordings:
                if anew or path not in known:
                    before = not anew and path in self._left_alone
                    if before or self.settings.of_recording(path).ignores(path):
                        ignored.add(path)
            for path in ignored:
                del found.recordings[path]
        self._judged, self._left_alone = self.settings, ignored
        return ignored

    # Reading.

    def _gone(self, found: Scan) -> list[bytes]:
        """The folders that have no file any more; one that could not be looked at has what it had."""
        hidden = tuple(place + b"/" for place in (*found.unreadable, *found.passed_by))
        missing = (self._files.keys() | self._last_good.keys()) - found.settings.keys()
        return [folder for folder in missing if not (folder + b"/").startswith(hidden)]

    def _take(
        self,
        present: Mapping[bytes, Fingerprint],
        changed: Collection[bytes],
        gone: Collection[bytes],
        alive: Callable[[], None],
    ) -> None:
        last_good = {folder: values for folder, values in self._last_good.items() if folder not in gone}
        last_good |= self._moved(present, changed, gone)
        said: dict[bytes, Said | Mistaken] = {folder: Said(values) for folder, values in last_good.items()}
        said |= {folder: Mistaken(told) for folder, told in self._mistakes.items() if folder not in gone}
        files = {folder: file for folder, file in self._files.items() if folder not in gone}
        # What is wrong may be so because of a file around it that changed.
        for folder in {*changed, *(folder for folder in self._mistakes if folder in present)}:
            alive()
            first = folder not in files or files[folder].fingerprint != present[folder]
            read = read_settings(self._root, folder, present[folder])
            if read is None:
                files[folder] = _File(_UNREAD)
                continue
            files[folder] = _File(present[folder])
            if first and (isinstance(read, Mistaken) or not read.table):
                files[folder] = _File(present[folder], again=True)
            else:
                said[folder] = read
        self._resolve(files, said, last_good)

    def _resolve(
        self, files: dict[bytes, _File], said: Mapping[bytes, Said | Mistaken], last_good: dict[bytes, Values]
    ) -> None:
        resolved = resolve(self._inbox, said, last_good)
        last_good |= {folder: good for folder, good in resolved.good.items() if folder not in resolved.mistakes}
        changed = {folder: values for folder, values in last_good.items() if self._last_good.get(folder) != values}
        gone = self._last_good.keys() - last_good.keys()
        if changed or gone:
            self._store.keep_settings(self._root, changed, gone)
            n_folders = len(changed) + len(gone)
            log.info(
                "inbox %s: settings changed in %d folder%s, such as %s",
                *(
                    self._inbox.path,
                    n_folders,
                    "" if n_folders == 1 else "s",
                    os.fsdecode(next(iter([*changed, *gone]))),
                ),
                extra={"event": "settings_changed", "inbox": str(self._inbox.path)},
            )
        self._files, self._last_good = files, last_good
        self._mistakes, self.settings = resolved.mistakes, resolved.settings

    def _moved(
        self, present: Mapping[bytes, Fingerprint], changed: Collection[bytes], gone: Collection[bytes]
    ) -> dict[bytes, Values]:
        """What the files of folders that were moved last said without a mistake: a mistake in one moves with it."""
        before = {self._files[folder].fingerprint: folder for folder in gone if folder in self._files}
        came = [folder for folder in changed if folder not in self._files and folder not in self._last_good]
        places = [(folder, before.get(present[folder])) for folder in came]
        return {folder: self._last_good[old] for folder, old in places if old is not None and old in self._last_good}

    # Answering.

    def _answer(self, notes: Collection[bytes], alive: Callable[[], None]) -> bool:
        """Write and remove notes; whether there was time for all: each takes a few turns to a share and back."""
        until = monotonic_s() + _WORK_S
        self._n_logged = 0
        self._told = {folder: text for folder, text in self._told.items() if folder in self._mistakes}
        self._foreign &= set(notes)
        for folder, mistakes in self._mistakes.items():
            if monotonic_s() > until:
                return False
            text = note_of(mistakes, self._limits.listed, self._words, before=folder in self.settings.files)
            if self._told.get(folder) != text:
                alive()
                self._tell(folder, mistakes, text)
        for folder in notes:
            if folder not in self._mistakes and folder not in self._foreign and not self._is_in_doubt(folder):
                if monotonic_s() > until:
                    return False
                alive()
                self._take_back(folder)
        return True

    def _is_in_doubt(self, folder: bytes) -> bool:
        file = self._files.get(folder)
        return file is not None and (file.again or file.fingerprint == _UNREAD)

    def _tell(self, folder: bytes, mistakes: Sequence[Mistake], text: str) -> None:
        path, note = (os.path.join(folder, os.fsencode(name)) for name in (FILE_NAME, NOTE_NAME))
        try:
            written = write_note(self._root, note, text, path, self._words.say("note.from_us"))
        except OSError as error:
            if folder not in self._silent:  # it is tried again at each scan, and told once
                self._log(path, mistakes, f"; it cannot be answered there: {error.strerror}")
            self._silent.add(folder)
            return
        self._told[folder] = text
        if folder not in self._silent:
            self._log(path, mistakes, "" if written else f"; a file that is not ours is in the way: {NOTE_NAME}")
        self._silent.discard(folder)

    def _log(self, path: bytes, mistakes: Sequence[Mistake], more: str) -> None:
        self._n_logged += 1
        log.log(
            logging.WARNING if self._n_logged <= _MOST_LOGGED else logging.DEBUG,
            "%s is not taken: %s%s",
            *(os.fsdecode(path), "; ".join(mistake.told(catalogue("en")) for mistake in mistakes), more),
            extra={"event": "settings_refused", "inbox": str(self._inbox.path)},
        )

    def _take_back(self, folder: bytes) -> None:
        try:
            removed = remove_note(self._root, os.path.join(folder, os.fsencode(NOTE_NAME)))
        except OSError:
            return  # it is tried again at the next scan
        if not removed:
            self._foreign.add(folder)


def read_settings(root: bytes, folder: bytes, expected: Fingerprint | None = None) -> Said | Mistaken | None:
    """What the file of settings in *folder* says, which is *root* or in it.

    None where there is none, where it cannot be read now, and where it is not the file *expected*.
    """
    try:
        content = _content(root, folder, expected)
        return None if content is None else parse(content)
    except Mistaken as mistaken:
        return mistaken
    except OSError as error:
        reason = _NOT_OURS.get(error.errno or 0)
        return None if reason is None else Mistaken([reason])


def _content(root: bytes, folder: bytes, expected: Fingerprint | None) -> bytes | None:
    # Links are not followed, on the way neither: through one, what is elsewhere would be read and told.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with folder_in(root, folder) as place:
        fd = os.open(FILE_NAME, flags, dir_fd=place)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ENXIO, "no regular file")
        there = Fingerprint.of(status)
        if expected is not None and (there.device, there.inode) != (expected.device, expected.inode):
            return None
        return file.read(MOST_BYTES + 1)
