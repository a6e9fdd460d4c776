import numpy as np
import pytest
import torch

from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.insight.statistics.aligner import Links
from allyouneed.insight.statistics.heads import head_row, importance, measure_heads
from allyouneed.insight.words import split_sentence
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.probe import AttentionRecorder, Probe


@pytest.fixture
def pairs(small):
    texts = [("a dog runs.", "the cat sleeps"), ("the park", "a red chair, and more."), ("a", "a")]
    return [tuple(split_sentence(small.tokenizer, text, "en") for text in pair) for pair in texts]


def test_batched_measures_equal_those_of_single_sentences(small, pairs):
    sums = measure_heads(small.model, pairs, small.tokenizer)
    rows = dict.fromkeys(("entropy", "distance", "previous", "same", "end"), 0.0)
    count = 0
    for source, target in pairs:
        ids = torch.tensor([source.ids]), torch.tensor([[BOS, *target.ids[:-1]]])
        recorder = AttentionRecorder()
        with torch.no_grad():
            small.model(*ids, Probe((recorder,)))
        weights = recorder.encoder[1][0, 1].numpy()
        for i, row in enumerate(weights):
            count += 1
            rows["entropy"] -= float((row * np.log(row)).sum())
            rows["distance"] += sum(abs(i - j) * w for j, w in enumerate(row))
            rows["previous"] += row[i - 1] if i else 0
            rows["same"] += row[i]
            rows["end"] += row[-1]
    found = head_row(sums["encoder"], "encoder", 1, 1, None)
    for name, total in rows.items():
        assert found[name] == pytest.approx(total / count, abs=1e-3)
    assert found["aer"] is None
    assert head_row(sums["decoder"], "decoder", 0, 0, None)["next"] is None  # later positions are masked
    assert 0 < found["period"] < 1


def test_only_encoder_decoder_attention_has_an_alignment_error(small, pairs):
    gold = [Links(frozenset({(0, 0)}), frozenset({(0, 0)}))] * 3
    sums = measure_heads(small.model, pairs, small.tokenizer)
    assert 0 <= head_row(sums["cross"], "cross", 0, 0, gold)["aer"] <= 1
    assert head_row(sums["encoder"], "encoder", 0, 0, gold)["aer"] is None


def test_examples_are_short_sentences_with_lines(small, pairs):
    sums = measure_heads(small.model, pairs, small.tokenizer)
    for example in head_row(sums["cross"], "cross", 0, 0, None)["examples"]:
        source, target = pairs[example["sentence"]]
        assert all(i < len(target.ids) and j < len(source.ids) and 0 < w <= 1 for i, j, w in example["lines"])


def test_head_without_output_has_no_importance(small, pairs):
    attention: MultiHeadAttention = small.model.decoder.layers[1].cross_attention
    with torch.no_grad():
        attention.output.weight[:, : small.model.config.value_size] = 0
    increases = importance(small.model, pairs)
    assert increases["cross", 1, 0] == pytest.approx(0, abs=1e-6)
    assert abs(increases["cross", 1, 1]) > 1e-4
    assert pairs[0][0].ids[-1] == EOS
