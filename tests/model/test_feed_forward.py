import pytest
import torch

from allyouneed.model.feed_forward import FeedForward


@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_equation_2_at_each_position(activation):
    torch.manual_seed(0)
    network, x = FeedForward(8, 12, activation), torch.randn(2, 3, 8)
    inner = x @ network.inner.weight.T + network.inner.bias
    inner = inner * inner.sigmoid() if activation == "swish" else inner.clamp(min=0)
    expected = inner @ network.outer.weight.T + network.outer.bias
    torch.testing.assert_close(network(x), expected)
    torch.testing.assert_close(network(x[0, 1]), expected[0, 1])
