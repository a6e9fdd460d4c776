import pytest
import torch

pytest.importorskip("numba")

from allyouneed.kernels.loss import _WORDS, lay_out
from allyouneed.kernels.product import panels
from allyouneed.kernels.simd import whole_lanes


@pytest.mark.parametrize("words", [16, 40, 512, 997, 1024, 1100])
@pytest.mark.parametrize("depth", [16, 32, 48, 128])
def test_words_are_laid_out_for_both_products(words, depth):
    weight = torch.randn(words, depth)
    to_words, to_hidden = lay_out(weight)
    repeated = torch.cat([weight, weight[-1:].expand(whole_lanes(words) - words, depth)])  # the last stands in
    assert torch.equal(to_words, panels(repeated))
    assert torch.equal(to_hidden, torch.cat([panels(some.T) for some in weight.split(_WORDS)]))
