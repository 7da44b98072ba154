"""How likely each stretch of 32 ms is speech: Silero VAD v6 through onnxruntime, the only door to it."""

from __future__ import annotations

import importlib.util
import os
from typing import Any, Final, Protocol, cast

import numpy as np
import numpy.typing as npt

from daemon.decode.spans import FRAME_SAMPLES

_CONTEXT_SAMPLES: Final = 64
"""The model sees the end of the frame before beside each frame (snakers4/silero-vad)."""

_STATE_SHAPE: Final = (1, 1, 128)

_Float = npt.NDArray[np.float32]


class Session(Protocol):
    """What we use of onnxruntime.InferenceSession, which has no types."""

    def run(self, output_names: None, input_feed: dict[str, _Float]) -> list[_Float]:
        """Every output of the model."""
        ...


def _model_path() -> str:
    """The model file in the faster_whisper wheel, found without importing faster_whisper (and CTranslate2 with it)."""
    spec = importlib.util.find_spec("faster_whisper")
    if spec is None or spec.origin is None:
        raise RuntimeError(
            "the Silero VAD model is missing: the faster-whisper package, which carries it, is not installed"
        )
    return os.path.join(os.path.dirname(spec.origin), "assets", "silero_vad_v6.onnx")


def load() -> Session:
    """The model, ready to run, on one thread."""
    # Since 1.29 ONNX Runtime tells Microsoft when it is used and keeps a database of that in the home folder. It looks
    # at this once, when it is loaded.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none

    options = cast(Any, onnxruntime).SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the largest block that it ever saw
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(_model_path(), sess_options=options, providers=["CPUExecutionProvider"])
    return cast(Session, session)


class SpeechMeter:
    """Probabilities of speech of one recording, fed in blocks of any size; the same as if fed at once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._h = np.zeros(_STATE_SHAPE, np.float32)
        self._c = np.zeros(_STATE_SHAPE, np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, np.float32)
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: npt.NDArray[np.int16]) -> list[float]:
        """One probability for each whole frame of FRAME_SAMPLES that is complete now. *samples*: shape (n,)."""
        waiting = np.concatenate((self._rest, samples.astype(np.float32) / 32768.0))
        n_whole = len(waiting) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = waiting[n_whole:]
        return self._run(waiting[:n_whole]) if n_whole else []

    def finish(self) -> list[float]:
        """The probability of what is left, filled up with silence."""
        frame = np.zeros(FRAME_SAMPLES, np.float32)
        frame[: len(self._rest)] = self._rest
        self._rest = self._rest[:0]
        return self._run(frame)

    def _run(self, samples: _Float) -> list[float]:
        frames = samples.reshape(-1, FRAME_SAMPLES)
        contexts = np.empty((len(frames), _CONTEXT_SAMPLES), np.float32)
        contexts[0] = self._context
        contexts[1:] = frames[:-1, -_CONTEXT_SAMPLES:]
        self._context = frames[-1, -_CONTEXT_SAMPLES:].copy()
        inputs = {"input": np.concatenate((contexts, frames), axis=1), "h": self._h, "c": self._c}
        output, self._h, self._c = self._session.run(None, inputs)
        return output.reshape(-1).tolist()
