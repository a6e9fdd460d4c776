"""What the tests of the glass box share: translators of known size."""

from __future__ import annotations

import pytest
import torch

from allyouneed import Transformer, Translator
from allyouneed.bundle import Bundle
from allyouneed.config import Config
from allyouneed.data.tokenizer import learn_tokenizer

TEXT = ["a dog runs in the green park", "the cat sleeps on a red chair", "한국어 문장 하나", "two words, and more."]


def random_translator(layers: int, heads: int, d_model: int, **model: object) -> Translator:
    """Weights are random, so that nothing is zero or one by chance; made again it is the same."""
    tokenizer = learn_tokenizer(TEXT * 30, 400)
    sizes = {
        "d_model": d_model,
        "d_ff": d_model,
        "num_heads": heads,
        "encoder_layers": layers,
        "decoder_layers": layers,
    }
    settings = [f"model.{name}={value}" for name, value in {**sizes, **model}.items()]
    config = Config().override([*settings, "search.max_extra_length=4"])
    torch.manual_seed(3)
    transformer = Transformer(config.model, len(tokenizer))
    return Translator(Bundle(transformer, tokenizer, config, ("de", "en"), 100))


@pytest.fixture(scope="session")
def translator(toy_run) -> Translator:
    return Translator.load(toy_run)


@pytest.fixture
def small() -> Translator:
    return random_translator(2, 2, 16)
