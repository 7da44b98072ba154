"""Every figure that is sampled: its name, what it is of, and what it means. Knows nothing of where figures come from.

A figure has a key (its name and its subject: which process, folder, GPU) and a number. One that could not be read is
left out; it is never 0. What a person should know about it (the driver's complaint, a recording's name) are its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple

Subject = Literal["process", "folder", "gpu", "state", "outcome", "inbox", "job", "engine"]


class Key(NamedTuple):
    """Which figure, and of what. *subject* is "" where there is only one."""

    name: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a figure says. *subject* is the kind of its subjects; a counter only grows while the daemon lives.

    *worst* is the end of its range that must not be lost when samples are thinned.
    """

    help: str
    subject: Subject | None = None
    kind: Literal["gauge", "counter"] = "gauge"
    worst: Literal["high", "low"] = "high"


@dataclass(frozen=True, slots=True)
class Sample:
    """All figures of one moment. *at* is UTC; *words* has an entry only where there is something to say."""

    at: datetime
    figures: Mapping[Key, float]
    words: Mapping[Key, str] = field(default_factory=dict[Key, str])


FIGURES: Final[Mapping[str, Meaning]] = {
    # The machine.
    "host_cpu_used_ratio": Meaning("Share of all cores that was busy since the last sample"),
    "host_memory_used_ratio": Meaning("Share of the memory that could not be had without swapping"),
    "host_memory_total_bytes": Meaning("Memory of the machine"),
    "host_swap_used_ratio": Meaning("Share of the swap space in use; left out where there is none"),
    "host_load_per_core": Meaning("Load average of one minute, divided by the number of cores"),
    "host_temperature_celsius": Meaning("The hottest sensor of the machine; left out where there is none"),
    "host_clock_step_s": Meaning("By how much the wall clock jumped since the last sample, either way"),
    # Our processes. The subject is the role: daemon, engine, engine-2, decoder-1, gpu-reader.
    "process_cpu_cores": Meaning("Cores in use since the last sample: 1.5 is one and a half", "process"),
    "process_rss_bytes": Meaning("Memory resident", "process"),
    "process_rss_slope_bytes_per_h": Meaning("By how much the resident memory grows, over hours", "process"),
    "process_age_s": Meaning("For how long it has run", "process", worst="low"),
    "process_threads": Meaning("Threads", "process"),
    "process_descriptors": Meaning("Open file descriptors", "process"),
    "process_read_bytes": Meaning("Bytes read from storage since it started", "process", "counter"),
    "process_written_bytes": Meaning("Bytes written to storage since it started", "process", "counter"),
    "process_gpu_memory_bytes": Meaning("GPU memory in use, over all GPUs", "process"),
    "state_free_bytes": Meaning("Room left on the disk of the state folder", worst="low"),
    # Folders: the inboxes and the state folder.
    "folder_free_bytes": Meaning("Room left on the folder's disk", "folder", worst="low"),
    "folder_free_ratio": Meaning("Share of the folder's disk that is free", "folder", worst="low"),
    "folder_free_inodes_ratio": Meaning("Share of the inodes of the folder's disk that is free", "folder", worst="low"),
    "folder_full_in_s": Meaning("When the disk is full if it fills on as it did", "folder", worst="low"),
    # GPUs. The subject is the index as the driver counts.
    "gpu_readable": Meaning("1 if the GPUs of this machine can be read, 0 if not; left out where none is", worst="low"),
    "gpu_lost": Meaning("1 if a GPU that was there has a problem or is gone", "gpu"),
    "gpu_utilisation_ratio": Meaning("Share of the time that the GPU worked", "gpu"),
    "gpu_memory_used_bytes": Meaning("GPU memory in use", "gpu"),
    "gpu_memory_total_bytes": Meaning("GPU memory there is", "gpu"),
    "gpu_memory_used_ratio": Meaning("Share of the GPU memory in use", "gpu"),
    "gpu_temperature_celsius": Meaning("Temperature of the GPU", "gpu"),
    "gpu_power_w": Meaning("Power drawn", "gpu"),
    "gpu_clock_hz": Meaning("Clock of the multiprocessors", "gpu", worst="low"),
    "gpu_throttled": Meaning(
        "1 if heat or the power supply holds the clock down; its power limit is no trouble", "gpu"
    ),
    "gpu_ecc_errors": Meaning("Memory errors that ECC could not correct, since the driver started", "gpu", "counter"),
    # The work.
    "jobs": Meaning("Jobs by state", "state"),
    "jobs_ended": Meaning("Jobs that ended since the daemon started, by outcome", "outcome", "counter"),
    "queue_oldest_wait_s": Meaning("For how long the oldest queued job has waited"),
    "queue_still_s": Meaning("For how long no job has got on while some were queued"),
    "queue_held_s": Meaning("For how long the oldest job waits that is held: its source, the disk, the engine"),
    "job_overtime_ratio": Meaning("Time that a running job took so far, over what was expected", "job"),
    "recent_failed_ratio": Meaning("Share of the jobs that failed, of those that ended lately; left out below twenty"),
    "recent_speed_ratio": Meaning(
        "Seconds of audio done per second of work, over jobs that ended lately; left out below ten minutes of audio",
        worst="low",
    ),
    "speed_of_usual_ratio": Meaning("The recent speed over the usual one of this machine", worst="low"),
    "real_time_factor": Meaning("Seconds of work per second of audio, over the jobs that ended lately"),
    "outputs_blocked": Meaning("Transcripts that wait because their folder cannot be written", "inbox"),
    "inbox_offline": Meaning("1 if the inbox is away or does not answer", "inbox"),
    "inbox_watch_degraded": Meaning("1 if an inbox that should raise events is polled", "inbox"),
    "inbox_scan_s": Meaning("Duration of the last scan", "inbox"),
    # The engine. The subject is the device.
    "engine_up": Meaning("1 if the engine process is ready", "engine", worst="low"),
    "engine_on_spare": Meaning("1 if the CPU works because no GPU can", "engine"),
    "engine_restarts": Meaning("Starts of the engine process after it died", "engine", "counter"),
    "engine_restarts_in_row": Meaning("Deaths of the engine process with no work done between", "engine"),
    "engine_batch_fill_ratio": Meaning(
        "Share of a batch that held windows since the last sample", "engine", worst="low"
    ),
    "engine_windows": Meaning("Windows that the model did", "engine", "counter"),
    "engine_retries": Meaning("Windows that were asked again with more care", "engine", "counter"),
    "engine_flags": Meaning("Windows whose text a guard did not believe", "engine", "counter"),
    # The daemon itself.
    "database_trouble": Meaning("1 if the job history cannot be written, or its reserve is missing"),
    "loops_stuck": Meaning("Loops of the daemon that have not finished a step for 45 s"),
    "alerts_open": Meaning("Alerts that are open"),
    # The canary: a known clip that goes the way of every recording.
    "canary_wrong_words_ratio": Meaning("Word error rate of the last canary"),
    "canary_latency_s": Meaning("From the canary's drop to its transcript; left out where others were in hand with it"),
    "canary_speed_ratio": Meaning(
        "Seconds of the canary's audio per second of work; left out where others were in hand with it", worst="low"
    ),
    "canary_latency_of_usual_ratio": Meaning("The last canary's latency over the usual one of this machine"),
    "canary_speed_of_usual_ratio": Meaning("The last canary's speed over the usual one of this machine", worst="low"),
    "canary_overdue_s": Meaning("By how much the running canary is later than it may be"),
}
"""The catalogue. A figure that is not in here may not be sampled: `monitor/thread.py` refuses it."""
