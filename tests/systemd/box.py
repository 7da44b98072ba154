"""A real systemd, booted in namespaces of its own, for what only a service manager can show.

`make_base` installs a small Debian once; each run works on a copy of it. Needs root. The box has a network of its own
with nothing but a loopback, a process table of its own, and a /dev with nothing but the usual pseudo devices; outside
its folder it touches nothing. Knows nothing of what is run inside.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = ("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "make", "ca-certificates", "acl")
"""What a small Debian server has, and setfacl."""

BOOT_S: Final = 60.0
"""How long systemd may take to come up: about 3 s on an idle machine."""

_TOOLS: Final = ("debootstrap", "unshare", "nsenter", "mount", "apt-get")

# In a mount namespace: a control group for the box, which is the root of all that are seen inside.
_ENTER: Final = """
set -eu
root=$1 group=$2
mount -t cgroup2 cgroup2 "$root/mnt"
mkdir "$root/mnt/$group"
echo $$ >"$root/mnt/$group/cgroup.procs"
umount "$root/mnt"
exec unshare --mount --cgroup --pid --uts --ipc --net --fork --kill-child sh -euc "$3" boot "$root"
"""

_BOOT: Final = """
root=$1
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
# A root of its own, not only another folder of ours: whoever enters a mount namespace inside must not come out here.
pivot_root . mnt
exec chroot . /bin/sh -euc '
umount -l /mnt
mount --make-rshared / # as on every machine under systemd: what is mounted later appears in running services
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
'
"""


class BoxError(Exception):
    """The box could not be made or booted; the message says what was tried."""


def why_not() -> str:
    """Why no box can be had on this machine; empty where one can."""
    if os.geteuid() != 0:
        return "it needs root"
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"not on this machine: {', '.join(missing)} (Debian packages debootstrap, util-linux, mount)"
    if "\tcgroup2\n" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        return "the kernel has no cgroup2"
    return "" if _release() else "apt knows no archive of this machine's own release"


def _release() -> tuple[str, str] | None:
    """The archive and the code name of the release that this machine itself is of, as its apt has them."""
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return None
    (name, *_) = re.findall(r"^VERSION_CODENAME=(\w+)$", text, re.MULTILINE) or [""]
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Identifier: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")
    found = (line.partition(" ") for line in listed)
    return next(((uri, name) for uri, _, codename in found if name and codename == name), None)


def make_base(base: Path) -> None:
    """A minimal system of this machine's own release in *base* (about a minute, 400 MB); nothing if it is there."""
    if (base / "etc" / "made").exists():
        return
    release = _release()
    assert release is not None
    shutil.rmtree(base, ignore_errors=True)
    base.parent.mkdir(parents=True, exist_ok=True)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", release[1], str(base), release[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BoxError(f"debootstrap of {release[1]} failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    (base / "etc" / "made").touch()


@dataclass(frozen=True, slots=True)
class Box:
    """A booted system; *init* is its first process, seen from outside."""

    root: Path
    init: int

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command that runs *arguments* inside, as root."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]
        into = [f"--root=/proc/{self.init}/root", f"--wd=/proc/{self.init}/root"]
        plain = ["env", "-i", "HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        return [*enter, *into, *plain, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it inside to its end."""
        return subprocess.run(self.command(arguments), capture_output=True, text=True, check=False)


@contextmanager
def booted(base: Path) -> Generator[Box]:
    """A copy of *base*, booted; it is gone afterwards. Raises BoxError."""
    with tempfile.TemporaryDirectory(dir=base.parent, prefix="run-", ignore_cleanup_errors=True) as place:
        root = Path(place) / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root)], check=True)
        group = f"box-{os.getpid()}"
        console = Path(place) / "console"
        with console.open("wb") as output:
            enter = ["unshare", "--mount", "sh", "-c", _ENTER, "box", str(root), group, _BOOT]
            holder = subprocess.Popen(enter, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            box = _await(holder, root, console)
            yield box
            box.run("systemctl", "poweroff")
            holder.wait(30)
        except subprocess.TimeoutExpired:
            pass  # it is killed now
        finally:
            holder.send_signal(signal.SIGKILL)  # --kill-child: the box goes with it
            holder.wait()
            _remove_group(group)


def _await(holder: subprocess.Popen[bytes], root: Path, console: Path) -> Box:
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline and holder.poll() is None:
        time.sleep(0.2)
        if (init := _child(holder.pid)) is None:
            continue
        box = Box(root, init)
        if box.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}:
            return box
    raise BoxError(f"systemd did not come up:\n{console.read_text(errors='replace')[-2000:]}")


def _child(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return None
    return int(children[0]) if children else None


def _remove_group(group: str) -> None:
    """The control groups of the box, the innermost first, once their last process is gone: the kernel leaves them."""
    script = 'mount -t cgroup2 cgroup2 "$1" && find "$1/$2" -depth -type d -exec rmdir {} +'
    deadline = time.monotonic() + 10.0
    with tempfile.TemporaryDirectory() as place:
        command = ["unshare", "--mount", "sh", "-c", script, "sh", place, group]
        while subprocess.run(command, capture_output=True, check=False).returncode and time.monotonic() < deadline:
            time.sleep(0.2)
