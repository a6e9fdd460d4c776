import pytest
import torch

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.insight.tree import hypothesis_nodes, path_of, traced_search
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.search import LengthPenalty

SOURCE = torch.tensor([[5, 9, 12, 3]])
ALPHA = 0.6


@pytest.mark.parametrize("beam", [1, 3])
def test_recorded_search_equals_the_plain_search(small, beam):
    [expected] = beam_search(small.model, SOURCE, [6], beam, LengthPenalty(ALPHA), beam)
    found, nodes = traced_search(small.model, SOURCE, 6, beam, LengthPenalty(ALPHA))
    assert found == expected
    [best, *_] = hypothesis_nodes(nodes, LengthPenalty(ALPHA))
    ids = [nodes[place].token for place in path_of(nodes, best)]
    assert ids == [*found[0].ids, EOS]
    assert nodes[best].log_probability == pytest.approx(found[0].log_probability)


def test_each_step_keeps_a_beam_and_prunes_or_ends_the_rest(small):
    beam = 3
    _, nodes = traced_search(small.model, SOURCE, 6, beam, LengthPenalty(ALPHA))
    steps = {node.step for node in nodes}
    for step in steps:
        here = [node for node in nodes if node.step == step]
        alive = [node for node in here if node.status == "alive"]
        assert len(here) <= 2 * beam
        assert len(alive) <= beam
        assert all(node.parent == -1 or nodes[node.parent].status == "alive" for node in here)
        cut = [node.log_probability for node in here if node.status == "cut" and node.token != EOS]
        assert not cut or not alive or max(cut) <= min(node.log_probability for node in alive)
