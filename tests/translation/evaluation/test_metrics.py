"""Corpus scores by sacreBLEU."""

import unicodedata

import pytest
import sacrebleu

from allyouneed import UserError
from allyouneed.translation.evaluation.metrics import corpus_scores

TRANSLATIONS = ["the cat sat on the mat .", "it 's a dog , not a cat"]
REFERENCES = ["the cat sat on a mat .", "it 's a dog , not a cat"]


def test_scores_and_signatures_are_those_of_sacrebleu():
    found = corpus_scores(TRANSLATIONS, REFERENCES)
    assert found.bleu == pytest.approx(sacrebleu.corpus_bleu(TRANSLATIONS, [REFERENCES]).score)
    assert found.chrf == pytest.approx(sacrebleu.corpus_chrf(TRANSLATIONS, [REFERENCES]).score)
    assert found.exact_match == 50
    assert "tok:13a" in found.bleu_signature
    assert "nrefs:1" in found.chrf_signature


def test_decomposed_letters_are_composed():
    """Models generate NFC, but references may be in NFD, for example from macOS."""
    found = corpus_scores(["개가 달린다 ."], [unicodedata.normalize("NFD", "개가 달린다 .")])
    assert (found.chrf, found.exact_match) == (100, 100)


def test_tokenized_text_is_not_tokenized_again():
    found = corpus_scores(["don 't-do"], ["don 't-do"], tokenized=True)
    assert "tok:none" in found.bleu_signature
    with pytest.raises(UserError, match="zh: tokenized text is not tokenized again"):
        corpus_scores(["a"], ["a"], tokenized=True, tokenize="zh")


def test_the_tokenizer_is_in_the_signature():
    assert "tok:char" in corpus_scores(["ab"], ["ab"], tokenize="char").bleu_signature
