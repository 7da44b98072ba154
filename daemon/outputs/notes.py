"""Small files of ours beside those of people: written whole or not at all, never over a file that is not ours.

A note is ours as long as nobody has changed it: its first line ends with a hash of the rest. Links are not followed,
in the path of its folder neither: whoever can write to a share could lead us out of it. Knows no reason for a note.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

from daemon.outputs.access import access_for

FROM_US: Final = "This file is from the transcription service, which removes it by itself."
_SIGNED: Final = re.compile(rb"[^\n]{0,200}\(([0-9a-f]{16})\)\r?\n\r?\n")
_MOST_BYTES: Final = 64 * 1024


@contextmanager
def folder_in(root: bytes, folder: bytes) -> Generator[int]:
    """*folder*, which is *root* or in it, open to reach what is in it, without a link on the way. Raises OSError."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    fd = os.open(root, flags)
    try:
        for part in folder[len(root) :].split(b"/"):
            if part:
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = below
        yield fd
    finally:
        os.close(fd)


def write_note(root: bytes, path: bytes, text: str, like: bytes, from_us: str = FROM_US) -> bool:
    """The note at *path*, in *root*, says *text*; False where a file that is not ours is there, which stays.

    Who may read it is whoever may read the file *like*. *from_us* begins its first line. Raises OSError.
    """
    body = text.encode("utf-8", "backslashreplace")
    return put(root, path, f"{from_us} ({_hash(body)})\n\n".encode() + body, like, _is_ours)


def put(root: bytes, path: bytes, content: bytes, like: bytes, is_ours: Callable[[bytes], bool]) -> bool:
    """The file at *path*, in *root*, has *content*; False where one is there of which *is_ours* says no, which stays.

    *is_ours* is asked with the first bytes of the file. Who may read it is whoever may read *like*. Raises OSError.
    """
    folder, name = os.path.split(path)
    with folder_in(root, folder) as fd:
        there = _content(fd, name)
        if there == content:
            return True
        if there is not None and not is_ours(there):
            return False
        access = access_for(folder, like)
        temporary = f".tr-{secrets.token_hex(8)}.part".encode()
        try:
            _write(fd, temporary, content, access.give_to)
            if there is None:
                return _name(fd, temporary, name)
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        finally:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=fd)
    return True


def remove_note(root: bytes, path: bytes) -> bool:
    """No note of ours is at *path*, in *root*; False where a file that is not ours is there. Raises OSError."""
    return take_away(root, path, _is_ours)


def take_away(root: bytes, path: bytes, is_ours: Callable[[bytes], bool]) -> bool:
    """Nothing is at *path*, in *root*; False where a file is there of which *is_ours* says no. Raises OSError."""
    folder, name = os.path.split(path)
    with folder_in(root, folder) as fd:
        there = _content(fd, name)
        if there is None:
            return True
        if not is_ours(there):
            return False
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
    return True


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]


def _is_ours(content: bytes) -> bool:
    # An editor on Windows may have written it back with other ends of lines, and no other change.
    signed = _SIGNED.match(content)
    return signed is not None and _hash(content[signed.end() :].replace(b"\r\n", b"\n")) == signed[1].decode()


def _content(folder: int, name: bytes) -> bytes | None:
    """The first bytes of the file; None where nothing is there, empty where it is not to be read."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:
        return b""
    try:
        return os.read(fd, _MOST_BYTES) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def _write(folder: int, name: bytes, content: bytes, share: Callable[[int], None]) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        file.write(content)
        file.flush()
        share(file.fileno())
        os.fsync(file.fileno())


def _name(folder: int, temporary: bytes, name: bytes) -> bool:
    """*temporary* is *name* now, unless something came there meanwhile."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:  # a filesystem without links: between this look and the change nobody is likely to come
        try:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            return False
    return True
