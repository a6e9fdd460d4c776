"""What a CTranslate2 model can have and a `Transformer` cannot, and damaged files: refused in one line."""

from __future__ import annotations

import json
import random
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from allyouneed import UserError
from allyouneed.exchange.ctranslate2.importer import read_bundle, read_ctranslate2
from allyouneed.exchange.ctranslate2.model_file import map_folder
from allyouneed.exchange.reading.segmenter_files import read_segmenters
from tests.exchange.ctranslate2_models import D_MODEL, HEADS, save, write_model

pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")
from ctranslate2 import specs
from ctranslate2.specs import whisper_spec


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ctranslate2") / "model"
    write_model(folder, "int8", table="paper", tied=True)
    return folder


@pytest.fixture
def folder(stored, tmp_path) -> Path:
    copied = tmp_path / "model"
    copied.mkdir()
    for path in stored.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    return copied


CODES = ("de", "en")


def refusal(folder: Path, languages: tuple[str, str] | None = CODES) -> str:
    with pytest.raises(UserError) as caught:
        read_ctranslate2([folder], languages)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    assert len(message) < 500
    return message


def filled(spec):
    """Fill what a specification requires with zeros of any shape."""
    for name, value in list(spec.__dict__.items()):
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, specs.model_spec.LayerSpec):
                filled(part)
        if value is None:
            setattr(spec, name, np.zeros((3 * D_MODEL, D_MODEL) if name == "weight" else D_MODEL, np.float32))
    return spec


PARTS = {
    "relative positions": {"relative_position": True},
    "relative attention biases": {"relative_attention_bias": True},
    "a gated feed-forward network": {"ffn_glu": True},
    "RMS norms": {"rms_norm": True},
    "multi-query": {"multi_query_attention": True},
    "rotary positions": {"rotary_dim": 0},
    "norms of queries": {"qk_norm": True},
    "parallel residuals or norms around": {"pre_post_layer_norm": True},
    "sliding window": {"sliding_window": 4},
    "several features": {"num_source_embeddings": 2},
}
DECODER_PARTS = {
    "linear biases": {"alibi": True},
    "projections between": {"project_in_out": True},
    "merged self- and cross-attention": {"merged_encoder_attention": True},
}


@pytest.mark.parametrize("part", [*PARTS, *DECODER_PARTS])
def test_parts_that_the_transformer_does_not_have(part, tmp_path):
    encoder = specs.TransformerEncoderSpec(1, HEADS, **PARTS.get(part, {}))
    spec = filled(specs.TransformerSpec(encoder, specs.TransformerDecoderSpec(1, HEADS, **DECODER_PARTS.get(part, {}))))
    for _ in encoder.embeddings:
        spec.register_source_vocabulary(["<unk>"] * 3 * D_MODEL)
    spec.register_target_vocabulary(["<unk>"] * 3 * D_MODEL)
    save(spec, tmp_path / "model")
    (tmp_path / "model" / "sentencepiece.model").write_bytes(_segmenter())
    assert part in refusal(tmp_path / "model")


def _segmenter() -> bytes:
    from tests.exchange.models import random_bundle

    return random_bundle().tokenizer.model


def test_other_models(folder):
    for spec, kind in (
        (specs.TransformerDecoderModelSpec.from_config(1, HEADS), "a language model"),
        (whisper_spec.WhisperSpec(1, HEADS, 1, HEADS), "a speech recogniser"),
    ):
        content = struct.pack("<I", 6) + _string(spec.name) + struct.pack("<III", spec.revision, 0, 0)
        (folder / "model.bin").write_bytes(content)
        assert kind in refusal(folder)


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("decoder_start_token", None, "callers have to give"),
        ("decoder_start_token", "<nowhere>", "has no '<nowhere>'"),
        ("decoder_start_token", 7, "should be a valid string"),
        ("eos_token", "<unk>", "are both"),
        ("add_source_bos", True, "begin with a start token"),
        ("add_source_eos", "no", "should be a valid boolean"),
        ("unk_token", "\ud800", "not valid JSON"),
        ("eos_token", {}, "should be a valid string"),
        ("layer_norm_epsilon", -1, "greater than 0"),
        ("layer_norm_epsilon", "1", "should be a valid number"),
        ("quantization_type", 1, "only int8, int16"),
    ],
)
def test_settings(setting, value, message, folder):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, setting: value}))
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "[" * 100_000, "not valid JSON"),
        ("config.json", "[]", "should be a valid dictionary"),
        ("config.json", "{}", "unk_token: field required"),
        ("config.json", b"\xff", "is not UTF-8"),
        ("shared_vocabulary.json", '["<unk>", "</s>"]', "rows"),
        ("shared_vocabulary.json", '["<unk>", 3]', "1 = 3: input should be a valid string"),
        ("shared_vocabulary.json", '{"<unk>": 3}', "should be a valid list"),
        ("shared_vocabulary.json", '["\\ud800"]', "not valid JSON"),
        ("shared_vocabulary.json", None, "has no source_vocabulary.json"),
        ("model.bin", None, "missing"),
        ("model.bin", b"", "damaged at byte 0"),
        ("sentencepiece.model", b"nothing", "neither a SentencePiece model nor"),
        ("sentencepiece.model", b"", "neither a SentencePiece model nor"),
    ],
)
def test_files(name, content, message, folder):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refusal(folder)


def test_tokens_of_languages(folder):
    tokens = json.loads((folder / "shared_vocabulary.json").read_text())
    tokens[-4:] = ["deu_Latn", "eng_Latn", "kor_Hang", "fra_Latn"]
    (folder / "shared_vocabulary.json").write_text(json.dumps(tokens))
    assert "a multilingual model with 4 tokens" in refusal(folder)


def test_languages_are_required(folder):
    assert "names no languages" in refusal(folder, None)


def _variable(name: str, shape: list[int], content: bytes, kind: int = 0, size: int | None = None) -> bytes:
    head = _string(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return head + struct.pack("<BI", kind, len(content) if size is None else size) + content


def _file(
    *variables: bytes, aliases: bytes = struct.pack("<I", 0), count: int | None = None, version: int = 6
) -> bytes:
    head = struct.pack("<I", version) + _string("TransformerSpec") + struct.pack("<I", 7)
    return head + struct.pack("<I", len(variables) if count is None else count) + b"".join(variables) + aliases


ONE = _variable("a", [1], b"\0\0\0\0")
DAMAGE = {
    "a later version": (_file(version=7), "binary version 7"),
    "version 0": (_file(version=0), "binary version 0"),
    "more variables than bytes": (_file(count=2**32 - 1), "more than the file can have"),
    "a huge variable": (_file(_variable("a", [2**31, 2**31, 4], b"", size=2**32 - 1)), "cannot have"),
    "a variable beyond the end": (_file(_variable("a", [2**30], b"", size=2**32 - 2**2)), "cannot have"),
    "data beyond the end": (_file(_variable("a", [2**29], b"", size=2**31)), "the file has only"),
    "a shape of many dimensions": (_file(_variable("a", [1] * 200, b"")), "dimensions"),
    "an unknown type": (_file(_variable("a", [1], b"\0", kind=77)), "unknown type 77"),
    "a name twice": (_file(ONE, ONE), "occurs twice"),
    "a long name": (_file(_variable("a" * 5000, [1], b"\0\0\0\0")), "a name of 5,001 bytes"),
    "an empty name": (_file(struct.pack("<H", 0) + b"\0" * 40), "a name of 0 bytes"),
    "a name that is no text": (_file(struct.pack("<H", 3) + b"\xff\xfe\0" + b"\0" * 9), "not UTF-8"),
    "an alias of nothing": (
        _file(ONE, aliases=struct.pack("<I", 1) + _string("b") + _string("c")),
        "cannot be an alias",
    ),
    "an alias of itself": (
        _file(ONE, aliases=struct.pack("<I", 1) + _string("a") + _string("a")),
        "cannot be an alias",
    ),
    "bytes at the end": (_file(ONE) + b"rest", "4 bytes follow"),
    "nothing of a model": (_file(ONE), "has no variable encoder/embeddings_0/weight"),
    "an unknown variable": (None, "unknown/variable and possibly other variables are unknown"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_weights(damage, folder):
    content, message = DAMAGE[damage]
    if content is None:
        content = _with_variable((folder / "model.bin").read_bytes(), _variable("unknown/variable", [1], b"\0\0\0\0"))
    (folder / "model.bin").write_bytes(content)
    assert message in refusal(folder)


def _with_variable(content: bytes, variable: bytes) -> bytes:
    start = 4 + len(_string("TransformerSpec")) + 4
    [count] = struct.unpack_from("<I", content, start)
    return content[:start] + struct.pack("<I", count + 1) + variable + content[start + 4 :]


def test_values_that_are_not_finite(folder):
    content = bytearray((folder / "model.bin").read_bytes())
    name = _string("encoder/layer_0/ffn/layer_norm/beta")
    start = content.index(name) + len(name) + 10  # number of dimensions, one dimension, type and size
    content[start : start + 8] = struct.pack("<2f", float("nan"), float("inf"))
    (folder / "model.bin").write_bytes(content)
    assert "contains infinite values or NaN" in refusal(folder)


def test_random_damage_is_refused_or_harmless(stored):
    rng, folder, segmenters = random.Random(3), map_folder(stored), read_segmenters([stored / "sentencepiece.model"])
    for _ in range(100):
        name = rng.choice(["model.bin", "model.bin", "config.json", "shared_vocabulary.json"])
        content = bytearray(folder.files[name])
        for _ in range(rng.choice([1, 2, 20])):
            at = rng.randrange(len(content) if rng.random() < 0.5 else 300)
            content[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(5))
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        with suppress(UserError):
            read_bundle(folder._replace(files={**folder.files, name: memoryview(bytes(content))}), segmenters, CODES)
