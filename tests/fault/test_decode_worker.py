"""The decode pool with real processes: what a bad recording, a crash or a hang costs, and what it does not."""

from __future__ import annotations

import hashlib
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon.decode.pool import Decoded, DecodeLimits, DecodePool
from daemon.errors import (
    DecodeFailed,
    DecoderKilled,
    EmptyRecording,
    JobCancelled,
    RecordingError,
    RecordingTooLarge,
    SpoolBlocked,
    UnreadableRecording,
)
from storage.records import Told

DATA = Path(__file__).parent.parent / "data"
SHORT = DATA / "memo.wav"

Pools = Callable[..., DecodePool]


@pytest.fixture
def pools() -> Iterator[Pools]:
    """Makes pools; what their workers print fails the test."""
    made: list[DecodePool] = []
    printed: list[str] = []

    def make(**settings: object) -> DecodePool:
        values: dict[str, object] = {"workers": 1, "limits": DecodeLimits(), **settings}
        pool = DecodePool(on_output=lambda _name, line: printed.append(line), **values)  # type: ignore[arg-type]
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close(0)
        assert pool.pids() == []
    assert printed == []


def decode(
    pool: DecodePool,
    path: Path,
    cancelled: threading.Event | None = None,
    progress: Callable[[float], None] | None = None,
) -> Decoded:
    recording_fd = os.open(path, os.O_RDONLY)
    spool_fd = os.memfd_create("spool")
    try:
        decoded = pool.decode(
            recording_fd, spool_fd, extension=path.suffix, cancelled=cancelled or threading.Event(), progress=progress
        )
        assert os.fstat(spool_fd).st_size == decoded.n_samples * 2
        return decoded
    finally:
        os.close(recording_fd)
        os.close(spool_fd)


def long_wav(path: Path, seconds: int) -> Path:
    """Silence of *seconds* as a sparse 16 kHz WAV: it takes no disk and long to decode."""
    n_bytes = seconds * 32_000
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    header = b"RIFF" + struct.pack("<I", 36 + n_bytes) + b"WAVE" + form + struct.pack("<4sI", b"data", n_bytes)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + n_bytes)
    return path


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_a_recording_becomes_samples_spans_and_its_hash(pools: Pools) -> None:
    """Everything that a job needs to know of its recording comes back from one call."""
    decoded = decode(pools(), SHORT)
    assert decoded.source_sha256 == hashlib.sha256(SHORT.read_bytes()).hexdigest()
    assert (decoded.sample_rate_hz, decoded.channels, decoded.reader) == (16_000, 1, "soundfile")
    assert decoded.decoded_s == decoded.n_samples / 16_000 == pytest.approx(decoded.declared_s)
    assert decoded.spans
    assert all(0 <= span.start < span.end <= decoded.n_samples for span in decoded.spans)
    assert decoded.n_damaged == 0


def test_a_digest_needs_no_decoding(pools: Pools) -> None:
    """The hash of any file, wherever the offset of its descriptor stands."""
    with open(__file__, "rb") as file:
        content = file.read()
        assert pools().digest(file.fileno()) == hashlib.sha256(content).hexdigest()


def test_one_worker_serves_many_recordings_and_keeps_no_descriptor(pools: Pools) -> None:
    """The same process takes one after the other, good and bad, and closes what it was handed."""
    pool = pools()
    decode(pool, SHORT)
    (pid,) = pool.pids()
    before = sorted(os.listdir(f"/proc/{pid}/fd"))
    for _ in range(5):
        decode(pool, SHORT)
        decode(pool, DATA / "voice-note.m4a")
        with pytest.raises(UnreadableRecording, match="text file"):
            decode(pool, DATA / "broken.mp3")
    assert pool.pids() == [pid]
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == before


def test_the_worker_is_under_limits(pools: Pools) -> None:
    """No core dumps, bounded memory, files and descriptors; the first to go when memory is short; last in line."""
    pool = pools(limits=DecodeLimits(max_duration_s=600))
    decode(pool, SHORT)
    (pid,) = pool.pids()
    lines = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()[1:]
    hard = {line[:26].strip(): line[47:68].strip() for line in lines}
    assert hard["Max core file size"] == "0"
    assert hard["Max open files"] == "64"
    assert hard["Max file size"] == str((2 * 600 + 30) * 32_000 + 2**20)
    assert int(hard["Max address space"]) <= 2 * 1024**3
    assert Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii").strip() == "300"
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + 5


@pytest.mark.fault(44, "SIGKILL of a decoder")
def test_a_killed_worker_costs_its_recording_only(pools: Pools, tmp_path: Path) -> None:
    """After SIGKILL in the middle the job may be tried again, and the next recording is decoded."""
    pool = pools()
    long = long_wav(tmp_path / "long.wav", 3600)
    with pytest.raises(DecoderKilled, match="SIGKILL"):
        decode(pool, long, progress=lambda _s: os.kill(pool.pids()[0], signal.SIGKILL))
    assert decode(pool, SHORT).spans


@pytest.mark.fault(41, "SIGSEGV of a decoder")
def test_a_crashed_worker_is_named_by_its_signal(pools: Pools, tmp_path: Path) -> None:
    """A memory fault in a parser reads as such; the traceback goes to the log."""
    printed: list[str] = []
    pool = DecodePool(workers=1, limits=DecodeLimits(), on_output=lambda _name, line: printed.append(line))
    try:
        with pytest.raises(DecodeFailed, match="SIGSEGV"):
            decode(pool, long_wav(tmp_path / "long.wav", 3600), progress=lambda _s: os.kill(pool.pids()[0], 11))
        assert decode(pool, SHORT).spans
    finally:
        pool.close(0)
    assert any("Segmentation fault" in line for line in printed)


@pytest.mark.fault(42, "SIGSTOP of a decoder")
def test_a_hung_worker_is_ended_after_its_silence(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process gives no sign of life; it is killed, the recording may be tried again, the next one goes."""
    pool = pools()
    stopped: list[int] = []

    def stop(_decoded_s: float) -> None:
        if not stopped:
            stopped.append(pool.pids()[0])
            os.kill(stopped[0], signal.SIGSTOP)
            monkeypatch.setattr(pool, "_silence_s", 0.5)  # only now: a slow start is no hang

    with pytest.raises(DecodeFailed, match=r"no sign of progress for 0\.5 s"):
        decode(pool, long_wav(tmp_path / "long.wav", 3600), progress=stop)
    monkeypatch.undo()
    assert not Path(f"/proc/{stopped[0]}").exists()
    assert decode(pool, SHORT).spans


def test_a_worker_that_died_while_idle_costs_nothing(pools: Pools) -> None:
    """The next recording gets a new process without noticing."""
    pool = pools()
    decode(pool, SHORT)
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert decode(pool, SHORT).spans
    assert pool.pids() != [pid]


def test_a_cancelled_recording_stops_at_once(pools: Pools, tmp_path: Path) -> None:
    """The worker is not waited for, and the slot is free for the next."""
    pool = pools()
    cancelled = threading.Event()
    with pytest.raises(JobCancelled):
        decode(pool, long_wav(tmp_path / "long.wav", 3600), cancelled, lambda _s: cancelled.set())
    assert decode(pool, SHORT).spans


def test_one_that_waits_for_a_worker_can_be_cancelled(pools: Pools, tmp_path: Path) -> None:
    """Nobody has to wait for a long recording in front only to be told that they are cancelled."""
    pool = pools()
    under_way, leave = threading.Event(), threading.Event()
    cancelled = threading.Event()
    cancelled.set()
    with ThreadPoolExecutor(1) as threads:
        long = long_wav(tmp_path / "long.wav", 3600)
        first = threads.submit(decode, pool, long, leave, lambda _s: under_way.set())
        assert under_way.wait(30)
        with pytest.raises(JobCancelled):
            decode(pool, SHORT, cancelled)
        leave.set()
        with pytest.raises(JobCancelled):
            first.result()


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (b"", EmptyRecording, Told("empty")),
        (b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(20), UnreadableRecording, Told("cut_off")),
        (b"\x7fELF" + bytes(100), UnreadableRecording, Told("not_audio")),
        (b"RIFF\x00\x00\x01\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x01\x00\x00\x00\x02\x00\x00\x00\x02\x00\x10\x00"
         b"data\x00\x00\x01\x00" + bytes(65536), RecordingTooLarge, Told("odd_rate", {"rate_hz": 1})),
    ],
)  # fmt: skip
def test_each_reason_arrives_as_its_own_error(
    pools: Pools, tmp_path: Path, content: bytes, error: type[RecordingError], told: Told
) -> None:
    """Empty, unreadable and too large are told apart, in any language, and none of them ends the worker."""
    pool = pools()
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(error) as raised:
        decode(pool, tmp_path / "a.wav")
    assert raised.value.told == told
    assert len(pool.pids()) == 1


def test_a_bug_in_the_worker_comes_with_its_traceback(pools: Pools) -> None:
    """Our own mistakes are no fault of the recording; the worker lives."""
    pool = pools()
    with pytest.raises(RuntimeError, match="Traceback"):
        pool._ask({"type": "decode"}, (), threading.Event(), None)  # pyright: ignore[reportPrivateUsage]  # no bug to call
    (pid,) = pool.pids()
    decode(pool, SHORT)
    assert pool.pids() == [pid]


@pytest.mark.fault(18, "no room for decoded audio")
def test_a_full_disk_may_be_tried_again(pools: Pools) -> None:
    """Failing to write the spool file is no fault of the recording."""
    recording_fd, full_fd = os.open(SHORT, os.O_RDONLY), os.open("/dev/full", os.O_RDWR)
    try:
        with pytest.raises(SpoolBlocked, match="No space left"):
            pools().decode(recording_fd, full_fd, extension=".wav", cancelled=threading.Event())
    finally:
        os.close(recording_fd)
        os.close(full_fd)


@pytest.mark.fault(10, "truncate while it is read")
def test_a_recording_that_shrinks_while_it_is_read_ends_early(pools: Pools, tmp_path: Path) -> None:
    """No SIGBUS: what is left is decoded or refused, and the same worker takes the next."""
    pool = pools()
    long = long_wav(tmp_path / "long.wav", 600)
    try:
        decoded = decode(pool, long, progress=lambda _s: os.truncate(long, 100_000))
        assert decoded.decoded_s < 600
        assert decoded.declared_s == 600
    except (UnreadableRecording, EmptyRecording):
        pass
    (pid,) = pool.pids()
    decode(pool, SHORT)
    assert pool.pids() == [pid]


@pytest.mark.fault(38, "a recording of many hours")
def test_memory_does_not_grow_with_the_length(pools: Pools, tmp_path: Path) -> None:
    """Twenty minutes take hardly more than one; as one array of floats with a copy they would take 150 MB more."""
    pool = pools()
    decode(pool, long_wav(tmp_path / "minute.wav", 60))
    (pid,) = pool.pids()
    after_a_minute = peak_bytes(pid)
    decode(pool, long_wav(tmp_path / "long.wav", 1200))
    assert pool.pids() == [pid]
    assert peak_bytes(pid) - after_a_minute < 40 * 1024**2
    assert after_a_minute < 200 * 1024**2


def test_progress_counts_up_to_the_length(pools: Pools, tmp_path: Path) -> None:
    """The seconds decoded so far never fall and stay within the recording."""
    seen: list[float] = []
    decode(pools(), long_wav(tmp_path / "long.wav", 600), progress=seen.append)
    assert seen
    assert seen == sorted(seen)
    assert seen[-1] <= 600


def test_a_worker_is_replaced_after_its_share(pools: Pools) -> None:
    """What a library leaks over many files goes with its process."""
    pool = pools(files_per_worker=2)
    pids: list[int] = []
    for _ in range(4):
        decode(pool, SHORT, progress=lambda _s: pids.append(pool.pids()[0]))
    assert len(set(pids)) == 2
    assert pool.pids() == []


def test_no_more_than_the_given_number_work_at_once(pools: Pools) -> None:
    """Six callers share two processes, and each gets its own recording's result."""
    pool = pools(workers=2)
    names = ["memo.wav", "meeting.flac", "interview.mp3", "voice-note.m4a", "greeting.opus", "phone-call.wav"]
    most: list[int] = []
    with ThreadPoolExecutor(6) as threads:
        calls = [
            threads.submit(decode, pool, DATA / name, None, lambda _s: most.append(len(pool.pids()))) for name in names
        ]
        digests = [call.result().source_sha256 for call in calls]
    assert digests == [hashlib.sha256((DATA / name).read_bytes()).hexdigest() for name in names]
    assert max(most) == 2


def test_closing_ends_what_is_under_way_and_refuses_the_rest(pools: Pools, tmp_path: Path) -> None:
    """After the grace no process is left; the recording in it can be tried again by the next daemon."""
    pool = pools()
    under_way = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        long = long_wav(tmp_path / "long.wav", 3600)
        call = threads.submit(decode, pool, long, None, lambda _s: under_way.set())
        assert under_way.wait(30)
        pool.close(0)
        with pytest.raises(DecodeFailed, match="the service stops"):
            call.result()
    with pytest.raises(DecodeFailed, match="the service stops"):
        decode(pool, SHORT)


def test_the_daemon_side_imports_no_media_library() -> None:
    """What a media library does can then not reach the daemon."""
    code = (
        "import sys, daemon.decode.pool\n"
        "print(sorted({'av', 'soundfile', 'pydub', 'numpy', 'onnxruntime', 'daemon.decode.worker'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
