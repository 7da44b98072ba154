"""A tiny CTranslate2 model in the forms of the peers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import weights_export as export

D, V, CTX = 4, 9, 6
DTYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def string(text: str) -> bytes:
    """As CTranslate2 writes it."""
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def write_model(path: Path, variables: Mapping[str, npt.NDArray[Any]], aliases: Mapping[str, str]) -> None:
    """A model.bin of format 6."""
    parts = [struct.pack("<I", 6), string("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, values in variables.items():
        shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        parts += [string(name), shape, struct.pack("<BI", DTYPES[str(values.dtype)], values.nbytes), values.tobytes()]
    parts.append(struct.pack("<I", len(aliases)))
    parts += [string(alias) + string(target) for alias, target in aliases.items()]
    path.write_bytes(b"".join(parts))


def tiny() -> dict[str, npt.NDArray[Any]]:
    """One layer on each side, every value different."""
    count = iter(range(1, 10_000))

    def make(*shape: int) -> npt.NDArray[np.float16]:
        n = int(np.prod(shape))
        return np.array([next(count) / 16 for _ in range(n)], np.float16).reshape(shape)

    made: dict[str, npt.NDArray[Any]] = {
        "encoder/num_heads": np.array(2, np.int16),
        "decoder/num_heads": np.array(2, np.int16),
        "decoder/embeddings/weight": make(V, D),
    }
    for convolution, n_in in (("conv1", 80), ("conv2", D)):
        made |= {f"encoder/{convolution}/weight": make(D, n_in, 3), f"encoder/{convolution}/bias": make(D)}
    for side in ("encoder", "decoder"):
        made[f"{side}/position_encodings/encodings"] = make(CTX, D)
        made |= {f"{side}/layer_norm/gamma": make(D), f"{side}/layer_norm/beta": make(D)}
        layer = f"{side}/layer_0"
        kinds: dict[str, tuple[int, ...]] = {f"{layer}/self_attention": (3 * D, D)}
        if side == "decoder":
            kinds[f"{layer}/attention"] = (D, 2 * D, D)
        for source, rows in kinds.items():
            for n, n_rows in enumerate(rows):
                made |= {f"{source}/linear_{n}/weight": make(n_rows, D), f"{source}/linear_{n}/bias": make(n_rows)}
            made |= {f"{source}/layer_norm/gamma": make(D), f"{source}/layer_norm/beta": make(D)}
        for n, (n_rows, n_in) in enumerate(((4 * D, D), (D, 4 * D))):
            made |= {f"{layer}/ffn/linear_{n}/weight": make(n_rows, n_in), f"{layer}/ffn/linear_{n}/bias": make(n_rows)}
        made |= {f"{layer}/ffn/layer_norm/gamma": make(D), f"{layer}/ffn/layer_norm/beta": make(D)}
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a tiny model and a tokenizer."""
    write_model(tmp_path / "model.bin", tiny(), {"decoder/projection/weight": "decoder/embeddings/weight"})
    vocabulary = {"!": 0, "\u0120a": 1, "\u0100": 2, "special": 50257}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    return tmp_path


def test_model_is_read_back_with_its_aliases(model: Path) -> None:
    """Every variable has its values; an alias has those of its target."""
    read = export.read_model(model / "model.bin")
    for name, values in tiny().items():
        assert np.array_equal(read[name], values)
    assert np.array_equal(read["decoder/projection/weight"], read["decoder/embeddings/weight"])


def test_quantized_rows_are_divided_by_their_scale(tmp_path: Path) -> None:
    """int8 weights come back as what they stand for, and the scales are gone."""
    stored: dict[str, npt.NDArray[Any]] = {
        "w": np.array([[2, 4], [3, -3]], np.int8),
        "w_scale": np.array([2.0, 3.0], np.float32),
    }
    write_model(tmp_path / "model.bin", stored, {})
    read = export.read_model(tmp_path / "model.bin")
    assert read.keys() == {"w"}
    assert read["w"].tolist() == [[1.0, 2.0], [1.0, -1.0]]


def test_shape_is_found_from_the_weights(model: Path) -> None:
    """No configuration file is asked."""
    shape = export.dimensions(export.read_model(model / "model.bin"))
    assert shape == export.Dimensions(V, CTX, D, 2, 1, CTX, D, 2, 1, 80)


def test_fused_projections_are_apart_under_openai_names(model: Path) -> None:
    """Query, key and value in this order; the key has no bias; cross attention is only in the decoder."""
    given = tiny()
    made = export.openai_tensors(export.read_model(model / "model.bin"))
    fused = given["encoder/layer_0/self_attention/linear_0/weight"]
    for n, part in enumerate(("query", "key", "value")):
        assert np.array_equal(made[f"encoder.blocks.0.attn.{part}.weight"], fused[n * D : (n + 1) * D])
    keys = given["decoder/layer_0/attention/linear_1/weight"]
    assert np.array_equal(made["decoder.blocks.0.cross_attn.key.weight"], keys[:D])
    assert np.array_equal(made["decoder.blocks.0.cross_attn.value.weight"], keys[D:])
    assert "decoder.blocks.0.cross_attn.key.bias" not in made
    assert "encoder.blocks.0.cross_attn.query.weight" not in made
    assert np.array_equal(made["encoder.ln_post.weight"], given["encoder/layer_norm/gamma"])
    assert np.array_equal(made["decoder.blocks.0.mlp.2.bias"], given["decoder/layer_0/ffn/linear_1/bias"])


def test_every_weight_goes_into_the_export_once(model: Path) -> None:
    """As many numbers leave as came in, but for the key's biases and the counts of heads."""
    given = tiny()
    made = export.openai_tensors(export.read_model(model / "model.bin"))
    n_given = sum(values.size for name, values in given.items() if not name.endswith("num_heads"))
    assert sum(values.size for values in made.values()) == n_given - 3 * D


def test_ggml_file_has_header_tokens_and_tensors(model: Path, tmp_path: Path) -> None:
    """Read as whisper.cpp reads it: magic, sizes, filters, tokens, then tensors to the last byte."""
    path = tmp_path / "out.ggml"
    export.export(model, path)
    data = path.read_bytes()
    assert struct.unpack_from("<I10ii", data) == (0x67676D6C, V, CTX, D, 2, 1, CTX, D, 2, 1, 80, 1)
    assert struct.unpack_from("<2i", data, 48) == (80, 201)
    at = 56 + 80 * 201 * 4
    (n_tokens,) = struct.unpack_from("<i", data, at)
    at += 4
    tokens: list[bytes] = []
    for _ in range(n_tokens):
        (n_bytes,) = struct.unpack_from("<i", data, at)
        tokens.append(data[at + 4 : at + 4 + n_bytes])
        at += 4 + n_bytes
    assert tokens == [b"!", b" a", b"\0"]
    found: dict[str, tuple[tuple[int, ...], int]] = {}
    while at < len(data):
        rank, n_name, kind = struct.unpack_from("<3i", data, at)
        shape = struct.unpack_from(f"<{rank}i", data, at + 12)
        at += 12 + 4 * rank
        found[data[at : at + n_name].decode()] = (shape, kind)
        at += n_name + int(np.prod(shape)) * (2 if kind else 4)
    assert at == len(data)
    assert found["encoder.conv1.weight"] == ((3, 80, D), 1)
    assert found["encoder.conv1.bias"] == ((1, D), 0)
    assert found["decoder.positional_embedding"] == ((D, CTX), 0)
    assert found["decoder.token_embedding.weight"] == ((D, V), 1)


def test_mel_filters_are_triangles_over_the_whole_band() -> None:
    """Each filter is heard somewhere, and its neighbours overlap it; the first bins are those of Slaney's scale."""
    filters = export.mel_filters(80)
    assert filters.shape == (80, 201)
    assert (filters.max(axis=1) > 0).all()
    assert filters[0, 1] == pytest.approx(0.02486259, rel=1e-5)  # librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)


@pytest.mark.parametrize("n_bytes", [3, 40, 200])
def test_a_file_that_ends_early_is_refused(model: Path, n_bytes: int) -> None:
    """A truncated model is an error that says so, not a model with fewer weights."""
    path = model / "model.bin"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(export.NotAWhisperModelError):
        export.read_model(path)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    """A translation model has the same format and another specification."""
    (tmp_path / "model.bin").write_bytes(struct.pack("<I", 6) + string("TransformerSpec") + bytes(8))
    with pytest.raises(export.NotAWhisperModelError, match="TransformerSpec"):
        export.read_model(tmp_path / "model.bin")
