"""Search options of the same name in CTranslate2 and here: the same tokens, and the differences that are documented."""

from __future__ import annotations

import pytest

from allyouneed import Translator, exchange
from allyouneed.bundle import load_bundle
from tests.compat import PRE_NORM
from tests.conftest import toy_pairs

ctranslate2 = pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")

TEXTS = [source for source, _ in toy_pairs(80, seed=6)]
LONGEST = 40  # of CTranslate2, which would cut; no translation below is longer
PREFIX = "c a"


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    bundle, folder = load_bundle(PRE_NORM), tmp_path_factory.mktemp("options") / "out"
    exchange.export_ctranslate2(bundle, folder)
    return Translator(bundle), ctranslate2.Translator(str(folder), intra_threads=1)


def both(systems, beam_size: int, ours: dict, theirs: dict):
    translator, other = systems
    tokenizer = translator.tokenizer
    pieces = [tokenizer.pieces(ids) for ids in tokenizer.encode_all(TEXTS)]
    defaults = {"max_decoding_length": LONGEST, "min_decoding_length": 0, "length_penalty": 0, "return_scores": True}
    results = other.translate_batch(pieces, beam_size=beam_size, **{**defaults, **theirs})
    found = translator.translate(TEXTS, beam_size=beam_size, repetition_guard=False, **{"length_penalty": 0.0, **ours})
    return found, results


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_decoding_length": 7},
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 3, "min_decoding_length": 9},
    ],
    ids=str,
)
def test_equal_options(systems, beam_size, options):
    found, results = both(systems, beam_size, options, options)
    assert [one.tokens for one in found] == [result.hypotheses[0] for result in results]
    assert [one.score for one in found] == pytest.approx([result.scores[0] for result in results], abs=2e-3)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_suppressed_sequences_and_prefixes(systems, beam_size):
    tokenizer = systems[0].tokenizer
    tokens = [tokenizer.pieces(tokenizer.encode(text)) for text in (PREFIX, "a b", "h")]
    ours = {"target_prefix": [PREFIX] * len(TEXTS), "suppress_sequences": ("a b", "h"), "min_decoding_length": 4}
    theirs = {
        "target_prefix": [tokens[0]] * len(TEXTS),
        "suppress_sequences": tokens[1:],
        "min_decoding_length": 4,
    }
    found, results = both(systems, beam_size, ours, theirs)
    assert [one.tokens for one in found] == [result.hypotheses[0] for result in results]
    assert all(one.tokens[:2] == tokens[0] for one in found)


def test_sampling_from_one_token_is_greedy(systems):
    found, results = both(systems, 1, {"sampling_topk": 1}, {"sampling_topk": 1})
    assert [one.tokens for one in found] == [result.hypotheses[0] for result in results]


def test_greedy_translations_that_are_cut_have_the_same_tokens(systems):
    """CTranslate2 leaves out the end token; here it is forced, and the score includes it."""
    found, results = both(systems, 1, {"max_decoding_length": 3}, {"max_decoding_length": 3})
    assert [one.tokens for one in found] == [result.hypotheses[0] for result in results]
    cut = [number for number, one in enumerate(found) if len(one.tokens) == 3]
    assert len(cut) > 20
    assert all(found[number].score <= results[number].scores[0] + 1e-3 for number in cut)


@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_greedy_scores_differ_by_the_formula_of_the_length_penalty(systems, alpha):
    found, results = both(systems, 1, {"length_penalty": alpha}, {"length_penalty": alpha})
    for one, result in zip(found, results, strict=True):
        length = len(one.tokens) + 1  # with the end
        assert one.tokens == result.hypotheses[0]
        log_p = one.score * ((5 + length) / 6) ** alpha
        assert log_p / length**alpha == pytest.approx(result.scores[0], abs=2e-3)
