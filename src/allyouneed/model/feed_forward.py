"""Section 3.3: the position-wise feed-forward network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed.model.linear import Linear

if TYPE_CHECKING:
    from allyouneed.model.probe import Probe, Site


def gelu_sigmoid(x: Tensor) -> Tensor:
    """Compute x · sigmoid(1.702 x), an approximation of GELU (Hendrycks and Gimpel 2016, section 2)."""
    return F.silu(1.702 * x) / 1.702  # keeps one matrix less for the backward pass


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,  # max(0, x), as in the paper
    "swish": F.silu,  # x · sigmoid(x) (Ramachandran et al. 2017)
    "gelu": F.gelu,  # x · Φ(x), with the standard normal distribution Φ (Hendrycks and Gimpel 2016)
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_sigmoid": gelu_sigmoid,  # Marian's gelu
}


class FeedForward(nn.Module):
    """FFN(x) = max(0, x W₁ + b₁) W₂ + b₂, equation 2, applied to each position separately.

    Args:
        d_model: Width of inputs and outputs.
        d_ff: Width of the inner layer.
        activation: A name in `ACTIVATIONS`; it replaces max(0, x).
        bias: Whether the linear layers have a bias, as in the paper.
        plain: Use PyTorch's matrix products only (the reference implementation).
        site: Key of this network in a probe: kind and layer.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: str = "relu",
        bias: bool = True,
        plain: bool = False,
        site: Site = ("feed-forward", 0),
    ):
        super().__init__()
        self.activation, self.site = activation, site
        self.inner = Linear(d_model, d_ff, bias, plain)
        self.outer = Linear(d_ff, d_model, bias, plain)

    def forward(self, x: Tensor, probe: Probe | None = None) -> Tensor:
        """Transform x, shape [..., d_model], to the same shape."""
        inner, name = self.inner, self.activation
        hidden = inner(x, relu=True) if name == "relu" else ACTIVATIONS[name](inner(x))  # max(0, x W₁ + b₁)
        output = self.outer(hidden)  # hidden W₂ + b₂
        if probe is not None:
            output = probe.replace(self.site, "output", output)
            probe.observe(self.site, x=x, hidden=hidden, output=output)
        return output
