"""The steps of ``make test-systemd``: runs inside of the box, as root, with what a small Debian has and nothing else.

Each step goes on where the one before ended. A step that fails shows the journal and ends the run.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
import wave
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SOURCE = Path("/src")
INBOX = Path("/srv/inbox")
HIDDEN = (".", "_transcribed.")
STATE = Path("/var/lib/transcribed")
DROP_INS = Path("/etc/systemd/system/transcribed.service.d")
CLIPS = SOURCE / "tests" / "data"
PAGE = ("127.0.0.1", 8765)


def sh(command: str, *, check: bool = True) -> str:
    """What the command printed; an AssertionError with it where it failed."""
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "SYSTEMD_PAGER": "cat"}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, check=False)
    assert not check or done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def until(what: str, limit_s: float, condition: Callable[[], object]) -> None:
    """Wait for it, or fail with *what*."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.3)


def shown(name: str, unit: str = "transcribed.service") -> str:
    """A property of the unit."""
    return sh(f"systemctl show --value --property={name} {unit}").strip()


def pid() -> int:
    """The daemon's process."""
    return int(shown("MainPID"))


def interfaces() -> list[str]:
    """The networks that the daemon sees."""
    return re.findall(r"^ *(\w+):", Path(f"/proc/{pid()}/net/dev").read_text(encoding="ascii"), re.MULTILINE)


def is_active(unit: str = "transcribed.service") -> bool:
    """Whether the unit is up."""
    return shown("ActiveState", unit) == "active"


def status() -> dict[str, object]:
    """What `transcribed status --json` says."""
    found: dict[str, object] = json.loads(sh("transcribed status --json", check=False) or "{}")
    return found


def n_done() -> int:
    """Jobs in the history that are done, the canary's aside."""
    return int(sh(f"python3 -c \"import sqlite3; print(sqlite3.connect('file:{STATE}/transcribed.db?mode=ro', uri=True)"
                  ".execute(\\\"SELECT count(*) FROM v_jobs WHERE state = 'done'\\\").fetchone()[0])\""))  # fmt: skip


def versions() -> list[str]:
    """What is installed."""
    return sorted(path.name.split("-")[0] for path in Path("/opt/transcribed/versions").iterdir())


def drop(clip: str, name: str, folder: Path = INBOX, *, owner: str = "alice:transcribed", mode: int = 0o640) -> Path:
    """A recording appears as from a person on a share; where its text will be."""
    target = folder / name
    shutil.copyfile(CLIPS / clip, target)
    return given(target, owner, mode)


def given(target: Path, owner: str, mode: int) -> Path:
    """The file belongs to them; where its text will be."""
    shutil.chown(target, *owner.split(":"))
    target.chmod(mode)
    return target.with_suffix(".txt")


def drop_long(name: str, minutes: float) -> Path:
    """As `drop`, with speech for so long."""
    with wave.open(str(CLIPS / "memo.wav")) as memo:
        parameters, frames = memo.getparams(), memo.readframes(memo.getnframes())
    n_times = int(minutes * 60 * parameters.framerate / parameters.nframes) + 1
    with wave.open(str(INBOX / name), "wb") as recording:
        recording.setparams(parameters)
        for _ in range(n_times):
            recording.writeframes(frames)
    return given(INBOX / name, "alice:transcribed", 0o640)


def await_texts(*texts: Path, limit_s: float = 120) -> None:
    """All of the transcripts are there and say something."""
    for text in texts:
        until(f"{text} appears", limit_s, text.exists)
        assert text.read_text(encoding="utf-8").strip(), text


def drop_in(name: str, *lines: str) -> None:
    """As `systemctl edit`, which a person would type."""
    DROP_INS.mkdir(exist_ok=True)
    (DROP_INS / f"{name}.conf").write_text("[Service]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    sh("systemctl daemon-reload")


def tell(line: str) -> None:
    """Say it at once: people wait."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# The steps, in order.


def install() -> None:
    """`make install` puts everything in place, and says what to do next."""
    said = sh("make -C /src install")
    assert "systemctl enable --now transcribed" in said, said
    assert pwd.getpwnam("transcribed").pw_shell == "/usr/sbin/nologin"
    assert stat.S_IMODE(Path("/etc/transcribed/transcribed.toml").stat().st_mode) == 0o640
    assert versions() == ["0.1.0"]
    assert not list(Path("/opt/transcribed").rglob("site-packages/pytest")), "development tools on a server"
    assert not list(Path("/opt/transcribed").rglob("site-packages/hatchling")), "development tools on a server"


def install_again() -> None:
    """A second time it changes nothing, not even a configuration that somebody changed."""
    config = Path("/etc/transcribed/transcribed.toml")
    config.write_text(config.read_text(encoding="utf-8") + "settle_s = 1\n", encoding="utf-8")
    before = listing()
    sh("make -C /src install")
    assert listing() - before == set()


def listing() -> set[str]:
    """Every file of the program and of the configuration, with its time and size."""
    return set(sh("find /opt/transcribed /etc/transcribed /usr/local -type f -printf '%p %T+ %s\n'").splitlines())


def understood() -> None:
    """What was installed leaves systemd nothing to say, and it calls the service safe."""
    assert sh("systemd-analyze verify transcribed.service transcribed.socket") == ""
    sh("systemd-analyze security --threshold=5 transcribed.service")


def start() -> None:
    """It starts, and says how it is."""
    sh("transcribed doctor")
    sh("systemctl enable --now transcribed")
    assert is_active()
    until("a status line", 30, lambda: 'Status: "engine ready' in sh("systemctl status transcribed"))


def transcribe() -> None:
    """People drop files, and transcripts appear that those who could read the recording can read."""
    sh("useradd --create-home --groups transcribed alice")
    names = ("memo.wav", "meeting.flac", "voice-note.m4a", "greeting.opus")
    texts = [drop(name, name) for name in names]
    await_texts(*texts)
    for text in texts:
        assert text.group() == "transcribed"
        assert stat.S_IMODE(text.stat().st_mode) == 0o660, oct(text.stat().st_mode)
    assert sh(f"runuser -u alice -- cat {texts[0]}").strip()
    assert n_done() == len(names)


def confined() -> None:
    """What the unit forbids is forbidden: no capability, no other network, no file of others, no new privilege."""
    main = Path(f"/proc/{pid()}")
    found = dict(line.split(":\t", 1) for line in (main / "status").read_text(encoding="ascii").splitlines())
    facts = {name: found[name] for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
    assert facts == {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    assert interfaces() == ["lo"]
    inside = f"nsenter --target={pid()} --mount --setuid={pwd.getpwnam('transcribed').pw_uid}"
    assert "Read-only file system" in sh(f"nsenter --target={pid()} --mount touch /usr/x /etc/x", check=False)
    assert "alice" not in sh(f"{inside} ls /home /root", check=False)


def reload() -> None:
    """`systemctl reload` applies what can be changed, and the service goes on."""
    before = pid()
    config = Path("/etc/transcribed/transcribed.toml")
    config.write_text(config.read_text(encoding="utf-8").replace("settle_s = 1", "settle_s = 2"), encoding="utf-8")
    sh("systemctl reload transcribed")
    until("the new value", 20, lambda: '"settle_s": 2.0' in sh("transcribed status --json"))
    assert pid() == before


def killed() -> None:
    """`kill -9` in the middle of a recording: it is back by itself, and the transcript appears."""
    text, before = drop_long("long.wav", 4), pid()
    until("the recording is in hand", 60, lambda: status().get("in_hand"))
    os.kill(before, signal.SIGKILL)
    until("it is back", 60, lambda: is_active() and pid() not in {0, before})
    await_texts(text, limit_s=300)
    assert shown("NRestarts") == "1"


def engine_killed() -> None:
    """The engine process alone is killed, as for want of memory: the service stays, and goes on."""
    before, text = pid(), drop_long("longer.wav", 5)
    until("the recording is in hand", 60, lambda: status().get("in_hand"))
    running = {int(entry.name): (entry / "cmdline") for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    (engine,) = (number for number, line in running.items() if b"daemon.engine.server" in line.read_bytes())
    os.kill(engine, signal.SIGKILL)
    await_texts(text, limit_s=300)
    assert pid() == before


def office() -> None:
    """A group of people who share folders; the service is told of them."""
    sh("groupadd --force office && usermod --append --groups office alice")
    drop_in("share", "SupplementaryGroups=office", "ReadWritePaths=-/srv/setgid -/srv/plain -/srv/late")


def shared_group() -> None:
    """A share's group: transcripts belong to it, with the setgid bit on the folder and without; others get nothing."""
    office()
    config = Path("/etc/transcribed/transcribed.toml")
    text = config.read_text(encoding="utf-8")
    for name, mode in (("setgid", 0o2770), ("plain", 0o770)):
        folder = Path("/srv") / name
        folder.mkdir()
        given(folder, "root:office", mode)
        text += f'\n[[inbox]]\npath = "{folder}"\nsettle_s = 1\n'
    config.write_text(text, encoding="utf-8")
    sh("systemctl restart transcribed")
    for name in ("setgid", "plain"):
        transcript = drop("studio.flac", f"{name}.flac", Path("/srv") / name, owner="alice:office")
        await_texts(transcript)
        found = (transcript.group(), oct(transcript.stat().st_mode & 0o777))
        assert found == ("office", "0o660"), (name, found)


def late_mount() -> None:
    """A share that is mounted after the start is seen, and so is that it goes away in use."""
    office()
    config, folder = Path("/etc/transcribed/transcribed.toml"), Path("/srv/late")
    folder.mkdir()
    config.write_text(
        config.read_text(encoding="utf-8") + f'\n[[inbox]]\npath = "{folder}"\nsettle_s = 1\n', encoding="utf-8"
    )
    sh("systemctl restart transcribed")
    sh(f"mount -t tmpfs -o mode=2770,gid=office late {folder}")
    await_texts(drop("interview.mp3", "late.mp3", folder, owner="alice:office"))
    sh(f"umount --lazy {folder}")
    until("it is missed", 60, lambda: "is the share mounted?" in sh("transcribed status", check=False))


def wrong_setting() -> None:
    """Exit code 78: it is not tried again, and the log names the key."""
    config = Path("/etc/transcribed/transcribed.toml")
    right = config.read_text(encoding="utf-8")
    config.write_text("colour = 1\n" + right, encoding="utf-8")
    sh("systemctl restart transcribed", check=False)
    until("it failed", 30, lambda: shown("ActiveState") == "failed")
    assert shown("ExecMainStatus") == "78"
    assert "colour" in sh("journalctl -u transcribed -n 20 -o cat")
    config.write_text(right, encoding="utf-8")
    sh("systemctl restart transcribed")
    assert is_active()


def page() -> None:
    """The page is served on systemd's socket, in a service without a network; and not at all while it is stopped."""
    sh("systemctl enable transcribed.socket && systemctl restart transcribed")
    assert is_active("transcribed.socket")
    where = f"http://{PAGE[0]}:{PAGE[1]}"
    with urllib.request.urlopen(f"{where}/healthz", timeout=10) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"{where}/metrics", timeout=10) as answer:
        assert b"transcribed_" in answer.read()
    assert interfaces() == ["lo"]
    sh("systemctl stop transcribed")
    until("the socket is closed too", 20, lambda: not is_active("transcribed.socket"))
    with socket.socket() as asking:
        assert asking.connect_ex(PAGE) != 0
    assert not is_active()
    sh("systemctl start transcribed")
    assert is_active("transcribed.socket")


def network() -> None:
    """With NETWORK=yes alerts leave the machine, to addresses that only root can read; an upgrade leaves it so."""
    sh("make -C /src install NETWORK=yes")
    sh("systemctl restart transcribed")  # without such addresses, too
    config = Path("/etc/transcribed/transcribed.toml")
    usual = config.read_text(encoding="utf-8")
    rule = (
        '[monitor.rules.there]\nfigure = "host_memory_total_bytes"\nabove = 1\nfor_s = 0\ntitle = "Memory: {value}"\n'
    )
    config.write_text(usual.replace("[alerts]\n", "[alerts]\ngroup_s = 1\n") + rule, encoding="utf-8")
    with webhook() as (port, messages):
        secret = Path("/etc/transcribed/alerts")
        secret.write_text(f"json://127.0.0.1:{port}/secret\n", encoding="utf-8")
        sh("systemd-tmpfiles --create transcribed.conf && systemctl restart transcribed")
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        until("an alert arrives", 60, lambda: any("Memory:" in message for message in messages))
        messages.clear()
        sh("CREDENTIALS_DIRECTORY=/etc/transcribed transcribed alerts test")
        assert len(messages) == 1
    assert "secret" not in sh("journalctl -u transcribed -o cat")
    config.write_text(usual, encoding="utf-8")
    sh("make -C /src install")  # says nothing of the network: it stays as it is
    assert Path("/usr/local/lib/systemd/system/transcribed.service.d/transcribed-network.conf").exists()
    sh("make -C /src install NETWORK=no")
    secret.unlink()
    sh("systemctl restart transcribed")
    assert interfaces() == ["lo"]


@contextmanager
def webhook() -> Generator[tuple[int, list[str]]]:
    """Somebody who takes messages: the port, and what came so far."""
    messages: list[str] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Taker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, messages
        server.shutdown()


def frozen() -> None:
    """A loop that hangs for ever: the watchdog ends the service, and it starts again."""
    program = Path("/opt/frozen.py")
    program.write_text(
        "import os, time\nfrom daemon import keeper\nfrom daemon.cli import main\nstep = keeper.Keeper.step\n"
        "def hang(self, now):\n    while os.path.exists('/srv/inbox/.freeze'): time.sleep(1)\n"
        "    return step(self, now)\nkeeper.Keeper.step = hang\nmain()\n",
        encoding="utf-8",
    )
    drop_in("frozen", "ExecStart=", "ExecStart=/opt/transcribed/current/bin/python -I /opt/frozen.py run")
    sh("systemctl restart transcribed")
    before = pid()
    freeze = INBOX / ".freeze"
    freeze.touch()
    until("the watchdog bites", 180, lambda: "watchdog" in sh("journalctl -u transcribed -n 400 -o cat | tail -n 300"))
    freeze.unlink()
    until("it is back", 60, lambda: is_active() and pid() not in {0, before})
    assert "Stuck: history" in sh("journalctl -u transcribed -o cat")
    (DROP_INS / "frozen.conf").unlink()
    sh("systemctl daemon-reload && systemctl restart transcribed")


def upgrade() -> None:
    """A new version is installed beside the running one, takes over at the restart, and has all of the history."""
    before, count = pid(), n_done()
    project = SOURCE / "pyproject.toml"
    project.write_text(
        project.read_text(encoding="utf-8").replace('version = "0.1.0"', 'version = "0.1.1"'), encoding="utf-8"
    )
    assert "systemctl restart transcribed" in sh("make -C /src install")
    assert pid() == before
    assert status()["version"] == "0.1.0"
    sh("systemctl restart transcribed")
    assert status()["version"] == "0.1.1"
    assert n_done() == count
    assert versions() == ["0.1.0", "0.1.1"]
    await_texts(drop("lecture.ogg", "after.ogg"))


def _times() -> dict[Path, int]:
    """When the files in the inbox were written, but for those that tell how it stands."""
    return {path: path.stat().st_mtime_ns for path in INBOX.iterdir() if not path.name.startswith(HIDDEN)}


def uninstall() -> None:
    """Nothing of the program is left; the recordings, the transcripts, the history and the configuration are."""
    kept = _times()
    sh("make -C /src uninstall")
    assert not is_active()
    assert not Path("/opt/transcribed").exists()
    assert not Path("/usr/local/bin/transcribed").is_symlink()
    assert sh("find /usr/local/lib /etc/systemd/system -name 'transcribed*' -not -name 'transcribed.service.d'") == ""
    assert _times() == kept
    assert (STATE / "transcribed.db").exists()
    assert Path("/etc/transcribed/transcribed.toml").exists()


def back() -> None:
    """Installed once more, it goes on with the history, and transcribes nothing twice."""
    count = n_done()
    sh("make -C /src install && systemctl enable --now transcribed")
    await_texts(drop("presentation.mp4", "back.mp4"))
    until("it is in the history", 20, lambda: n_done() == count + 1)


STEPS: tuple[Callable[[], None], ...] = (
    install,
    install_again,
    understood,
    start,
    transcribe,
    confined,
    reload,
    killed,
    engine_killed,
    shared_group,
    late_mount,
    wrong_setting,
    page,
    network,
    frozen,
    upgrade,
    uninstall,
    back,
)

NEEDED = {install, install_again, start, transcribe}
"""What the others go on from."""


def main(names: list[str]) -> int:
    """Run the steps of these names and those needed, or all; the exit status."""
    for step in STEPS:
        if names and step.__name__ not in names and step not in NEEDED:
            continue
        began = time.monotonic()
        try:
            step()
        except Exception as error:  # whatever it is, the journal says more  # noqa: BLE001
            tell(f"FAILED  {step.__name__}")
            traceback.print_exception(error, file=sys.stdout)
            tell(sh("journalctl --no-pager -u transcribed -n 60 -o short-monotonic", check=False))
            return 1
        tell(f"ok      {time.monotonic() - began:6.1f} s  {step.__name__}: {step.__doc__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
