"""Minimum Bayes risk: expected BLEU compared with its definition, and the choice of a translator."""

import math

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from allyouneed import Translator
from allyouneed.translation.minimum_bayes_risk import by_expected_bleu, pairwise_bleu
from allyouneed.translation.search import Hypothesis, LengthPenalty

SENTENCES = [[5, 6, 7, 8, 9], [5, 6, 7, 8], [5, 5, 5, 6, 7, 8, 9], [20, 21], [7], []]


def test_bleu_of_all_pairs_is_that_of_sacrebleu():
    metric = BLEU(smooth_method="add-k", smooth_value=1, tokenize="none")
    found = pairwise_bleu(SENTENCES)
    for i, hypothesis in enumerate(SENTENCES[:-1]):
        for j, reference in enumerate(SENTENCES[:-1]):
            texts = [" ".join(map(str, ids)) for ids in (hypothesis, reference)]
            assert 100 * found[i, j] == pytest.approx(metric.sentence_score(texts[0], texts[1:]).score, abs=1e-6), texts
    assert not found[-1].any()


def hypothesis(ids, score: float) -> Hypothesis:
    return Hypothesis(ids, score, score, [])


def test_a_hypothesis_that_resembles_the_others_is_preferred():
    odd, *alike = ([30, 31, 32, 33, 34], [5, 6, 7, 8, 9], [5, 6, 7, 8, 10], [5, 6, 7, 8, 11])
    hypotheses = [hypothesis(odd, -1.0), *(hypothesis(ids, -1.1) for ids in alike)]
    found = by_expected_bleu(hypotheses, LengthPenalty(0.0))
    assert [each.ids for each in found] == [*alike, odd]
    certain = [hypothesis(odd, -1.0), *(hypothesis(ids, -9.0) for ids in alike)]
    assert by_expected_bleu(certain, LengthPenalty(0.0))[0].ids == odd
    assert by_expected_bleu(hypotheses[:1], LengthPenalty(0.0)) == hypotheses[:1]
    assert by_expected_bleu([], LengthPenalty(0.0)) == []


def test_probabilities_are_those_of_scores_at_the_length_of_the_best():
    hypotheses = [hypothesis([5, 6, 7, 8], -0.5), hypothesis([5, 6, 9], -0.6), hypothesis([5, 9, 9, 9, 9, 9], -0.7)]
    penalty = LengthPenalty(1.0, 0.0)
    weights = np.array([math.exp(5 * each.score) for each in hypotheses])  # of four tokens and the end
    expected = pairwise_bleu([each.ids for each in hypotheses]) @ weights
    ranked = sorted(range(3), key=lambda i: -expected[i])
    assert by_expected_bleu(hypotheses, penalty) == [hypotheses[i] for i in ranked]


def test_a_translator_chooses_among_the_whole_beam(toy_run):
    translator = Translator.load(toy_run)
    texts = ["a b c", "h g f e d", "d e f a", "b"]
    every = translator.translate(texts, beam_size=6, num_hypotheses=6)
    chosen = translator.translate(texts, beam_size=6, minimum_bayes_risk=True)
    ranked = translator.translate(texts, beam_size=6, num_hypotheses=6, minimum_bayes_risk=True)
    for plain, best, all_ranked in zip(every, chosen, ranked, strict=True):
        assert sorted(all_ranked.hypotheses) == sorted(plain.hypotheses)
        assert (best.text, best.score) == all_ranked.hypotheses[0]
    assert [each.hypotheses for each in ranked] != [each.hypotheses for each in every]
    assert translator.translate(texts[:1], beam_size=1, minimum_bayes_risk=True)[0].text
