import pytest

from allyouneed import Translator
from allyouneed.translation.scoring import token_log_probabilities, word_log_probabilities
from allyouneed.translation.search import length_penalty


def test_the_sum_is_what_search_found(toy_run):
    translator = Translator.load(toy_run)
    for text in ("a b c d", "h", "c d e f g"):
        [translation] = translator.translate([text], beam_size=4, length_penalty=0.6)
        scored = token_log_probabilities(translator, text, translation.text)
        assert [token for token, _ in scored] == [*translation.tokens, "</s>"]
        total = translation.score * length_penalty(len(scored), 0.6)
        assert sum(log_p for _, log_p in scored) == pytest.approx(total, abs=1e-3)


def test_a_word_has_the_sum_of_its_subwords():
    scored = [("▁a", -1.0), ("b", -2.0), ("▁c", -0.5), ("</s>", -9.0)]
    assert word_log_probabilities(scored) == [-3.0, -0.5]
