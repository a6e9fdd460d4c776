"""Ensembles: averaged predictions, in compiled code and by the definition; which models can be members."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from allyouneed import kernels
from allyouneed.bundle import load_bundle
from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.training.train import train
from allyouneed.translation.beam_search import BeamSearch, beam_search
from allyouneed.translation.engine import engine_for
from allyouneed.translation.ensemble import CompiledEnsemble, Ensemble, average, searchable
from allyouneed.translation.scoring import score_pairs
from allyouneed.translation.search import NEVER_GENERATED, LengthPenalty, greedy
from allyouneed.translation.translator import Translator
from tests.conftest import silent, toy_request

VOCAB_SIZE = 555  # not a multiple of 16
SIZES = [{}, {"d_model": 32, "num_heads": 2, "decoder_layers": 1}, {"norm": "post", "positions": "learned"}]


def models(count: int = 3, **changes) -> list[Transformer]:
    """Return models of different sizes, more confident than random ones."""
    made = []
    for seed, size in enumerate(SIZES[:count]):
        torch.manual_seed(seed)
        sizes = {"d_model": 48, "d_ff": 80, "num_heads": 3, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
        limit = {"max_positions": 100} if "positions" in size else {}
        model = Transformer(ModelConfig(**{**sizes, **size, **limit, **changes}), VOCAB_SIZE).eval()
        with torch.no_grad():
            model.output.weight.mul_(2)
        made.append(model)
    return made


def sources(count: int = 130) -> torch.Tensor:  # more than a part of 96 rows
    rng = np.random.default_rng(1)
    ids = rng.integers(4, VOCAB_SIZE, (count, 9))
    for row, length in enumerate(rng.integers(1, 9, count)):
        ids[row, length], ids[row, length + 1 :] = EOS, 0
    return torch.from_numpy(ids)


def test_the_average_is_that_of_probabilities():
    logits = [torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, -1e30]), torch.tensor([9.0, 9.0, 9.0, 3.0, 1.0, 0.0])]
    expected = np.zeros(6)
    for each in logits:
        weights = np.exp(each[3:].double().numpy())
        expected[3:] += weights / weights.sum() / 2
    found = average([each.clone() for each in logits])
    np.testing.assert_allclose(found.exp().numpy(), expected, atol=1e-6)
    assert found[NEVER_GENERATED].exp().sum() == 0


def test_a_step_averages_the_members_by_their_definition():
    members, source = models(2), sources(3)
    ensemble = Ensemble(members)
    with torch.inference_mode():
        found = ensemble.decode_step(torch.full((3,), BOS), ensemble.start(source))
        probabilities = []
        for model in members:
            logits = model(source, torch.full((3, 1), BOS))[:, 0]
            logits[:, NEVER_GENERATED] = -torch.inf
            probabilities.append(logits.softmax(-1))
    torch.testing.assert_close(found.exp(), sum(probabilities) / 2, rtol=1e-4, atol=1e-6)


def test_compiled_searches_equal_the_reference():
    pytest.importorskip("numba")
    members, source = models(3), sources()
    compiled, reference = searchable(members, "float32"), Ensemble(members)
    assert isinstance(compiled, CompiledEnsemble)
    longest = [15] * len(source)
    for ours, theirs in zip(greedy(compiled, source, longest), greedy(reference, source, longest), strict=True):
        assert ours.ids == theirs.ids
        assert ours.token_log_p == pytest.approx(theirs.token_log_p, abs=1e-4)
    unscored = greedy(compiled, source, longest, scores=False)
    assert [one.ids for one in unscored] == [one.ids for one in greedy(reference, source, longest)]
    for beam, alpha, hypotheses in ((4, 0.6, 4), (5, -0.5, 2)):
        with torch.inference_mode():
            expected = BeamSearch(reference, source, longest, beam, LengthPenalty(alpha), hypotheses).run()
        found = beam_search(compiled, source, longest, beam, LengthPenalty(alpha), hypotheses)
        for ours, theirs in zip(found, expected, strict=True):
            assert [one.ids for one in ours] == [one.ids for one in theirs]
            assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], abs=1e-4)


def test_an_ensemble_of_one_model_twice_is_the_model():
    pytest.importorskip("numba")
    [model] = models(1)
    source, longest = sources(20), [15] * 20
    alone, twice = (
        beam_search(engine_for(model), source, longest, 4, LengthPenalty(0.6)),
        searchable([model, model], "float32"),
    )
    found = beam_search(twice, source, longest, 4, LengthPenalty(0.6))
    assert [[one.ids for one in each] for each in found] == [[one.ids for one in each] for each in alone]


def test_results_do_not_depend_on_the_batch():
    pytest.importorskip("numba")
    compiled, source = searchable(models(2), "float32"), sources(23)
    together = beam_search(compiled, source, [15] * 23, 4, LengthPenalty(0.6), 4)
    for row in range(0, 23, 5):
        alone = source[row][source[row] != 0][None]
        assert beam_search(compiled, alone, [15], 4, LengthPenalty(0.6), 4)[0] == together[row]


def test_an_end_without_probability_is_possible_at_the_limit():
    pytest.importorskip("numba")
    members = models(2, tie_embeddings=False, output_bias=True)
    with torch.no_grad():
        for model in members:
            model.output.bias[EOS] = -1000.0
    for found in beam_search(searchable(members, "float32"), sources(5), [4] * 5, 3, LengthPenalty(0.6)):
        assert len(found[0].ids) == 4
        assert np.isfinite(found[0].score)


@pytest.fixture
def bundles(toy_run):
    """Return the toy bundle, and the same with disturbed weights."""
    first, second = load_bundle(toy_run), load_bundle(toy_run)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in second.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return first, second


def test_a_translator_of_several_models_translates_and_scores_with_their_average(bundles):
    both, texts = Translator(bundles[0], others=bundles[1:]), ["a b c d", "e f g", "h a"]
    reference = Ensemble([bundle.model for bundle in bundles])
    translations = both.translate(texts, beam_size=4)
    scored = score_pairs(both, texts, [one.text for one in translations])
    for translation, each in zip(translations, scored, strict=True):
        assert translation.log_probs == pytest.approx(each.log_probs[:-1], abs=1e-4)
    ids = torch.tensor([[*both.tokenizer.encode("a b c d"), EOS]])
    limit = len(ids[0]) - 1 + both.bundle.config.search.max_extra_length
    with torch.inference_mode():
        [[best]] = BeamSearch(reference, ids, [limit], 4, LengthPenalty.of(both.bundle.config.search), 1).run()
    assert both.tokenizer.target.decode(best.ids) == translations[0].text
    assert "ensemble of 2" in repr(both)


@pytest.mark.parametrize(("prefix", "force"), list(product(["", "d"], [(), ("b",)])))
def test_constraints_apply_to_ensembles(bundles, prefix, force):
    both = Translator(bundles[0], others=bundles[1:])
    [found] = both.translate(["a b c d"], beam_size=4, target_prefix=prefix, force_words=force)
    assert found.text.startswith(prefix)
    assert all(word in found.text for word in force)
    assert both.alternatives("a b c d", num_hypotheses=3)
    assert both.translate("a b c d", sampling_topk=3).text
    assert both.align("a b", "b a")


def test_int8_ensembles(vnni):
    compiled, source = searchable(models(2), "int8"), sources(20)
    reference = Ensemble(compiled.models)  # step by step
    for ours, theirs in zip(greedy(compiled, source, [15] * 20), greedy(reference, source, [15] * 20), strict=True):
        assert ours.ids == theirs.ids


def test_without_compiled_code_the_result_is_the_same(bundles, monkeypatch):
    compiled = Translator(bundles[0], others=bundles[1:]).translate(["a b c d e"])
    monkeypatch.setattr(kernels, "available", lambda: False)
    plain = Translator(bundles[0], others=bundles[1:])
    assert type(plain.engine) is Ensemble
    assert plain.translate(["a b c d e"])[0].text == compiled[0].text


def test_runs_with_other_seeds_have_one_vocabulary(toy_run, tmp_path):
    settings = ["training.seed=2", "training.steps=2", "training.validate_every=1"]
    train(toy_request(tmp_path / "text", tmp_path / "run", settings), silent())
    assert len(Translator.load([toy_run, tmp_path / "run"]).models) == 2


def test_members_have_one_direction_and_one_vocabulary(bundles, toy_run, tmp_path):
    first, second = bundles
    train(toy_request(tmp_path / "text", tmp_path / "run", ["data.vocab_size=270", "training.steps=1"]), silent())
    with pytest.raises(UserError, match=r"run and .*run have different vocabularies.*training.seed"):
        Translator.load([toy_run, tmp_path / "run"])
    with pytest.raises(UserError, match="An ensemble has one direction"):
        Translator(first, others=[replace(second, languages=("bb", "aa"))])
    with pytest.raises(UserError, match=r"only one of .* puts the code of the target language in front of sources"):
        Translator(first, others=[replace(second, directions=(first.languages,))])
    with pytest.raises(UserError, match="at least one RUN"):
        Translator.load([])
    assert len(Translator.load([toy_run, toy_run]).models) == 2
