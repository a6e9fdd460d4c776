"""Measures on attention that is made by hand, and the joining of subwords."""

import numpy as np
import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.data.tokenizer import EOS
from allyouneed.insight.words import Sentence, join_subwords, split_sentence
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.paper.figures.head_statistics import (
    RELATIONS,
    Kinds,
    Lexicon,
    Tally,
    encoder_attention,
    head_rows,
    kinds_of,
    lexicon_of,
    measure_sentence,
    most_anaphoric,
    most_different,
    most_distant,
)


class Pieces:
    """A tokenizer whose subwords are given, separated by bars."""

    def __init__(self, text: str):
        self.parts = text.split("|")

    def encode(self, text: str) -> list[int]:
        return list(range(100, 100 + len(self.parts)))

    def pieces(self, ids: list[int]) -> list[str]:
        return ["</s>" if i == EOS else self.parts[i - 100] for i in ids]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.pieces(ids)).replace("▁", " ")


def kinds(words: int, pronouns: tuple[int, ...] = (), function: tuple[int, ...] = ()) -> Kinds:
    places = np.arange(words)
    pronoun = np.isin(places, pronouns)
    return Kinds(np.ones(words, dtype=bool), ~pronoun & ~np.isin(places, function), pronoun)


def looking_at(keys: list[int], weight: float = 1.0) -> np.ndarray:
    """One head whose word i looks at keys[i] with this weight, and with the rest at `</s>`. [query, key]."""
    weights = np.zeros((len(keys) + 1, len(keys) + 1))
    weights[:, -1] = 1 - weight
    weights[-1, -1] = 1
    weights[range(len(keys)), keys] += weight
    return weights


def one_layer(*heads: np.ndarray) -> np.ndarray:
    return np.stack(heads)[None]


def test_attention_to_a_word_is_the_sum_and_from_a_word_the_mean_over_its_subwords():
    weights = np.array([[0.5, 0.2, 0.1, 0.2], [0.1, 0.1, 0.6, 0.2], [0.3, 0.1, 0.4, 0.2], [0.25, 0.25, 0.25, 0.25]])
    joined = join_subwords(weights, [0, 1, 3])
    np.testing.assert_allclose(joined, [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.25, 0.5, 0.25]])


@pytest.mark.parametrize(
    ("pieces", "language", "words"),
    [
        ("▁a|▁ter|rier|▁runs|.", "en", ["a", "terrier", "runs", "."]),
        ("▁don|'|t|▁.|.|.", "en", ["don't", ".", ".", "."]),
        ("▁&|apos|;s|▁ok|?", "en", ["'s", "ok", "?"]),
        ("▁去|北|京", "zh", ["去", "北", "京"]),
    ],
)
def test_words_begin_at_spaces_and_punctuation_at_their_end_stands_alone(pieces, language, words):
    sentence = split_sentence(Pieces(pieces), "", language)
    assert sentence.words == [*words, "</s>"]
    assert len(sentence.starts) == len(sentence.words)
    assert sentence.ids[-1] == EOS


def test_a_head_that_always_looks_at_the_word_before_is_found_to_do_so():
    before, at_itself = looking_at([5, 0, 1, 2, 3]), looking_at([0, 1, 2, 3, 4])
    tally = measure_sentence(one_layer(at_itself, before), kinds(5))
    row = head_rows(tally)[1]
    assert row["previous"] == 1  # the first word has none before it and does not count
    assert row["rate_previous"] == pytest.approx(0.8)
    assert row["end"] == pytest.approx(0.2)
    assert row["entropy"] == pytest.approx(0, abs=1e-6)
    assert row["same"] == row["next"] == row["far"] == 0
    assert most_different(tally) == (0, [0, 1], pytest.approx(0.9))


def test_entropy_and_distance():
    weights = np.full((1, 1, 4, 4), 0.25)
    row = head_rows(measure_sentence(weights, kinds(3)))[0]
    assert row["entropy"] == pytest.approx(np.log(4), abs=1e-4)
    assert row["distance"] == pytest.approx((1 + 2 / 3 + 1) / 3, abs=1e-4)


def test_every_key_is_in_one_relation():
    weights = np.random.default_rng(1).dirichlet(np.ones(9), (1, 2, 9))
    there = kinds(8)._replace(letters=np.array([True] * 3 + [False] + [True] * 3 + [False]))
    tally = measure_sentence(weights, there)
    np.testing.assert_allclose(sum(tally.sums[name] for name in RELATIONS), 8)
    assert tally.sums["punctuation"].min() > 0


def test_a_long_distance_head_is_sharp_and_far_and_its_best_sentence_is_named():
    words = 10
    far = looking_at([9, 9, 9, 9, 9, 0, 0, 0, 0, 0], 0.8)
    spread = np.full((words + 1, words + 1), 1 / (words + 1))
    tally = measure_sentence(one_layer(spread, far), kinds(words, function=(0,)), number=7)
    assert most_distant(tally) == (0, 1)
    rank, sentence, query, key = tally.best["far"][0, 1]
    assert (sentence, query, key) == (7, 1, 9)  # the word 0 is a function word
    assert rank == pytest.approx(1.8)  # the weight, and 1 for a length that reads well
    assert head_rows(tally)[1]["rate_far"] == 1


def test_the_lift_of_pronouns():
    # Word 3 is a pronoun, the others have content. Not directly before stand: 0 of 2; 0 and 1 of 3; 0 to 2 of 4.
    anaphoric = looking_at([0, 1, 2, 0, 4], 0.9)
    anaphoric[2] = [0.3, 0, 0, 0, 0, 0.7]
    anaphoric[4] = [0.1, 0, 0.2, 0, 0, 0.7]
    blind = looking_at([0, 0, 0, 0, 0], 0.5)
    tally = measure_sentence(one_layer(blind, anaphoric), kinds(5, pronouns=(3,)))
    row = head_rows(tally)[1]
    assert (tally.counts["pronouns"], tally.counts["beside"], tally.counts["others"]) == (1, 2, 2)
    assert row["pronouns"] == pytest.approx(0.9)
    assert row["beside"] == row["others"] == pytest.approx(0.3)
    assert row["lift"] == row["lift_beside"] == pytest.approx(3)
    assert row["peak_beside"] == 0  # their strongest lines go to the end
    assert most_anaphoric(tally) == (0, [1, 0])
    assert tally.best["pronouns"][0, 1].tolist() == pytest.approx([0.9, 0, 3, 0])


def test_without_pronouns_their_columns_are_empty():
    row = head_rows(measure_sentence(one_layer(looking_at([0, 0, 0])), kinds(3)))[0]
    assert row["pronouns"] is None
    assert row["lift"] is None
    assert row["others"] is not None


def test_tallies_add_up_and_survive_json():
    random = np.random.default_rng(2)
    one, other = (measure_sentence(random.dirichlet(np.ones(7), (2, 3, 7)), kinds(6), number) for number in (0, 1))
    total = Tally()
    total.add(one)
    total.add(Tally.from_json(other.as_json()))
    np.testing.assert_allclose(total.sums["entropy"], one.sums["entropy"] + other.sums["entropy"], atol=1e-5)
    assert total.counts["entropy"] == 12
    np.testing.assert_allclose(
        total.best["far"][..., 0], np.maximum(one.best["far"][..., 0], other.best["far"][..., 0]), atol=1e-5
    )
    assert set(total.best["far"][..., 1].flatten()) <= {0, 1}


def test_attention_of_a_batch_is_that_of_each_sentence_alone():
    torch.manual_seed(1)
    model = Transformer(ModelConfig(d_model=16, d_ff=16, num_heads=2, encoder_layers=2, decoder_layers=1), 30).eval()
    sentences = [
        Sentence([5, 6, 7, 8, EOS], [0, 1, 4], ["a", "bcd", "</s>"]),
        Sentence([9, EOS], [0, 1], ["a", "</s>"]),
    ]
    found = dict(encoder_attention(model, sentences))
    for number, sentence in enumerate(sentences):
        recorder = AttentionRecorder()
        with torch.inference_mode():
            model.encode(torch.tensor([sentence.ids]), Probe((recorder,)))
        alone = join_subwords(torch.cat(recorder.encoder).numpy(), sentence.starts)
        np.testing.assert_allclose(found[number], alone, atol=1e-6)
        np.testing.assert_allclose(found[number].sum(axis=-1), 1, atol=1e-5)


def test_words_of_a_language_with_a_list_and_of_one_without():
    words = [Sentence([], [], [*["the"] * 5, *(f"w{i}" for i in range(19)), "</s>"])]
    english = lexicon_of("en", words)
    told = kinds_of(["She", "sees", "the", "dog", "."], english)
    assert told.pronoun.tolist() == [True, False, False, False, False]
    assert told.content.tolist() == [False, True, False, True, False]
    assert lexicon_of("aa", words) == Lexicon(frozenset(), frozenset({"the", "w0"}))
