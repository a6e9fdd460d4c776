"""Models that CTranslate2's package wrote: scores and translations are those of CTranslate2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from allyouneed import Translator, exchange
from allyouneed.bundle import load_bundle, weights_of
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.exchange.ctranslate2_file import map_folder
from allyouneed.exchange.ctranslate2_import import import_ctranslate2, read_bundle
from allyouneed.translation.search import NEVER_GENERATED
from tests.conftest import toy_pairs
from tests.exchange.ctranslate2_models import SHAPES, write_model
from tests.exchange.models import random_bundle
from tests.exchange.test_ctranslate2 import SHAPES as OWN_SHAPES

ctranslate2 = pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")

TEXTS, TARGETS = zip(*toy_pairs(12, seed=4), strict=True)
OLD_MODELS = Path("/work/exchange-models/ctranslate2")
QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")


def imported(folder: Path, run: Path):
    import_ctranslate2([folder], run, ("de", "en"))
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


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
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
    (tmp_path / "model" / "sentencepiece.model").write_bytes(bundle.tokenizer.model)
    again = imported(tmp_path / "model", tmp_path / "run")
    before, after = weights_of(bundle.model), weights_of(again.model)
    if "output.bias" in before:  # the export replaces those of tokens that are never generated
        before["output.bias"][NEVER_GENERATED] = 0
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ignored = {"dropout": 0.1}
    assert again.config.model.model_copy(update=ignored) == bundle.config.model.model_copy(update=ignored)


@pytest.mark.skipif(not OLD_MODELS.is_dir(), reason="the test models of CTranslate2's repository are not here")
@pytest.mark.parametrize(
    "name", ["v1/aren-transliteration", "v2/aren-transliteration-i16", "v2/aren-transliteration-i8"]
)
def test_models_of_2019(name, tmp_path):
    bundle = read_bundle(map_folder(OLD_MODELS / name), [random_bundle().tokenizer.model], ("ar", "en"))
    tokenizer = bundle.tokenizer
    sources = [list("آتزمون"), list("دبي")]
    engine = ctranslate2.Translator(str(OLD_MODELS / name), compute_type="float32")
    results = engine.translate_batch(sources, beam_size=1)
    ids = [torch.tensor([[*tokenizer.ids(source), EOS]]) for source in sources]
    for source, result in zip(ids, results, strict=True):
        target = torch.tensor([[BOS, *tokenizer.target.ids(result.hypotheses[0])]])
        logits = bundle.model(source, target)
        logits[..., NEVER_GENERATED] = -torch.inf
        assert logits.argmax(2)[0].tolist() == [*target[0, 1:].tolist(), EOS]
