"""Files that come from somebody else are read with limits."""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from allyouneed.bundle import build_model, load_bundle
from allyouneed.config import load_recipe
from allyouneed.data.tokens.sentencepiece_model import PieceKind, read_model
from allyouneed.data.tokens.tokenizer import load_tokenizer
from allyouneed.data.tokens.vocabulary import load_tokenizers
from allyouneed.errors import UserError
from allyouneed.exchange import describe_model, import_bundle, verify_checksums
from allyouneed.exchange.reading.yaml_text import read_yaml
from allyouneed.files import check_folder, read_tensors, tensor_bytes
from allyouneed.suggest import did_you_mean
from allyouneed.translation.translator import Translator
from allyouneed.untrusted import count_elements, parse_json, read_regular, read_typed
from tests.compat import POST_NORM
from tests.test_bundle import rewritten, with_facts


@pytest.mark.parametrize("text", ["[" * 900 + "]" * 900, "[" * 100_000, '{"a":' * 60 + "1" + "}" * 60, '["\\ud800"]'])
def test_deep_json_and_text_that_is_not_unicode(text, tmp_path):
    with pytest.raises(ValueError, match=r"nested|surrogates"):
        parse_json(text)
    (tmp_path / "a.json").write_text('{"a": ' + text + "}")
    if "ud800" not in text:
        with pytest.raises(UserError, match=r"a\.json: damaged, or not the expected JSON \(.+\)\. Do this\."):
            read_typed(tmp_path / "a.json", dict[str, Any], "Do this.", any_text=True)
    assert parse_json("[" * 49 + "]" * 49)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "has 'c' twice"),
        ('{"a": [' + "0," * 2_000_001 + "0]}", "has more than 2,000,000 values"),
        (b'{"a": "\xff"}', "can't decode byte"),
        ("1" * 5000, "Exceeds the limit"),
        ('{"a": [1e999]}', "has inf, which is not a number"),
        ('{"a": NaN}', "has nan, which is not a number"),
    ],
)
def test_json_that_is_ambiguous_or_too_large(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


@dataclass
class Inner:
    number: int


class Outer(BaseModel):
    inner: dict[str, list[Inner]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"inner": {"b": [{"number": 1}, {"number": "x"}]}},
            r"inner\.b\.1\.number = 'x': input should be a valid integer",
        ),
        ({"inner": {"b\n": 1}}, r"'inner\.b\\n' = 1: input should be a valid list"),
        ({"inner": {"b": [{}]}}, r"inner\.b\.0\.number: "),
        ({"inner": [1] * 1000}, r"inner = \[1, 1, 1, 1, 1, 1, \.\.\.\]: input should be a valid dictionary"),
        ([], r"content = \[\]: "),
        ({"inner": {"b": [0] * 1001}}, r"1,001 values have another form than expected"),
    ],
)
def test_the_wrong_field_is_named_with_its_path(content, message, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"a\.json: {message}.*\. Do this\.$") as caught:
        read_typed(tmp_path / "a.json", Outer, "Do this.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a." * 400_000 + "a = 1", "[" + "a." * 400_000 + "a]", "x = " + "[" * 100_000])
def test_hostile_recipes(text, tmp_path):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(UserError, match=r"recipe .*own\.toml: (not TOML|cannot be read)"):
        load_recipe(tmp_path / "own.toml")
    (tmp_path / "own.toml").unlink()
    (tmp_path / "own.toml").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"recipe .*own\.toml: cannot be read"):
        load_recipe(tmp_path / "own.toml")


def test_a_file_larger_than_the_memory_is_not_read(tmp_path):
    size = 1 << 42
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with open(tmp_path / "w", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    for function in (count_elements, read_tensors):
        with pytest.raises(UserError, match=r"w: has [\d,]+ bytes, and this machine [\d,]+ bytes of memory"):
            function(tmp_path / "w")
    (tmp_path / "manifest.json").write_text(json.dumps({"sha256": {"w": "0"}}))
    with pytest.raises(UserError, match="bytes of memory"):
        check_folder(tmp_path, (), "Get it again.")


@pytest.mark.parametrize("text", ["- " * 200_000, "a: " + "[" * 400_000, "a: " + "{b: " * 100_000])
def test_deep_yaml(text):
    pytest.importorskip("yaml", reason="the package pyyaml is not installed")
    with pytest.raises(UserError, match=r"config: is not valid YAML \(nested too deeply\)"):
        read_yaml(text, "config")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_and_devices_are_not_read(make, tmp_path):
    make(tmp_path / "config.json")
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(tmp_path / "config.json")
    with pytest.raises(UserError, match=r"config\.json: missing or not readable \(not a regular file\)"):
        read_tensors(tmp_path / "config.json")
    for function in (describe_model, verify_checksums, lambda path: import_bundle("marian", [path], tmp_path / "run")):
        with pytest.raises(UserError, match=r"config\.json: is a pipe or a device"):
            function(tmp_path)


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "vocabulary.json").mkdir()
    with pytest.raises(UserError, match=r"vocabulary\.json: missing or not readable \(is a folder\)"):
        load_tokenizers(tmp_path)


def test_long_names_have_no_suggestion():
    """Comparing them takes quadratic time."""
    assert did_you_mean("d_modell", ["d_model"]) == "; did you mean d_model?"
    assert did_you_mean("d_model" * 1_000_000, ["d_model"] * 100) == "."


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}" + b"\0",
        struct.pack("<Q", 9) + b'{"a":[1]}',
        tensor_bytes({"a": torch.ones(3)})[:-1],
    ],
)
def test_headers_of_tensors_are_compared_with_the_file(content, tmp_path):
    (tmp_path / "w").write_bytes(content)
    for function in (count_elements, read_tensors):
        with pytest.raises(UserError, match="w: not a safetensors file"):
            function(tmp_path / "w")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"longest_source": None}, "longest_source = None: input should be a valid integer"),
        ({"longest_source": -1}, "longest_source = -1: input should be greater than or equal to 1"),
        ({"languages": ["a"]}, r"languages\.1: field required"),
        ({"languages": ["a", "b\n"]}, r"languages\.1 = "),
        ({"config": "x"}, "config = 'x': input should be a valid dictionary"),
        ({"scores": []}, "scores = "),
        ({"directions": [1]}, r"directions\.0 = "),
        ({"numbers_share": 7}, "numbers_share = "),
        ({"notes": {"training pairs": "many"}}, r"notes\.training pairs = 'many': input should be a valid integer"),
    ],
)
def test_facts_of_a_bundle_are_typed(facts, message, tmp_path):
    with pytest.raises(UserError, match=rf"config\.json: {message}.*Download the bundle again"):
        load_bundle(rewritten(tmp_path / "bundle", "config.json", with_facts(**facts)))


def test_sizes_are_compared_before_memory_is_allocated(tmp_path):
    def absurd(content: bytes) -> str:
        facts = json.loads(content)
        facts["config"]["model"] |= {"d_model": 8192, "d_ff": 65_536, "encoder_layers": 10}
        return json.dumps(facts)

    with pytest.raises(UserError, match=r"model\.safetensors: has [\d,]+ numbers, but its settings are of a model of"):
        load_bundle(rewritten(tmp_path / "bundle", "config.json", absurd))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value, tmp_path):
    folder = tmp_path / "bundle"
    tensors = read_tensors(rewritten(folder, "README.md", lambda text: text) / "model.safetensors")
    name = max(tensors)
    tensors[name].view(-1)[3] = value
    with pytest.raises(UserError, match=rf"model\.safetensors: {name} has values that are not finite"):
        load_bundle(rewritten(tmp_path / "changed", "model.safetensors", lambda _: tensor_bytes(tensors)))


@pytest.mark.parametrize("names", [["../a"], ["/etc/passwd"], ["a" * 300], ["\0"], [1], "a"])
def test_a_manifest_names_files_of_its_folder(names, tmp_path):
    (tmp_path / "a").write_text("a")
    sums = dict.fromkeys(names, "x") if isinstance(names, list) and isinstance(names[0], str) else names
    (tmp_path / "manifest.json").write_text(json.dumps({"sha256": sums}))
    with pytest.raises(UserError, match=r"manifest\.json: '?sha256"):
        check_folder(tmp_path, (), "Get it again.")


@pytest.mark.parametrize(
    "change",
    [
        {"names": 1},
        {"rows": [0]},
        {"segmenter": {"kind": "space", "moses": {"language": {}}}},
        {"segmenter": {"kind": "space", "moses": {"language": "../../x"}}},
        {"segmenter": {"kind": "normalized", "rules": {"lowercase": []}, "inner": {"kind": "space"}}},
        {"segmenter": {"kind": {}}},
    ],
)
def test_an_imported_tokenizer_is_typed(change, tmp_path):
    names = ["<pad>", "<unk>", "<s>", "</s>", "a"]
    side = {"names": names, "rows": [0, 1, 2, 3, 4], "segmenter": {"kind": "space"}}
    for each, message in (
        (side, None),
        ({**side, **change}, r"not a valid tokenizer \(.*\)\.$|vocabulary\.json: source\.names"),
    ):
        (tmp_path / "vocabulary.json").write_text(json.dumps({"source": each, "target": each}))
        if message is None:
            assert load_tokenizers(tmp_path).encode("a") == [4]
            continue
        with pytest.raises(UserError, match=message):
            load_tokenizers(tmp_path)


def test_pieces_of_a_tokenizer(tmp_path):
    model = read_model((POST_NORM / "tokenizer.model").read_bytes())
    normal = [model.pieces[0]._replace(kind=PieceKind.NORMAL, text="a"), *model.pieces[1:]]
    infinite = [*model.pieces[:9], model.pieces[9]._replace(score=math.inf), *model.pieces[10:]]
    two = [*model.pieces[:9], model.pieces[9]._replace(kind=PieceKind.UNKNOWN), *model.pieces[10:]]
    for number, pieces in enumerate((normal, infinite, two, model.pieces[1:], model.pieces[:1], [*model.pieces] * 2)):
        path = tmp_path / f"{number}.model"
        path.write_bytes(replace(model, pieces=list(pieces)).as_bytes())
        with pytest.raises(UserError, match=rf"{number}\.model: missing, or not a SentencePiece model"):
            load_tokenizer(path)


def test_characters_that_have_more_tokens_than_the_model_positions():
    bundle = load_bundle(POST_NORM)
    sizes = {"positions": "learned", "max_positions": 3, "source_end": False}
    config = bundle.config.replace(model=sizes, data={"max_length": 1}, search={"max_extra_length": 1})
    model = build_model(config.model, bundle.tokenizer)
    for longest in (1, 2, 3):
        translator = Translator(replace(bundle, model=model, config=config, longest_source=longest), inter_threads=1)
        for beam_size in (1, 2):
            for text in ("🙂🙂", "漢字 a", "\u200b"):
                assert translator.translate(text, beam_size=beam_size).pieces >= 1


def test_a_tokenizer_of_garbage(tmp_path):
    for content in (b"\xff\xfe nonsense", b"\n\x07\n\x02\xff\xfe\x15\0\0\0\0"):
        with pytest.raises(UserError, match=r"tokenizer\.model: missing, or not a SentencePiece model"):
            load_bundle(rewritten(tmp_path / str(len(content)), "tokenizer.model", lambda _, new=content: new))
    assert load_bundle(POST_NORM)


def test_messages_with_names_from_hostile_files_are_short():
    message = str(UserError("sample: has no " + "(" * 200_000 + ". Get it again."))
    assert len(message) < 2000
    assert message.startswith("sample: has no ((")
    assert message.endswith("((. Get it again.")
