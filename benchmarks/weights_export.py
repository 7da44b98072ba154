"""A CTranslate2 Whisper model in the forms that whisper.cpp (ggml) and openai-whisper (.pt) read: the same weights.

    python -m benchmarks.weights_export MODEL_FOLDER OUT.ggml|OUT.pt

Peers are then compared on what they do with the weights, not on which weights they have. A float16 model keeps every
bit; of an int8 one, the weights that CTranslate2 would compute with are written as float16.
"""

from __future__ import annotations

import importlib
import json
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Wave = npt.NDArray[np.float64]

_DTYPES: Final = ("float32", "int8", "int16", "int32", "float16", "bfloat16")  # by their number in model.bin
_ALIASES_SINCE: Final = 3  # of the binary format
_GGML_MAGIC: Final = 0x67676D6C
_GGML_F32: Final = 0
_GGML_F16: Final = 1
_N_FFT: Final = 400
_RATE_HZ: Final = 16_000
_N_TEXT_TOKENS: Final = 50_257  # of the multilingual vocabulary; what follows are special tokens


class NotAWhisperModelError(Exception):
    """Raised when a file is not a CTranslate2 Whisper model of a format that we know."""


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The shape of a Whisper model, in openai-whisper's names and in the order of a ggml header."""

    n_vocab: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int
    n_mels: int


def read_model(path: Path) -> dict[str, Array]:
    """Every variable of a CTranslate2 ``model.bin`` by name, aliases too; quantized ones as float16.

    Raises NotAWhisperModelError.
    """
    with path.open("rb") as file:
        (version,) = _unpack(file, "I")
        spec = _string(file)
        if spec != "WhisperSpec" or version < _ALIASES_SINCE:
            raise NotAWhisperModelError(f"{path} holds {spec!r} in format {version}, not a Whisper model of 3 on")
        _unpack(file, "I")  # the revision of the specification
        (n_variables,) = _unpack(file, "I")
        variables = dict(_variable(file) for _ in range(n_variables))
        (n_aliases,) = _unpack(file, "I")
        aliases = [(_string(file), _string(file)) for _ in range(n_aliases)]
    for alias, target in aliases:
        for suffix in ("", "_scale"):
            if target + suffix in variables:
                variables[alias + suffix] = variables[target + suffix]
    return {name: _plain(name, variables) for name in variables if not name.endswith("_scale")}


def dimensions(variables: Mapping[str, Array]) -> Dimensions:
    """The shape of the model that these variables make."""
    audio_ctx, audio_state = variables["encoder/position_encodings/encodings"].shape
    text_ctx, text_state = variables["decoder/position_encodings/encodings"].shape
    return Dimensions(
        n_vocab=variables["decoder/embeddings/weight"].shape[0],
        n_audio_ctx=audio_ctx,
        n_audio_state=audio_state,
        n_audio_head=int(variables["encoder/num_heads"]),
        n_audio_layer=_n_layers(variables, "encoder"),
        n_text_ctx=text_ctx,
        n_text_state=text_state,
        n_text_head=int(variables["decoder/num_heads"]),
        n_text_layer=_n_layers(variables, "decoder"),
        n_mels=variables["encoder/conv1/weight"].shape[1],
    )


def openai_tensors(variables: Mapping[str, Array]) -> dict[str, Array]:
    """The weights under openai-whisper's names. CTranslate2 fuses projections; here they are apart again."""
    return dict(_tensors(variables))


def mel_filters(n_mels: int) -> npt.NDArray[np.float32]:
    """Whisper's mel filter bank, (n_mels, 201): Slaney's scale and area normalisation, 0 to 8 kHz."""
    # Slaney's scale: linear up to 1 kHz in steps of 200/3 Hz, then 27 steps for each factor of 6.4 (Auditory Toolbox).
    log_step = np.log(6.4) / 27.0
    highest = 15.0 + np.log(_RATE_HZ / 2 / 1000.0) / log_step
    mels: Wave = np.linspace(0.0, float(highest), n_mels + 2, dtype=np.float64)
    edges_hz: Wave = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * np.exp(log_step * (mels - 15.0)))
    bins_hz: Wave = np.arange(_N_FFT // 2 + 1) * _RATE_HZ / _N_FFT
    lower: Wave = edges_hz[:-2, None]
    centre: Wave = edges_hz[1:-1, None]
    upper: Wave = edges_hz[2:, None]
    triangles: Wave = np.maximum(
        0.0, np.minimum((bins_hz - lower) / (centre - lower), (upper - bins_hz) / (upper - centre))
    )
    filters: npt.NDArray[np.float32] = (triangles * 2.0 / (upper - lower)).astype(np.float32)
    return filters


def text_tokens(tokenizer_json: Path) -> list[bytes]:
    """The bytes of each text token, in order of number."""
    vocabulary: dict[str, int] = json.loads(tokenizer_json.read_text("utf-8"))["model"]["vocab"]
    byte_of = _byte_of_character()
    by_number = {number: text for text, number in vocabulary.items() if number < _N_TEXT_TOKENS}
    return [bytes(byte_of[character] for character in by_number[number]) for number in sorted(by_number)]


def write_ggml(shape: Dimensions, tensors: Mapping[str, Array], tokens: list[bytes], path: Path) -> None:
    """The model as whisper.cpp reads it: matrices as float16, vectors and positions as float32."""
    filters = mel_filters(shape.n_mels)
    with path.open("wb") as file:
        file.write(struct.pack("<I10i", _GGML_MAGIC, *asdict(shape).values()))
        file.write(struct.pack("<i", _GGML_F16))
        file.write(struct.pack("<2i", *filters.shape) + filters.astype("<f4").tobytes())
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for name, tensor in tensors.items():
            _write_ggml_tensor(file, name, tensor)


def write_openai(shape: Dimensions, tensors: Mapping[str, Array], path: Path) -> None:
    """The model as ``whisper.load_model`` reads it. Needs torch."""
    torch: Any = importlib.import_module("torch")
    state = {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}
    torch.save({"dims": asdict(shape), "model_state_dict": state}, path)


def export(model: Path, path: Path) -> None:
    """The CTranslate2 model in the folder *model* at *path*: openai-whisper's form for ``.pt``, else ggml."""
    variables = read_model(model / "model.bin")
    shape, tensors = dimensions(variables), openai_tensors(variables)
    if path.suffix == ".pt":
        write_openai(shape, tensors, path)
    else:
        write_ggml(shape, tensors, text_tokens(model / "tokenizer.json"), path)


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    size = struct.calcsize("<" + form)
    data = file.read(size)
    if len(data) != size:
        raise NotAWhisperModelError(f"the model file ends at byte {file.tell()}, in the middle")
    return struct.unpack("<" + form, data)


def _string(file: BinaryIO) -> str:
    (n_bytes,) = _unpack(file, "H")
    (data,) = _unpack(file, f"{n_bytes}s")
    return bytes(data).rstrip(b"\0").decode("utf-8", "replace")


def _variable(file: BinaryIO) -> tuple[str, Array]:
    name = _string(file)
    (rank,) = _unpack(file, "B")
    shape = _unpack(file, f"{rank}I")
    number, n_bytes = _unpack(file, "BI")
    (data,) = _unpack(file, f"{n_bytes}s")
    dtype = _DTYPES[int(number)]
    if dtype == "bfloat16":  # the upper half of a float32; NumPy has no such type
        return name, (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    values: Array = np.frombuffer(data, dtype)  # little-endian, like every machine that we run on
    return name, values.reshape(shape)


def _plain(name: str, variables: Mapping[str, Array]) -> Array:
    """The variable, or what it stands for if it is quantized: value = stored / scale of its row."""
    stored, scale = variables[name], variables.get(name + "_scale")
    if scale is None or stored.dtype.kind != "i":
        return stored
    rows = scale.astype(np.float32).reshape(-1, *[1] * (stored.ndim - 1))
    return (stored.astype(np.float32) / rows).astype(np.float16)


def _n_layers(variables: Mapping[str, Array], side: str) -> int:
    return len({name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_") and name.count("/") > 2})


def _tensors(variables: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    for convolution in ("conv1", "conv2"):
        yield from _linear(variables, f"encoder.{convolution}", f"encoder/{convolution}")
    yield "decoder.token_embedding.weight", variables["decoder/embeddings/weight"]
    for side, last_norm in (("encoder", "ln_post"), ("decoder", "ln")):
        yield f"{side}.positional_embedding", variables[f"{side}/position_encodings/encodings"]
        for n in range(_n_layers(variables, side)):
            yield from _layer(variables, f"{side}.blocks.{n}", f"{side}/layer_{n}")
        yield from _norm(variables, f"{side}.{last_norm}", f"{side}/layer_norm")


def _layer(variables: Mapping[str, Array], name: str, source: str) -> Iterator[tuple[str, Array]]:
    """One block: attention to itself, in the decoder also to the audio, then the feed-forward network."""
    yield from _attention(variables, f"{name}.attn", f"{source}/self_attention", "linear_1", ("linear_0",))
    yield from _norm(variables, f"{name}.attn_ln", f"{source}/self_attention/layer_norm")
    if f"{source}/attention/linear_0/weight" in variables:
        fused = ("linear_0", "linear_1")
        yield from _attention(variables, f"{name}.cross_attn", f"{source}/attention", "linear_2", fused)
        yield from _norm(variables, f"{name}.cross_attn_ln", f"{source}/attention/layer_norm")
    yield from _linear(variables, f"{name}.mlp.0", f"{source}/ffn/linear_0")
    yield from _linear(variables, f"{name}.mlp.2", f"{source}/ffn/linear_1")
    yield from _norm(variables, f"{name}.mlp_ln", f"{source}/ffn/layer_norm")


def _attention(
    variables: Mapping[str, Array], name: str, source: str, out: str, fused: tuple[str, ...]
) -> Iterator[tuple[str, Array]]:
    """Query, key and value lie one below the other in *fused*. Whisper's key has no bias (it would cancel out)."""
    weights = np.split(np.concatenate([variables[f"{source}/{part}/weight"] for part in fused]), 3)
    biases = np.split(np.concatenate([variables[f"{source}/{part}/bias"] for part in fused]), 3)
    for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
        yield f"{name}.{part}.weight", weight
        if part != "key":
            yield f"{name}.{part}.bias", bias
    yield from _linear(variables, f"{name}.out", f"{source}/{out}")


def _linear(variables: Mapping[str, Array], name: str, source: str) -> Iterator[tuple[str, Array]]:
    yield f"{name}.weight", variables[f"{source}/weight"]
    yield f"{name}.bias", variables[f"{source}/bias"]


def _norm(variables: Mapping[str, Array], name: str, source: str) -> Iterator[tuple[str, Array]]:
    yield f"{name}.weight", variables[f"{source}/gamma"]
    yield f"{name}.bias", variables[f"{source}/beta"]


def _byte_of_character() -> dict[str, int]:
    """GPT-2's spelling of bytes: printable ones stand for themselves, the others for characters from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _write_ggml_tensor(file: BinaryIO, name: str, tensor: Array) -> None:
    if name.startswith("encoder.conv") and tensor.ndim == 1:
        tensor = tensor.reshape(-1, 1)  # whisper.cpp adds it to (channels, frames)
        kind = _GGML_F32
    else:
        kind = _GGML_F32 if tensor.ndim == 1 or name.endswith("positional_embedding") else _GGML_F16
    encoded = name.encode()
    file.write(struct.pack("<3i", tensor.ndim, len(encoded), kind))
    file.write(struct.pack(f"<{tensor.ndim}i", *reversed(tensor.shape)) + encoded)
    file.write(np.ascontiguousarray(tensor, "<f2" if kind == _GGML_F16 else "<f4").tobytes())


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
