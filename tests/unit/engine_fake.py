"""An engine process without a model, for the tests of the client: it speaks the protocol, and fails on demand.

Each span of a job is one window. The job's hotwords say what goes wrong:
``hold:PATH`` waits before the first window until PATH exists, ``hold-after-N:PATH`` before window N; ``hold-die:PATH``
kills the process then, each time; ``die:N`` is killed at window N on a first attempt,
``die-always`` on each; ``freeze`` stops the whole process; ``mute`` stops this job only; ``bug``, ``recording``,
``out_of_memory`` and ``config`` fail the job, ``full-after-N:DEVICE`` is out of memory from window N on, there only;
``unreported:PATH`` works until PATH exists, but only its count of windows shows. The model ``missing`` cannot be
loaded, ``huge`` does not fit, ``slow`` is never loaded, ``crash`` ends the process, ``crash-once`` the first one,
``only-DEVICE`` cannot be loaded on another device.
"""

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from daemon.channel import Channel, ChannelClosed
from daemon.child import become_child
from daemon.engine.protocol import (
    Cancel,
    Done,
    Failed,
    Failure,
    Fatal,
    Heartbeat,
    Job,
    LanguageFound,
    Ready,
    ServerSettings,
    WindowDone,
    parse_command,
    to_message,
)
from daemon.transcript import SAMPLE_RATE_HZ, Segment


class Fake:
    """The job slots, with nothing behind them."""

    def __init__(self, channel: Channel, settings: ServerSettings) -> None:
        self.channel = channel
        self.settings = settings
        self.cancelled: set[int] = set()
        self.running: set[int] = set()
        self.n_windows = 0

    def beat(self) -> None:
        """Say every 50 ms that we live."""
        while True:
            self.channel.send(to_message(Heartbeat(self.n_windows)))
            time.sleep(0.05)

    def start(self) -> None:
        """Load, or fail to."""
        threading.Thread(target=self.beat, daemon=True).start()
        if self.settings.model == "missing":
            self.channel.send(to_message(Fatal(Failure.CONFIG, "the model 'missing' is not there")))
            time.sleep(60)
        if self.settings.model.startswith("only-") and self.settings.model != f"only-{self.settings.device}":
            self.channel.send(to_message(Fatal(Failure.CONFIG, f"{self.settings.device} is broken")))
            time.sleep(60)
        if self.settings.model == "huge":
            self.channel.send(to_message(Fatal(Failure.OUT_OF_MEMORY, "the model 'huge' does not fit")))
            time.sleep(60)
        while self.settings.model == "slow":
            time.sleep(1)
        crashed = Path(self.settings.models_dir, "crashed")
        if self.settings.model == "crash" or (self.settings.model == "crash-once" and not crashed.exists()):
            crashed.touch()
            sys.stdout.write("about to crash\n")
            sys.stdout.flush()
            os._exit(3)
        device = "fake" if self.settings.device == "auto" else self.settings.device
        self.channel.send(to_message(Ready(self.settings.model, device, "int1", os.getpid(), 0.0, 0.0)))

    def serve(self) -> None:
        """Take commands for ever."""
        while True:
            command = parse_command(self.channel.receive().message)
            if isinstance(command, Cancel):
                self.cancelled.add(command.id)
            else:
                self.running.add(command.id)
                threading.Thread(target=self.run, args=(command,), daemon=True).start()

    def run(self, job: Job) -> None:
        """One job, in a thread of its own."""
        ended = self.outcome(job)
        self.running.discard(job.id)
        self.channel.send(to_message(ended))

    def outcome(self, job: Job) -> Done | Failed:
        """How the job ends."""
        word, _, argument = (job.options.hotwords or "").partition(":")
        if word in {kind.value for kind in Failure}:
            return Failed(job.id, Failure(word), f"it was a {word}")
        self.channel.send(to_message(LanguageFound(job.id, job.language or "en", 0.75)))
        while (word in ("hold", "hold-die", "unreported") and not os.path.exists(argument)) or word == "mute":
            self.n_windows += word == "unreported"
            if job.id in self.cancelled:
                return Failed(job.id, Failure.CANCELLED, "cancelled")
            time.sleep(0.01)
        if word == "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(60)  # another thread may be the one that takes the signal, a moment later
        for n, span in enumerate(job.spans):
            if span.end <= job.next_sample:
                continue
            while word == f"hold-after-{n}" and not os.path.exists(argument):
                time.sleep(0.01)
            if word == f"full-after-{n}" and argument == self.settings.device:
                return Failed(job.id, Failure.OUT_OF_MEMORY, "out of memory")
            if word in ("die-always", "hold-die") or (word == "die" and int(argument) == n and job.next_sample == 0):
                os.kill(os.getpid(), signal.SIGKILL)
            text = f"window {n} of pid {os.getpid()} with {len(self.running)} running, model {self.settings.model}"
            start_s, end_s = span.start / SAMPLE_RATE_HZ, span.end / SAMPLE_RATE_HZ
            segment = Segment(start_s, end_s, text, -0.1, 1.0, 0.0, 0.0)
            self.n_windows += 1
            english = (replace(segment, text=f"English {n}"),) if job.options.task == "both" else ()
            self.channel.send(to_message(WindowDone(job.id, (segment,), span.end, end_s, english)))
        return Done(job.id)


if __name__ == "__main__":
    fake = Fake(become_child(0), ServerSettings.from_json(sys.argv[3]))
    try:
        fake.start()
        fake.serve()
    except ChannelClosed:
        os._exit(0)
