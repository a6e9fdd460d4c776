"""Statistics of synthetic attention, and aggregation of tokens to words."""

import numpy as np
import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.insight.words import Sentence, join_subwords, split_sentence
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.paper.figures.head_statistics import (
    RELATIONS,
    HeadStatistics,
    encoder_attention,
    head_rows,
    measure_sentence,
    most_anaphoric,
    most_different,
    most_distant,
)
from allyouneed.paper.figures.word_classes import Lexicon, WordClasses, classify, lexicon_of


class FixedTokenizer:
    """A tokenizer with fixed tokens, given as text separated by bars."""

    def __init__(self, text: str):
        self.parts = text.split("|")

    def encode(self, text: str) -> list[int]:
        return list(range(100, 100 + len(self.parts)))

    def pieces(self, ids: list[int]) -> list[str]:
        return ["</s>" if i == EOS else self.parts[i - 100] for i in ids]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.pieces(ids)).replace("▁", " ")


def word_classes(words: int, pronouns: tuple[int, ...] = (), function: tuple[int, ...] = ()) -> WordClasses:
    indices = np.arange(words)
    pronoun = np.isin(indices, pronouns)
    return WordClasses(np.ones(words, dtype=bool), ~pronoun & ~np.isin(indices, function), pronoun)


def attending_to(keys: list[int], weight: float = 1.0) -> np.ndarray:
    """Return one head whose word i attends to keys[i] with this weight, and to `</s>` with the rest; [query, key]."""
    weights = np.zeros((len(keys) + 1, len(keys) + 1))
    weights[:, -1] = 1 - weight
    weights[-1, -1] = 1
    weights[range(len(keys)), keys] += weight
    return weights


def one_layer(*heads: np.ndarray) -> np.ndarray:
    return np.stack(heads)[None]


def test_aggregation_of_tokens_to_words():
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
def test_splitting_into_words(pieces, language, words):
    sentence = split_sentence(FixedTokenizer(pieces), "", language)
    assert sentence.words == [*words, "</s>"]
    assert len(sentence.starts) == len(sentence.words)
    assert sentence.ids[-1] == EOS


def test_a_head_that_attends_to_the_previous_word():
    previous, same = attending_to([5, 0, 1, 2, 3]), attending_to([0, 1, 2, 3, 4])
    statistics = measure_sentence(one_layer(same, previous), word_classes(5))
    row = head_rows(statistics)[1]
    assert row["previous"] == 1  # the first word has no previous word and does not count
    assert row["rate_previous"] == pytest.approx(0.8)
    assert row["end"] == pytest.approx(0.2)
    assert row["entropy"] == pytest.approx(0, abs=1e-6)
    assert row["same"] == row["next"] == row["far"] == 0
    assert most_different(statistics) == (0, [0, 1], pytest.approx(0.9))


def test_entropy_and_distance():
    weights = np.full((1, 1, 4, 4), 0.25)
    row = head_rows(measure_sentence(weights, word_classes(3)))[0]
    assert row["entropy"] == pytest.approx(np.log(4), abs=1e-4)
    assert row["distance"] == pytest.approx((1 + 2 / 3 + 1) / 3, abs=1e-4)


def test_every_key_has_exactly_one_relation():
    weights = np.random.default_rng(1).dirichlet(np.ones(9), (1, 2, 9))
    classes = word_classes(8)._replace(letters=np.array([True] * 3 + [False] + [True] * 3 + [False]))
    statistics = measure_sentence(weights, classes)
    np.testing.assert_allclose(sum(statistics.sums[name] for name in RELATIONS), 8)
    assert statistics.sums["punctuation"].min() > 0


def test_the_most_distant_head_and_its_best_sentence():
    words = 10
    distant = attending_to([9, 9, 9, 9, 9, 0, 0, 0, 0, 0], 0.8)
    uniform = np.full((words + 1, words + 1), 1 / (words + 1))
    statistics = measure_sentence(one_layer(uniform, distant), word_classes(words, function=(0,)), number=7)
    assert most_distant(statistics) == (0, 1)
    rank, sentence, query, key = statistics.best["far"][0, 1]
    assert (sentence, query, key) == (7, 1, 9)  # word 0 is a function word
    assert rank == pytest.approx(1.8)  # the weight, and 1 for a readable length
    assert head_rows(statistics)[1]["rate_far"] == 1


def test_lift_of_pronouns():
    # Word 3 is a pronoun, the others are content words. Preceding but not previous: 0 of 2; 0 and 1 of 3; 0 to 2 of 4.
    anaphoric = attending_to([0, 1, 2, 0, 4], 0.9)
    anaphoric[2] = [0.3, 0, 0, 0, 0, 0.7]
    anaphoric[4] = [0.1, 0, 0.2, 0, 0, 0.7]
    indifferent = attending_to([0, 0, 0, 0, 0], 0.5)
    statistics = measure_sentence(one_layer(indifferent, anaphoric), word_classes(5, pronouns=(3,)))
    row = head_rows(statistics)[1]
    assert (statistics.counts["pronouns"], statistics.counts["beside"], statistics.counts["others"]) == (1, 2, 2)
    assert row["pronouns"] == pytest.approx(0.9)
    assert row["beside"] == row["others"] == pytest.approx(0.3)
    assert row["lift"] == row["lift_beside"] == pytest.approx(3)
    assert row["peak_beside"] == 0  # the largest weights of the adjacent words are on `</s>`
    assert most_anaphoric(statistics) == (0, [1, 0])
    assert statistics.best["pronouns"][0, 1].tolist() == pytest.approx([0.9, 0, 3, 0])


def test_columns_without_pronouns_are_empty():
    row = head_rows(measure_sentence(one_layer(attending_to([0, 0, 0])), word_classes(3)))[0]
    assert row["pronouns"] is None
    assert row["lift"] is None
    assert row["others"] is not None


def test_adding_statistics_and_json():
    random = np.random.default_rng(2)
    first, second = (
        measure_sentence(random.dirichlet(np.ones(7), (2, 3, 7)), word_classes(6), number) for number in (0, 1)
    )
    total = HeadStatistics()
    total.add(first)
    total.add(HeadStatistics.from_json(second.as_json()))
    np.testing.assert_allclose(total.sums["entropy"], first.sums["entropy"] + second.sums["entropy"], atol=1e-5)
    assert total.counts["entropy"] == 12
    np.testing.assert_allclose(
        total.best["far"][..., 0], np.maximum(first.best["far"][..., 0], second.best["far"][..., 0]), atol=1e-5
    )
    assert set(total.best["far"][..., 1].flatten()) <= {0, 1}


def test_attention_does_not_depend_on_the_batch():
    torch.manual_seed(1)
    model = Transformer(ModelConfig(d_model=16, d_ff=16, num_heads=2, encoder_layers=2, decoder_layers=1), 30).eval()
    sentences = [
        Sentence([5, 6, 7, 8, EOS], [0, 1, 4], ["a", "bcd", "</s>"]),
        Sentence([9, EOS], [0, 1], ["a", "</s>"]),
    ]
    attention = dict(encoder_attention(model, sentences))
    for number, sentence in enumerate(sentences):
        recorder = AttentionRecorder()
        with torch.inference_mode():
            model.encode(torch.tensor([sentence.ids]), Probe((recorder,)))
        alone = join_subwords(torch.cat(recorder.encoder).numpy(), sentence.starts)
        np.testing.assert_allclose(attention[number], alone, atol=1e-6)
        np.testing.assert_allclose(attention[number].sum(axis=-1), 1, atol=1e-5)


def test_lexicons_with_and_without_a_list():
    words = [Sentence([], [], [*["the"] * 5, *(f"w{i}" for i in range(19)), "</s>"])]
    english = lexicon_of("en", words)
    classes = classify(["She", "sees", "the", "dog", "."], english)
    assert classes.pronoun.tolist() == [True, False, False, False, False]
    assert classes.content.tolist() == [False, True, False, True, False]
    assert lexicon_of("aa", words) == Lexicon(frozenset(), frozenset({"the", "w0"}))
