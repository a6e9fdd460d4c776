"""Coverage penalty, compared with its formula and with CTranslate2."""

import math

import pytest

from allyouneed import Translator, UserError, exchange
from tests.conftest import toy_pairs

TEXTS = ["a b c", "h g f e d", "d e f a", "b"]


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


def expected(translator, source: str, text: str) -> float:
    weights = translator.look(source, text).cross
    shares = weights[max(0, len(weights) - 2)].mean(axis=0).sum(axis=0)
    return sum(math.log(min(share, 1.0)) for share in shares)


def test_scores_match_the_formula(translator):
    penalty, options = 0.3, {"beam_size": 4, "num_hypotheses": 4}
    plain = translator.translate(TEXTS, **options)
    found = translator.translate(TEXTS, **options, coverage_penalty=penalty)
    for before, after in zip(plain, found, strict=True):
        scores = dict(before.hypotheses)
        assert after.hypotheses[0][0] in scores
        for text, score in after.hypotheses:
            if text not in scores:  # the search ends earlier with the penalty
                continue
            assert score == pytest.approx(scores[text] + penalty * expected(translator, before.source, text), abs=1e-3)
        assert [score for _, score in after.hypotheses] == sorted((s for _, s in after.hypotheses), reverse=True)


def test_the_best_hypothesis_may_change(translator):
    [one] = translator.translate(TEXTS[1:2], beam_size=4, num_hypotheses=1, coverage_penalty=50.0)
    [every] = translator.translate(TEXTS[1:2], beam_size=4, num_hypotheses=4, coverage_penalty=50.0)
    assert (one.text, one.score) == every.hypotheses[0]


def test_greedy_scores_include_it(translator):
    options = {"beam_size": 1, "max_decoding_length": 2}
    plain, found = (translator.translate(TEXTS, **options, coverage_penalty=penalty) for penalty in (0.0, 1.0))
    for before, after in zip(plain, found, strict=True):
        assert before.text == after.text
        assert after.score == pytest.approx(before.score + expected(translator, before.source, before.text), abs=1e-3)
    assert any(after.score < before.score for before, after in zip(plain, found, strict=True))


def test_a_negative_penalty_is_refused(translator):
    with pytest.raises(UserError, match="coverage_penalty = -1"):
        translator.translate(TEXTS, coverage_penalty=-1.0)


@pytest.mark.parametrize("penalty", [0.2, 5.0])
def test_ctranslate2_finds_the_same_hypotheses(translator, penalty, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")
    exchange.export_ctranslate2(translator.bundle, tmp_path / "out")
    tokenizer, texts = translator.tokenizer, [source for source, _ in toy_pairs(60, seed=8)]
    results = ctranslate2.Translator(str(tmp_path / "out")).translate_batch(
        [tokenizer.pieces(ids) for ids in tokenizer.encode_all(texts)],
        max_batch_size=1,  # in a batch, CTranslate2's penalty counts padding
        beam_size=4,
        num_hypotheses=4,
        length_penalty=0,
        coverage_penalty=penalty,
        min_decoding_length=0,
        return_scores=True,
    )
    options = {"length_penalty": 0.0, "coverage_penalty": penalty, "repetition_guard": False}
    ours = translator.translate(texts, beam_size=4, num_hypotheses=4, **options)
    for mine, other in zip(ours, results, strict=True):
        assert mine.tokens == other.hypotheses[0]
        theirs = [tokenizer.decode(tokenizer.ids(tokens)) for tokens in other.hypotheses]
        assert [text for text, _ in mine.hypotheses] == theirs
        assert [score for _, score in mine.hypotheses] == pytest.approx(other.scores, abs=2e-3)
