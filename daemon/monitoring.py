"""The monitor with all that belongs to it: what is sampled, by which rules it is judged, where it is kept, who is told.

Knows what the parts are called and in which order they begin and end; each of them knows nothing of the others.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Final, cast

from daemon.alerting import setup_of
from daemon.clock import monotonic_s, utc_now
from daemon.config import Config
from daemon.config.schema import METRICS_NAME
from daemon.ends import End
from daemon.errors import ConfigError
from daemon.figures import ServiceFigures
from monitor.alert import Alert, Judgement
from monitor.figures import Sample
from monitor.gpu.figures import LOST, KnownGpus
from monitor.gpu.probe import GpuProbe, gpu_present
from monitor.history.errors import HistoryError
from monitor.history.jsonlog import JsonLog, Recording
from monitor.history.store import MetricsHistory
from monitor.notices.post import Post
from monitor.rules import loading as rules
from monitor.rules.detecting import Detectors
from monitor.rules.judging import Judge
from monitor.rules.rule import Rule
from monitor.sampling.machine import shown
from monitor.sampling.sampler import Sampler
from monitor.thread import Monitor

log = logging.getLogger(__name__)


LATE_S: Final = 45.0
LATE_INTERVALS: Final = 3.0
"""A monitor that has given no sample for so long hangs: in a disk, in a process that cannot be looked at."""


class Monitoring:
    """Made from *config*; `actor` is to be run by a thread, `close` ends everything. Raises ConfigError."""

    def __init__(
        self,
        config: Config,
        environment: Mapping[str, str],
        figures: ServiceFigures,
        processes: Callable[[], Mapping[str, int]],
    ) -> None:
        """*processes* gives role -> process number, *figures* what the service knows of itself."""
        chosen = config.monitor
        made = _rules_of(config)
        setup = setup_of(config, environment)
        self._figures = figures
        self._interval_s = chosen.interval_s
        self._sampled_at = math.inf  # not begun
        self._resting = False
        self._history = MetricsHistory.open(config.state_dir / METRICS_NAME, chosen.metrics_max_bytes)
        json_log = (
            JsonLog(chosen.json_log, chosen.json_log_max_bytes, chosen.json_log_files) if chosen.json_log else None
        )
        self._recording = Recording(self._history, json_log)
        open_alerts, told = self._last_run()
        read_gpus = partial(_may_read_gpus, config.engine.device)
        self._post = Post(setup, told=told, record_told=self._history.told)
        self.actor: Final = Monitor(
            interval_s=chosen.interval_s,
            sampler=Sampler(processes, figures.read, config.state_dir, _known_gpus(open_alerts, read_gpus)),
            detectors=self._detectors(),
            judge=Judge(made, open_alerts, interval_s=chosen.interval_s),
            record=self._recording,
            tell=self._tell,
            gpu=GpuProbe(present=read_gpus),
        )
        self.actor.open_alerts = open_alerts

    def start(self) -> None:
        """Messages go out from now on, and samples are expected."""
        self._sampled_at = monotonic_s()
        self._post.start()

    def ended(self, end: End) -> None:
        """A job of people ended."""
        self._figures.ended(end)
        recording = shown(end.job.path)
        notify = end.job.options.get("notify")  # what its folder says; else as the inbox
        kinds = cast("list[object]", notify) if isinstance(notify, list) else None
        self._post.tell_job(os.fsdecode(end.job.inbox), end.outcome, recording, end.reason, kinds)

    def rest(self) -> None:
        """No sample is expected any more: the daemon ends, and its loops before its jobs."""
        self._resting = True

    def apply(self, config: Config, environment: Mapping[str, str]) -> None:
        """Who is told is as in *config* from now on. Raises ConfigError, and then nothing has changed."""
        self._post.change(setup_of(config, environment))

    def close(self) -> None:
        """No sample is taken any more, what waits to be sent is, if that is quick, and the files are closed."""
        with ExitStack() as last_first:  # whichever of them fails, the others end too
            last_first.callback(self._recording.close)
            last_first.callback(self._post.close)
            last_first.callback(self.actor.close)

    @property
    def latest(self) -> Sample | None:
        """The newest sample."""
        return self.actor.latest

    @property
    def open_alerts(self) -> tuple[Alert, ...]:
        """The alerts that are open."""
        return self.actor.open_alerts

    def stuck(self, now: float) -> bool:
        """Whether it has not given a sample for far too long."""
        return not self._resting and now - self._sampled_at > LATE_S + LATE_INTERVALS * self._interval_s

    def _tell(self, judgement: Judgement, at: datetime) -> None:
        self._sampled_at = monotonic_s()
        self._post.tell(judgement, at)

    def _last_run(self) -> tuple[tuple[Alert, ...], Mapping[int, datetime]]:
        """What was open when the last run ended, and of what people had been told."""
        try:
            return self._history.open_alerts(), self._history.told_times()
        except HistoryError as error:
            log.warning("The open alerts of the last run are not known: %s", error, extra={"event": "metrics_trouble"})
            return (), {}

    def _detectors(self) -> Detectors:
        detectors = Detectors()
        at = utc_now()
        for wanted in Detectors.WANTED:
            try:
                since = at - timedelta(seconds=wanted.back_s)
                kept = self._history.recent(wanted.names, since, wanted.step_s)
                # What a clock that was wrong dated into the future would put out what is true.
                detectors.remember(sample for sample in kept if sample.at <= at)
            except HistoryError as error:
                log.warning("What is usual here is learned anew: %s", error, extra={"event": "metrics_trouble"})
        return detectors


def _may_read_gpus(device: str) -> bool:
    """On a machine whose GPU is not ours to use it is no trouble that it cannot be read."""
    return device != "cpu" and gpu_present()


def _known_gpus(open_alerts: Iterable[Alert], read_gpus: Callable[[], bool]) -> KnownGpus:
    """Those that were lost when the last run ended are lost still; after a reboot there may be others."""
    known = KnownGpus()
    booted_at = utc_now() - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
    for alert in open_alerts if read_gpus() else ():
        if alert.key.name == LOST and alert.opened_at >= booted_at:
            known.still_lost(alert.key.subject, alert.words)
    return known


def _rules_of(config: Config) -> Sequence[Rule]:
    try:
        return rules.load(config.monitor.changed_rules())
    except rules.RuleError as error:
        raise ConfigError(str(error)) from None
