"""The daemon as systemd and its administrator see it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import threading
from pathlib import Path

import pytest

from tests.harness import MakeDaemon, copy_sample


def test_systemd_hears_ready_status_watchdog_stopping_in_order(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """READY comes once and first, STATUS and WATCHDOG while it runs, STOPPING last."""
    path = tmp_path / "notify.sock"
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))

        def listen() -> None:
            while True:
                message = sock.recv(4096).decode()
                if message == "END":
                    return
                heard.extend(message.splitlines())

        listener = threading.Thread(target=listen)
        listener.start()
        daemon = make_daemon(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="2000000").start()
        daemon.until(lambda: heard.count("WATCHDOG=1") >= 3, "three signs of life")
        assert daemon.stop() == 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"END", str(path))
        listener.join()
    kinds = [line.partition("=")[0] for line in heard]
    assert kinds[0] == "READY"
    assert kinds[-1] == "STOPPING"
    assert kinds.count("READY") == kinds.count("STOPPING") == 1
    assert "STATUS" in kinds
    assert "WATCHDOG" in kinds
    assert any("engine ready" in line for line in heard)


@pytest.mark.fault(22, "two real daemons, one state folder")
def test_a_second_daemon_on_the_same_state_refuses_naming_the_first(make_daemon: MakeDaemon) -> None:
    """Exit code 78, one line, no traceback, and the first lives on."""
    first = make_daemon().start()
    second = first.run("run", check=False)
    assert second.returncode == 78
    assert str(first.process.pid) in second.stderr
    assert "Traceback" not in second.stderr + second.stdout
    assert first.process.poll() is None


@pytest.mark.fault(22, "two real daemons, one inbox")
def test_a_second_daemon_on_the_same_inbox_refuses_naming_the_first(make_daemon: MakeDaemon) -> None:
    """With a state folder of its own too: the marker in the inbox tells."""
    first = make_daemon("first").start()
    second = make_daemon("second", TRANSCRIBED_INBOX=str(first.inbox))
    done = second.run("run", check=False)
    assert done.returncode == 78
    assert str(first.process.pid) in done.stderr
    assert str(first.inbox) in done.stderr


def test_wrong_configuration_exits_78_with_one_line(make_daemon: MakeDaemon) -> None:
    """Key, value, rule and the nearest valid key are named."""
    daemon = make_daemon(TRANSCRIBED_ENGINE_LANE="3")
    done = daemon.run("run", check=False)
    assert done.returncode == 78
    assert done.stderr.count("\n") == 1
    assert "TRANSCRIBED_ENGINE_LANES" in done.stderr
    missing = make_daemon("two", TRANSCRIBED_INBOX="/nonexistent/inbox").run("run", check=False)
    assert missing.returncode == 78
    assert "/nonexistent/inbox" in missing.stderr


def test_an_unknown_model_or_device_exits_78(make_daemon: MakeDaemon) -> None:
    """What only the engine can know is still the operator's to mend."""
    for key, value in {"OPTIONS_MODEL": "no-such-model", "ENGINE_DEVICE": "cuda:7"}.items():
        daemon = make_daemon(key, **{f"TRANSCRIBED_{key}": value})
        done = daemon.run("run", check=False)
        assert done.returncode == 78, done.stdout
        assert value in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.fault(50, "SIGTERM of a real daemon")
def test_sigterm_lets_jobs_in_hand_end(make_daemon: MakeDaemon) -> None:
    """Within the grace a running job is finished and published; exit status 0."""
    daemon = make_daemon().start()
    recording = copy_sample("lecture.ogg", daemon.inbox)
    daemon.wait_stage("engine")
    assert daemon.stop() == 0
    (job,) = daemon.jobs()
    assert job["state"] == "done"
    assert recording.with_suffix(".txt").exists()
    assert daemon.leftovers() == []
    with contextlib.closing(sqlite3.connect(daemon.state_dir / "transcribed.db")) as history:
        own = history.execute("SELECT kind FROM v_events WHERE job_id IS NULL ORDER BY event_id").fetchall()
    assert own == [("daemon_started",), ("daemon_stopped",)]


@pytest.mark.fault(50, "SIGTERM and no patience")
def test_after_the_grace_a_job_goes_back_with_its_attempt_refunded(make_daemon: MakeDaemon) -> None:
    """A second signal ends the wait; the next start does the job."""
    daemon = make_daemon(TRANSCRIBED_STOP_GRACE_S="600").start()
    for number in range(4):
        copy_sample("lecture.ogg", daemon.inbox / f"{number}.ogg")
    daemon.wait_stage("engine")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.until(lambda: daemon.has_logged("stopping"), "the stop to begin")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0
    unfinished = [job for job in daemon.jobs() if job["state"] != "done"]
    assert unfinished
    assert {(job["state"], job["attempt"]) for job in unfinished} == {("queued", 0)}
    assert daemon.leftovers() == []
    daemon.start()
    assert {job["state"] for job in daemon.wait_ended(4)} == {"done"}


def test_sighup_reads_the_configuration_again(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """New settings count for new files; a mistake leaves the old configuration in force; the engine stays."""
    daemon = make_daemon()
    config = tmp_path / "transcribed.toml"

    def configure(options: str, settings: str = "") -> None:
        config.write_text(f'{settings}\n[options]\n{options}\n[[inbox]]\npath = "{daemon.inbox}"\n')

    configure('formats = ["txt"]')
    del daemon.environment["TRANSCRIBED_INBOX"]
    daemon.environment["TRANSCRIBED_CONFIG"] = str(config)
    daemon.start()
    (engine,) = daemon.children("daemon.engine.server")
    configure('formats = ["nonsense"]')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: daemon.has_logged("reload_refused"), "the refusal")
    configure('formats = ["tsv"]')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: daemon.has_logged("reloaded"), "the reload")
    recording = copy_sample("memo.wav", daemon.inbox)
    (job,) = daemon.wait_ended(1)
    assert job["outputs"] == [str(recording.with_suffix(".tsv"))]
    configure('formats = ["tsv"]', "max_attempts = 7")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: daemon.log.read_text().count('"event": "reloaded"') == 2, "the second reload")
    copy_sample("memo.wav", daemon.inbox / "again.wav")
    daemon.wait_ended(2)
    with contextlib.closing(sqlite3.connect(daemon.state_dir / "transcribed.db")) as history:
        limits = history.execute("SELECT max_attempts FROM v_jobs ORDER BY job_id").fetchall()
    assert limits == [(3,), (7,)]
    assert daemon.children("daemon.engine.server") == [engine]


def test_the_database_answers_while_the_daemon_works(make_daemon: MakeDaemon) -> None:
    """The public views can be read by plain sqlite3 in the middle of a job."""
    daemon = make_daemon().start()
    copy_sample("lecture.ogg", daemon.inbox)
    daemon.wait_stage("engine")
    path = daemon.run("db", "path").stdout.strip()
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        states = [row[0] for row in connection.execute("SELECT state FROM v_jobs")]
    connection.close()
    assert states == ["running"]
    daemon.wait_ended(1)


def test_commands_say_what_is_going_on(make_daemon: MakeDaemon) -> None:
    """status, jobs, job, explain, config, doctor: answers for people, JSON for scripts, exit codes for both."""
    daemon = make_daemon()
    assert daemon.run("status", check=False).returncode == 1
    daemon.start()
    recording = copy_sample("memo.wav", daemon.inbox)
    (job,) = daemon.wait_ended(1)
    assert "engine      ready" in daemon.run("status").stdout
    assert "memo.wav" in daemon.run("jobs").stdout
    details = json.loads(daemon.run("job", str(job["id"]), "--json").stdout)
    assert [event["kind"] for event in details["events"]][-1] == "done"
    assert "is done" in daemon.run("explain", str(recording)).stdout
    assert "hidden" in daemon.run("explain", str(daemon.inbox / ".x.wav")).stdout
    assert "not in an inbox" in daemon.run("explain", "/etc/passwd").stdout
    origins = json.loads(daemon.run("config", "--json").stdout)["origins"]
    assert origins["inbox[0].path"] == "environment TRANSCRIBED_INBOX"
    assert origins["stop_grace_s"] == "default"
    doctor = daemon.run("doctor")
    assert "verified by hash" in doctor.stdout
    assert daemon.run("job", "999", check=False).returncode == 1


def test_cancel_and_retry_reach_the_running_daemon(make_daemon: MakeDaemon) -> None:
    """A running job is cancelled soon, its recording stays, and retry transcribes it after all."""
    daemon = make_daemon(TRANSCRIBED_ENGINE_MAX_OPEN="1", TRANSCRIBED_DECODE_WORKERS="1").start()
    recordings = [copy_sample("lecture.ogg", daemon.inbox / f"{number}.ogg") for number in range(5)]
    daemon.wait_stage("engine")
    daemon.until(lambda: len(daemon.jobs()) == 5, "five jobs")
    numbers = [str(job["id"]) for job in daemon.jobs() if job["state"] != "done"]
    daemon.run("cancel", *numbers, check=False)  # one may be done by now
    jobs = daemon.wait_ended(5)
    assert {job["state"] for job in jobs if str(job["id"]) in numbers} <= {"cancelled", "done"}
    cancelled = [job for job in jobs if job["state"] == "cancelled"]
    assert cancelled
    assert all(recording.exists() for recording in recordings)
    assert daemon.run("cancel", str(cancelled[0]["id"]), check=False).returncode == 1
    daemon.run("retry", str(cancelled[0]["id"]))
    daemon.until(lambda: daemon.jobs_of(Path(cancelled[0]["path"]))[0]["state"] == "done", "the retried job")


def test_without_a_daemon_retry_works_under_its_lock(make_daemon: MakeDaemon) -> None:
    """The history has one writer: the daemon, or the command while there is none."""
    daemon = make_daemon().start()
    (daemon.inbox / "broken.mp3").write_text("this is no audio at all")
    (job,) = daemon.wait_ended(1)
    assert job["state"] == "failed"
    assert daemon.stop() == 0
    daemon.run("retry", str(job["id"]))
    assert daemon.jobs()[0]["state"] == "queued"
    assert daemon.run("retry", "42", check=False).returncode == 1


@pytest.mark.parametrize("command", [("jobs",), ("explain", "a.wav"), ("retry", "1")])
def test_a_damaged_history_is_one_line(make_daemon: MakeDaemon, command: tuple[str, ...]) -> None:
    """Every command says what is wrong and what to do, without a traceback; nothing in a name reaches the terminal."""
    daemon = make_daemon("esc\x1b[2J")
    daemon.state_dir.mkdir()
    (daemon.state_dir / "transcribed.db").write_text("this is no database, however long it may be")
    done = daemon.run(*command, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr
    assert "put a backup in its place" in done.stderr


def test_one_shot_writes_beside_the_recording_and_overwrites_nothing(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """`transcribe` needs no daemon; existing files stay; a broken file fails alone with exit code 1."""
    daemon = make_daemon()
    folder = tmp_path / "desk"
    folder.mkdir()
    copy_sample("memo.wav", folder)
    (folder / "broken.mp3").write_text("this is no audio at all")
    (folder / "memo.txt").write_text("mine\n")
    done = daemon.run("transcribe", str(folder), "--format", "txt", check=False)
    assert done.returncode == 1
    assert "broken.mp3" in done.stderr
    assert (folder / "memo.txt").read_text() == "mine\n"
    assert "garden" in (folder / "memo.wav.txt").read_text()
    to_stdout = daemon.run("transcribe", "--stdout", "--language", "en", str(folder / "memo.wav"))
    assert "garden" in to_stdout.stdout
    assert sorted(os.listdir(folder)) == ["broken.mp3", "memo.txt", "memo.wav", "memo.wav.txt"]
    assert daemon.run("transcribe", str(folder / "nothing.wav"), check=False).returncode == 1
