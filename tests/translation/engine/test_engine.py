"""The compiled engine, compared with its model, in batches and one sentence at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.translation.beam_search import BeamSearch, beam_search
from allyouneed.translation.engine import engine_for
from allyouneed.translation.search import LengthPenalty, greedy, top_tokens

pytest.importorskip("numba")
from allyouneed.translation.engine.engine import Engine

VOCAB_SIZE = 555  # not a multiple of 16
SHAPES = [
    {"norm": "pre"},
    {"norm": "post"},
    {"norm": "pre", "d_k": 32, "d_v": 16, "attention_bias": True, "tie_embeddings": False, "output_bias": True},
    {"norm": "post", "positions": "learned", "max_positions": 100},
    {"norm": "pre", "source_end": False},
    {
        "sinusoid_frequencies": "tensor2tensor",
        "first_position": 2,
        "scale_embeddings": False,
        "feed_forward_bias": False,
    },
    {"tie_embeddings": "inputs", "output_bias": True},
]


def model_of(shape: dict, seed: int = 3) -> Transformer:
    torch.manual_seed(seed)
    sizes = {"d_model": 48, "d_ff": 80, "num_heads": 3, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    model = Transformer(ModelConfig(**{**sizes, **shape}), VOCAB_SIZE).eval()
    with torch.no_grad():
        model.output.weight.mul_(2)  # more confident than random weights, but not certain
        if model.output.bias is not None:
            model.output.bias.normal_()
    return model


def sources(count: int = 23) -> torch.Tensor:
    rng = np.random.default_rng(1)
    ids = rng.integers(4, VOCAB_SIZE, (count, 12))
    for row, length in enumerate(rng.integers(1, 12, count)):
        ids[row, length], ids[row, length + 1 :] = EOS, 0
    return torch.from_numpy(ids)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_the_models(shape):
    model, source = model_of(shape), sources()
    engine = engine_for(model)
    assert isinstance(engine, Engine)
    with torch.inference_mode():
        ours, theirs = engine.start(source), model.start(source)
        tokens = torch.from_numpy(np.random.default_rng(2).integers(4, VOCAB_SIZE, (40, len(source))))
        for step in range(40):  # more positions than the initial capacity of the cache
            if step == 5:
                order = torch.from_numpy(np.random.default_rng(3).permutation(len(source)))
                for cache in (ours, theirs):
                    cache.select(order)
                    cache.keep_sentences(order)
            expected = model.decode_step(tokens[step], theirs)
            torch.testing.assert_close(engine.decode_step(tokens[step], ours), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_searches_find_what_the_model_finds(shape):
    model, source = model_of(shape), sources()
    engine, longest = engine_for(model), [15] * len(source)
    for ours, theirs in zip(greedy(engine, source, longest), greedy(model, source, longest), strict=True):
        assert ours.ids == theirs.ids
        assert ours.token_log_p == pytest.approx(theirs.token_log_p, abs=1e-4)
    found = zip(*(beam_search(m, source, longest, 4, LengthPenalty(0.6), 4) for m in (engine, model)), strict=True)
    for ours, theirs in found:
        assert [h.ids for h in ours] == [h.ids for h in theirs]
        assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], abs=1e-4)


@pytest.mark.parametrize("in_bytes", [False, True])
def test_results_do_not_depend_on_the_batch(in_bytes):
    engine, source = Engine(model_of(SHAPES[0]), in_bytes), sources()
    longest = [15] * len(source)
    together, one_by_one = (
        beam_search(engine, source, longest, 4, LengthPenalty(0.6), 4),
        greedy(engine, source, longest),
    )
    for row in range(len(source)):
        alone = source[row][source[row] != 0][None]
        assert beam_search(engine, alone, [15], 4, LengthPenalty(0.6), 4)[0] == together[row]
        assert greedy(engine, alone, [15])[0] == one_by_one[row]


@pytest.mark.parametrize("in_bytes", [False, True])
@pytest.mark.parametrize(
    ("beam", "alpha", "num_hypotheses", "longest"),
    [
        (4, 0.6, 4, [15] * 23),
        (4, 1.4, 1, [40] * 23),  # more steps than one call computes
        (5, 0.0, 3, [3] * 23),  # most hypotheses reach the limit
        (2, -0.5, 2, list(range(1, 24))),  # the penalty favours short hypotheses; sentences end one by one
        (100, 0.6, 5, [4] * 23),  # a sentence has more rows than a part
    ],
)
def test_compiled_beam_search_equals_the_class(in_bytes, beam, alpha, num_hypotheses, longest):
    engine, source = Engine(model_of(SHAPES[2]), in_bytes), sources()
    found = beam_search(engine, source, longest, beam, LengthPenalty(alpha), num_hypotheses)
    with torch.inference_mode():
        expected = BeamSearch(engine, source, longest, beam, LengthPenalty(alpha), num_hypotheses).run()
    assert found == expected  # bitwise


def test_beam_search_with_a_vocabulary_smaller_than_twice_the_beam():
    engine, source = Engine(model_of(SHAPES[0])), sources()
    with torch.inference_mode():
        engine.decoder = engine.decoder.replace(vocab_size=9, screen=None)  # three of these tokens are never generated
        expected = BeamSearch(engine, source, [6] * 23, 8, LengthPenalty(0.6), 2).run()
    assert [[h.ids for h in one] for one in beam_search(engine, source, [6] * 23, 8, LengthPenalty(0.6), 2)] == [
        [h.ids for h in one] for one in expected
    ]


def test_without_scores_the_tokens_are_the_same():
    engine, source = engine_for(model_of(SHAPES[2])), sources()
    longest = [15] * len(source)
    scored, unscored = (greedy(engine, source, longest, scores=scores) for scores in (True, False))
    assert [h.ids for h in scored] == [h.ids for h in unscored]
    assert all(np.isnan(h.score) for h in unscored)


def test_models_without_an_engine():
    for model in (Transformer(model_of({}).config, VOCAB_SIZE, plain=True), model_of({}).double()):
        assert engine_for(model) is model


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_logits_are_close(shape):
    """Weights and activations are rounded to 255 levels: logits differ by a few hundredths of their spread."""
    model, source = model_of(shape), sources()
    engine = Engine(model, in_bytes=True)
    with torch.inference_mode():
        ours, theirs = engine.start(source), model.start(source)
        for tokens in torch.from_numpy(np.random.default_rng(2).integers(4, VOCAB_SIZE, (12, len(source)))):
            expected, found = model.decode_step(tokens, theirs), engine.decode_step(tokens, ours)
            assert (found - expected).std() < 0.05 * expected.std()
            loss, near = (float(x.log_softmax(1).mean()) for x in (expected, found))
            assert near == pytest.approx(loss, abs=0.02)


def test_int8_top_tokens_are_those_of_its_logits():
    model, source = model_of(SHAPES[2]), sources()
    engine = Engine(model, in_bytes=True)
    first, second = engine.start(source), engine.start(source)
    tokens = np.full(len(source), 5)
    for scores in (True, False):
        expected = top_tokens(engine.decode_step(torch.from_numpy(tokens), first).clone(), 8)
        found = engine.choose(tokens, second, 8, scores)
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        if scores:
            np.testing.assert_allclose(found.log_p, expected.log_p, atol=1e-4)
            np.testing.assert_allclose(found.end_log_p, expected.end_log_p, atol=1e-4)


@pytest.mark.parametrize("rows", [3, 23])  # few rows are not multiplied in tile registers
@pytest.mark.parametrize("in_bytes", [False, True])
def test_the_most_likely_token_without_scores(rows, in_bytes):
    """Its logits are compared in registers; the winner may be forbidden, and padding is larger than all logits."""
    model, source = model_of({"d_model": 64, "num_heads": 4, "output_bias": True}), sources(rows)
    with torch.no_grad():
        model.output.bias[[0, 1, 2]] = 1000
        model.output.bias[3:] -= 500
    engine = Engine(model, in_bytes)
    first, second = engine.start(source), engine.start(source)
    for seed in range(5):
        tokens = np.random.default_rng(seed).integers(4, VOCAB_SIZE, rows)
        logits = engine.decode_step(torch.from_numpy(tokens), first).clone()
        found = engine.choose(tokens, second, 1, scores=False)
        np.testing.assert_array_equal(found.tokens, top_tokens(logits, 1).tokens)
        np.testing.assert_allclose(found.end_log_p, logits[:, EOS], rtol=1e-5)
    assert len(np.unique(found.tokens)) > 1 or rows < 4


def test_int8_is_refused_without_an_engine(vnni):
    with pytest.raises(UserError, match="AVX-512 VNNI"):
        engine_for(model_of({}).double(), "int8")
    with pytest.raises(UserError, match="float32 or int8"):
        engine_for(model_of({}), "int16")
    assert engine_for(model_of({}), "int8").in_bytes
    assert not engine_for(model_of({})).in_bytes


def test_int8_is_refused_without_vnni(monkeypatch):
    monkeypatch.setattr("allyouneed.kernels.has_vnni", lambda: False)
    with pytest.raises(UserError, match="float32 always works"):
        engine_for(model_of({}), "int8")
