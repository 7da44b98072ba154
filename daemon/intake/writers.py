"""Whether somebody has a file open for writing, as far as the kernel will say."""

from __future__ import annotations

import errno
import fcntl
from enum import StrEnum


class Writers(StrEnum):
    """What is known about programs that have a file open for writing."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"


def writers_of(fd: int) -> Writers:
    """Whether any program on this machine has the file of *fd* (open for reading) open for writing.

    A read lease can only be taken while nobody does (fcntl(2), F_SETLEASE), so one is taken and given back. It needs
    the file's owner or CAP_LEASE, and a filesystem with leases; elsewhere the answer is UNKNOWN. Not for files of a
    network filesystem: NFSv4 and CIFS refuse a lease, as if there were a writer, whenever the server delegates nothing
    to this client (nfs4_add_lease and cifs_setlease in Linux). The caller must ignore SIGIO, which the kernel sends if
    a writer comes in the microseconds between.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        # EACCES here says that we are not the owner; only EAGAIN speaks of writers.
        return Writers.SOME if error.errno == errno.EAGAIN else Writers.UNKNOWN
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writers.NONE
