import pytest

from allyouneed import Translator
from allyouneed.translation.scoring import Scored, score_pairs, word_log_probabilities
from allyouneed.translation.search import length_penalty


def test_the_sum_is_what_search_found(toy_run):
    translator = Translator.load(toy_run)
    for text in ("a b c d", "h", "c d e f g"):
        [translation] = translator.translate([text], beam_size=4, length_penalty=0.6)
        [scored] = score_pairs(translator, [text], [translation.text])
        assert scored.tokens == [*translation.tokens, "</s>"]
        total = translation.score * length_penalty(len(scored.tokens), 0.6)
        assert sum(scored.log_probs) == pytest.approx(total, abs=1e-3)


def test_a_word_has_the_sum_of_its_subwords():
    scored = Scored(["▁a", "b", "▁c", "</s>"], [-1.0, -2.0, -0.5, -9.0])
    assert word_log_probabilities(scored) == [-3.0, -0.5]
