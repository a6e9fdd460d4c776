import numpy as np
import pytest
import torch

from allyouneed import Translator, UserError
from allyouneed.data.tokenizer import BOS
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
def test_no_ngram_twice(translator, beam_size):
    for one in translator.translate(TEXTS, beam_size=beam_size, min_decoding_length=12, no_repeat_ngram_size=2):
        pairs = list(zip(one.tokens, one.tokens[1:], strict=False))
        assert len(one.tokens) >= 12
        assert len(set(pairs)) == len(pairs)


def test_what_was_said_is_less_likely_to_be_said_again():
    """Its logit is divided, a negative one multiplied; no other changes, and said twice counts once."""
    logits = torch.tensor([[0.0, 0.0, 0.0, 1.0, 2.0, -2.0, 3.0], [0.0, 0.0, 0.0, 1.0, 2.0, -2.0, 3.0]])
    said = np.array([[BOS, 4, 5, 4], [BOS, 6, 6, 6]])
    Constraints(SearchOptions(repetition_penalty=2.0)).apply(logits, said, np.array([0, 1]))
    assert logits[0, 3:].tolist() == [1.0, 1.0, -4.0, 3.0]
    assert logits[1, 3:].tolist() == [1.0, 2.0, -2.0, 1.5]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_large_penalty_makes_fewer_repetitions(translator, beam_size):
    def repeated(penalty: float) -> int:
        found = translator.translate(TEXTS, beam_size=beam_size, min_decoding_length=12, repetition_penalty=penalty)
        return sum(len(one.tokens) - len(set(one.tokens)) for one in found)

    assert repeated(5.0) < repeated(1.0)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_what_is_suppressed_never_comes(translator, beam_size):
    free = translator.translate(["a b c"], beam_size=beam_size, min_decoding_length=3)[0]
    word = free.text.split()[0]
    bound = translator.translate(["a b c"], beam_size=beam_size, min_decoding_length=3, suppress_sequences=[word])[0]
    assert bound.text != free.text
    [subword, *_] = translator.tokenizer.pieces(translator.tokenizer.encode(word))
    assert subword not in bound.tokens or len(translator.tokenizer.encode(word)) > 1


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_translation_begins_with_its_prefix(translator, beam_size):
    prefixes = ["h h", "", "g", "a"]
    for one, prefix in zip(
        translator.translate(TEXTS, beam_size=beam_size, target_prefix=prefixes), prefixes, strict=True
    ):
        assert one.text.startswith(prefix)


def test_rules_that_forbid_nothing_change_nothing(translator):
    free, bound = translator.translate(TEXTS), translator.translate(TEXTS, suppress_sequences=["zzzz qqqq zzzz"])
    assert [one.text for one in free] == [one.text for one in bound]
    assert [one.score for one in free] == pytest.approx([one.score for one in bound], abs=1e-4)


def test_without_rules_the_fast_path_is_taken(translator, monkeypatch):
    monkeypatch.setattr(Constraints, "choose", lambda *_: pytest.fail("there is no rule"))
    for beam_size in (1, 3):
        assert translator.translate(TEXTS, beam_size=beam_size)


def test_what_is_drawn_depends_on_seed_and_number_alone(translator):
    def drawn(texts, seed, **options):
        found = translator.translate(texts, sampling_temperature=3.0, seed=seed, **options)
        return [one.text for one in found]

    assert drawn(TEXTS, 1) == drawn(TEXTS, 1, batch_tokens=1)
    assert drawn(TEXTS, 1) != drawn(TEXTS, 2)
    assert drawn(TEXTS[:1], 1) == drawn(TEXTS, 1)[:1]


def test_drawing_from_one_word_is_greedy(translator):
    greedy = [one.text for one in translator.translate(TEXTS, beam_size=1)]
    for options in ({"sampling_topk": 1}, {"sampling_topp": 1e-9}):
        assert [one.text for one in translator.translate(TEXTS, **options)] == greedy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 2, "sampling_topk": 0}, "beam_size = 2"),
        ({"sampling_temperature": 0.0}, "sampling_temperature = 0"),
        ({"sampling_temperature": float("inf")}, "sampling_temperature = inf"),
        ({"seed": -1}, "seed = -1: input should be greater than or equal to 0"),
        ({"target_prefix": ["a"]}, "got 1 for 4 texts"),
        ({"repetition_penalty": 0.0}, "repetition_penalty = 0"),
    ],
)
def test_impossible_rules(translator, options, message):
    with pytest.raises(UserError, match=message):
        translator.translate(TEXTS, **options)
