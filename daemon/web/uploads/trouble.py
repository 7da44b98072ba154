"""Why an upload cannot be, in kinds that a page or a program can tell apart."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from daemon.web.uploads.landing import NoSuchFolder

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UploadError(Exception):
    """Raised where an upload cannot be; *kind* says why, for whoever has other words. The message is English."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class WrongOffset(UploadError):
    """Raised where the bytes that come are not those that follow; *offset* is where to go on."""

    def __init__(self, offset: int) -> None:
        super().__init__("offset", f"the upload goes on at byte {offset}")
        self.offset = offset


@contextmanager
def in_words() -> Generator[None]:
    """What the disk says inside the block is said as an UploadError."""
    try:
        yield
    except NoSuchFolder as error:
        raise UploadError("folder", str(error)) from error
    except OSError as error:
        if error.errno in _FULL:
            raise UploadError("full", "the disk of this folder is full; make room and go on") from error
        raise UploadError("offline", f"the folder cannot be written: {error.strerror or error}") from error
