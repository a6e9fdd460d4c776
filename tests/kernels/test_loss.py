import pytest
import torch

pytest.importorskip("numba")

from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.loss import _TOKENS, lay_out
from allyouneed.kernels.product import panels


@pytest.mark.parametrize("vocab_size", [16, 40, 512, 997, 1024, 1100])
@pytest.mark.parametrize("depth", [16, 32, 48, 128])
def test_embeddings_are_laid_out_for_both_products(vocab_size, depth):
    weight = torch.randn(vocab_size, depth)
    to_logits, to_hidden = lay_out(weight)
    repeated = torch.cat([weight, weight[-1:].expand(pad_to_lanes(vocab_size) - vocab_size, depth)])
    assert torch.equal(to_logits, panels(repeated))
    assert torch.equal(to_hidden, torch.cat([panels(some.T) for some in weight.split(_TOKENS)]))
