"""The systemd units and what is installed with them, as systemd itself reads them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon import dispatch, inboxes
from daemon.config import Config, load
from monitor.notices import post
from tests.systemd import box

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
UNIT = SYSTEMD / "transcribed.service"
GPU = SYSTEMD / "transcribed-gpu.conf"
NETWORK = SYSTEMD / "transcribed-network.conf"

EXPOSURE: dict[tuple[Path, ...], int] = {(): 5, (GPU,): 7, (NETWORK,): 14, (GPU, NETWORK): 16}
"""In tenths, as `systemd-analyze security --threshold` takes it, with these drop-ins; under 1.5 or so is "OK"."""


def systemd_version() -> int:
    """The version of systemd here; 0 for none."""
    if shutil.which("systemd-analyze") is None:
        return 0
    done = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=False)
    return int((re.findall(r"systemd (\d+)", done.stdout) or ["0"])[0])


needs_systemd = pytest.mark.skipif(systemd_version() < 250, reason="no systemd-analyze that works offline")


def units(folder: Path, drop_ins: tuple[Path, ...] = ()) -> list[Path]:
    """Copies of the units with these drop-ins, the program replaced by one that is on every machine."""
    for source in (UNIT, SYSTEMD / "transcribed.socket"):
        text = source.read_text(encoding="utf-8").replace("/opt/transcribed/bin/transcribed run", "/bin/true")
        (folder / source.name).write_text(text, encoding="utf-8")
    if drop_ins:
        (folder / "transcribed.service.d").mkdir()
        for drop_in in drop_ins:
            shutil.copy(drop_in, folder / "transcribed.service.d")
    return [folder / UNIT.name, folder / "transcribed.socket"]


@needs_systemd
@pytest.mark.parametrize("drop_ins", EXPOSURE, ids=lambda drop_ins: "+".join(path.stem for path in drop_ins) or "plain")
def test_systemd_finds_nothing_to_say_about_the_units(drop_ins: tuple[Path, ...], tmp_path: Path) -> None:
    """`verify` exits 0 on unknown keys and bad values; only silence means that all were understood."""
    command = ["systemd-analyze", "verify", "--man=no", *map(str, units(tmp_path, drop_ins))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("drop_ins", EXPOSURE, ids=lambda drop_ins: "+".join(path.stem for path in drop_ins) or "plain")
def test_the_unit_is_hardened(drop_ins: tuple[Path, ...], tmp_path: Path) -> None:
    """The exposure that systemd computes stays where it is, with a GPU, with a network, and with a share's group."""
    (unit, _socket) = units(tmp_path, drop_ins)
    unit.write_text(unit.read_text().replace("UMask=", "SupplementaryGroups=office\nUMask="), encoding="utf-8")
    options = ["--offline=yes", f"--threshold={EXPOSURE[drop_ins]}", "--no-pager"]
    command = ["systemd-analyze", "security", *options, str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:]


def setting(name: str, unit: Path = UNIT) -> str:
    """What the unit says once."""
    (value,) = re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    return str(value)


def test_the_unit_waits_as_long_as_the_daemon_may_take_to_stop() -> None:
    """SIGKILL must not come before the grace, the end of the jobs, and the waits for parts that hang."""
    minutes = int(setting("TimeoutStopSec").removesuffix("min"))
    jobs = Config.model_fields["stop_grace_s"].default + dispatch.CANCEL_S
    loops = 8 * 5.0  # each of them may be hanging
    keeper, engine, decoders, pages = 5.0, 5.0, 1.0, 5.0  # daemon/parts.py, monitor/pages/serving.py
    parts = 2 * inboxes.ENDED_S + loops + keeper + engine + decoders + pages + post.CLOSE_S
    assert jobs + parts + 30 < 60 * minutes  # and half a minute for a slow disk


def test_the_unit_says_what_the_service_relies_on() -> None:
    """A wrong setting is not tried again, all else is for ever; the daemon's own processes may be killed alone."""
    assert setting("Type") == "notify"
    assert setting("RestartPreventExitStatus") == "78"
    assert (setting("Restart"), setting("StartLimitIntervalSec")) == ("on-failure", "0")
    assert (setting("OOMPolicy"), setting("KillMode")) == ("continue", "mixed")


def test_the_example_loads_and_says_where_commands_find_the_state(tmp_path: Path) -> None:
    """Only the service is told its StateDirectory=: a command typed in a shell reads the path in the configuration."""
    example = (SYSTEMD / "transcribed.toml").read_text(encoding="utf-8")
    for text in (example, re.sub(r"^# (?=\w+ = )", "", example, flags=re.MULTILINE)):
        file = tmp_path / "transcribed.toml"
        file.write_text(text, encoding="utf-8")
        config = load(file, {}).config
        assert str(config.state_dir) == f"/var/lib/{setting('StateDirectory')}"
        assert setting("ReadWritePaths") == f"-{config.inbox[0].path}"


def test_the_user_of_the_unit_is_made(tmp_path: Path) -> None:
    """sysusers.d makes the user that the unit names, and tmpfiles.d gives it its folder."""
    (line,) = (line for line in (SYSTEMD / "sysusers.d/transcribed.conf").read_text().splitlines() if line[0] != "#")
    assert line.split()[:2] == ["u", setting("User")]
    assert f"d /var/lib/{setting('StateDirectory')} {setting('StateDirectoryMode')} {setting('User')} " in (
        SYSTEMD / "tmpfiles.d/transcribed.conf"
    ).read_text(encoding="utf-8")
    if shutil.which("systemd-sysusers"):
        shutil.copytree(SYSTEMD / "sysusers.d", tmp_path / "usr/lib/sysusers.d")
        (tmp_path / "etc").mkdir()
        subprocess.run(["systemd-sysusers", f"--root={tmp_path}"], check=True, capture_output=True)
        assert "transcribed:" in (tmp_path / "etc/passwd").read_text(encoding="utf-8")


def test_uninstalling_below_a_folder_leaves_what_people_made(tmp_path: Path) -> None:
    """What was installed is gone; a drop-in of the administrator, the configuration and the state are not."""
    files = [
        "opt/transcribed/versions/0.1.0-0/bin/transcribed",
        "usr/lib/systemd/system/transcribed.service",
        "usr/lib/systemd/system/transcribed.service.d/transcribed-gpu.conf",
        "usr/lib/systemd/system/transcribed.service.d/mine.conf",
        "etc/transcribed/transcribed.toml",
        "var/lib/transcribed/transcribed.db",
    ]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    environment = os.environ | {"DESTDIR": str(tmp_path), "LIBDIR": "/usr/lib"}
    command = ["sh", str(SYSTEMD / "install.sh"), "uninstall"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        files[3:]
    )


def test_every_file_is_installed_and_removed() -> None:
    """A unit that the script forgets would stay behind, or never arrive."""
    script = (SYSTEMD / "install.sh").read_text(encoding="utf-8")
    for file in SYSTEMD.rglob("*.*"):
        if file.is_file() and file.suffix in {".service", ".socket", ".conf"}:
            assert len(re.findall(rf"[/ ]{re.escape(file.name)}\b", script)) >= 2, file.name


def test_without_root_there_is_no_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test-systemd` says why it does nothing."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert box.why_not() == "it needs root"


@needs_systemd
def test_the_score_is_read_as_meant(tmp_path: Path) -> None:
    """The threshold is in tenths: a bare unit is far above all of ours."""
    unit = tmp_path / "bare.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    command = [
        "systemd-analyze",
        "security",
        "--offline=yes",
        "--json=short",
        "--threshold=16",
        "--no-pager",
        str(unit),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert json.loads(done.stdout)
