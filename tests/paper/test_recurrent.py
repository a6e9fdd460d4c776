"""The RNN of table 2: size, attention, search, independence of padding, and learning."""

from __future__ import annotations

import pytest
import torch

from allyouneed.config import ModelConfig, load_recipe
from allyouneed.model.transformer import Transformer
from allyouneed.paper.recurrent import AdditiveAttention, RecurrentTranslator, equal_hidden
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.search import LengthPenalty, greedy

CONFIG = ModelConfig(d_model=16, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1, dropout=0.1)


@pytest.fixture
def model() -> RecurrentTranslator:
    torch.manual_seed(1)
    return RecurrentTranslator(CONFIG, vocab_size=50).eval()


def test_it_has_as_many_parameters_as_the_transformer():
    for config in (CONFIG, load_recipe("tiny").model):
        size = RecurrentTranslator(config, 1000).num_parameters()
        larger = RecurrentTranslator(config, 1000, hidden=equal_hidden(config, 1000) + 8).num_parameters()
        assert size <= Transformer(config, 1000).num_parameters() < larger


def test_additive_attention():
    torch.manual_seed(1)
    attention = AdditiveAttention(4)
    state, memory = torch.randn(1, 4), torch.randn(1, 3, 8)
    mask = torch.tensor([[True, True, False]])
    context = attention(state, memory, attention.key(memory), mask)
    scores = [
        attention.score.weight[0] @ torch.tanh(attention.query(state[0]) + attention.key.weight @ memory[0, i])
        for i in range(2)
    ]
    weights = torch.stack(scores).softmax(dim=0)
    torch.testing.assert_close(context[0], weights @ memory[0, :2])


def test_stepwise_decoding_agrees_with_teacher_forcing(model):
    source = torch.tensor([[4, 5, 6, 3], [7, 3, 0, 0]])
    target = torch.tensor([[2, 8, 9], [2, 10, 11]])
    whole = model.output(model.hidden(source, target))
    cache = model.start(source)
    stepwise = torch.stack([model.decode_step(tokens, cache) for tokens in target.unbind(dim=1)], dim=1)
    torch.testing.assert_close(stepwise, whole)


def test_results_do_not_depend_on_the_batch(model):
    alone = model.hidden(torch.tensor([[7, 3]]), torch.tensor([[2, 10]]))
    together = model.hidden(torch.tensor([[7, 3, 0, 0], [4, 5, 6, 3]]), torch.tensor([[2, 10], [2, 8]]))
    torch.testing.assert_close(together[:1], alone)


def test_the_future_is_hidden(model):
    source = torch.tensor([[4, 5, 3]])
    one = model.hidden(source, torch.tensor([[2, 8, 9]]))
    other = model.hidden(source, torch.tensor([[2, 8, 20]]))
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2], other[:, 2])


def test_beam_size_1_is_greedy_search(model):
    source = torch.tensor([[4, 5, 6, 3], [7, 8, 3, 0]])
    beam = beam_search(model, source, [6, 6], beam_size=1, penalty=LengthPenalty(0.0))
    assert [hypotheses[0].ids for hypotheses in beam] == [
        hypothesis.ids for hypothesis in greedy(model, source, [6, 6])
    ]
    assert len(beam_search(model, source, [6, 6], beam_size=3, penalty=LengthPenalty(0.6), num_hypotheses=3)[0]) == 3


def test_it_learns_to_copy():
    torch.manual_seed(1)
    model = RecurrentTranslator(CONFIG.model_copy(update={"dropout": 0.0}), 12, hidden=32)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        tokens = torch.randint(4, 12, (32, 4))
        logits = model.output(model.hidden(tokens, torch.cat([torch.full((32, 1), 2), tokens[:, :-1]], dim=1)))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
