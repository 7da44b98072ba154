"""The one door to faster-whisper and CTranslate2: a loaded model, its features and its tokens, with types.

Owns how a model is put on a device; knows nothing of jobs, windows or files to verify. Imported by the engine process
only.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import ctranslate2  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # ships no py.typed
import faster_whisper  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # nor this
import numpy as np
import numpy.typing as npt
from faster_whisper import tokenizer as whisper_tokens  # pyright: ignore[reportMissingTypeStubs]

from daemon.errors import ConfigError

Samples = npt.NDArray[np.float32]
"""Mono audio at 16 kHz in [-1, 1], shape (n_samples,)."""

Mel = npt.NDArray[np.float32]
"""Log-mel features, shape (n_mels, n_frames), 100 frames a second."""

Encoded = npt.NDArray[np.generic]
"""What the encoder made of one window, in the host's memory, shape (1, n_frames / 2, model width)."""

# Neither ships types that can be relied on: everything that leaves this module is given its type here.
_ct2: Any = ctranslate2
_fw: Any = faster_whisper
_tokens: Any = whisper_tokens

_PREFERRED: dict[str, tuple[str, ...]] = {
    # int8 weights halve the memory traffic that bounds decoding; the second part is what the rest is computed in.
    "cpu": ("int8", "int8_float32", "float32"),
    "cuda": ("int8_float16", "float16", "int8_float32", "float32"),
}


class Generated(Protocol):
    """What CTranslate2 says about one item of a batch; the first hypothesis is the best."""

    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float


class Aligned(Protocol):
    """Which token belongs to which 20 ms step of one window."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


class Whisper(Protocol):
    """What we use of ``ctranslate2.models.Whisper``."""

    device: str
    compute_type: str
    is_multilingual: bool

    def encode(self, features: object, to_cpu: bool = False) -> object:
        """The encoder's output for features of shape (n_items, n_mels, n_frames)."""
        ...

    def generate(self, features: object, prompts: Sequence[Sequence[int]], **options: Any) -> list[Generated]:
        """Texts for a batch, encoded or not; the prompts must be of one length."""
        ...

    def detect_language(self, features: object) -> list[list[tuple[str, float]]]:
        """For each item, language tokens (``<|en|>``) and their probabilities, the best first."""
        ...

    def align(
        self, features: object, start: Sequence[int], texts: Sequence[Sequence[int]], num_frames: int | Sequence[int]
    ) -> list[Aligned]:
        """For each item, where its text tokens are spoken."""
        ...


class Tokenizer(Protocol):
    """What we use of faster-whisper's tokenizer: one language, one task, never changed after it was made."""

    eot: int
    sot: int
    sot_prev: int
    sot_lm: int
    no_speech: int
    no_timestamps: int
    transcribe: int
    translate: int
    timestamp_begin: int
    sot_sequence: list[int]
    non_speech_tokens: tuple[int, ...]

    def encode(self, text: str) -> list[int]:
        """The tokens of *text*."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of *tokens*, special ones left out."""
        ...

    def split_to_word_tokens(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Words and marks, and the tokens of each; an incomplete character at the end is left out."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    """A model on its device. All of it may be used by many threads at once."""

    whisper: Whisper
    features: Callable[[Samples], Mel]
    tokenizer: Callable[[str, str], Tokenizer]  # of (language, task)
    languages: frozenset[str]


def load(path: Path, device: str, compute_type: str, n_replicas: int, n_threads: int) -> Model:
    """The model in the folder *path* on *device* (``cpu``, ``cuda`` or ``cuda:N``).

    *n_replicas* calls run at once on the same weights, each with *n_threads* CPU threads. Raises ConfigError for a
    compute type that the device does not support, RuntimeError as CTranslate2 does.
    """
    kind, _, index = device.partition(":")
    if kind == "cuda":
        _preload_cublas()
    loaded: Any = _fw.WhisperModel(
        str(path),
        device=kind,
        device_index=int(index or 0),
        compute_type=choose_compute_type(compute_type, kind, int(index or 0)),
        cpu_threads=n_threads,
        num_workers=n_replicas,
        local_files_only=True,
    )

    def features(samples: Samples) -> Mel:
        # padding=0: the caller pads.
        return cast("Mel", loaded.feature_extractor(samples, padding=0))

    def tokenizer(language: str, task: str) -> Tokenizer:
        made = _tokens.Tokenizer(loaded.hf_tokenizer, loaded.model.is_multilingual, task, language)
        return cast("Tokenizer", made)

    return Model(cast("Whisper", loaded.model), features, tokenizer, frozenset(loaded.supported_languages))


def to_storage(array: npt.NDArray[np.generic]) -> object:
    """*array* as CTranslate2 takes it; it shares the memory."""
    return _ct2.StorageView.from_array(np.ascontiguousarray(array))


def to_array(encoded: object) -> npt.NDArray[np.generic]:
    """What was encoded with ``to_cpu=True``, as an array."""
    return np.array(encoded)


def choose_device(wanted: str) -> str:
    """``auto`` resolved: the first CUDA device where there is one. Raises ConfigError for one that is not there."""
    n_cuda = _ct2.get_cuda_device_count()
    if wanted == "auto":
        return "cuda" if n_cuda else "cpu"
    kind, _, index = wanted.partition(":")
    if kind not in _PREFERRED or (index and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(f"device {wanted!r} is not known: use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= n_cuda:
        raise ConfigError(
            f"device {wanted!r} is not there: CTranslate2 sees {n_cuda} CUDA device(s). "
            "Check nvidia-smi and the driver, or set device = 'cpu' (or 'auto')"
        )
    return wanted


def choose_compute_type(wanted: str, kind: str, index: int = 0) -> str:
    """``auto`` resolved to the best type that the device supports. Raises ConfigError for one that it does not."""
    supported = supported_compute_types(kind, index)
    if wanted == "auto":
        return next((name for name in _PREFERRED[kind] if name in supported), "default")
    if wanted not in supported:
        raise ConfigError(
            f"compute type {wanted!r} is not supported on {kind}; supported there: {', '.join(sorted(supported))}"
        )
    return wanted


def supported_compute_types(kind: str, index: int = 0) -> set[str]:
    """The compute types that CTranslate2 supports on ``cpu`` or ``cuda``."""
    return set(_ct2.get_supported_compute_types(kind, index))


def n_cuda_devices() -> int:
    """How many CUDA devices CTranslate2 sees."""
    return int(_ct2.get_cuda_device_count())


def version() -> str:
    """The version of CTranslate2."""
    return str(_ct2.__version__)


def known_models() -> list[str]:
    """The model names that faster-whisper resolves by itself."""
    return list(_fw.available_models())


def fetch(name: str, models_dir: Path, *, allow_download: bool) -> Path:
    """The folder of the hub model *name*, from the cache under *models_dir* or, if allowed, from the hub.

    Raises OSError or ValueError (the hub's own errors are of these kinds) when it cannot be had.
    """
    return Path(_fw.download_model(name, cache_dir=str(models_dir / "hub"), local_files_only=not allow_download))


def _preload_cublas() -> None:
    """CTranslate2 opens libcublas.so.12 by name; the wheel of the ``cuda`` extra is on no library path.

    A library already loaded under that name is found, so we load it from the wheel where there is one.
    """
    try:
        spec = importlib.util.find_spec("nvidia.cublas")
    except ModuleNotFoundError:
        return  # a system-wide CUDA, then
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for name in ("libcublasLt.so.12", "libcublas.so.12"):  # the second needs the first
            path = os.path.join(folder, "lib", name)
            if os.path.exists(path):
                ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
