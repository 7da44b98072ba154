"""Puts a transcript beside its recording: whole or not at all, never over a file that is not ours.

The steps are apart so that the caller can commit its intent between them: `stage` writes and syncs temporary files,
`commit` gives them their names. A crash anywhere leaves either temporary files that the intent names, or the outputs
in place; `commit` may be called again.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import secrets
import stat
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from daemon.errors import OutputBlocked, SourceVanished
from daemon.failpoints import reached
from daemon.intake.rules import EXTENSIONS
from daemon.outputs.access import Access, access_for
from daemon.outputs.naming import NAME_MAX_BYTES, Kind, choose_names, suffixes_of
from storage.records import Output

Ours = Mapping[bytes, Collection[str]]
"""The outputs of this recording that we wrote before: path to the SHA-256 of everything that we wrote there."""

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV})
"""What filesystems without hard links answer (FAT, exFAT, many SMB servers)."""

_MANY: Final = 2000
"""How many names of a folder are read for each transcript; in a larger one it is asked for those that matter."""

_staged: Final[set[bytes]] = set()  # by this process, and neither in place nor discarded yet


class NameTaken(Exception):
    """Raised when a file that is not ours took a chosen name since it was chosen: stage again."""


def stage(
    recording: bytes, contents: Mapping[Kind, bytes], ours: Ours, like: bytes | None = None, *, suffix: str = ""
) -> tuple[Output, ...]:
    """Write *contents*, by their kinds, under temporary names beside *recording*, synced, the text last.

    *suffix* comes before the extensions of their names (`daemon.outputs.naming`).
    Who may read them follows the folder and the recording, which is at *like* if not here (`daemon.outputs.access`).
    Raises OutputBlocked where the folder cannot be written, SourceVanished where it is gone; then nothing is left.
    """
    if not contents:
        return ()
    folder, name = os.path.split(recording)
    staged: list[Output] = []
    with _in_words(folder):
        names = choose_names(
            os.fsdecode(name),
            tuple(contents),
            _neighbours(folder, name, suffixes_of(contents, suffix)),
            lambda output: _usable(os.path.join(folder, os.fsencode(output)), ours),
            _longest_name(folder),
            lambda output: _is_there(os.path.join(folder, os.fsencode(output)), ours),
            suffix,
        )
        access = access_for(folder, like or recording)
        try:
            # Whoever waits for the .txt finds the others there already.
            for kind in sorted(contents, key=lambda kind: kind == "txt"):
                path = os.path.join(folder, os.fsencode(names[kind]))
                temporary = os.path.join(folder, f".tr-{secrets.token_hex(8)}.part".encode())
                staged.append(Output(kind, path, temporary, hashlib.sha256(contents[kind]).hexdigest()))
                _staged.add(temporary)
                _write_synced(temporary, contents[kind], access)
        except BaseException:
            discard(staged)
            raise
    return tuple(staged)


def stage_joint(
    base: bytes, contents: Mapping[Kind, bytes], ours: Ours, like: bytes, *, suffix: str = ""
) -> tuple[Output, ...]:
    """As `stage`, for a transcript of several recordings: *base* is its path without any extension, ``call``.

    Its files are ``call.txt``, or ``call.joint.txt`` where a recording ``call.wav`` or a file that is not ours is in
    the way. *like* is one of the recordings; *ours* is what was written before of this joint transcript.
    """
    return stage(base + b".joint", contents, ours, like, suffix=suffix)


def _neighbours(folder: bytes, name: bytes, suffixes: Collection[str]) -> list[str]:
    """The names in *folder*; of very many those of recordings whose stem is that of *name* with one of *suffixes*."""
    with os.scandir(os.fsdecode(folder)) as entries:
        names = [entry.name for entry in itertools.islice(entries, _MANY + 1)]
    if len(names) <= _MANY:
        return names
    stem = os.fsdecode(name).rpartition(".")[0]
    stems = [f"{stem}{suffix}" for suffix in suffixes]
    others = [f"{one}.{extension}" for one in stems for low in EXTENSIONS for extension in (low, low.upper())]
    own = _inode(os.path.join(folder, name))  # where case does not matter, it is found by other names too
    found = [other for other in others if _inode(os.path.join(folder, os.fsencode(other))) not in (None, own)]
    return [os.fsdecode(name), *found]


def _inode(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def commit(outputs: Sequence[Output], ours: Ours, *, resumed: bool = False) -> None:
    """Give every staged file its name, in order, and sync the folder. Those already in place are left alone.

    *resumed*: an earlier call, before a crash, may have left one of the names reserved. Raises NameTaken where somebody
    else's file is under a name, and takes back those that it gave; OutputBlocked where the folder cannot be written;
    FileNotFoundError where a staged file is gone and its output is not in place.
    """
    given: list[Output] = []
    for output in outputs:
        with _in_words(os.path.dirname(output.path)):
            if digest_of(output.path) != output.sha256:
                try:
                    _give_name(output, ours, resumed=resumed)
                except NameTaken:
                    _take_back(given)
                    raise
                given.append(output)
            _remove(output.temp_path)
            _staged.discard(output.temp_path)
            reached("publish.unlinked")
    for folder in {os.path.dirname(output.path) for output in outputs}:
        with _in_words(folder):
            _sync_folder(folder)
            reached("publish.folder_synced")


def discard(outputs: Sequence[Output]) -> None:
    """Remove the staged files of *outputs*, as far as they are there and the folder lets us."""
    for output in outputs:
        try:
            _remove(output.temp_path)
        except OSError:
            pass  # taken once the folder comes back, or at the next start
        finally:
            _staged.discard(output.temp_path)


def adopt(outputs: Sequence[Output]) -> None:
    """The staged files that an earlier process left are still needed: `commit` will be called for them."""
    _staged.update(output.temp_path for output in outputs)


def is_staged(path: bytes) -> bool:
    """Whether *path* is a temporary file of this process that is still needed."""
    return path in _staged


def digest_of(path: bytes) -> str | None:
    """The SHA-256 of the file at *path*; None where there is no regular file that we can read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    finally:
        os.close(fd)


def _usable(path: bytes, ours: Ours) -> bool:
    return not os.path.lexists(path) or (path in ours and digest_of(path) in ours[path])


def _is_there(path: bytes, ours: Ours) -> bool:
    return path in ours and os.path.lexists(path)


def _give_name(output: Output, ours: Ours, *, resumed: bool) -> None:
    os.stat(output.temp_path)  # gone: nothing to publish, and nothing may be removed for it
    if os.path.lexists(output.path):
        if not (_usable(output.path, ours) or (resumed and _is_reservation(output.path))):
            raise NameTaken(os.fsdecode(output.path))
        os.rename(output.temp_path, output.path)
        reached("publish.replaced")
        return
    try:
        os.link(output.temp_path, output.path)
    except FileExistsError:
        raise NameTaken(os.fsdecode(output.path)) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _reserve_and_rename(output)
    else:
        reached("publish.linked")


def _reserve_and_rename(output: Output) -> None:
    try:
        os.close(os.open(output.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        raise NameTaken(os.fsdecode(output.path)) from None
    reached("publish.reserved")
    try:
        os.rename(output.temp_path, output.path)
        reached("publish.renamed")
    except OSError:
        _give_up_reservation(output.path)
        raise


def _give_up_reservation(path: bytes) -> None:
    try:
        if _is_reservation(path):
            os.unlink(path)
    except OSError:
        pass  # an empty file stays; the next try takes other names


def _is_reservation(path: bytes) -> bool:
    # Left by a crash between the two steps of _reserve_and_rename. An empty file holds nothing that could be lost.
    status = os.lstat(path)
    return status.st_size == 0 and stat.S_ISREG(status.st_mode)


def _take_back(given: Sequence[Output]) -> None:
    """Remove what `commit` has just put in place: the set goes under other names, and there is to be one set."""
    for output in given:
        try:
            if digest_of(output.path) == output.sha256:
                _remove(output.path)
        except OSError:
            pass  # a second copy of a file is better than none


def _longest_name(folder: bytes) -> int:
    try:
        return min(NAME_MAX_BYTES, os.pathconf(os.fsdecode(folder), "PC_NAME_MAX"))
    except (OSError, ValueError):
        return NAME_MAX_BYTES


def _write_synced(path: bytes, content: bytes, access: Access) -> None:
    # Nobody else may look at it before it is known who may.
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        access.give_to(fd)
        reached("publish.written")
        os.fsync(fd)  # never tried again on failure: the kernel may have dropped the pages (fsyncgate)
        reached("publish.synced")


def _sync_folder(folder: bytes) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # CIFS and some FUSE filesystems cannot sync a folder
            raise
    finally:
        os.close(fd)


def _remove(path: bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


@contextmanager
def _in_words(folder: bytes) -> Generator[None]:
    """Errors of the folder become those that say who can act."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        if os.path.isdir(folder):
            raise
        raise SourceVanished(f"the folder {os.fsdecode(folder)} is gone") from None
    except OSError as error:
        raise OutputBlocked(f"cannot write to {os.fsdecode(folder)}: {error.strerror or error}") from error
