"""Section 3.3: the position-wise feed-forward network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed.model.linear import Linear

if TYPE_CHECKING:
    from allyouneed.model.probe import Probe, Site


class FeedForward(nn.Module):
    """FFN(x) = max(0, x W₁ + b₁) W₂ + b₂, equation 2, applied to each position separately.

    Args:
        d_model: Width of inputs and outputs.
        d_ff: Width of the inner layer.
        activation: "relu" (max(0, x), as in the paper) or "swish" (x · sigmoid(x), Ramachandran et al. 2017, as in
            Marian's models).
        plain: Use PyTorch's matrix products only (the reference implementation).
        site: Key of this network in a probe: kind and layer.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: str = "relu",
        plain: bool = False,
        site: Site = ("feed-forward", 0),
    ):
        super().__init__()
        self.swish, self.site = activation == "swish", site
        self.inner = Linear(d_model, d_ff, plain=plain)
        self.outer = Linear(d_ff, d_model, plain=plain)

    def forward(self, x: Tensor, probe: Probe | None = None) -> Tensor:
        """Transform x, shape [..., d_model], to the same shape."""
        hidden = F.silu(self.inner(x)) if self.swish else self.inner(x, relu=True)  # max(0, x W₁ + b₁)
        output = self.outer(hidden)  # hidden W₂ + b₂
        if probe is not None:
            output = probe.replace(self.site, "output", output)
            probe.observe(self.site, x=x, hidden=hidden, output=output)
        return output
