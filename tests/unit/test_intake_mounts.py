"""Which filesystem a folder is on, and how it is watched for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import InboxConfig
from daemon.intake import mounts
from daemon.intake.mounts import filesystem_of, is_network
from daemon.intake.watching import (
    EVENTS_SCAN_S,
    LOCAL_SETTLE_S,
    NETWORK_SETTLE_S,
    POLL_SCAN_S,
    choose_watching,
)

ROOT = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


def table(*lines: str) -> bytes:
    return ("\n".join([ROOT, *lines]) + "\n").encode()


def test_the_deepest_mount_on_the_way_counts() -> None:
    """Not one that only has the same beginning of its name."""
    lines = table(
        "30 21 0:40 / /srv rw - xfs /dev/sdb1 rw",
        "31 30 0:41 / /srv/inbox rw shared:7 master:2 - nfs4 server:/x rw",
        "32 30 0:42 / /srv/inbox2 rw - cifs //server/y rw",
    )
    assert filesystem_of(Path("/srv/inbox"), lines) == "nfs4"
    assert filesystem_of(Path("/srv/inbox/a/b"), lines) == "nfs4"
    assert filesystem_of(Path("/srv/inbox2"), lines) == "cifs"
    assert filesystem_of(Path("/srv/other"), lines) == "xfs"
    assert filesystem_of(Path("/home"), lines) == "ext4"


def test_octal_escapes_in_mount_points_are_read() -> None:
    """The kernel writes space, tab, newline and backslash that way (proc(5))."""
    lines = table(
        r"30 21 0:40 / /srv/Team\040A\134x rw - cifs //server/a rw",
        r"31 21 0:41 / /srv/tab\011newline\012 rw - nfs server:/b rw",
    )
    assert filesystem_of(Path("/srv/Team A\\x/sub"), lines) == "cifs"
    assert filesystem_of(Path("/srv/tab\tnewline\n"), lines) == "nfs"


def test_a_mount_over_another_one_hides_it() -> None:
    """At the same point the upper one counts, as with an automounter."""
    lines = table(
        "30 21 0:40 / /srv/inbox rw - autofs systemd-1 rw",
        "31 30 0:41 / /srv/inbox rw - cifs //server/x rw",
    )
    assert filesystem_of(Path("/srv/inbox"), lines) == "cifs"


def test_a_mount_over_a_folder_above_hides_it_too() -> None:
    """A share at /srv/inbox is out of sight once something is mounted over /srv."""
    lines = table(
        "30 21 0:40 / /srv/inbox rw - nfs4 server:/x rw",
        "31 21 0:41 / /srv rw - xfs /dev/sdb1 rw",
    )
    assert filesystem_of(Path("/srv/inbox"), lines) == "xfs"


@pytest.mark.parametrize("mountinfo", [b"", b"\n\n", b"garbage", b"1 2 3 - ext4 x rw", b"\xff\xfe - \xff"])
def test_what_cannot_be_read_is_unknown(mountinfo: bytes) -> None:
    """Never an error: the answer only chooses between two ways that both work."""
    assert filesystem_of(Path("/srv"), mountinfo) == "unknown"


def test_without_proc_the_filesystem_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container may hide it."""
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "nothing")
    assert filesystem_of(tmp_path) == "unknown"


def test_the_real_table_is_read(tmp_path: Path) -> None:
    """On Linux, every folder is on something that has a name; /proc is on proc."""
    assert filesystem_of(Path("/proc/self")) == "proc"
    assert filesystem_of(tmp_path) not in ("", "unknown")


def test_a_link_is_followed_to_where_the_files_are(tmp_path: Path) -> None:
    """An inbox may be given by a symbolic link."""
    (tmp_path / "link").symlink_to("/proc")
    assert filesystem_of(tmp_path / "link") == "proc"


@pytest.mark.parametrize("filesystem", ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse", "fuse.sshfs", "ceph"])
def test_network_filesystems_are_polled(filesystem: str) -> None:
    """Others write there without an event here, clients cache attributes, and leases say nothing about writers."""
    watching = choose_watching(InboxConfig(path=Path("/inbox")), filesystem)
    assert is_network(filesystem)
    assert (watching.events, watching.leases) == (False, False)
    assert (watching.settle_s, watching.scan_interval_s) == (NETWORK_SETTLE_S, POLL_SCAN_S)
    assert filesystem in watching.reason


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk", "unknown"])
def test_local_filesystems_give_events(filesystem: str) -> None:
    """A short wait, a scan now and then for what events lose, and the kernel knows who writes."""
    watching = choose_watching(InboxConfig(path=Path("/inbox")), filesystem)
    assert (watching.events, watching.leases) == (True, True)
    assert (watching.settle_s, watching.scan_interval_s) == (LOCAL_SETTLE_S, EVENTS_SCAN_S)


def test_the_configuration_overrules_the_filesystem() -> None:
    """Forced modes and times are taken as they are; that a file settles slower on a network stays."""
    events = choose_watching(InboxConfig(path=Path("/inbox"), watch="events"), "cifs")
    assert (events.events, events.settle_s, events.scan_interval_s) == (True, NETWORK_SETTLE_S, EVENTS_SCAN_S)
    assert "watch = 'events'" in events.reason
    poll = choose_watching(InboxConfig(path=Path("/inbox"), watch="poll"), "ext4")
    assert (poll.events, poll.scan_interval_s) == (False, POLL_SCAN_S)
    times = choose_watching(InboxConfig(path=Path("/inbox"), settle_s=0.5, scan_interval_s=120.0), "nfs4")
    assert (times.settle_s, times.scan_interval_s) == (0.5, 120.0)
