"""A real network share for tests, as far as the kernel can tell: a FUSE filesystem over a folder, served by a process.

SIGSTOP makes every call into it hang, as with a server that is down; SIGKILL makes it dead; a control file makes it
answer with errors. Needs root and /dev/fuse, and no library: `Share.mounted` says whether it can be had.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

MNT_DETACH: Final = 2

_IN: Final = struct.Struct("<IIQQIIIHH")  # linux/fuse.h, as are all that follow
_OUT: Final = struct.Struct("<IiQ")
_ATTR: Final = struct.Struct("<6Q10I")
_SETATTR: Final = struct.Struct("<II6Q3I5I")
_DIRENT: Final = struct.Struct("<QQII")
_BUFFER_BYTES: Final = 1 << 20
_MAX_WRITE_BYTES: Final = 1 << 17
_CREATES: Final = frozenset({9, 12, 13, 16, 35, 45})  # mkdir, rename, link, write, create, rename2


class Share:
    """A folder that is a share while `mount` has been called and `unmount` has not."""

    def __init__(self, root: Path) -> None:
        self.backing = root / "server"
        self.folder = root / "share"
        self._control = root / "control"
        self._server: subprocess.Popen[bytes] | None = None
        self.backing.mkdir()
        self.folder.mkdir()

    def mount(self) -> bool:
        """Mount it; False where that is not permitted here."""
        command = [sys.executable, __file__, *map(os.fspath, (self.backing, self.folder, self._control))]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._server.stdout is not None
        with self._server.stdout:
            return self._server.stdout.readline() == b"mounted\n"

    def hang(self) -> None:
        """No call into it comes back."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._server.pid, os.WSTOPPED | os.WNOWAIT)

    def answer(self) -> None:
        """Calls come back, those that hang too."""
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def fail(self, number: int, *, only_writing: bool = False) -> None:
        """Every call, or those that make and write files, answers this error; 0 for none any more."""
        self._control.with_suffix(".new").write_text(f"{number} {int(only_writing)}")
        self._control.with_suffix(".new").rename(self._control)

    def die(self) -> None:
        """The server is gone: "Transport endpoint is not connected"."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def unmount(self) -> None:
        """Take it away from the folder, whoever uses it; calls that hang come back with an error."""
        ctypes.CDLL(None).umount2(os.fsencode(self.folder), MNT_DETACH)
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None


class _Server:
    """Answers one request after the other, from the folder *backing*."""

    def __init__(self, backing: bytes, control: bytes) -> None:
        self._backing = backing
        self._control = control
        self._paths: dict[int, bytes] = {1: backing}
        self._ids: dict[bytes, int] = {backing: 1}
        self._next_id = 2
        self._listings: dict[int, list[bytes]] = {}

    def serve(self, fd: int) -> None:
        """Until the filesystem is unmounted."""
        while True:
            try:
                request = os.read(fd, _BUFFER_BYTES)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                continue
            _length, opcode, unique, node, *_rest = _IN.unpack_from(request)
            if opcode in (2, 36, 42):  # forget, interrupt, batch_forget: no answer
                continue
            number, data = self._answer(opcode, node, request[_IN.size :])
            try:
                os.write(fd, _OUT.pack(_OUT.size + len(data), -number, unique) + data)
            except OSError:
                continue  # interrupted meanwhile

    def _answer(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
        if opcode != 26 and (number := self._trouble(opcode)):
            return number, b""
        handler = self._HANDLERS.get(opcode)
        if handler is None:
            return errno.ENOSYS, b""
        try:
            return 0, handler(self, node, body)
        except OSError as error:
            return error.errno or errno.EIO, b""
        except LookupError:
            return errno.ESTALE, b""

    def _trouble(self, opcode: int) -> int:
        try:
            with open(self._control, encoding="ascii") as file:
                number, only_writing = map(int, file.read().split())
        except (OSError, ValueError):
            return 0
        return number if opcode in _CREATES or not only_writing else 0

    def _path(self, node: int, name: bytes = b"") -> bytes:
        return os.path.join(self._paths[node], name.rstrip(b"\0")) if name else self._paths[node]

    def _entry(self, path: bytes) -> bytes:
        status = os.lstat(path)
        if path not in self._ids:
            self._ids[path] = self._next_id
            self._paths[self._next_id] = path
            self._next_id += 1
        return struct.pack("<QQQQII", self._ids[path], 0, 0, 0, 0, 0) + _attr(status)

    def _forget(self, path: bytes) -> None:
        self._ids.pop(path, None)

    # Each gets the node and the body of its request.

    def _init(self, node: int, body: bytes) -> bytes:
        del node
        _major, minor, readahead, _flags = struct.unpack_from("<IIII", body)
        return struct.pack(
            "<IIIIHHIIHHI7I", 7, min(minor, 31), readahead, 0x20, 16, 12, _MAX_WRITE_BYTES, 1, 0, 0, 0, *[0] * 7
        )

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(self._path(node, body))

    def _getattr(self, node: int, body: bytes) -> bytes:
        flags, _dummy, handle = struct.unpack_from("<IIQ", body)
        status = os.fstat(handle) if flags & 1 and handle not in self._listings else os.lstat(self._path(node))
        return struct.pack("<QII", 0, 0, 0) + _attr(status)

    def _setattr(self, node: int, body: bytes) -> bytes:
        valid, _pad, _fh, size, _owner, atime, mtime, _ctime, atime_ns, mtime_ns, _c, mode, _u, uid, gid, _v = (
            _SETATTR.unpack_from(body)
        )
        path = self._path(node)
        if valid & 1:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & 6:
            os.chown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & 8:
            os.truncate(path, size)
        if valid & 0x30:
            before = os.lstat(path)
            now = time.time_ns()
            when = [before.st_atime_ns, before.st_mtime_ns]
            if valid & 0x10:
                when[0] = now if valid & 0x80 else atime * 10**9 + atime_ns
            if valid & 0x20:
                when[1] = now if valid & 0x100 else mtime * 10**9 + mtime_ns
            os.utime(path, ns=(when[0], when[1]))
        return struct.pack("<QII", 0, 0, 0) + _attr(os.lstat(path))

    def _mkdir(self, node: int, body: bytes) -> bytes:
        (mode,) = struct.unpack_from("<I", body)
        path = self._path(node, body[8:])
        os.mkdir(path, mode)
        return self._entry(path)

    def _unlink(self, node: int, body: bytes) -> bytes:
        path = self._path(node, body)
        os.unlink(path)
        self._forget(path)
        return b""

    def _rmdir(self, node: int, body: bytes) -> bytes:
        path = self._path(node, body)
        os.rmdir(path)
        self._forget(path)
        return b""

    def _rename(self, node: int, body: bytes, offset: int = 8) -> bytes:
        (to,) = struct.unpack_from("<Q", body)
        old_name, new_name, _ = body[offset:].split(b"\0", 2)
        old, new = self._path(node, old_name), self._path(to, new_name)
        os.rename(old, new)
        self._forget(new)
        moved = self._ids.pop(old, None)
        if moved is not None:
            self._ids[new], self._paths[moved] = moved, new
        return b""

    def _rename2(self, node: int, body: bytes) -> bytes:
        return self._rename(node, body, 16)

    def _link(self, node: int, body: bytes) -> bytes:
        (old,) = struct.unpack_from("<Q", body)
        path = self._path(node, body[8:])
        os.link(self._path(old), path)
        return self._entry(path)

    def _open(self, node: int, body: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", body)
        fd = os.open(self._path(node), flags & ~os.O_NOFOLLOW)
        return struct.pack("<QIi", fd, 1, 0)  # 1: nothing is cached

    def _create(self, node: int, body: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", body)
        path = self._path(node, body[16:])
        fd = os.open(path, flags | os.O_CREAT, mode)
        return self._entry(path) + struct.pack("<QIi", fd, 1, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        del node
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(handle, size, offset)

    def _write(self, node: int, body: bytes) -> bytes:
        del node
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)

    def _release(self, node: int, body: bytes) -> bytes:
        del node
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def _nothing(self, node: int, body: bytes) -> bytes:
        del node, body
        return b""

    def _statfs(self, node: int, body: bytes) -> bytes:
        del node, body
        found = os.statvfs(self._backing)
        sizes = (found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)
        return struct.pack("<5Q4I6I", *sizes, found.f_bsize, 255, found.f_frsize, 0, *[0] * 6)

    def _opendir(self, node: int, body: bytes) -> bytes:
        del body
        handle = 1 << 40 | len(self._listings)
        self._listings[handle] = [b".", b"..", *os.listdir(self._path(node))]
        return struct.pack("<QIi", handle, 0, 0)

    def _readdir(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        found = b""
        for number, name in enumerate(self._listings[handle][offset:], start=offset + 1):
            try:
                status = os.lstat(self._path(node, name))
            except OSError:
                continue
            entry = _DIRENT.pack(status.st_ino, number, len(name), stat.S_IFMT(status.st_mode) >> 12) + name
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found

    _HANDLERS: Final[dict[int, Callable[[_Server, int, bytes], bytes]]] = {
        1: _lookup,
        3: _getattr,
        4: _setattr,
        9: _mkdir,
        10: _unlink,
        11: _rmdir,
        12: _rename,
        13: _link,
        14: _open,
        15: _read,
        16: _write,
        17: _statfs,
        18: _release,
        20: _nothing,  # fsync
        # Not 25, flush: the kernel would wait for that without end when a process that has a file open here exits.
        26: _init,
        27: _opendir,
        28: _readdir,
        29: _nothing,  # releasedir
        30: _nothing,  # fsyncdir
        35: _create,
        38: _nothing,  # destroy
        45: _rename2,
    }


def _attr(status: os.stat_result) -> bytes:
    seconds = [value // 10**9 for value in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)]
    rest = [value % 10**9 for value in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)]
    return _ATTR.pack(
        status.st_ino, status.st_size, status.st_blocks, *seconds, *rest,
        status.st_mode, status.st_nlink, status.st_uid, status.st_gid, 0, 4096, 0,
    )  # fmt: skip


def main() -> int:
    """``share.py BACKING MOUNTPOINT CONTROL``: writes ``mounted`` and serves."""
    backing, folder, control = (os.fsencode(argument) for argument in sys.argv[1:])
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if ctypes.CDLL(None, use_errno=True).mount(b"share", folder, b"fuse", 0, options) != 0:
        return 1
    os.write(1, b"mounted\n")
    _Server(backing, control).serve(fd)
    return 0


if __name__ == "__main__":
    sys.exit(main())
