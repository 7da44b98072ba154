"""What a decode process may still do once it takes recordings: tried out in a process inside the real sandbox."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import landlockpy
import pytest
import seccompy

from daemon.decode.pool import DecodeLimits, DecodePool
from daemon.errors import UnreadableRecording

DATA = Path(__file__).parent.parent / "data"

no_seccomp = pytest.mark.skipif(not seccompy.supported(), reason="this kernel has no seccomp filters")
no_landlock = pytest.mark.skipif(not landlockpy.supported(), reason="this kernel has no Landlock")

CHILD = """
import ctypes, errno, json, os, signal, socket, subprocess, sys
from daemon.decode import sandbox
from daemon.decode.decoding import Job, decode
from daemon.decode.settings import DecodeLimits, DecodeSettings, SpeechThresholds
from daemon.decode.source import Pulse
from daemon.decode.warming import warm_up

order = json.loads(sys.argv[1])
if "landlock" not in order["layers"]:
    sandbox._with_landlock = lambda ruleset, missing: 0
if "seccomp" not in order["layers"]:
    sandbox._with_seccomp = lambda syscalls, missing: False
settings = DecodeSettings(DecodeLimits(), SpeechThresholds())
libc = ctypes.CDLL(None, use_errno=True)
recording, spool = os.open(order["recording"], os.O_RDONLY), os.memfd_create("spool")
tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
neighbour, parent = order["neighbour"], os.getppid()

def call(function, *arguments):
    if function(*arguments) == -1:
        raise OSError(ctypes.get_errno(), "")

ATTEMPTS = {
    "read /etc/passwd": lambda: open("/etc/passwd"),
    "read a neighbour": lambda: open(neighbour),
    "write a neighbour": lambda: open(neighbour, "a"),
    "make a file": lambda: open(neighbour + ".new", "x"),
    "list a folder": lambda: os.listdir(os.path.dirname(neighbour)),
    "remove a neighbour": lambda: os.unlink(neighbour),
    "rename a neighbour": lambda: os.rename(neighbour, neighbour + ".x"),
    "cut a neighbour": lambda: os.truncate(neighbour, 0),
    "link a neighbour": lambda: os.link(neighbour, neighbour + ".y"),
    "make a folder": lambda: os.mkdir(neighbour + ".d"),
    "chmod a neighbour": lambda: os.chmod(neighbour, 0o777),
    "its own memory": lambda: open("/proc/self/mem", "r+b"),
    "TCP socket": lambda: socket.socket(socket.AF_INET),
    "UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "Unix socket": lambda: socket.socket(socket.AF_UNIX),
    "socket pair": lambda: socket.socketpair(),
    "connect": lambda: tcp.connect(("127.0.0.1", order["port"])),
    "connect to a Unix socket": lambda: unix.connect("\\0" + order["name"]),
    "listen": lambda: tcp.bind(("127.0.0.1", 0)),
    "fork": lambda: os.fork() or os._exit(0),
    "a program": lambda: subprocess.Popen(["/bin/true"], close_fds=False),
    "execve": lambda: os.execv("/bin/true", ["/bin/true"]),
    "ptrace the parent": lambda: call(libc.ptrace, 16, parent, 0, 0),
    "kill the parent": lambda: os.kill(parent, signal.SIGCONT),
    "kill the group": lambda: os.killpg(os.getpgid(0), signal.SIGCONT),
    "read the parent": lambda: call(libc.process_vm_readv, parent, None, 0, None, 0, 0),
    "pidfd": lambda: os.pidfd_open(parent),
    "io_uring": lambda: call(libc.syscall, 425, 1, None),
    "unshare": lambda: call(libc.unshare, 0x10000000),
    "bpf": lambda: call(libc.syscall, seccompy.syscall_nr("bpf"), 0, None, 0),
}
import seccompy

warm_up(settings)
confinement = sandbox.enter()
found = {}
for name in order["attempts"] or ATTEMPTS:
    try:
        ATTEMPTS[name]()
        found[name] = "done"
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
result = decode(Job(recording, spool, "wav"), settings, Pulse(lambda _decoded_s: None))
found["decoded_s"], found["spans"] = result.reading.decoded_s, len(result.spans)
print(json.dumps([confinement.to_dict(), found]))
"""


def attempt(tmp_path: Path, layers: str, attempts: str = "") -> tuple[dict[str, object], dict[str, object]]:
    """What a process with these *layers* reports of itself, and the outcome of each attempt; it decodes a memo last."""
    neighbour = tmp_path / "neighbour.wav"
    neighbour.write_text("private")
    name = os.urandom(8).hex()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + name)
        unix.listen()
        order = {
            "layers": layers.split(),
            "attempts": [part.strip() for part in attempts.split(",") if part.strip()],
            "recording": os.fspath(DATA / "memo.wav"),
            "neighbour": os.fspath(neighbour),
            "port": server.getsockname()[1],
            "name": name,
        }
        done = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(order)], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert neighbour.read_text() == "private"
    assert os.listdir(tmp_path) == ["neighbour.wav"]
    confinement, found = json.loads(done.stdout)
    assert found.pop("spans") == 1
    assert found.pop("decoded_s") == pytest.approx(4.51, abs=0.01)
    return confinement, found


@pytest.mark.fault(41, "a decoder that tries open, socket, fork and exec")
@no_seccomp
def test_a_decode_process_can_do_nothing_but_decode(tmp_path: Path) -> None:
    """No file, no socket, no process, no signal, no way around: each is refused, and the process still decodes."""
    confinement, found = attempt(tmp_path, "seccomp landlock")
    assert confinement["seccomp"] is True
    assert confinement["no_new_privs"] is True
    assert len(found) > 25
    assert {name: outcome for name, outcome in found.items() if outcome != "EPERM"} == {}


@no_seccomp
def test_seccomp_holds_without_landlock(tmp_path: Path) -> None:
    """On a kernel without Landlock everything is refused all the same."""
    _confinement, found = attempt(tmp_path, "seccomp")
    assert set(found.values()) == {"EPERM"}


@no_landlock
def test_landlock_holds_without_seccomp(tmp_path: Path) -> None:
    """On a kernel without seccomp filters no file can be opened or changed."""
    _confinement, found = attempt(
        tmp_path,
        "landlock",
        "read /etc/passwd, read a neighbour, write a neighbour, make a file, list a folder, remove a neighbour, "
        "rename a neighbour, make a folder, its own memory, execve",
    )
    # EXDEV: Landlock's word for a rename that it forbids, before its second version.
    assert set(found.values()) <= {"EACCES", "EXDEV"}


@pytest.mark.skipif(landlockpy.abi_version() < 6, reason="this kernel's Landlock knows no signals and Unix sockets yet")
def test_new_kernels_stop_sockets_and_signals_a_second_time(tmp_path: Path) -> None:
    """Landlock alone refuses TCP, abstract Unix sockets, ptrace and signals to other processes."""
    attempts = "connect, connect to a Unix socket, listen, ptrace the parent, kill the parent"
    _confinement, found = attempt(tmp_path, "landlock", attempts)
    assert set(found.values()) <= {"EACCES", "EPERM"}


def test_a_kernel_without_both_is_a_warning(tmp_path: Path) -> None:
    """Nothing is refused then but what the limits refuse, recordings are still decoded, and the report says so."""
    confinement, found = attempt(tmp_path, "", "read /etc/passwd, TCP socket")
    assert (confinement["seccomp"], confinement["landlock_abi"]) == (False, 0)
    assert set(found.values()) == {"done"}


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_every_thread_of_a_worker_is_inside_before_it_takes_a_recording(caplog: pytest.LogCaptureFixture) -> None:
    """The kernel says so of the process that the daemon uses; the daemon's log says it once."""
    with caplog.at_level(logging.INFO):
        pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=lambda _name, line: pytest.fail(line))
        try:
            confinement = pool.confinement()
            (pid,) = pool.pids()
            assert pool.confinement() == confinement
            states = [status_of(int(task)) for task in os.listdir(f"/proc/{pid}/task")]
        finally:
            pool.close(0)
    assert confinement.max_memory_bytes == 1536 * 1024**2
    assert confinement.landlock_abi == landlockpy.abi_version()
    assert len(states) == 1, "Landlock before ABI 8 holds for the thread that enters and those that it starts"
    assert {state["NoNewPrivs"] for state in states} == {"1"}
    if seccompy.supported():
        assert {state["Seccomp"] for state in states} == {"2"}
    (said,) = [record for record in caplog.records if getattr(record, "event", "") == "decode_sandbox"]
    assert "seccomp" in said.getMessage()
    assert said.levelno == (logging.WARNING if confinement.missing else logging.INFO)


def test_nothing_is_told_to_anybody_about_what_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's own reports are off: it leaves nothing in the home folder."""
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=lambda _name, line: pytest.fail(line))
    try:
        pool.confinement()
        environment = Path(f"/proc/{pool.pids()[0]}/environ").read_bytes()
    finally:
        pool.close(5)
    assert b"ORT_DISABLE_TELEMETRY=1" in environment.split(b"\0")
    assert list(tmp_path.iterdir()) == []


FFPROBE = """#!/bin/sh
echo '{"streams": [{"index": 0, "codec_type": "audio", "sample_fmt": "s16", "bits_per_sample": 16}], "format": {}}'
"""

FFMPEG = """#!/bin/sh
while [ "$1" != -i ]; do shift; done
cat "$NEIGHBOUR" >&2 && exit 3
cat /etc/hostname >&2 && exit 3
echo x >"$NEIGHBOUR.new" && exit 3
tail -c +2001 "$2"
"""


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffmpeg that drops 2000 bytes of what it is given, and fails if it can open anything else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in (("ffprobe", FFPROBE), ("ffmpeg", FFMPEG)):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("NEIGHBOUR", os.fspath(tmp_path / "neighbour.wav"))
    (tmp_path / "neighbour.wav").write_text("private")
    return folder


def strange(tmp_path: Path, name: str = "a.tta") -> Path:
    """A recording that no library here reads: a WAV file behind bytes of no meaning."""
    path = tmp_path / name
    path.write_bytes(bytes(range(1, 201)) * 10 + (DATA / "memo.wav").read_bytes())
    return path


@pytest.mark.fault(40, "a list of files under an audio name")
@pytest.mark.fault(41, "ffmpeg in the sandbox")
@pytest.mark.usefixtures("fake_ffmpeg")
@no_landlock
def test_ffmpeg_reads_the_recording_and_nothing_else(tmp_path: Path) -> None:
    """The last resort runs a program in a process of its own, which ends after it; its files are the recording's."""
    pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=lambda _name, line: pytest.fail(line))
    recording_fd, spool_fd = os.open(strange(tmp_path), os.O_RDONLY), os.memfd_create("spool")
    try:
        decoded = pool.decode(recording_fd, spool_fd, extension=".tta", cancelled=threading.Event())
        assert pool.pids() == pool.pids()[:1]
    finally:
        pool.close(0)
        os.close(recording_fd)
        os.close(spool_fd)
    assert decoded.reader == "pydub"
    assert decoded.decoded_s == pytest.approx(4.51, abs=0.01)
    assert not (tmp_path / "neighbour.wav.new").exists()


def refusal(path: Path) -> str:
    """The words with which *path* is refused."""
    pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=lambda _name, line: pytest.fail(line))
    recording_fd, spool_fd = os.open(path, os.O_RDONLY), os.memfd_create("spool")
    try:
        with pytest.raises(UnreadableRecording) as caught:
            pool.decode(recording_fd, spool_fd, extension=path.suffix, cancelled=threading.Event())
        return str(caught.value)
    finally:
        pool.close(0)
        os.close(recording_fd)
        os.close(spool_fd)


@pytest.mark.usefixtures("fake_ffmpeg")
def test_what_is_no_audio_never_reaches_ffmpeg(tmp_path: Path) -> None:
    """A playlist under a name that ffmpeg is asked for stays refused at the first look."""
    (tmp_path / "a.tta").write_bytes(b"ffconcat version 1.0\nfile neighbour.wav\n" + bytes(5000))
    assert "pydub" not in refusal(tmp_path / "a.tta")


def test_without_ffmpeg_the_last_resort_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without ffmpeg needs none: the reason is one of several in the message."""
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert "there is no ffmpeg on this machine" in refusal(strange(tmp_path))
