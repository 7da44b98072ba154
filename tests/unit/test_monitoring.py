from __future__ import annotations

import http.client
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon import monitoring as monitoring_module
from daemon.actor import Pulse
from daemon.clock import utc_now
from daemon.config import Config
from daemon.config.schema import METRICS_NAME
from daemon.ends import End
from daemon.engine.client import EngineStatus
from daemon.errors import ConfigError
from daemon.figures import ServiceFigures, Sources
from daemon.health import HistoryHealth
from daemon.monitoring import LATE_INTERVALS, LATE_S, Monitoring
from daemon.opening import open_pages
from daemon.outputs.kept import KeptDocuments
from monitor.alert import Alert, Judgement
from monitor.figures import Key, Sample
from monitor.gpu.probe import GpuProbe
from monitor.history.jsonlog import Recording
from monitor.history.reading import MetricsReader
from monitor.history.store import MetricsHistory
from monitor.notices.post import Post
from storage.jobs import JobStore
from tests.unit.history import AT, claim

TROUBLE = {"figure": "database_trouble", "above": 0, "for_s": 0, "clear_for_s": 0, "title": "Trouble: {words}"}


class Daemon:
    """As much of one as the monitor needs, with its folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = JobStore.open(root / "history.db", "daemon-1")
        self.health = HistoryHealth()
        (root / "kept").mkdir()

    def config(self, **tables: Any) -> Config:
        """The configuration with these tables; the one rule beside those that are built in says what is in the way."""
        monitor = {"rules": {"trouble": TROUBLE}} | tables.pop("monitor", {})
        inbox = {"path": self.root / "in"} | tables.pop("inbox", {})
        return Config.model_validate({"state_dir": self.root, "inbox": [inbox], "monitor": monitor, **tables})

    def monitoring(self, **tables: Any) -> Monitoring:
        """A monitor, not run by a thread."""
        figures = ServiceFigures(
            Sources(
                self.store,
                KeptDocuments(self.root / "kept"),
                self.health,
                Pulse(),
                engine_status=lambda: EngineStatus("ready", None, None, None, None, 0, 0, 0, None, ()),
                activities=list,
                inboxes=list,
            )
        )
        return Monitoring(self.config(**tables), {}, figures, lambda: {"daemon": os.getpid()})


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    with closing(made.store):
        yield made


def take(monitoring: Monitoring, now: float) -> None:
    """One sample, whatever the GPU reader does."""
    before = monitoring.latest
    while monitoring.latest is before:
        monitoring.actor.step(now)
        now += 0.25


def test_a_sample_is_judged_and_kept(daemon: Daemon) -> None:
    """Figures of the machine and of the service; an alert opens, is in the history, and is resolved."""
    monitoring = daemon.monitoring()
    daemon.health.lose("the file is gone")
    take(monitoring, 1000.0)
    assert monitoring.latest is not None
    assert {Key("process_rss_bytes", "daemon"), Key("jobs", "done")} <= monitoring.latest.figures.keys()
    (alert,) = [alert for alert in monitoring.open_alerts if alert.rule == "trouble"]
    assert alert.title == "Trouble: the file is gone"
    assert alert.id is not None
    daemon.health = HistoryHealth()
    monitoring.close()
    with closing(MetricsReader.open(daemon.root / METRICS_NAME)) as reader:
        assert [one.title for one in reader.alerts(10) if one.rule == "trouble"] == ["Trouble: the file is gone"]


def test_a_restart_neither_forgets_nor_repeats_what_is_open(daemon: Daemon) -> None:
    """The alert goes on with its number; when it is over it is resolved."""
    daemon.health.lose("the file is gone")
    first = daemon.monitoring()
    take(first, 1000.0)
    first.close()
    second = daemon.monitoring()
    assert [alert.rule for alert in second.open_alerts] == [alert.rule for alert in first.open_alerts]
    take(second, 2000.0)
    (before,) = [alert for alert in first.open_alerts if alert.rule == "trouble"]
    (after,) = [alert for alert in second.open_alerts if alert.rule == "trouble"]
    assert after.id == before.id
    assert before.opened_at - after.opened_at < timedelta(milliseconds=1)  # it is kept with so many digits
    second.close()


def without_gpus(*, present: Callable[[], bool]) -> GpuProbe:
    """A probe that finds no GPU, whatever may be *present*."""
    del present
    return GpuProbe(present=lambda: False)


@pytest.mark.parametrize(("device", "lost"), [("auto", 1.0), ("cpu", None)])
def test_a_lost_gpu_is_not_forgotten_at_a_restart(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, device: str, lost: float | None
) -> None:
    """It does not come back by itself; but who takes the CPU from now on has no GPU to lose."""
    monkeypatch.setattr(monitoring_module, "gpu_present", lambda: True)
    monkeypatch.setattr(monitoring_module, "GpuProbe", without_gpus)
    key, now = Key("gpu_lost", "7"), utc_now()
    words = "T4 (GPU-1): the driver names it no more"
    alert = Alert("gpu_lost", key, "critical", "GPU 7 is lost", "", words, 0, 1, 1, 1, now, now)
    with closing(MetricsHistory.open(daemon.root / METRICS_NAME, 64 * 1024**2)) as history:
        history.add(Sample(now, {key: 1.0}), Judgement((alert,), (), (alert,)))
    monitoring = daemon.monitoring(engine={"device": device})
    take(monitoring, 1000.0)
    monitoring.close()
    assert monitoring.latest is not None
    assert monitoring.latest.figures.get(key) == lost


def test_on_the_cpu_no_gpu_is_read(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is built in: nobody asked for it."""
    monkeypatch.setattr(monitoring_module, "gpu_present", lambda: True)
    monitoring = daemon.monitoring(engine={"device": "cpu"})
    take(monitoring, 1000.0)
    assert monitoring.latest is not None
    assert {key.name for key in monitoring.latest.figures}.isdisjoint({"gpu_readable", "gpu_lost"})
    monitoring.close()


def test_the_json_log_is_written_where_it_is_asked_for(daemon: Daemon) -> None:
    """A line for each sample."""
    monitoring = daemon.monitoring(monitor={"json_log": daemon.root / "samples.jsonl"})
    take(monitoring, 1000.0)
    monitoring.close()
    assert (daemon.root / "samples.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"alerts": {"to": ["not an address"]}}, "alerts.to"),
        ({"monitor": {"rules": {"trouble": {"figure": "no_such"}}}}, "monitor.rules.trouble"),
    ],
)
def test_what_is_wrong_is_the_operators_to_mend(daemon: Daemon, tables: dict[str, Any], words: str) -> None:
    """An address, a rule: the daemon says which, and does not start."""
    with pytest.raises(ConfigError, match=words):
        daemon.monitoring(**tables)


def test_who_is_told_changes_with_the_configuration(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not to what is wrong: then it stays as it was."""
    changed: list[Any] = []

    def change(_post: Post, setup: Any) -> None:
        changed.append(setup)

    monkeypatch.setattr(Post, "change", change)
    monitoring = daemon.monitoring()
    monitoring.apply(daemon.config(alerts={"to": ["json://127.0.0.1:1"]}), {})
    with pytest.raises(ConfigError):
        monitoring.apply(daemon.config(alerts={"to": ["not an address"]}), {})
    assert [len(setup.addresses) for setup in changed] == [1]
    monitoring.close()


def test_the_end_of_a_job_is_counted_and_told(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its inbox, so that each tells its own people, and with what its folder says of that."""
    told: list[tuple[object, ...]] = []

    def tell_job(_post: Post, *what: object) -> None:
        told.append(what)

    monkeypatch.setattr(Post, "tell_job", tell_job)
    monitoring = daemon.monitoring()
    job = claim(daemon.store, b"/srv/inbox/a\xff.wav", AT)
    monitoring.ended(End(job, "failed", "broken"))
    assert told == [("/srv/inbox", "failed", "/srv/inbox/a\\xff.wav", "broken", None)]
    monitoring.ended(End(replace(job, options={"notify": ["failed"]}), "failed", "broken"))
    assert told[-1][-1] == ["failed"]
    take(monitoring, 1000.0)
    assert monitoring.latest is not None
    assert monitoring.latest.figures[Key("jobs_ended", "failed")] == 2
    monitoring.close()


def asked(path: Path, page: str) -> tuple[int, str]:
    """A page from the socket at *path*."""
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.connect(str(path))
        connection = http.client.HTTPConnection("localhost")
        connection.sock = sock
        connection.request("GET", page)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_the_pages_say_how_it_is(daemon: Daemon) -> None:
    """Ready or not and why, and the figures of the newest sample; nobody is served who did not ask."""
    monitoring = daemon.monitoring()
    assert open_pages(daemon.config(), {}, monitoring, str, str) is None
    path = daemon.root / "web.sock"
    reasons = ["starting"]
    pages = open_pages(daemon.config(web={"listen": str(path)}), {}, monitoring, lambda: "", lambda: ", ".join(reasons))
    assert pages is not None
    try:
        status, text = asked(path, "/readyz")
        assert (status, "starting" in text) == (503, True)
        reasons.clear()
        assert asked(path, "/readyz")[0] == 200
        assert asked(path, "/healthz")[0] == 200
        take(monitoring, 1000.0)
        assert "transcribed_database_trouble 0.0" in asked(path, "/metrics")[1]
    finally:
        pages.close()
        monitoring.close()


def test_samples_of_the_future_do_not_put_out_what_is_usual(daemon: Daemon) -> None:
    """The clock was wrong for an hour, and set back: the next start still knows the days before."""
    now = utc_now()
    with closing(MetricsHistory.open(daemon.root / METRICS_NAME, 64 * 1024**2)) as history:
        for hours in (*range(-48, 0), 24 * 40, 24 * 40 + 1):
            history.add(Sample(now + timedelta(hours=hours), {Key("canary_speed_ratio"): 9.0}), Judgement())
    monitoring = daemon.monitoring()
    canary = {Key("canary_speed_ratio"): 3.0}
    monitoring.actor._sampler.sample = lambda at, *_: Sample(at, canary)  # type: ignore[method-assign]
    take(monitoring, 1000.0)
    monitoring.close()
    assert monitoring.latest is not None
    assert monitoring.latest.figures[Key("canary_speed_of_usual_ratio")] == pytest.approx(1 / 3)


def test_the_page_has_figures_for_as_long_as_the_interval_is(daemon: Daemon) -> None:
    """Who samples every ten minutes sees the figures until the next ones come."""
    tables = {"monitor": {"interval_s": 600}, "web": {"listen": str(daemon.root / "web.sock")}}
    monitoring = daemon.monitoring(**tables)
    pages = open_pages(daemon.config(**tables), {}, monitoring, str, str)
    assert pages is not None
    try:
        take(monitoring, 1000.0)
        assert monitoring.latest is not None
        monitoring.actor.latest = replace(monitoring.latest, at=monitoring.latest.at - timedelta(seconds=590))
        assert "transcribed_database_trouble" in asked(daemon.root / "web.sock", "/metrics")[1]
    finally:
        pages.close()
        monitoring.close()


def test_a_place_that_is_taken_is_the_operators_to_mend(daemon: Daemon) -> None:
    """The daemon does not start without the pages that were asked for."""
    (daemon.root / "web.sock").write_text("not a socket")
    monitoring = daemon.monitoring()
    with pytest.raises(ConfigError, match="cannot listen"):
        open_pages(daemon.config(web={"listen": str(daemon.root / "web.sock")}), {}, monitoring, str, str)
    monitoring.close()


def test_a_monitor_that_gives_no_sample_is_stuck(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has begun; a sample ends that."""
    now = [1000.0]
    monkeypatch.setattr(monitoring_module, "monotonic_s", lambda: now[0])
    monitoring = daemon.monitoring()
    assert not monitoring.stuck(1e9)
    monitoring.start()
    assert not monitoring.stuck(1000.0 + LATE_S)
    assert monitoring.stuck(1000.0 + LATE_S + LATE_INTERVALS * 10 + 1)
    now[0] = 2000.0
    take(monitoring, 2000.0)
    assert not monitoring.stuck(2000.0 + LATE_S)
    monitoring.close()


def test_a_monitor_that_rests_is_not_stuck(daemon: Daemon) -> None:
    """While the daemon stops, its jobs may take long to end: it is well all the same."""
    monitoring = daemon.monitoring()
    monitoring.start()
    assert monitoring.stuck(1e9)
    monitoring.rest()
    assert not monitoring.stuck(1e9)
    monitoring.close()


def test_what_fails_to_close_leaves_nothing_else_open(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages end, and the file of the figures is closed; the failure is told afterwards."""
    monitoring = daemon.monitoring()
    take(monitoring, 1000.0)
    real, ended = (monitoring.actor.close, Post.close, Recording.close), list[str]()

    def fail() -> None:
        real[0]()
        raise OSError("the process would not end")

    def close_post(post: Post) -> None:
        real[1](post)
        ended.append("messages")

    def close_recording(recording: Recording) -> None:
        real[2](recording)
        ended.append("figures")

    monkeypatch.setattr(monitoring.actor, "close", fail)
    monkeypatch.setattr(Post, "close", close_post)
    monkeypatch.setattr(Recording, "close", close_recording)
    with pytest.raises(OSError, match="would not end"):
        monitoring.close()
    assert ended == ["messages", "figures"]


def test_figures_that_cannot_be_kept_are_no_bug(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """A folder lies where the file should be: one warning an hour, without a traceback, and the samples go on."""
    (daemon.root / METRICS_NAME).mkdir()
    monitoring = daemon.monitoring()
    caplog.clear()
    for now in (1000.0, 1010.0, 1020.0):
        take(monitoring, now)
    monitoring.close()
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (line.levelno, line.__dict__["event"], line.exc_info) == (logging.WARNING, "metrics_trouble", None)
    assert "Is a directory" in line.getMessage()
