"""Fixtures of the insight tests: translators of known size, and pages in a browser."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
import torch

from allyouneed import Transformer, Translator
from allyouneed.bundle import Bundle
from allyouneed.config import Config
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer

TEXT = ["a dog runs in the green park", "the cat sleeps on a red chair", "한국어 문장 하나", "two words, and more."]


def random_translator(layers: int, heads: int, d_model: int, **model: object) -> Translator:
    """Make an untrained translator; the same arguments give the same weights."""
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


def perturbed(translator: Translator) -> Translator:
    """Add noise to biases and norms, which are all zeros and ones before training, and return the translator."""
    with torch.no_grad():
        for parameter in translator.model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return translator


@pytest.fixture(scope="session")
def translator(toy_run) -> Translator:
    return Translator.load(toy_run)


@pytest.fixture
def small() -> Translator:
    return random_translator(2, 2, 16)


class Page:
    """A page opened from disk; `problems` lists console messages and network requests."""

    def __init__(self, browser, path, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **options})
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(path.as_uri())

    def _asked(self, url: str) -> None:
        if not url.startswith(("file:", "blob:", "data:")):
            self.problems.append(f"requested {url}")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def numbers(self, selector: str) -> list[float]:
        return [float(x) for x in re.findall(r"\d+\.\d+", self.text(selector).replace("−", "-"))]


def decoded(packed: dict) -> np.ndarray:
    """Decode arrays of `coding.pack_matrices`."""
    shape, steps = packed["shape"], 2 ** packed["bits"] - 1
    values = np.frombuffer(base64.b64decode(packed["data"]), f"<u{packed['bits'] // 8}").reshape(-1, *shape[-2:])
    low, high = (np.array(packed[name])[:, None, None] for name in ("low", "high"))
    return (low + values * (high - low) / steps).reshape(shape)
