"""The compiled engine for models of other systems' shapes, compared with the plain model.

Bitwise: alone and in batches, with one thread and several, with drafts and without.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from allyouneed import kernels
from allyouneed.config import ModelConfig, SearchConfig
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.model.transformer import Transformer
from allyouneed.translation.batch_search import BatchSearch
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.engine import engine_for
from allyouneed.translation.ensemble import CompiledEnsemble, Ensemble, searchable
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.search import LengthPenalty, greedy

pytest.importorskip("numba")
from allyouneed.translation.draft_memory import learn_drafts
from allyouneed.translation.engine.engine import Engine
from tests.translation.engine.test_drafts import searches

SOURCES, TARGETS = 341, 555  # sizes of the vocabularies
SIZES = {"d_model": 44, "d_ff": 70, "num_heads": 4, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
BIASES = {"attention_bias": True, "output_bias": True}
SHAPES = {
    "marian": {
        **BIASES,
        **{"d_model": 48, "d_ff": 80, "num_heads": 3, "tie_embeddings": True, "activation": "swish"},
        **{"sinusoid_frequencies": "tensor2tensor", "norm_epsilon": 1e-6},
    },
    "fairseq": {
        **{"attention_bias": True, "activation": "gelu", "embedding_norm": True, "scale_embeddings": False},
        **{"positions": "learned", "max_positions": 90},
    },
    "opennmt": {
        **{"norm": "pre", "activation": "gelu_tanh", "decoder_heads": 2, "decoder_d_ff": 50, "source_end": False},
        **{"feed_forward_bias": False, "first_position": 1},
    },
    "wide heads, one final norm": {
        **BIASES,
        **{"d_k": 33, "d_v": 18, "activation": "gelu_sigmoid", "tie_embeddings": "target", "final_norm": "decoder"},
    },
    "heads and inner layers of one unit": {"norm": "pre", "final_norm": False, "d_k": 1, "d_v": 1, "d_ff": 1},
    "narrow": {**BIASES, "d_model": 10, "num_heads": 2, "decoder_d_ff": 333, "decoder_heads": 5},
}
every_shape = pytest.mark.parametrize("name", SHAPES)
both_types = pytest.mark.parametrize("in_bytes", [False, True])


def model_of(name: str, seed: int = 3, plain: bool = False) -> Transformer:
    """Make a model with random weights, biases and norms, more confident than random ones."""
    torch.manual_seed(seed)
    config = ModelConfig(**{**SIZES, "tie_embeddings": False, **SHAPES[name]})
    sizes = (TARGETS,) if config.tie_embeddings is True else (SOURCES, 0, TARGETS)
    model = Transformer(config, *sizes, plain=plain).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        model.output.weight.mul_(2)
    return model


def sources(count: int = 12) -> torch.Tensor:
    rng = np.random.default_rng(1)
    ids = rng.integers(4, SOURCES, (count, 10))
    for row, length in enumerate(rng.integers(1, 10, count)):
        ids[row, length], ids[row, length + 1 :] = EOS, 0
    return torch.from_numpy(ids)


def unpadded(source: torch.Tensor) -> list[torch.Tensor]:
    return [row[row != 0][None] for row in source]


@every_shape
def test_logits_equal_those_of_the_plain_model(name):
    plain, source = model_of(name, plain=True), sources()
    engine = engine_for(model_of(name))
    assert isinstance(engine, Engine)
    target = torch.from_numpy(np.random.default_rng(2).integers(4, TARGETS, (len(source), 20)))
    target[:, 0] = BOS
    with torch.inference_mode():
        expected, cache = plain(source, target), engine.start(source)
        for step in range(target.shape[1]):
            found = engine.decode_step(target[:, step], cache)
            torch.testing.assert_close(found, expected[:, step], rtol=1e-4, atol=1e-4)


@every_shape
def test_searches_find_what_the_model_finds(name):
    model, source = model_of(name), sources()
    engine, longest = engine_for(model), [15] * len(source)
    for ours, theirs in zip(greedy(engine, source, longest), greedy(model, source, longest), strict=True):
        assert ours.ids == theirs.ids
        assert ours.token_log_p == pytest.approx(theirs.token_log_p, abs=1e-4)
    for ours, theirs in zip(
        *(beam_search(m, source, longest, 4, LengthPenalty(0.6), 4) for m in (engine, model)), strict=True
    ):
        assert [each.ids for each in ours] == [each.ids for each in theirs]
        assert [each.score for each in ours] == pytest.approx([each.score for each in theirs], abs=1e-3)


@every_shape
def test_bytes_are_close_to_fp32(name):
    """As for our own shapes: logits differ by a few hundredths of their spread."""
    model, source = model_of(name), sources()
    engine = Engine(model, in_bytes=True)
    with torch.inference_mode():
        ours, theirs = engine.start(source), model.start(source)
        for tokens in torch.from_numpy(np.random.default_rng(2).integers(4, TARGETS, (8, len(source)))):
            expected, found = model.decode_step(tokens, theirs), engine.decode_step(tokens, ours)
            assert (found - expected).std() < 0.05 * expected.std()


@every_shape
@both_types
def test_results_depend_neither_on_the_batch_nor_on_threads_nor_on_drafts(name, in_bytes):
    model, source = model_of(name), sources(100)  # more rows than a part
    engine, longest, threads = Engine(model, in_bytes), [12] * len(source), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        together, greedily = (
            beam_search(engine, source, longest, 4, LengthPenalty(0.6), 4),
            greedy(engine, source, longest),
        )
        torch.set_num_threads(3)
        assert beam_search(engine, source, longest, 4, LengthPenalty(0.6), 4) == together
        assert greedy(engine, source, longest) == greedily
    finally:
        torch.set_num_threads(threads)
    sentences = [row[row > EOS].tolist() for row in source]
    memory = learn_drafts(_Vocabulary(), sentences, [each.ids for each in greedily])
    drafting, steps, tokens = Engine(model, in_bytes, memory), 0, 0
    for row, alone in list(enumerate(unpadded(source)))[::12]:
        assert beam_search(engine, alone, [12], 4, LengthPenalty(0.6), 4)[0] == together[row]
        assert greedy(engine, alone, [12])[0] == greedily[row]
        (ids, log_p), (drafted, drafted_log_p), taken = searches(drafting, alone, 12, True)
        assert (drafted, drafted_log_p.tobytes()) == (ids, log_p.tobytes())
        steps, tokens = steps + taken, tokens + len(ids)
    assert steps < tokens  # drafts are accepted


class _Vocabulary:
    """Separate vocabularies: their size is what drafts depend on."""

    shared = False

    @property
    def target(self):
        return self

    def __len__(self) -> int:
        return TARGETS


@pytest.mark.parametrize("options", [{"min_decoding_length": 9, "no_repeat_ngram_size": 2}, {"sampling_topk": 5}])
def test_constraints_and_sampling(options):
    """Both choose from the logits of single steps."""
    model, source = model_of("wide heads, one final norm"), sources()
    lengths, batch = (source != 0).sum(1).numpy(), np.arange(len(source))
    for beam in (1, 4) if "sampling_topk" not in options else (1,):
        resolved = SearchOptions(beam_size=beam, seed=5, **options).resolve(SearchConfig())
        prefixes = [[7, 9]] * len(source)
        search = BatchSearch(resolved, Constraints(resolved, prefixes=prefixes))
        ours, theirs = (search.run(each, source, lengths, batch) for each in (engine_for(model), model))
        assert [[one.ids for one in each] for each in ours] == [[one.ids for one in each] for each in theirs]
        assert all(each[0].ids[:2] == [7, 9] for each in ours)


def test_ensembles_of_different_shapes():
    """Members share their vocabularies only."""
    members, source = [model_of(name) for name in ("opennmt", "fairseq", "narrow")], sources()
    compiled, reference, longest = searchable(members, "float32"), Ensemble(members), [15] * len(source)
    assert isinstance(compiled, CompiledEnsemble)
    for ours, theirs in zip(greedy(compiled, source, longest), greedy(reference, source, longest), strict=True):
        assert ours.ids == theirs.ids
    searches = (beam_search(each, source, longest, 4, LengthPenalty(0.6)) for each in (compiled, reference))
    for ours, theirs in zip(*searches, strict=True):
        assert ours[0].ids == theirs[0].ids


@every_shape
def test_screening_changes_nothing(name, vnni):
    """With 2 and with 8 top tokens, in 8 and in 16 bits."""
    source, engine = sources(), Engine(model_of(name))
    exact = Engine(model_of(name))
    exact.decoder = exact.decoder.replace(screen=None)
    for count, scores in product((2, 8), (False, True)):
        caches = engine.start(source), exact.start(source)
        for step in range(3):
            tokens = np.full(len(source), 5 + step)
            ours, theirs = (
                each.choose(tokens, cache, count, scores) for each, cache in zip((engine, exact), caches, strict=True)
            )
            np.testing.assert_array_equal(ours.tokens, theirs.tokens)
            if scores:
                np.testing.assert_allclose(ours.log_p, theirs.log_p, atol=1e-4)
    assert kernels.target.has_vnni()
