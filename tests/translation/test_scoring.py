"""Scores of given translations."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import allyouneed
from allyouneed import Transformer, Translator, UserError
from allyouneed.bundle import load_bundle
from allyouneed.translation.evaluation.data import read_test_set
from allyouneed.translation.scoring import TokenScores, score_lines, score_pairs, word_log_probabilities
from allyouneed.translation.search import LengthPenalty
from tests.conftest import toy_pairs, write_pairs


def test_the_sum_is_the_score_of_search(toy_run):
    translator = Translator.load(toy_run)
    for text in ("a b c d", "h", "c d e f g"):
        [translation] = translator.translate([text], beam_size=4, length_penalty=0.6)
        [scored] = score_pairs(translator, [text], [translation.text])
        assert scored.tokens == [*translation.tokens, "</s>"]
        total = translation.score * LengthPenalty(0.6).at(len(scored.tokens))
        assert sum(scored.log_probs) == pytest.approx(total, abs=1e-3)


def test_learned_positions_have_an_end(toy_run):
    bundle = load_bundle(toy_run)
    config = bundle.config.replace(model={"positions": "learned", "max_positions": 120})
    model = Transformer(config.model, len(bundle.tokenizer))
    translator = Translator(replace(bundle, model=model, config=config))
    longest = " ".join("a" * 119)
    assert len(translator.tokenizer.encode(longest)) == 119
    assert len(score_pairs(translator, [longest], [longest])[0].log_probs) == 120
    assert translator.look("a", longest).cross.shape[2] == 120
    with pytest.raises(UserError, match=r"pair 2: one side has 120 tokens; .* positions for 119"):
        score_pairs(translator, ["a", "a"], ["a", longest + " a"])
    for sides in ((longest + " a", "a"), ("a", longest + " a")):
        with pytest.raises(UserError, match="text or its translation has 120 tokens"):
            translator.look(*sides)


def test_a_word_has_the_sum_of_its_tokens():
    scored = TokenScores(["▁a", "b", "▁c", "</s>"], [-1.0, -2.0, -0.5, -9.0])
    assert word_log_probabilities(scored) == [-3.0, -0.5]


def test_a_run_or_a_translator_scores_files(toy_run, tmp_path):
    pairs, translator = toy_pairs(3), Translator.load(toy_run)
    test = write_pairs(tmp_path, "test", pairs)
    scores = allyouneed.score(toy_run, [str(path) for path in test], device="cpu")
    assert scores == allyouneed.score(translator, test)
    expected = score_pairs(translator, *zip(*pairs, strict=True))
    assert [(one.tokens, one.log_probs) for one in scores] == expected
    assert [(one.line, one.source, one.target) for one in scores] == [(i + 1, *pair) for i, pair in enumerate(pairs)]
    assert [one.score for one in scores] == [sum(one.log_probs) for one in scores]
    assert list(score_lines(scores)) == [f"{one.score:.4f}" for one in scores]
    for line, one in zip(score_lines(scores, tokens=True), scores, strict=True):
        _, *tokens = line.split("\t")
        assert tokens == [f"{token} {value:.4f}" for token, value in zip(one.tokens, one.log_probs, strict=True)]
    assert [json.loads(line) for line in score_lines(scores, as_json=True)] == [vars(one) for one in scores]


def test_an_empty_file_is_refused_as_in_evaluation(toy_run, tmp_path):
    (tmp_path / "test.tsv").touch()
    for function in (allyouneed.score, allyouneed.evaluate):
        with pytest.raises(UserError, match=r"test\.tsv: the file is empty\.$"):
            function(toy_run, tmp_path / "test.tsv", device="cpu")


def test_the_test_part_of_a_folder_is_read_in_the_languages_of_the_run(tmp_path):
    for part, texts in (("train", toy_pairs(5)), ("test", toy_pairs(3))):
        rows = [json.dumps({"en": target, "de": source}) for source, target in texts]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(rows) + "\n")
    notes: list[str] = []
    pairs = read_test_set([tmp_path], (1, 2), ("de", "en"), notes.append)
    assert [(pair.source, pair.target) for pair in pairs] == toy_pairs(3)
    assert "source is 'de', target is 'en'" in notes[0]
