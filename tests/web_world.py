"""A service with pages for the tests in a browser: two people with passwords, a folder with settings, recordings."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Final

import numpy as np
import soundfile  # type: ignore[import-untyped]  # no types of its own
from playwright.sync_api import Page

from daemon.web.access import people, secret_file
from daemon.web.access.visitor import Role
from tests.harness import DATA, Daemon

PASSWORD: Final = "a long password"  # of people who are only here
ROLES: Final = {"anna": Role.ACT, "ben": Role.READ}

CONFIGURATION: Final = """
state_dir = "{root}/state"

[web]
listen = "{address}"
login = ["password"]

[monitor]
interval_s = 1

[engine]
max_open = 1

[decode]
workers = 1

[[inbox]]
path = "{root}/inbox"
formats = ["txt", "srt", "vtt", "json"]
speaker_names = ["Anna", "The customer"]
"""


def made(root: Path, models_dir: Path) -> tuple[Daemon, str]:
    """A daemon that is not started yet, and the address of its pages. It does one recording after the other."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    configuration = root / "transcribed.toml"
    configuration.write_text(CONFIGURATION.format(root=root, address=address), encoding="utf-8")
    daemon = Daemon(root, models_dir, {"TRANSCRIBED_CONFIG": str(configuration)})
    for name in ("TRANSCRIBED_INBOX", "TRANSCRIBED_STATE_DIR"):
        del daemon.environment[name]
    daemon.state_dir.mkdir(mode=0o750)
    hashed = people.hashed_password(PASSWORD)
    known = {name: people.Person(name, role, hashed) for name, role in ROLES.items()}
    secret_file.write(daemon.state_dir / "web-users", people.written(known, "about"))
    return daemon, f"http://{address}"


def log_in(page: Page, address: str, name: str = "anna") -> None:
    """*name* is in, and on the first page."""
    page.goto(f"{address}/login")
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button[type=submit]").click()
    page.wait_for_url(f"{address}/")


def drop(source: Path, folder: Path, name: str | bytes) -> Path:
    """A copy of *source* appears in *folder* as *name*, whole at once."""
    target = os.path.join(os.fsencode(folder), name if isinstance(name, bytes) else name.encode())
    hidden = folder / f".{os.getpid()}.copying"
    shutil.copyfile(source, hidden)
    os.rename(hidden, target)
    return Path(os.fsdecode(target))


def long_talk(path: Path, n_times: int) -> Path:
    """The lecture *n_times*, one after the other, with its loudness changed a little each time."""
    sound, rate_hz = soundfile.read(DATA / "lecture.ogg", dtype="float32")
    soundfile.write(path, np.concatenate([sound * (1 - n / 100) for n in range(n_times)]), rate_hz, format="FLAC")
    return path


def call(path: Path) -> Path:
    """Two people on two channels, who speak in turn."""
    left, rate_hz = soundfile.read(DATA / "memo.wav", dtype="float32")
    right, _ = soundfile.read(DATA / "meeting.flac", dtype="float32")  # of the same rate
    pause = np.zeros(rate_hz // 2, np.float32)
    one = np.concatenate([left, pause, np.zeros_like(right), pause, left])
    other = np.concatenate([np.zeros_like(left), pause, right, pause, np.zeros_like(left)])
    soundfile.write(path, np.stack([one, other], axis=1), rate_hz, format="WAV", subtype="PCM_16")
    return path
