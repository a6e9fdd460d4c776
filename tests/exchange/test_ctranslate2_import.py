"""Models that CTranslate2's package wrote: scores and translations are those of CTranslate2."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from allyouneed import Translator, UserError, exchange
from allyouneed.bundle import load_bundle, weights_of
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.exchange.ctranslate2.model_file import map_folder, read_model
from allyouneed.exchange.importer import import_bundle
from allyouneed.translation.search import NEVER_GENERATED
from tests.conftest import toy_pairs
from tests.exchange.ctranslate2_models import SHAPES, write_model
from tests.exchange.models import random_bundle
from tests.exchange.test_ctranslate2 import SHAPES as OWN_SHAPES

ctranslate2 = pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")

TEXTS, TARGETS = zip(*toy_pairs(12, seed=4), strict=True)
QUANTIZATIONS = ("int8", "int8_bfloat16", "int16", "float16")
MORE_QUANTIZATIONS = ("int8_float32", "int8_float16", "bfloat16", "float32")


def slow(values) -> list:
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def imported(folder: Path, run: Path):
    import_bundle("ctranslate2", [folder], run, "de", "en")
    bundle = load_bundle(run)
    bundle.model.eval()
    return bundle


def tail(bundle) -> list[str]:
    """What transformers' tokenizers append, for models whose `config.json` does not."""
    settings = json.loads((Path(bundle) / "config.json").read_text())
    starts_at_end = settings["decoder_start_token"] == settings["eos_token"]
    return ["</s>"] if starts_at_end and not settings["add_source_eos"] else []


def stored_tokens(folder: Path) -> set[str]:
    return set(json.loads(next(folder.glob("*[dt]_vocabulary.json")).read_text()))


def peer_scores(folder: Path, bundle, compute_type: str = "float32") -> torch.Tensor:
    tokenizer, engine = bundle.tokenizer, ctranslate2.Translator(str(folder), compute_type=compute_type)
    sources = [[*tokenizer.pieces(tokenizer.encode(text)), *tail(folder)] for text in TEXTS]
    scored = engine.score_batch(sources, [tokenizer.target.pieces(tokenizer.target.encode(text)) for text in TARGETS])
    return torch.tensor([value for row in scored for value in row.log_probs])


def own_scores(folder: Path, bundle, excluded: bool = False) -> torch.Tensor:
    """Log probabilities over the tokens of the original vocabulary, or over those that can be generated."""
    scores, tokenizer, stored = [], bundle.tokenizer, stored_tokens(folder)
    added = [i for i in NEVER_GENERATED if excluded or tokenizer.target.pieces([i])[0] not in stored]
    for source, target in zip(TEXTS, TARGETS, strict=True):
        ids = torch.tensor([[BOS, *tokenizer.target.encode(target), EOS]])
        with torch.no_grad():
            logits = bundle.model(torch.tensor([[*tokenizer.encode(source), EOS]]), ids[:, :-1])
        logits[..., added] = -torch.inf
        scores.append(logits.log_softmax(2).gather(2, ids[:, 1:, None]).flatten())
    return torch.cat(scores)


def peer_translations(folder: Path, bundle, beam_size: int) -> list[list[str]]:
    tokenizer, stored = bundle.tokenizer, stored_tokens(folder)
    never = [[token] for token in tokenizer.target.pieces(NEVER_GENERATED) if token in stored and token != "<unk>"]
    results = ctranslate2.Translator(str(folder), compute_type="float32").translate_batch(
        [[*tokenizer.pieces(tokenizer.encode(text)), *tail(folder)] for text in TEXTS],
        beam_size=beam_size,
        length_penalty=0,
        min_decoding_length=0,
        disable_unk=True,
        max_decoding_length=60,
        suppress_sequences=never,
    )
    return [result.hypotheses[0] for result in results]


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_and_translations_agree(shape, tmp_path):
    folder = tmp_path / "model"
    write_model(folder, **SHAPES[shape])
    bundle = imported(folder, tmp_path / "run")
    scores = own_scores(folder, bundle, SHAPES[shape].get("excluded", False))
    torch.testing.assert_close(scores, peer_scores(folder, bundle), atol=2e-5, rtol=0)
    for beam_size in (1, 4):
        results = Translator(bundle).translate(TEXTS, beam_size=beam_size, length_penalty=0.0, repetition_guard=False)
        for text, result, expected in zip(TEXTS, results, peer_translations(folder, bundle, beam_size), strict=True):
            limit = len(bundle.tokenizer.encode(text)) + bundle.config.search.max_extra_length
            if len(result.tokens) < limit:
                assert result.tokens == expected
            elif beam_size == 1:  # limits of length differ
                assert result.tokens == expected[:limit]


@pytest.mark.parametrize("quantization", [*QUANTIZATIONS, *slow(MORE_QUANTIZATIONS)])
def test_quantized_weights(quantization, tmp_path):
    """Equal to CTranslate2 computing in fp32; its int8 products also round what is multiplied with the weights."""
    folder = tmp_path / "model"
    write_model(folder, quantization, table="paper", biases=True, pre_norm=True)
    bundle = imported(folder, tmp_path / "run")
    scores = own_scores(folder, bundle)
    torch.testing.assert_close(scores, peer_scores(folder, bundle), atol=2e-5, rtol=0)
    if quantization == "int8":
        torch.testing.assert_close(scores, peer_scores(folder, bundle, quantization), atol=0.1, rtol=0)


@pytest.mark.parametrize("shape", OWN_SHAPES)
def test_own_exports_come_back_bit_identical(shape, tmp_path):
    bundle = random_bundle(**OWN_SHAPES[shape])
    exchange.export_ctranslate2(bundle, tmp_path / "model")
    again = imported(tmp_path / "model", tmp_path / "run")
    before, after = weights_of(bundle.model), weights_of(again.model)
    if "output.bias" in before:  # the export replaces those of tokens that are never generated
        before["output.bias"][NEVER_GENERATED] = 0
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ignored = {"dropout": 0.1}
    assert again.config.model.model_copy(update=ignored) == bundle.config.model.model_copy(update=ignored)


@pytest.mark.parametrize("shape", ["Marian: zero start, swish, no padding", "factors of embeddings, output and scores"])
def test_an_export_of_an_import_comes_back_bit_identical(shape, tmp_path):
    write_model(tmp_path / "model", **SHAPES[shape])
    (tmp_path / "model" / "LICENSE").write_text("\nApache License\n")
    bundle = imported(tmp_path / "model", tmp_path / "run")
    assert bundle.notes["licence"] == "Apache License (LICENSE)"
    exchange.export_ctranslate2(bundle, tmp_path / "again")
    before, after = weights_of(bundle.model), weights_of(imported(tmp_path / "again", tmp_path / "run2").model)
    before["output.bias"][NEVER_GENERATED] = 0
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_bpe_codes_and_tokens_separated_by_spaces(tmp_path):
    folder = tmp_path / "model"
    write_model(folder, table="paper")
    (folder / "sentencepiece.model").unlink()
    message = exchange.import_bundle("ctranslate2", [folder], tmp_path / "spaces", "de", "en")
    assert "text must consist of tokens separated by spaces" in message
    assert load_bundle(tmp_path / "spaces").tokenizer.segmenter.split("▁a b") == ["▁a", "b"]
    (folder / "bpe.codes").write_text("#version: 0.2\na b</w>\n")
    message = exchange.import_bundle("ctranslate2", [folder], tmp_path / "bpe", "de", "en")
    assert "tokenized as for training" in message
    assert load_bundle(tmp_path / "bpe").tokenizer.segmenter.split("cab ab") == ["c@@", "ab", "ab"]


def test_an_end_token_that_is_appended_is_mentioned(tmp_path):
    write_model(tmp_path / "model", **SHAPES["M2M-100: pre-norm, fairseq's table, tied"])
    message = exchange.import_bundle("ctranslate2", [tmp_path / "model"], tmp_path / "run", "de", "en")
    assert "Sources get an end token although add_source_eos = false" in message


def test_a_changed_export_is_refused(tmp_path):
    exchange.export_ctranslate2(random_bundle(), tmp_path / "model")
    with open(tmp_path / "model" / "model.bin", "r+b") as file:
        file.seek(5000)
        file.write(b"changed")
    with pytest.raises(UserError, match="truncated or changed"):
        imported(tmp_path / "model", tmp_path / "run")


def old_format(folder: Path, version: int) -> bytes:
    """Write a `model.bin` as earlier versions of CTranslate2 did, after `python/ctranslate2/specs` of their time."""
    old = read_model(map_folder(folder)).variables
    content = [struct.pack("<I", version)]
    if version >= 2:
        content += [_string("TransformerBase" if version == 2 else "TransformerSpec"), struct.pack("<I", version)]
    content.append(struct.pack("<I", len(old)))
    for name, variable in old.items():
        values = variable.values
        content += [_string(_old_name(name) if version == 1 else name), struct.pack("<B", values.ndim)]
        content += [struct.pack("<I", size) for size in values.shape]
        kind, size = (0, values.nbytes) if version >= 4 else (values.itemsize, values.size)
        content += [struct.pack("<BI", kind, size), values.tobytes()]
    return b"".join([*content, *([struct.pack("<I", 0)] if version >= 3 else [])])


def _old_name(name: str) -> str:
    """Return the name of a variable of OpenNMT-tf."""
    changes = [("embeddings_0", "embeddings"), ("embeddings/weight", "w_embs"), ("layer_norm", "LayerNorm")]
    changes += [("self_attention", "multi_head" if "encoder" in name else "masked_multi_head")]
    changes += [("attention/", "multi_head/"), ("projection", "dense"), ("linear_0", "conv1d")]
    changes += [("linear_", "conv1d_"), ("weight", "kernel")]
    for new, old in changes:
        name = name.replace(new, old)
    return f"transformer/{name}:0"


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


@pytest.mark.parametrize("version", [1, 2, 4, *slow([3, 5])])
def test_earlier_versions_of_the_format(version, tmp_path):
    """CTranslate2 reads the rewritten file, too."""
    folder = tmp_path / "model"
    write_model(folder, pre_norm=True, biases=True, heads=(8, 8), bare=True)
    before = weights_of(imported(folder, tmp_path / "run").model)
    (folder / "model.bin").write_bytes(old_format(folder, version))
    (folder / "config.json").unlink()
    bundle = imported(folder, tmp_path / "old")
    after = weights_of(bundle.model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    (folder / "config.json").write_text('{"decoder_start_token": "<s>", "eos_token": "</s>", "add_source_eos": false}')
    torch.testing.assert_close(own_scores(folder, bundle), peer_scores(folder, bundle), atol=2e-5, rtol=0)


def _scalar(name: str, kind: str, value: object) -> bytes:
    content = value if isinstance(value, bytes) else struct.pack(f"<{kind}", value)
    shape = struct.pack("<BI", 1, len(content)) if isinstance(value, bytes) else b"\0"
    return _string(name) + shape + struct.pack("<BI", {"b": 1, "h": 2}[kind], len(content)) + content


def test_settings_that_earlier_versions_stored_with_the_weights(tmp_path):
    """One setting for both sides before revision 5, special tokens before version 6; CTranslate2 reads them, too."""
    folder = tmp_path / "model"
    write_model(folder, biases=True, activation=2, bare=True)
    flags = {"pre_norm": 0, "activation": 2, "embeddings_merge": 0, "with_source_bos": 0, "with_source_eos": 1}
    flags |= {"with_target_bos": 0, "user_decoder_start_tokens": 0, "bos_token": b"<s>", "eos_token": b"</s>"}
    numbers = {"num_heads": 4, "alignment_layer": -1, "alignment_heads": 1}
    more = [_scalar(name, "b", value) for name, value in flags.items()]
    more += [_scalar(name, "h", value) for name, value in numbers.items()]
    content, name = old_format(folder, 5), _string("TransformerSpec")
    start = 8 + len(name)
    [count] = struct.unpack_from("<I", content, start)
    head = content[:4] + name + struct.pack("<II", 4, count + len(more))
    (folder / "model.bin").write_bytes(head + b"".join(more) + content[start + 4 :])
    (folder / "config.json").write_text('{"decoder_start_token": "</s>", "eos_token": "</s>", "add_source_eos": true}')
    bundle = imported(folder, tmp_path / "run")
    model = bundle.config.model
    assert (model.norm, model.activation, model.num_heads, model.source_end) == ("post", "swish", 4, True)
    torch.testing.assert_close(own_scores(folder, bundle), peer_scores(folder, bundle), atol=2e-5, rtol=0)
