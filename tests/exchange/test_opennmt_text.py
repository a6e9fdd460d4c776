"""How text is divided into tokens for models of OpenNMT-py and Eole: the transforms that their settings name."""

from __future__ import annotations

import json

import pytest
import torch

from allyouneed import UserError
from allyouneed.exchange.description import describe_model
from allyouneed.exchange.eole.importer import read_eole
from allyouneed.exchange.importer import import_bundle
from allyouneed.exchange.opennmt_py import read_opennmt_py
from tests.exchange.test_opennmt_joeynmt import tensors_of, write_eole, write_opennmt

CODES = "#version: 0.2\na b\n"


@pytest.fixture
def codes(tmp_path):
    path = tmp_path / "codes.bpe"
    path.write_text(CODES)
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transforms": ["normalize"]}, "transform normalize"),
        ({"data": {"train": {"transforms": ["of_a_later_version"]}}}, "transform of_a_later_version"),
        ({"transforms": ["onmt_tokenize"], "src_onmttok_kwargs": "{'mode': 'space'}"}, "transform onmt_tokenize"),
        ({"transforms": ["prefix"], "data": {"one": {"src_prefix": "<2de>"}}}, "adds '<2de>'"),
        ({"transforms": ["bpe"], "src_subword_vocab": "v", "src_vocab_threshold": 9}, "src_vocab_threshold"),
        ({"transforms": ["bpe", "sentencepiece"]}, "bpe and sentencepiece"),
        ({"transforms": "bpe"}, "not a list"),
        ({"transforms": ["sentencepiece"], "src_subword_model": "s", "tgt_subword_model": "s"}, "of the kind bpe"),
        ({"transforms": ["bpe"], "src_subword_model": "a", "tgt_subword_model": "b"}, "a and b. Give both"),
    ],
)
def test_transforms_that_are_not_repeated_are_refused(options, message, codes, tmp_path):
    write_opennmt(tmp_path / "model.pt", tensors_of("opennmt"), **options)
    with pytest.raises(UserError, match=message):
        read_opennmt_py([tmp_path / "model.pt", codes], ("de", "en"))


def test_without_a_subword_model_the_user_is_told_so(tmp_path):
    options = {"transforms": ["bpe", "clean"], "src_subword_model": "my.codes", "tgt_subword_model": "my.codes"}
    write_opennmt(tmp_path / "model.pt", tensors_of("opennmt"), **options)
    said = import_bundle("opennmt-py", [tmp_path / "model.pt"], tmp_path / "run", "de", "en")
    assert "text in and out is tokens separated by spaces" in said
    assert "trained with the transform bpe of my.codes" in said


def test_with_one_vocabulary_both_sides_have_the_subword_model_of_the_source(codes, tmp_path):
    folder = tmp_path / "eole"
    write_eole(folder, tensors_of("eole"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"share_vocab": True, "transforms": ["bpe"]}
    config["transforms_configs"] = {"bpe": {"src_subword_model": f"${{MODEL_PATH}}/{codes.name}"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"has no codes\.bpe"):
        read_eole([folder], ("de", "en"))
    (folder / codes.name).write_text(CODES)
    bundle = read_eole([folder], ("de", "en"))
    assert bundle.notes["remarks"] == "Text is segmented by BPE codes."
    assert bundle.tokenizer.target is bundle.tokenizer


def test_opennmt_tf_is_imported_through_ctranslate2(tmp_path):
    with pytest.raises(UserError, match=r"ct2-opennmt-tf-converter .* import ctranslate2 CT2"):
        import_bundle("opennmt-tf", [tmp_path], tmp_path / "run")
    for name in ("checkpoint", "ckpt-100.index", "ckpt-100.data-00000-of-00001"):
        (tmp_path / name).touch()
    assert "ct2-opennmt-tf-converter" in describe_model(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model": {"encoder": {"heads": "two"}, "decoder": {}}}, "heads = two is not a number"),
        ("vocab.json", {"specials": {"unk_token": ["<unk>"]}}, "specials.unk_token = "),
    ],
)
def test_damaged_settings_of_eole_are_refused(file, change, message, tmp_path):
    folder = tmp_path / "eole"
    write_eole(folder, tensors_of("eole"))
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
    with pytest.raises(UserError, match=message):
        read_eole([folder], ("de", "en"))


def test_a_tensor_that_is_a_single_number_is_refused(tmp_path):
    tensors = tensors_of("opennmt") | {"encoder.transformer.0.feed_forward.w_1.weight": torch.zeros(())}
    write_opennmt(tmp_path / "model.pt", tensors)
    with pytest.raises(UserError, match="single number"):
        read_opennmt_py([tmp_path / "model.pt"], ("de", "en"))
