import pytest
import sacrebleu

from allyouneed.translation.evaluate import score

SAID = ["the cat sat on the mat .", "it 's a dog , not a cat"]
MEANT = ["the cat sat on a mat .", "it 's a dog , not a cat"]


def test_agrees_with_sacrebleu_and_is_signed():
    found = score(SAID, MEANT)
    assert found.bleu == pytest.approx(sacrebleu.corpus_bleu(SAID, [MEANT]).score)
    assert found.chrf == pytest.approx(sacrebleu.corpus_chrf(SAID, [MEANT]).score)
    assert found.exact_match == 50
    assert "tok:13a" in found.bleu_signature
    assert "nrefs:1" in found.chrf_signature


def test_tokenised_text_is_not_tokenised_again():
    found = score(["don 't-do"], ["don 't-do"], tokenized=True)
    assert "tok:none" in found.bleu_signature
