"""``make test-systemd``: installs this checkout in a small Debian of its own and runs it there under a real systemd.

``python -m tests.systemd [STEP...]`` runs those steps of tests/systemd/inside.py, and what they need, only. BOX is the
folder of the small Debian and of the packages; both stay there for the next time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.systemd.box import Box, BoxError, booted, make_base, why_not

ROOT: Final = Path(__file__).parents[2]
PLACE: Final = Path(os.environ.get("BOX") or "/var/tmp/transcribed-box")
INSIDE: Final = "/src/tests/systemd/inside.py"


def main(steps: list[str]) -> int:
    """Run them; the exit status. A machine that cannot is no failure, and says why."""
    if reason := why_not():
        sys.stdout.write(f"skipped: {reason}\n")
        return 0
    base, wheels = PLACE / "base", PLACE / "wheels"
    sys.stdout.write(f"A small Debian and the packages are in {PLACE}; the first time takes some minutes.\n")
    sys.stdout.flush()
    try:
        make_base(base)
        fetch_packages(base, wheels)
        with booted(base) as box:
            return run_inside(box, wheels, steps)
    except BoxError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def fetch_packages(base: Path, wheels: Path) -> None:
    """What `make install` installs, for the Python in *base*, so that the box needs no network. Raises BoxError."""
    wheels.mkdir(parents=True, exist_ok=True)
    version = next((base / "usr" / "bin").glob("python3.[0-9]*[0-9]")).name.removeprefix("python")
    pip = [sys.executable, "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check", "download"]
    into = [f"--python-version={version}", "--no-deps", f"--dest={wheels}", f"--find-links={wheels}"]
    locks = [f"--requirement={ROOT / name}" for name in ("requirements.lock", "requirements-build.lock")]
    # For the one package that comes as source: what pip builds it with, when it is told nothing else.
    for what in (["--require-hashes", *locks], ["setuptools", "wheel"]):
        done = subprocess.run([*pip, *into, *what], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BoxError(f"the packages for Python {version} cannot be fetched:\n{done.stderr[-2000:]}")


def run_inside(box: Box, wheels: Path, steps: list[str]) -> int:
    """Copy this checkout in and run the steps there; their exit status."""
    shutil.copytree(wheels, box.root / "wheels", copy_function=link_or_copy)
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, check=True).stdout
    with tempfile.NamedTemporaryFile() as archive:
        pack = ["tar", "-C", str(ROOT), "--null", "--ignore-failed-read", "-T", "-", "-cf", archive.name]
        subprocess.run(pack, input=names, check=True, capture_output=True)
        (box.root / "src").mkdir()
        unpack = ["tar", "-C", str(box.root / "src"), "--no-same-owner", "-xf", archive.name]
        subprocess.run(unpack, check=True)
    return subprocess.run(box.command(["python3", "-I", INSIDE, *steps]), check=False).returncode


def link_or_copy(source: str, target: str) -> None:
    """One file in two places, or two files where they are on different disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
