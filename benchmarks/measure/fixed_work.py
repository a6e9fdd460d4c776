"""Fixed work whose instructions `benchmarks/instructions.py` counts: kernels with fixed inputs, and one translation.

    python -m benchmarks.measure.fixed_work

Without Callgrind, this compiles the kernels.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from allyouneed import Translator
from allyouneed.config import load_recipe
from allyouneed.data.store import Sentences
from allyouneed.data.tokens.subword_sampling import SubwordSampler
from allyouneed.kernels import Mode, launch
from allyouneed.kernels.attention import Layout, attend
from allyouneed.kernels.attention_backward import attend_backward
from allyouneed.kernels.dropout import drop
from allyouneed.kernels.loss import TokenLoss
from allyouneed.kernels.matmul import matmul
from allyouneed.kernels.packed_matrix import pack
from allyouneed.kernels.product import multiply_packed
from allyouneed.model.transformer import Transformer
from allyouneed.translation.engine.engine import Engine
from allyouneed.translation.engine.screen import screen_weights
from allyouneed.translation.engine.weights import bias_of
from allyouneed.translation.search import LengthPenalty
from benchmarks.measure.callgrind import Counter

Work = dict[str, Callable[[], object]]

_BUNDLE = Path(__file__).parents[2] / "tests" / "compat" / "format-3"
_SENTENCE = "a b c d e f g h a b c d"
_ROWS, _DEPTH, _HEADS, _VOCABULARY = 96, 64, 4, 1000
_LENGTHS = (3, 18, 11, 7, 16, 24, 5, 12)  # of the sequences, in tokens; their sum is _ROWS


def training_work() -> Work:
    """Return the kernels of a training step."""
    x, grad = torch.randn(_ROWS, 128), torch.randn(_ROWS, 256)
    weight, bias = torch.randn(256, 128), torch.randn(256)
    queries, keys, values = (torch.randn(_ROWS, _HEADS * 16) for _ in range(3))
    starts = torch.tensor([0, *_LENGTHS]).cumsum(0)
    layout = Layout(starts, starts, max(_LENGTHS), True)
    out, normalisers = attend(queries, keys, values, _HEADS, layout)
    grads = [torch.empty_like(each) for each in (queries, keys, values)]
    embeddings, targets = torch.randn(_VOCABULARY, _DEPTH), torch.arange(32)
    hidden, grad_hidden = torch.randn(2, 32, _DEPTH)
    return {
        "product": lambda: matmul(x, weight.T, bias, Mode.RELU),
        "product, gradient of the weight": lambda: matmul(grad.T, x),
        "attention": lambda: attend(queries, keys, values, _HEADS, layout),
        "attention, backward": lambda: attend_backward(out, queries, keys, values, _HEADS, layout, normalisers, grads),
        "loss": lambda: TokenLoss(embeddings, 32, (0.9, 0.1 / _VOCABULARY, 0.0), None)(
            hidden, targets, grad_hidden, None
        ),
        "dropout": lambda: drop(x, 5, 0.1),
        "dropout and residual": lambda: drop(x, 5, 0.1, onto=x),
    }


def translation_work() -> Work:
    """Return the kernels of translation, for a model with random weights."""
    sizes = {"d_model": _DEPTH, "d_ff": 128, "num_heads": _HEADS, "encoder_layers": 1, "decoder_layers": 1}
    config = load_recipe("tiny").override([f"model.{name}={value}" for name, value in sizes.items()])
    model = Transformer(config.model, _VOCABULARY).eval()
    engine, screened = Engine(model), Engine(model)
    screen = screen_weights(model.output.weight, bias_of(model.output), 8)
    screened.decoder = screened.decoder.replace(screen=screen)
    source = torch.randint(4, _VOCABULARY, (6, 11))
    rows, packed = torch.randn(_ROWS, _DEPTH), pack(torch.randn(256, _DEPTH), torch.randn(256))
    limits = [7] * len(source)
    other = config.override(["model.d_model=60", "model.d_ff=120", "model.activation=swish", "model.norm=post"])
    of_other_shape = Engine(Transformer(other.model, _VOCABULARY).eval())
    return {
        "product with packed weights": lambda: multiply_packed(rows, packed),
        "encoder": lambda: engine.start(source),
        "encoder and greedy search": lambda: engine.greedy(source, limits, scores=True),
        "encoder and greedy search, screened": lambda: screened.greedy(source, limits, scores=False),
        "encoder and greedy search, swish and padded widths": lambda: of_other_shape.greedy(
            source, limits, scores=True
        ),
        "encoder and beam search": lambda: engine.beam_search(source, limits, 4, LengthPenalty(1.0), 1),
    }


def text_work(translator: Translator) -> Work:
    """Return the segmentation of text and a translation, for a stored model."""
    sampler = SubwordSampler(translator.bundle.tokenizer, 0.1, 100)
    ids = np.array(translator.bundle.tokenizer.encode(_SENTENCE) * 4, dtype=np.int32)
    sentences, chosen = Sentences(ids, np.array([0, len(ids)])), np.zeros(8, dtype=np.int64)
    return {
        "subword sampling": lambda: sampler.sample(sentences, chosen, np.arange(8)),
        "translation": lambda: translator.translate([_SENTENCE]),
    }


def main() -> None:
    """Run everything once, which loads the kernels, then once more under the counter."""
    gc.disable()  # a tenth of the time of compilation
    torch.manual_seed(1)
    torch.set_num_threads(1)
    translator = Translator.load(_BUNDLE)
    work = {**training_work(), **translation_work(), **text_work(translator)}
    with torch.inference_mode():
        for run in work.values():
            run()
        counter = Counter()
        launch._Code.ctypes = property(lambda self: lambda argument: counter.call(self.address, argument))
        for name, run in work.items():
            run()
            counter.store(name)


if __name__ == "__main__":
    main()
