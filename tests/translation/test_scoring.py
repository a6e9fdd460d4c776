import pytest

from allyouneed import Translator
from allyouneed.translation.scoring import score_pairs


def test_scores_are_those_of_search(toy_run):
    translator = Translator.load(toy_run)
    texts = ["a b c d", "h", "e f a b c"]
    found = translator.translate(texts, beam_size=3, length_penalty=0.0)
    scored = score_pairs(translator, texts, [one.text for one in found])
    for one, score in zip(found, scored, strict=True):
        if translator.tokenizer.pieces(translator.tokenizer.encode(one.text)) == one.tokens:
            assert sum(score.log_probs) == pytest.approx(one.score, abs=1e-3)
        assert score.tokens[-1] == "</s>"
        assert len(score.tokens) == len(score.log_probs)
