"""The twin that all that is faster is tested against."""

from __future__ import annotations

from torch import nn

from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.dropout import Dropout
from allyouneed.model.linear import Linear
from allyouneed.model.transformer import Transformer


def use_plain_paths(model: nn.Module) -> None:
    """Every step of the model as the paper writes it, by PyTorch: padding, explicit attention, dropout, products."""
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.explicit = True
        elif isinstance(module, (Dropout, Linear, Transformer)):
            module.plain = True
