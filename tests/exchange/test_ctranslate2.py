"""Translations and scores of exported models of different shapes."""

from __future__ import annotations

import json

import pytest
import torch

from allyouneed import Translator, UserError, exchange
from allyouneed.bundle import weights_of
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.model.transformer import log_probabilities
from allyouneed.translation.search import NEVER_GENERATED
from tests.compat import PRE_NORM
from tests.conftest import toy_pairs
from tests.exchange.models import TEXTS, random_bundle

ctranslate2 = pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")

SHAPES = {
    "the paper's": {},
    "pre-norm": {"norm": "pre"},
    "learned positions": {"positions": "learned", "max_positions": 400},
    "deeper decoder, untied embeddings": {"encoder_layers": 1, "decoder_layers": 3, "tie_embeddings": False},
    "narrow heads": {"d_k": 4, "d_v": 6},
    "biases and swish": {"attention_bias": True, "output_bias": True, "activation": "swish"},
    "end of the source hidden": {"source_end": False},
    "bart": {
        **{"activation": "gelu", "embedding_norm": True, "scale_embeddings": False, "attention_bias": True},
        **{"positions": "learned", "max_positions": 400, "tie_embeddings": "inputs"},
    },
    "tensor2tensor": {
        **{"activation": "gelu_tanh", "norm": "pre", "sinusoid_frequencies": "tensor2tensor", "first_position": 2},
        **{"norm_epsilon": 1e-3, "feed_forward_bias": False},
    },
    "pre-norm without final norms": {"norm": "pre", "final_norm": False, "activation": "gelu_sigmoid"},
    "post-norm with final norms": {"final_norm": True, "scale_embeddings": False},
    "norm of the decoder's output only": {"norm": "pre", "final_norm": "decoder"},
    "decoder of other sizes": {"decoder_d_ff": 24, "decoder_heads": 2, "d_k": 4},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_translations_and_scores_agree(shape, tmp_path):
    bundle = random_bundle(**SHAPES[shape])
    exchange.export_ctranslate2(bundle, tmp_path / "model")
    expected = [result.tokens for result in Translator(bundle).translate(TEXTS, beam_size=1, repetition_guard=False)]
    translated = exchange.ctranslate2_translator(tmp_path / "model", bundle)(TEXTS, 1)
    assert [tokens[: len(prefix)] for tokens, prefix in zip(translated, expected, strict=True)] == expected
    theirs, ours = ctranslate2_scores(bundle, tmp_path / "model"), bundle_scores(bundle)
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_trained_model_with_greedy_and_beam_search(beam_size, tmp_path):
    translator = Translator.load(PRE_NORM)
    texts = [source for source, _ in toy_pairs(50, seed=3)]
    exchange.export_ctranslate2(translator.bundle, tmp_path / "model")
    translated = exchange.ctranslate2_translator(tmp_path / "model", translator.bundle)(texts, beam_size)
    assert translated == [
        result.tokens
        for result in translator.translate(texts, beam_size=beam_size, length_penalty=0.0, repetition_guard=False)
    ]


TARGETS = [text[::-1] for text in TEXTS]


def ctranslate2_scores(bundle, folder) -> torch.Tensor:
    tokenizer = bundle.tokenizer
    source, target = ([tokenizer.pieces(tokenizer.encode(text)) for text in texts] for texts in (TEXTS, TARGETS))
    scored = ctranslate2.Translator(str(folder)).score_batch(source, target)
    return torch.tensor([value for row in scored for value in row.log_probs])


def bundle_scores(bundle) -> torch.Tensor:
    scores = []
    for source, target in zip(TEXTS, TARGETS, strict=True):
        source_ids, target_ids = (torch.tensor([[*bundle.tokenizer.encode(text), EOS]]) for text in (source, target))
        start = torch.tensor([[BOS]])
        with torch.no_grad():
            logits = bundle.model(source_ids, torch.cat([start, target_ids[:, :-1]], dim=1))
        logits[..., NEVER_GENERATED] = -torch.inf
        scores.append(log_probabilities(logits).gather(2, target_ids[:, :, None]).flatten())
    return torch.cat(scores)


@pytest.mark.parametrize("quantization", ["int8", "int16", "float16"])
def test_quantization(quantization, tmp_path):
    bundle = random_bundle()
    before = {name: tensor.clone() for name, tensor in weights_of(bundle.model).items()}
    exchange.export_ctranslate2(bundle, tmp_path / "whole")
    exchange.export_ctranslate2(bundle, tmp_path / "model", quantization)
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("whole", "model")]
    assert sizes[1] < sizes[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in weights_of(bundle.model).items())
    assert len(exchange.ctranslate2_translator(tmp_path / "model", bundle)(TEXTS, 1)) == len(TEXTS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"d_k": 9, "d_v": 8}, "allows at most"), ({"num_heads": 3, "d_k": 8, "d_v": 8}, "not divisible")],
)
def test_unsupported_heads_are_refused(settings, message, tmp_path):
    with pytest.raises(UserError, match=message):
        exchange.export_ctranslate2(random_bundle(**settings), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_existing_files_are_not_overwritten(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    with pytest.raises(UserError, match="already exists"):
        exchange.export_ctranslate2(random_bundle(), tmp_path / "model")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "mine"]


def test_an_unknown_quantization(tmp_path):
    with pytest.raises(UserError, match="choose int8"):
        exchange.export_ctranslate2(random_bundle(), tmp_path / "model", "int4")


def test_start_and_end_are_configured_in_the_folder(tmp_path):
    exchange.export_ctranslate2(random_bundle(), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["decoder_start_token"] == "<s>"
    assert config["add_source_eos"] is True
