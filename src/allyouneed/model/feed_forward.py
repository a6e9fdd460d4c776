"""Section 3.3: the position-wise feed-forward network."""

from __future__ import annotations

from torch import Tensor, nn


class FeedForward(nn.Module):
    """FFN(x) = max(0, x W₁ + b₁) W₂ + b₂, equation 2, at each position alike. [..., d_model] -> [..., d_model]."""

    def __init__(self, d_model: int, d_ff: int):
        super().__init__()
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x).relu_())
