"""Transcribes recordings now, without daemon, queue or history: the same decode processes, engine and writers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from daemon.config import Config, OptionsConfig, rule_of
from daemon.decode.pool import DecodePool
from daemon.engine.client import Checkpoint, Engine, Request, company_after
from daemon.errors import (
    ConfigError,
    EngineDied,
    OutputBlocked,
    SourceBlocked,
    SourceChanged,
    SourceVanished,
    TranscribedError,
)
from daemon.intake.rules import extension_of
from daemon.intake.scanner import scan
from daemon.options import JobOptions
from daemon.outputs import publish
from daemon.outputs.formats import Document, contents_of, suffix_of
from daemon.processes import OnOutput, make_ahead, make_decode_pool, make_engine, n_in_hand
from daemon.source import Source
from daemon.speakers import part_done_s
from daemon.transcript import Transcript
from daemon.transcription import NAME_TRIES, SAMPLE_BYTES, make_document
from storage.records import Fingerprint

Progress = Callable[[bytes, str, float, float], None]
"""Called with the recording, the stage (``decode`` or ``engine``), the seconds of audio done and in all."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one recording: its document and files, or the error in words."""

    path: bytes
    document: Document | None
    files: tuple[bytes, ...]
    error: str


def recordings_in(paths: Sequence[Path]) -> list[bytes]:
    """The recordings that *paths* name: files as they are, folders searched. Raises TranscribedError."""
    found: dict[bytes, None] = {}
    for path in paths:
        if path.is_dir():
            found |= dict.fromkeys(sorted(scan(os.fsencode(path.absolute()), recursive=True).recordings))
        elif path.exists():
            found[os.fsencode(path.absolute())] = None
        else:
            raise TranscribedError(f"{path}: no such file or folder")
    return list(found)


class OneShot:
    """Decode processes and an engine for the length of one command."""

    def __init__(self, config: Config, decode: DecodePool, engine: Engine, spool_dir: Path) -> None:
        self._config = config
        self._decode = decode
        self._ahead = make_ahead(config)
        self._engine = engine
        self._spool_dir = spool_dir
        self._cancelled = threading.Event()

    def transcribe(
        self, paths: Sequence[bytes], options: JobOptions, folder: Path | None, progress: Progress, *, write: bool
    ) -> Iterator[Done]:
        """Each recording as it is done, in the order given; as many at once as the configuration allows."""
        with ThreadPoolExecutor(n_in_hand(self._config)) as pool:
            try:
                futures = [
                    pool.submit(self._one, number, path, options, folder, progress, write=write)
                    for number, path in enumerate(paths)
                ]
                for future in futures:
                    yield future.result()
            finally:
                self._cancelled.set()

    def _one(
        self, number: int, path: bytes, options: JobOptions, folder: Path | None, progress: Progress, *, write: bool
    ) -> Done:
        try:
            document = self._document(number, path, options, progress)
            target = path if folder is None else os.path.join(os.fsencode(folder), os.path.basename(path))
            files = _write(target, path, document) if write else ()
        except TranscribedError as error:
            return Done(path, None, (), str(error))
        return Done(path, document, files, "")

    def _document(self, number: int, path: bytes, options: JobOptions, progress: Progress) -> Document:
        try:
            status = os.stat(path)
        except OSError as error:
            raise SourceBlocked(f"cannot be opened: {error.strerror}") from error
        # A path that a person names may be a link: it is followed here, unlike in an inbox.
        with (
            closing(Source(os.path.realpath(path), Fingerprint.of(status))) as source,
            self._ahead.admitted(status.st_size, self._cancelled) as share,
        ):
            spool_path = self._spool_dir / f"{number}.s16"
            spool_fd = os.open(spool_path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                decoded = self._decode.decode(
                    source.fd,
                    spool_fd,
                    extension=extension_of(os.path.basename(os.fsdecode(path))),
                    cancelled=self._cancelled,
                    progress=lambda done_s: progress(path, "decode", done_s, 0.0),
                    speakers=options.speakers == "auto",
                )
                self._ahead.decoded(share, decoded.n_samples * SAMPLE_BYTES)
                request = Request(number, spool_path, decoded.n_samples, decoded.spans, options)
                transcript = self._in_engine(
                    request,
                    lambda done_s, _: progress(path, "engine", part_done_s(done_s, decoded), decoded.decoded_s),
                )
                _check_unchanged(source, decoded.source_sha256, self._decode)
            finally:
                os.close(spool_fd)
                spool_path.unlink(missing_ok=True)
        return make_document(path, options, decoded, transcript)

    def _in_engine(self, request: Request, progress: Callable[[float, float], None]) -> Transcript:
        checkpoint = Checkpoint()
        company = None
        n_deaths = 0
        while True:
            try:
                return self._engine.transcribe(
                    request, checkpoint, progress=progress, cancelled=self._cancelled, company=company
                )
            except EngineDied as error:
                n_deaths += 1
                if error.alone and n_deaths > 1:
                    raise
                company = company_after(error, n_deaths)


@contextmanager
def open_oneshot(config: Config, model: str, on_output: OnOutput) -> Generator[OneShot]:
    """Decode processes and an engine with *model*, until the block ends. Raises ConfigError, EngineUnavailable."""
    decode, engine = make_decode_pool(config, on_output), make_engine(config, on_output)
    with TemporaryDirectory(prefix="transcribed-") as spool_dir:
        try:
            engine.start(model)
            yield OneShot(config, decode, engine, Path(spool_dir))
        finally:
            engine.close(2.0)
            decode.close(0.0)


def _check_unchanged(source: Source, sha256: str, decode: DecodePool) -> None:
    """Raises SourceChanged where other content is at the path by now. One that is gone had the content that it had."""
    try:
        source.check_unchanged(sha256, decode.digest)
    except SourceVanished:
        return
    except SourceChanged:
        raise SourceChanged("it changed while it was transcribed; ask again once it is finished") from None


def _write(target: bytes, path: bytes, document: Document) -> tuple[bytes, ...]:
    real_path = os.path.realpath(path)  # who may read it is the recording's, not that of a link to it
    contents = contents_of(document)
    for _ in range(NAME_TRIES):
        outputs = publish.stage(target, contents, {}, real_path, suffix=suffix_of(document))
        try:
            publish.commit(outputs, {})
            return tuple(output.path for output in outputs)
        except (publish.NameTaken, FileNotFoundError):
            continue  # a daemon that watches the folder may have taken our temporary files for leftovers
        finally:
            publish.discard(outputs)
    raise OutputBlocked(f"another program takes our files away from {os.fsdecode(os.path.dirname(target))}")


def options_for(config: Config, overrides: Mapping[str, object]) -> JobOptions:
    """The configured options with what was typed on top. Raises ConfigError."""
    try:
        return OptionsConfig.model_validate({**config.options.model_dump(), **overrides}).job_options()
    except ValidationError as error:
        detail = error.errors()[0]
        raise ConfigError(f"{detail['loc'][0]} = {detail['input']!r}: {rule_of(detail)}") from None
