import unicodedata

import pytest
import sacrebleu

from allyouneed import UserError
from allyouneed.translation import metrics
from allyouneed.translation.metrics import corpus_scores

SAID = ["the cat sat on the mat .", "it 's a dog , not a cat"]
MEANT = ["the cat sat on a mat .", "it 's a dog , not a cat"]


def test_agrees_with_sacrebleu_and_is_signed():
    found = corpus_scores(SAID, MEANT)
    assert found.bleu == pytest.approx(sacrebleu.corpus_bleu(SAID, [MEANT]).score)
    assert found.chrf == pytest.approx(sacrebleu.corpus_chrf(SAID, [MEANT]).score)
    assert found.exact_match == 50
    assert "tok:13a" in found.bleu_signature
    assert "nrefs:1" in found.chrf_signature


def test_a_letter_in_two_parts_is_the_same_letter():
    """Models write NFC; a reference from a Mac may be in NFD."""
    found = corpus_scores(["개가 달린다 ."], [unicodedata.normalize("NFD", "개가 달린다 .")])
    assert (found.chrf, found.exact_match) == (100, 100)


def test_tokenised_text_is_not_tokenised_again():
    found = corpus_scores(["don 't-do"], ["don 't-do"], tokenized=True)
    assert "tok:none" in found.bleu_signature
    with pytest.raises(UserError, match="zh: tokenized text is not tokenized again"):
        corpus_scores(["a"], ["a"], tokenized=True, tokenize="zh")


def test_another_tokeniser_is_in_the_signature():
    assert "tok:char" in corpus_scores(["ab"], ["ab"], tokenize="char").bleu_signature


def test_a_tokeniser_that_cannot_be_had_is_refused_on_one_line(monkeypatch):
    with pytest.raises(UserError, match=r"tokenizer no: sacreBLEU has .*13a"):
        corpus_scores(["a"], ["a"], tokenize="no")

    def missing(**settings):
        raise RuntimeError("install\n\n  what it needs")

    monkeypatch.setattr(metrics, "BLEU", missing)
    with pytest.raises(UserError, match=r"tokenizer ko-mecab: install what it needs$"):
        corpus_scores(["a"], ["a"], tokenize="ko-mecab")
