"""Small models with random weights."""

from __future__ import annotations

import torch

from allyouneed.bundle import Bundle
from allyouneed.config import Config, ModelConfig
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.model.transformer import Transformer
from tests.conftest import toy_pairs

SIZES = {"d_model": 32, "d_ff": 48, "num_heads": 4, "encoder_layers": 2, "decoder_layers": 1, "dropout": 0.0}
TEXTS = ["a b c d", "h g f", "b", "c c a h e f g d a", "d e a", "f f b g"]


def random_bundle(**settings: object) -> Bundle:
    """A bundle with logits far enough apart that rounding does not change a token; it seldom generates EOS."""
    torch.manual_seed(11)
    tokenizer = learn_tokenizer([text for pair in toy_pairs(60) for text in pair], 300)
    config = Config(model=ModelConfig(**{**SIZES, **settings}))
    model = Transformer(config.model, len(tokenizer)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)  # a missing norm or bias changes the result
            elif "feed_forward" in name or "attention" in name:
                parameter.mul_(2)
    return Bundle(model, tokenizer, config, ("de", "en"), longest_source=40)
