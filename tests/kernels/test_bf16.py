import pytest
import torch

pytest.importorskip("numba")

from allyouneed.kernels.bf16 import load_bf16, store_bf16
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats
from allyouneed.kernels.simd_memory import load, store


@kernel
def round_trip(part, values: Floats, halves: Floats, back: Floats):
    store_bf16(halves, 16 * part, load(values, 16 * part))
    store(back, 16 * part, load_bf16(halves, 16 * part))


def test_values_in_memory_are_rounded_as_by_pytorch():
    torch.manual_seed(0)
    ties = torch.tensor([0x3F808000, 0x3F818000, 0x3F808001, -0x407F8000], dtype=torch.int32).view(torch.float32)
    special = torch.tensor([0.0, -0.0, 1e-42, -3e-39, 3.4e38, float("inf"), -float("inf"), 1.0])
    values = torch.cat([torch.randn(4096) * torch.logspace(-30, 30, 4096), ties, special, torch.ones(4)])
    halves, back = torch.zeros(len(values), dtype=torch.bfloat16), torch.zeros(len(values))
    round_trip(len(values) // 16, values, halves.view(torch.float32), back)
    expected = values.bfloat16()
    assert torch.equal(halves.view(torch.int16), expected.view(torch.int16))
    assert torch.equal(back, expected.float())
