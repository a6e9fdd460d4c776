from dataclasses import replace

import pytest

from allyouneed import Transformer, Translator, UserError
from allyouneed.bundle import load_bundle
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


def test_learned_positions_have_an_end(toy_run):
    bundle = load_bundle(toy_run)
    config = bundle.config.override(["model.positions=learned", "model.max_positions=120"])
    model = Transformer(config.model, len(bundle.tokenizer))
    translator = Translator(replace(bundle, model=model, config=config))
    longest = " ".join("a" * 119)
    assert len(translator.tokenizer.encode(longest)) == 119
    assert len(score_pairs(translator, [longest], [longest])[0].log_probs) == 120
    assert translator.look("a", longest).cross.shape[2] == 120
    with pytest.raises(UserError, match=r"pair 2: one side has 120 subwords; .* positions for 119"):
        score_pairs(translator, ["a", "a"], ["a", longest + " a"])
    for sides in ((longest + " a", "a"), ("a", longest + " a")):
        with pytest.raises(UserError, match="text or its translation has 120 subwords"):
            translator.look(*sides)


def test_a_word_has_the_sum_of_its_subwords():
    scored = Scored(["▁a", "b", "▁c", "</s>"], [-1.0, -2.0, -0.5, -9.0])
    assert word_log_probabilities(scored) == [-3.0, -0.5]
