import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.translation.engine.row_attention import attend_row


class Sizes(Record):
    """The fields of `DecoderWeights` that attention needs."""

    heads: int
    d_k: int
    d_v: int
    attention_scale: float
    in_bf16: int


@kernel
def attend(part, model: Sizes, query: Floats, addresses: Longs, count, scores: Floats, out: Floats):
    attend_row(model, query, addresses, count, scores, out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "d_k", "d_v"), [(1, 16, 16), (3, 16, 48), (4, 32, 32), (2, 64, 16)])
@pytest.mark.parametrize("count", [1, 3, 16, 17, 40])
def test_attention_of_a_row(dtype, heads, d_k, d_v, count):
    torch.manual_seed(count)
    query = torch.randn(heads, d_k)
    positions = torch.randn(2 * count, heads * (d_k + d_v)).to(dtype)
    chosen = torch.randperm(2 * count)[:count]
    addresses = positions.data_ptr() + chosen.numpy() * positions.stride(0) * positions.element_size()
    model = Sizes(heads=heads, d_k=d_k, d_v=d_v, attention_scale=d_k**-0.5, in_bf16=dtype == torch.bfloat16)
    scores, out = np.empty((heads, -(-count // 16) * 16), dtype=np.float32), torch.empty(heads, d_v)
    attend(1, model, query, addresses, count, scores, out)
    keys, values = positions[chosen].double().split([heads * d_k, heads * d_v], dim=1)
    weights = torch.einsum("hk,jhk->hj", query.double(), keys.view(count, heads, d_k)).mul(d_k**-0.5).softmax(1)
    expected = torch.einsum("hj,jhv->hv", weights, values.view(count, heads, d_v))
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
