"""Uploads from their first byte to their job: received in pieces, resumed after any interruption, put in place whole.

The bytes go into a hidden file in the folder that they are for, so no copy is needed at the end. Knows no HTTP. Calls
touch inboxes, which may be on a share that hangs: they are for threads that nobody waits for without a limit.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from daemon.asked import Choices
from daemon.config import InboxConfig
from daemon.failpoints import reached
from daemon.web.uploads.landing import MOST_NAMES, Folder, opened
from daemon.web.uploads.names import BadName, cleaned, folders_of, numbered
from daemon.web.uploads.record import Records, Upload
from daemon.web.uploads.sink import Sink
from daemon.web.uploads.trouble import UploadError, WrongOffset, in_words

__all__ = ["Surroundings", "Upload", "UploadError", "Uploads", "Wanted", "WrongOffset"]

log = logging.getLogger(__name__)

KEPT_FOR: Final = timedelta(days=1)
"""An upload to which nothing was added for so long is given up; one that is done is remembered for so long."""

MOST_OPEN: Final = 64
"""Uploads that are not whole, of everybody together."""

MOST_OPEN_EACH: Final = 16
"""The same of one visitor."""

MARGIN_BYTES: Final = 64 * 1024**2
"""What an upload leaves free on the disk."""

SWEEP_S: Final = 600.0
"""How often it is looked for uploads that were given up."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to send. *size_bytes* None: not known before its end; *sha256* empty: not checked."""

    inbox: bytes
    folder: str
    name: str
    size_bytes: int | None
    sha256: str = ""
    choices: Choices = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What uploads need of the daemon. Each may be called from any thread.

    *inboxes* are those that people know of; *offline* says why one cannot be written at present, else it is empty.
    *take* makes the job of a file that is in place, with the choices of who sent it: path, choices, sender.
    """

    inboxes: Callable[[], Sequence[InboxConfig]]
    offline: Callable[[bytes], str]
    take: Callable[[bytes, Choices, str], int | None]
    max_bytes: Callable[[], int]
    clock: Callable[[], datetime]


class Uploads:
    """All uploads, with what is known of them in *folder*. Call from any thread; an actor that gives up old ones."""

    def __init__(self, folder: Path, around: Surroundings) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._records = Records(folder)
        self._around = around
        self._beginning = threading.Lock()
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    # For the sender.

    def begin(self, wanted: Wanted, by: str) -> Upload:
        """A new upload, empty so far. Raises UploadError."""
        config = self._inbox(wanted.inbox)
        try:
            name, folders = cleaned(wanted.name), folders_of(wanted.folder)
        except BadName as error:
            raise UploadError("name", str(error)) from None
        if folders and not config.recursive:
            raise UploadError("folder", "this inbox has no folders")
        if wanted.sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", wanted.sha256):
            raise UploadError("hash", "sha256 must be 64 hexadecimal digits")
        self._check_size(wanted.size_bytes)
        upload = Upload(
            id=secrets.token_hex(16),
            by=by,
            inbox=os.fsdecode(wanted.inbox),
            folder="/".join(folders),
            name=name,
            size_bytes=wanted.size_bytes,
            sha256=wanted.sha256.lower(),
            choices=dict(wanted.choices),
            created_at=self._around.clock().isoformat(),
        )
        with self._beginning:  # so that no two take the same last place
            self._check_room(upload)
            with self._folder(upload) as folder:
                folder.make(upload.part)
                self._records.save(upload)
        return upload

    def of(self, upload_id: str, by: str) -> Upload:
        """The upload of that id, if *by* began it. Raises UploadError, which does not tell those of others."""
        upload = self._records.load(upload_id)
        if upload is None or upload.by != by:
            raise UploadError("unknown", "there is no such upload; one to which nothing is added for a day is removed")
        return upload

    def open_of(self, by: str) -> list[Upload]:
        """The uploads of *by* that are not in place yet."""
        return [upload for upload in self._records.all() if upload.by == by and not upload.is_there]

    def offset(self, upload: Upload) -> int:
        """How many of its bytes are there. Raises UploadError."""
        if upload.is_there:
            return upload.size_bytes or 0
        with self._folder(upload) as folder:
            status = folder.status(upload.part)
            if status is None:
                raise UploadError("unknown", "what was sent of this upload is gone; begin it anew")
            return status.st_size

    @contextmanager
    def adding(self, upload: Upload, offset: int) -> Generator[Sink]:
        """Inside the block the bytes from *offset* on can be written. Raises UploadError, WrongOffset."""
        sink = self.add(upload, offset)
        try:
            yield sink
        finally:
            sink.close()

    def add(self, upload: Upload, offset: int) -> Sink:
        """As `adding`; the sink is to be closed."""
        if upload.is_there:
            raise WrongOffset(upload.size_bytes or 0)
        self._begin_work(upload)
        try:
            there = self.offset(upload)
            if offset != there:
                raise WrongOffset(there)
            with self._folder(upload) as folder:
                fd = folder.open_part(upload.part, os.O_WRONLY)
        except BaseException:
            self._end_work(upload)
            raise
        limit = upload.size_bytes if upload.size_bytes is not None else self._around.max_bytes()
        return Sink(fd, offset, limit, lambda: self._check_online(upload), lambda: self._end_work(upload))

    def finish(self, upload: Upload) -> Upload:
        """All bytes are there: the recording is in its place, and its job is made. May be called again.

        Raises UploadError, which leaves the upload as it is but where the bytes are not those that were promised.
        """
        if upload.is_there:
            return upload
        self._begin_work(upload)
        try:
            return self._finish(upload)
        finally:
            self._end_work(upload)

    def give_up(self, upload: Upload) -> None:
        """Nothing is left of it; a recording that is in its place stays. Raises UploadError."""
        self._begin_work(upload)
        try:
            if not upload.is_there:
                with self._folder(upload) as folder:
                    folder.remove(upload.part)
            self._records.drop(upload.id)
        finally:
            self._end_work(upload)

    # For the daemon.

    def step(self, now: float) -> float:
        """What was put in place before a crash gets its job; what is old is given up."""
        del now
        before = self._around.clock() - KEPT_FOR
        for upload in self._records.all():
            with suppress(UploadError, OSError):  # its folder may be away: next time
                if not upload.is_there and upload.trying:
                    self.finish(upload)
                elif upload.begun_before(before) and not self._lives(upload, before):
                    self.give_up(upload)
                    log.info("upload %s: given up", upload.name, extra={"event": "upload_dropped", "by": upload.by})
        return SWEEP_S

    def _lives(self, upload: Upload, before: datetime) -> bool:
        if upload.is_there:
            return False
        try:
            with self._folder(upload) as folder:
                status = folder.status(upload.part)
        except UploadError as error:
            return error.kind == "offline"
        return status is not None and datetime.fromtimestamp(status.st_mtime, before.tzinfo) >= before

    def _finish(self, upload: Upload) -> Upload:
        with self._folder(upload) as folder:
            name = self._named_before(upload, folder)
            if name is None:
                upload = replace(upload, size_bytes=self._check_whole(upload, folder))
                folder.share(upload.part)
                upload, name = self._name(upload, folder)
            folder.remove(upload.part)  # before its job is made: it changes what stat(2) says of the file
            folder.sync()
            reached("upload.named")
        path = os.path.join(upload.inbox, upload.folder, name)
        job = self._around.take(os.fsencode(path), upload.choices, upload.by)
        reached("upload.taken")
        done = replace(upload, path=path, job=job)
        self._records.save(done)
        log.info(
            "%s was uploaded by %s", *(path, upload.by), extra={"event": "uploaded", "by": upload.by, "job_id": job}
        )
        return done

    def _named_before(self, upload: Upload, folder: Folder) -> str | None:
        """The name that it got before a crash; None where it got none."""
        if not upload.trying:
            return None
        name = numbered(upload.name, upload.trying)
        part, there = folder.status(upload.part), folder.status(name)
        if there is None:  # two names, and one is ours: whoever moved it away has it
            return name if part is not None and part.st_nlink > 1 else None
        if part is None:  # renamed, where there are no hard links
            return name if there.st_size == upload.size_bytes else None
        return name if (part.st_dev, part.st_ino) == (there.st_dev, there.st_ino) else None

    def _name(self, upload: Upload, folder: Folder) -> tuple[Upload, str]:
        for number in range(1, MOST_NAMES + 1):
            name = numbered(upload.name, number)
            if folder.status(name) is not None:
                continue
            upload = replace(upload, trying=number)
            self._records.save(upload)
            if folder.name(upload.part, upload.name, number):
                return upload, name
        raise UploadError("name", f"there are {MOST_NAMES} files of this name")

    def _check_whole(self, upload: Upload, folder: Folder) -> int:
        status = folder.status(upload.part)
        if status is None:
            raise UploadError("unknown", "what was sent of this upload is gone; begin it anew")
        if upload.size_bytes is not None and status.st_size != upload.size_bytes:
            raise WrongOffset(status.st_size)
        if not status.st_size:
            raise UploadError("empty", "the file is empty")
        if upload.sha256 and self._digest(upload, folder) != upload.sha256:
            folder.remove(upload.part)
            self._records.drop(upload.id)
            raise UploadError("hash", "the bytes that came are not those of the promised sha256; send it again")
        return status.st_size

    def _digest(self, upload: Upload, folder: Folder) -> str:
        with open(folder.open_part(upload.part, os.O_RDONLY), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    # What is allowed.

    def _inbox(self, path: bytes) -> InboxConfig:
        config = next((one for one in self._around.inboxes() if os.fsencode(one.path) == path), None)
        if config is None:
            raise UploadError("folder", "there is no such inbox")
        return config

    def _check_size(self, size_bytes: int | None) -> None:
        limit = self._around.max_bytes()
        if size_bytes is not None and size_bytes > limit:
            raise UploadError("large", f"the file has {size_bytes} bytes; the largest may have {limit}")
        if size_bytes is not None and size_bytes <= 0:
            raise UploadError("empty", "the file is empty")

    def _check_room(self, upload: Upload) -> None:
        others = [other for other in self._records.all() if not other.is_there]
        mine = [other for other in others if other.by == upload.by]
        if len(others) >= MOST_OPEN or len(mine) >= MOST_OPEN_EACH:
            raise UploadError("many", "too many uploads are open; finish or remove some first")
        promised = sum(self._rest(other) for other in others if other.inbox == upload.inbox)
        with self._folder(upload) as folder:
            free = folder.free_bytes()
        if promised + (upload.size_bytes or 0) + MARGIN_BYTES > free:
            raise UploadError("full", "there is too little room on the disk of this folder")

    def _rest(self, upload: Upload) -> int:
        with suppress(UploadError):
            return max(0, (upload.size_bytes or 0) - self.offset(upload))
        return 0

    def _check_online(self, upload: Upload) -> None:
        if why := self._around.offline(os.fsencode(upload.inbox)):
            raise UploadError("offline", f"the folder cannot be reached at present: {why}")

    @contextmanager
    def _folder(self, upload: Upload) -> Generator[Folder]:
        self._check_online(upload)
        with in_words(), opened(os.fsencode(upload.inbox), [part for part in upload.folder.split("/") if part]) as it:
            yield it

    def _begin_work(self, upload: Upload) -> None:
        with self._lock:
            if upload.id in self._busy:
                raise UploadError("busy", "this upload is being worked on by another request")
            self._busy.add(upload.id)

    def _end_work(self, upload: Upload) -> None:
        with self._lock:
            self._busy.discard(upload.id)
