"""Constraints on decoding and sampling, for greedy and beam search."""

import numpy as np
import pytest
import torch

from allyouneed import Translator, UserError
from allyouneed.data.tokens.tokenizer import BOS
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.options import SearchOptions

TEXTS = ["a b c", "h g", "d e f a", "b"]


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_minimum_and_maximum_length(translator, beam_size):
    lengths = [
        len(one.tokens)
        for one in translator.translate(TEXTS, beam_size=beam_size, min_decoding_length=4, max_decoding_length=6)
    ]
    assert all(4 <= length <= 6 for length in lengths)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_no_ngram_is_repeated(translator, beam_size):
    for one in translator.translate(TEXTS, beam_size=beam_size, min_decoding_length=12, no_repeat_ngram_size=2):
        pairs = list(zip(one.tokens, one.tokens[1:], strict=False))
        assert len(one.tokens) >= 12
        assert len(set(pairs)) == len(pairs)


def test_repetition_penalty_of_logits():
    """Logits of generated tokens are divided if positive and multiplied if negative, once per distinct token."""
    logits = torch.tensor([[0.0, 0.0, 0.0, 1.0, 2.0, -2.0, 3.0], [0.0, 0.0, 0.0, 1.0, 2.0, -2.0, 3.0]])
    generated = np.array([[BOS, 4, 5, 4], [BOS, 6, 6, 6]])
    Constraints(SearchOptions(repetition_penalty=2.0)).apply(logits, generated, np.array([0, 1]))
    assert logits[0, 3:].tolist() == [1.0, 1.0, -4.0, 3.0]
    assert logits[1, 3:].tolist() == [1.0, 2.0, -2.0, 1.5]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_large_repetition_penalty_reduces_repetitions(translator, beam_size):
    def repetitions(penalty: float) -> int:
        found = translator.translate(TEXTS, beam_size=beam_size, min_decoding_length=12, repetition_penalty=penalty)
        return sum(len(one.tokens) - len(set(one.tokens)) for one in found)

    assert repetitions(5.0) < repetitions(1.0)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_suppressed_text_is_never_generated(translator, beam_size):
    options = SearchOptions(beam_size=beam_size, min_decoding_length=3)
    options = SearchOptions(beam_size=beam_size, min_decoding_length=3)
    unconstrained = translator.translate("a b c", options)
    word = unconstrained.text.split()[0]
    constrained = translator.translate("a b c", options, suppress_sequences=[word])
    assert constrained.text != unconstrained.text
    [token, *_] = translator.tokenizer.pieces(translator.tokenizer.encode(word))
    assert token not in constrained.tokens or len(translator.tokenizer.encode(word)) > 1


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_translation_begins_with_its_prefix(translator, beam_size):
    prefixes = ["h h", "", "g", "a"]
    for one, prefix in zip(
        translator.translate(TEXTS, beam_size=beam_size, target_prefix=prefixes), prefixes, strict=True
    ):
        assert one.text.startswith(prefix)


def test_constraints_without_effect_change_nothing(translator):
    plain, constrained = translator.translate(TEXTS), translator.translate(TEXTS, suppress_sequences=["zzzz qqqq zzzz"])
    assert [one.text for one in plain] == [one.text for one in constrained]
    assert [one.score for one in plain] == pytest.approx([one.score for one in constrained], abs=1e-4)


def test_without_constraints_the_fast_path_is_taken(translator, monkeypatch):
    monkeypatch.setattr(Constraints, "choose", lambda *_: pytest.fail("there are no constraints"))
    for beam_size in (1, 3):
        assert translator.translate(TEXTS, beam_size=beam_size, repetition_guard=False)


def test_samples_depend_on_seed_and_index_only(translator):
    def sample(texts, seed, **options):
        found = translator.translate(texts, sampling_temperature=3.0, seed=seed, **options)
        return [one.text for one in found]

    assert sample(TEXTS, 1) == sample(TEXTS, 1, batch_tokens=1)
    assert sample(TEXTS, 1) != sample(TEXTS, 2)
    assert sample(TEXTS[:1], 1) == sample(TEXTS, 1)[:1]


def test_sampling_from_one_token_is_greedy(translator):
    greedy = [one.text for one in translator.translate(TEXTS, beam_size=1)]
    for options in ({"sampling_topk": 1}, {"sampling_topp": 1e-9}):
        assert [one.text for one in translator.translate(TEXTS, **options)] == greedy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 2, "sampling_topk": 0}, "beam_size = 2"),
        ({"sampling_temperature": 0.0}, "sampling_temperature = 0"),
        ({"sampling_temperature": float("inf")}, "sampling_temperature = inf"),
        ({"seed": -1}, "seed = -1: must be at least 0"),
        ({"target_prefix": ["a"]}, "got 1 for 4 texts"),
        ({"repetition_penalty": 0.0}, "repetition_penalty = 0"),
    ],
)
def test_invalid_constraints_are_refused(translator, options, message):
    with pytest.raises(UserError, match=message):
        translator.translate(TEXTS, **options)
