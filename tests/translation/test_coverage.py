"""Coverage penalty, compared with its formula."""

import math

import pytest

from allyouneed import Translator, UserError

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
        assert {text for text, _ in before.hypotheses} == {text for text, _ in after.hypotheses}
        scores = dict(before.hypotheses)
        for text, score in after.hypotheses:
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
