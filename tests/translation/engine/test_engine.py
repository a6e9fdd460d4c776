"""The fast engine against its twin, the model; alone and among others; by one thread and by several."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.data.tokenizer import EOS
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.translation.beam_search import BeamSearch, beam_search
from allyouneed.translation.engine.engine import Engine, engine_for
from allyouneed.translation.search import greedy, top_tokens

pytest.importorskip("numba")
from allyouneed.translation.engine import decoder as at

WORDS = 555  # not a multiple of 16
SHAPES = [
    {"norm": "pre"},
    {"norm": "post"},
    {"norm": "pre", "d_k": 32, "d_v": 16, "attention_bias": True, "tie_embeddings": False, "output_bias": True},
    {"norm": "post", "positions": "learned", "max_positions": 100},
]


def model_of(shape: dict, seed: int = 3) -> Transformer:
    torch.manual_seed(seed)
    sizes = {"d_model": 48, "d_ff": 80, "num_heads": 3, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    model = Transformer(ModelConfig(**{**sizes, **shape}), WORDS).eval()
    with torch.no_grad():
        model.output.weight.mul_(2)  # decided, but not certain
        if model.output.bias is not None:
            model.output.bias.normal_()
    return model


def sources(count: int = 23) -> torch.Tensor:
    rng = np.random.default_rng(1)
    ids = rng.integers(4, WORDS, (count, 12))
    for row, length in enumerate(rng.integers(1, 12, count)):
        ids[row, length], ids[row, length + 1 :] = EOS, 0
    return torch.from_numpy(ids)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_the_models(shape):
    model, source = model_of(shape), sources()
    engine = engine_for(model)
    assert isinstance(engine, Engine)
    with torch.inference_mode():
        ours, theirs = engine.start(source), model.start(source)
        tokens = torch.from_numpy(np.random.default_rng(2).integers(4, WORDS, (40, len(source))))
        for step in range(40):  # past the room that the cache has at first
            if step == 5:
                order = torch.from_numpy(np.random.default_rng(3).permutation(len(source)))
                for cache in (ours, theirs):
                    cache.select(order)
                    cache.keep_sentences(order)
            expected = model.decode_step(tokens[step], theirs)
            torch.testing.assert_close(engine.decode_step(tokens[step], ours), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_search_finds_the_same(shape):
    model, source = model_of(shape), sources()
    engine, longest = engine_for(model), [15] * len(source)
    for ours, theirs in zip(greedy(engine, source, longest), greedy(model, source, longest), strict=True):
        assert ours.ids == theirs.ids
        assert ours.token_log_p == pytest.approx(theirs.token_log_p, abs=1e-4)
    found = zip(*(beam_search(m, source, longest, 4, 0.6, 4) for m in (engine, model)), strict=True)
    for ours, theirs in found:
        assert [h.ids for h in ours] == [h.ids for h in theirs]
        assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], abs=1e-4)


@pytest.mark.parametrize("in_bytes", [False, True])
def test_batch_mates_change_nothing_bit_by_bit(in_bytes):
    engine, source = Engine(model_of(SHAPES[0]), in_bytes), sources()
    longest = [15] * len(source)
    together, one_by_one = beam_search(engine, source, longest, 4, 0.6, 4), greedy(engine, source, longest)
    for row in range(len(source)):
        alone = source[row][source[row] != 0][None]
        assert beam_search(engine, alone, [15], 4, 0.6, 4)[0] == together[row]
        assert greedy(engine, alone, [15])[0] == one_by_one[row]


@pytest.mark.parametrize("in_bytes", [False, True])
@pytest.mark.parametrize(
    ("beam", "alpha", "wanted", "longest"),
    [
        (4, 0.6, 4, [15] * 23),
        (4, 1.4, 1, [40] * 23),  # more steps than a kernel makes at once
        (5, 0.0, 3, [3] * 23),  # nearly all end because they have to
        (2, -0.5, 2, list(range(1, 24))),  # the next length is the kindest; sentences leave one by one
        (100, 0.6, 5, [4] * 23),  # a sentence is more than a block
    ],
)
def test_beam_search_in_a_kernel_is_that_of_the_class(in_bytes, beam, alpha, wanted, longest):
    engine, source = Engine(model_of(SHAPES[2]), in_bytes), sources()
    found = beam_search(engine, source, longest, beam, alpha, wanted)
    with torch.inference_mode():
        expected = BeamSearch(engine, source, longest, beam, alpha, wanted).run()
    assert found == expected  # to the last bit


def test_beam_search_with_fewer_words_than_it_looks_at():
    engine, source = Engine(model_of(SHAPES[0])), sources()
    with torch.inference_mode():
        engine.words = engine.table[at.WORDS] = 9  # of which three are never said
        expected = BeamSearch(engine, source, [6] * 23, 8, 0.6, 2).run()
    assert [[h.ids for h in one] for one in beam_search(engine, source, [6] * 23, 8, 0.6, 2)] == [
        [h.ids for h in one] for one in expected
    ]


def test_without_scores_the_words_are_the_same():
    engine, source = engine_for(model_of(SHAPES[2])), sources()
    longest = [15] * len(source)
    scored, unscored = (greedy(engine, source, longest, scores=scores) for scores in (True, False))
    assert [h.ids for h in scored] == [h.ids for h in unscored]
    assert all(np.isnan(h.score) for h in unscored)


def test_other_shapes_stay_with_the_model():
    for shape in ({"d_k": 8}, {"d_ff": 40}, {"activation": "swish"}):
        model = model_of(shape)
        assert engine_for(model) is model
    model = Transformer(model_of({}).config, WORDS, plain=True)
    assert engine_for(model) is model


@pytest.mark.parametrize("shape", SHAPES)
def test_in_bytes_logits_are_near(shape):
    """A rounding of 1 in 254 to each weight and number on the way: of logits, a few hundredths of their spread."""
    model, source = model_of(shape), sources()
    engine = Engine(model, in_bytes=True)
    with torch.inference_mode():
        ours, theirs = engine.start(source), model.start(source)
        for tokens in torch.from_numpy(np.random.default_rng(2).integers(4, WORDS, (12, len(source)))):
            expected, found = model.decode_step(tokens, theirs), engine.decode_step(tokens, ours)
            assert (found - expected).std() < 0.05 * expected.std()
            loss, near = (float(x.log_softmax(1).mean()) for x in (expected, found))
            assert near == pytest.approx(loss, abs=0.02)


def test_in_bytes_choices_are_those_of_its_logits():
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


def test_bytes_where_they_cannot_be_had(vnni):
    with pytest.raises(UserError, match="AVX-512 VNNI"):
        engine_for(model_of({"activation": "swish"}), "int8")
    with pytest.raises(UserError, match="float32 or int8"):
        engine_for(model_of({}), "int16")
    assert engine_for(model_of({}), "int8").in_bytes
    assert not engine_for(model_of({})).in_bytes


def test_bytes_without_the_processor(monkeypatch):
    monkeypatch.setattr("allyouneed.kernels.target.has_vnni", lambda: False)
    with pytest.raises(UserError, match="float32 always works"):
        engine_for(model_of({}), "int8")
