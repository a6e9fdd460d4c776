"""Section 3.3: the position-wise feed-forward network."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed.model.linear import Linear, side_by_side


class FeedForward(nn.Module):
    """FFN(x) = max(0, x W₁ + b₁) W₂ + b₂, equation 2, at each position alike. [..., d_model] -> [..., d_model].

    activation: "relu", the paper's max(0, ·), or "swish", x · sigmoid(x) (Ramachandran et al. 2017), as Marian has it.
    """

    def __init__(self, d_model: int, d_ff: int, activation: str = "relu"):
        super().__init__()
        self.swish = activation == "swish"
        self.inner = Linear(d_model, d_ff)
        self.outer = Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(F.silu(self.inner(x)) if self.swish else side_by_side(x, self.inner, relu=True))
