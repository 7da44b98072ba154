"""The decode process: takes one recording at a time over its channel until the channel closes.

Started as ``python -P -m daemon.decode.worker FD PARENT_PID SETTINGS``. All that parses what people drop in the inbox
runs here, under limits; a crash costs the one recording.

In:  ``{"type": "decode", "extension": "mp3", "speakers": true}`` with two descriptors: the recording, and the spool
file (read and write); ``{"type": "digest"}`` with one; ``{"type": "hello"}``.
Out: at the start ``{"type": "ready", "confinement": {...}}``; for each request any number of
``{"type": "progress", "decoded_s": 1.5}``, then one ``{"type": "done", ...}`` or
``{"type": "error", "kind": "unreadable", "message": "...", "cut_off": "", "told": null}``.

It enters its sandbox before it takes a recording. One that may start programs needs to know the recording for that: it
enters when it has one, and ends after it.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import sys
import traceback
from base64 import b64encode
from dataclasses import asdict
from typing import Any, Final

from daemon.channel import Channel, ChannelClosed, Received
from daemon.child import become_child
from daemon.decode import sandbox
from daemon.decode.decoding import Job, NoReader, Result, decode
from daemon.decode.settings import DecodeLimits, DecodeSettings
from daemon.decode.source import Pulse, sha256
from daemon.decode.track import silence_av_log
from daemon.decode.warming import warm_up
from daemon.errors import EmptyRecording, RecordingTooLarge, UnreadableRecording
from storage.records import Told

_OOM_SCORE_ADJUST: Final = 300

_NICENESS: Final = 5
"""Decoding runs ahead of the model and must not slow it down."""

_ADDRESS_SPACE_BYTES: Final = 1536 * 1024**2
"""0.45 GB is what an hour of any common format takes, most of it libraries; the rest is margin for odd ones."""
_MAX_OPEN_FILES: Final = 64

_KINDS: Final[dict[type[Exception], str]] = {
    NoReader: "no_reader",
    UnreadableRecording: "unreadable",
    EmptyRecording: "empty",
    RecordingTooLarge: "too_large",
}


def main() -> None:
    """Serve until the daemon closes the channel."""
    channel = become_child(_OOM_SCORE_ADJUST)
    settings = DecodeSettings.from_json(sys.argv[3])
    _limit(settings.limits)
    silence_av_log()
    with contextlib.suppress(ChannelClosed):
        if settings.programs:
            _serve_one(settings, channel)
        else:
            _serve(settings, channel)


def _serve(settings: DecodeSettings, channel: Channel) -> None:
    warm_up(settings)
    channel.send({"type": "ready", "confinement": sandbox.enter().to_dict()})
    while True:
        received = channel.receive()
        channel.send(_answer(received, settings, channel))
        # The resampler's filter graph is in reference cycles: without this it stays (SYSTRAN/faster-whisper#390).
        gc.collect()


def _serve_one(settings: DecodeSettings, channel: Channel) -> None:
    warm_up(settings)
    received = channel.receive()
    sandbox.enter_with_programs(received.fds[0])
    channel.send(_answer(received, settings, channel))


def _limit(limits: DecodeLimits) -> None:
    """A file that makes a parser go wild meets these before it meets the machine."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))
    spool_bytes = limits.max_spool_bytes + (1 << 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool_bytes, spool_bytes))
    with contextlib.suppress(OSError):  # a service manager may forbid it (SystemCallFilter=~@resources)
        os.nice(_NICENESS)


def _answer(received: Received, settings: DecodeSettings, channel: Channel) -> dict[str, Any]:
    """The last message on what was asked; never raises but ChannelClosed, closes the descriptors."""
    pulse = Pulse(lambda decoded_s: channel.send({"type": "progress", "decoded_s": decoded_s}))
    try:
        if received.message["type"] == "hello":
            return {"type": "done"}
        if received.message["type"] == "digest":
            (fd,) = received.fds
            return {"type": "done", "source_sha256": sha256(fd, pulse)}
        recording_fd, spool_fd = received.fds
        job = Job(recording_fd, spool_fd, _safe_extension(received.message["extension"]), received.message["speakers"])
        return _done(decode(job, settings, pulse))
    except ChannelClosed:
        raise
    except (UnreadableRecording, EmptyRecording, RecordingTooLarge) as error:
        return _error(_KINDS[type(error)], str(error), error.cut_off, error.told)
    except MemoryError:
        limit = _ADDRESS_SPACE_BYTES // 1024**2
        words = f"decoding it needs more than the {limit} MiB of memory that one recording may use"
        return _error("too_large", words, told=Told("too_demanding"))
    except OSError as error:
        kind = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "io"
        return _error(kind, f"reading it or writing its spool file failed: {error}")
    except Exception:  # noqa: BLE001  # the boundary of the process: a bug is told to the daemon, the worker lives
        return _error("bug", traceback.format_exc())
    finally:
        for fd in received.fds:
            os.close(fd)


def _error(kind: str, message: str, cut_off: str = "", told: Told | None = None) -> dict[str, Any]:
    said = None if told is None else asdict(told)
    return {"type": "error", "kind": kind, "message": message, "cut_off": cut_off, "told": said}


def _safe_extension(extension: str) -> str:
    """*extension* in lower case without its dot; empty where it has anything but ASCII letters and digits."""
    plain = extension.lower().removeprefix(".")
    return plain if plain.isascii() and plain.isalnum() and len(plain) <= 8 else ""


def _done(result: Result) -> dict[str, Any]:
    reading, heard = result.reading, result.heard
    return {
        "type": "done",
        "source_sha256": result.source_sha256,
        "n_samples": heard.n_samples,
        "second": heard.second,
        "layout": heard.layout,
        "decoded_s": reading.decoded_s,
        "declared_s": reading.declared_s,
        "sample_rate_hz": reading.sample_rate_hz,
        "channels": reading.channels,
        "codec": reading.codec,
        "reader": reading.reader,
        "n_damaged": reading.n_damaged,
        "cut_off": result.cut_off,
        "spans": [[span.start, span.end] for span in heard.spans],
        "sound": b64encode(result.sound.packed()).decode() if result.sound.known_by else "",
    }


if __name__ == "__main__":
    main()
