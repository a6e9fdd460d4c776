"""A forecast before training: size, memory, speed, and the BLEU that corpora of this size usually give.

The range of BLEU is interpolated between published results. It is rough: languages, domains and test sets make more of
a difference than twice the text.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from allyouneed.languages import language_name
from allyouneed.training.loop import Loop
from allyouneed.training.memory import BYTES_PER_WEIGHT
from allyouneed.training.resolution.size import UTILISATION, matrix_flops, training_flops

_MATRIX, _REPEATS = 768, 3  # a fast measurement of the machine
_FEW_SPACES = 15  # characters for each word above which a language has no spaces between words
_CHARACTERS_PER_WORD = 2  # of Chinese, Japanese, Thai and the like
# Published results as (target words in millions, BLEU). Each end: what models reach that were not tuned for the size,
# and what well-tuned models reach for an easy language pair.
_LOW = (
    (0.1, 0.0),  # Sennrich and Zhang 2019, IWSLT14 de-en, baseline, 100,000 words
    (0.4, 1.6),  # Koehn and Knowles 2017, section 3.2, en-es, 0.4 million words
    (24.1, 25.7),  # the same, 24.1 million words
    (113.0, 27.3),  # Vaswani et al. 2017, table 2, base model, WMT14 en-de: 4.5 million pairs of about 25 words
)
_HIGH = (
    (0.1, 16.6),  # Sennrich and Zhang 2019, IWSLT14 de-en, tuned for small corpora, 100,000 words
    (3.2, 32.8),  # the same, 3.2 million words (159,000 pairs)
    (900.0, 41.8),  # Vaswani et al. 2017, table 2, big model, WMT14 en-fr: 36 million pairs of about 25 words
)
NARROW = "29,000 image captions: 40, docs/experiments.md"
SOURCES = "Koehn and Knowles 2017, Sennrich and Zhang 2019, Vaswani et al. 2017"


@dataclass(frozen=True)
class Forecast:
    """What a training run is expected to take and to give.

    Attributes:
        pairs: Training pairs.
        source_tokens: Their source tokens, without start and end tokens.
        target_tokens: Their target tokens.
        target_words: Approximate number of target words.
        vocabulary: Tokens in the vocabulary.
        parameters: Weights of the model.
        memory: Bytes that the process needs.
        memory_is_measured: Whether that is the peak so far with training steps. Otherwise it is the least: the peak
            without them, or the weights, gradients and optimizer state if these are larger.
        tokens_per_second: Target tokens per second.
        speed_is_measured: Whether that was measured with training steps, or estimated from matrix products.
        epoch_seconds: Duration of an epoch.
        epochs: Epochs of the planned training.
        bleu: Lower and upper end of the usual BLEU; None where BLEU of other corpora says nothing.
        micro_batches: Parts of a batch that are processed in turn.
        step_memory: Estimated bytes of a step, besides those of the process before; 0 in logs of earlier versions.
        available_memory: Bytes that were available.
    """

    pairs: int
    source_tokens: int
    target_tokens: int
    target_words: int
    vocabulary: int
    parameters: int
    memory: int
    memory_is_measured: bool
    tokens_per_second: float
    speed_is_measured: bool
    epoch_seconds: float
    epochs: float
    bleu: tuple[float, float] | None
    micro_batches: int = 1
    step_memory: int = 0
    available_memory: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield the lines of a readable forecast."""
        yield (
            f"forecast: {self.pairs:,} pairs, {self.source_tokens:,} source and {self.target_tokens:,} target tokens, "
            f"{self.parameters / 1e6:.1f} million parameters with a vocabulary of {self.vocabulary:,}"
        )
        memory = f"{self.memory / 1e9:.2g} GB of memory {'so far' if self.memory_is_measured else 'at least'}"
        speed = f"{self.tokens_per_second:,.0f} target tokens per second"
        known = "measured" if self.speed_is_measured else "estimated from the speed of matrix products"
        epoch = f"{_duration(self.epoch_seconds)} an epoch; {self.epochs:.3g} epochs planned"
        yield f"  {memory}; {speed} ({known}): {epoch}"
        if self.step_memory:
            parts = "1 part" if self.micro_batches == 1 else f"{self.micro_batches:,} parts"
            yield (
                f"  a step needs about {self.step_memory / 1e9:.2g} GB (estimated) with batches in {parts} "
                f"(training.micro_batches); {self.available_memory / 1e9:.2g} GB were available"
            )
        if self.bleu:
            yield (
                f"  corpora of this size (about {_count(self.target_words)} target words) usually give "
                f"{self.bleu[0]:.0f} to {self.bleu[1]:.0f} BLEU on general text ({SOURCES}). This is rough: 10 more or "
                f"less are possible. Few epochs, and test sets of another kind, give less; narrow text gives more "
                f"({NARROW})."
            )


def forecast(loop: Loop, device: torch.device, steps: int, step_seconds: float | None) -> Forecast:
    """Forecast a run from its corpus, its model and the speed of the machine.

    Args:
        loop: The assembled loop.
        device: Device of the training.
        steps: Number of planned steps.
        step_seconds: Measured duration of a step; None to estimate it.
    """
    config, store, tokenizer = loop.bundle.config, loop.store, loop.bundle.tokenizer
    batches = len(loop.order.epoch_batches(0))
    target = int(store.target.offsets[-1]) + len(store)
    is_measured = step_seconds is not None
    if step_seconds is None:
        rate = matrix_flops(device, _MATRIX, _REPEATS) * UTILISATION
        passes = 2 if config.training.consistency_share else 1
        step_seconds = passes * target / batches * training_flops(config.model, len(tokenizer)) / rate
    parameters = sum(weight.numel() for weight in loop.bundle.model.parameters())
    words = round(len(store) * _words_per_sentence([target for _, target in loop.valid.texts]))
    memory = max(_peak_memory(device), 0 if is_measured else BYTES_PER_WEIGHT[config.training.optimizer] * parameters)
    return Forecast(
        pairs=len(store),
        source_tokens=int(store.source.offsets[-1]),
        target_tokens=int(store.target.offsets[-1]),
        target_words=words,
        vocabulary=len(tokenizer),
        parameters=parameters,
        memory=memory,
        memory_is_measured=is_measured,
        tokens_per_second=target / (batches * step_seconds),
        speed_is_measured=is_measured,
        epoch_seconds=batches * step_seconds,
        epochs=steps / batches,
        bleu=None if any(map(_is_artificial, loop.bundle.languages)) else usual_bleu(words),
        micro_batches=loop.micro_batches.count,
        step_memory=loop.micro_batches.memory,
        available_memory=loop.micro_batches.available,
    )


def usual_bleu(target_words: float) -> tuple[float, float]:
    """Return the range of BLEU that corpora of this size have given, interpolated over the logarithm of the size.

    Args:
        target_words: Words of the target side. Beyond the largest and the smallest corpus of the sources, its values.
    """
    low, high = (
        float(np.interp(np.log(max(target_words, 1) / 1e6), np.log([size for size, _ in curve]), [b for _, b in curve]))
        for curve in (_LOW, _HIGH)
    )
    return low, high


def _words_per_sentence(texts: Sequence[str]) -> float:
    """Estimate the mean number of words; characters count where words have no spaces."""
    words, characters = sum(len(text.split()) for text in texts), sum(map(len, texts))
    if characters > _FEW_SPACES * words:
        words = characters // _CHARACTERS_PER_WORD
    return words / max(1, len(texts))


def _is_artificial(code: str) -> bool:
    """Return whether a code is private, as of the quickstart's dates; its text is not like that of other corpora."""
    return code.startswith("x-") or language_name(code) == code


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} seconds"
    return f"{seconds / 60:.3g} minutes" if seconds < 3 * 3600 else f"{seconds / 3600:.3g} hours"


def _count(number: int) -> str:
    return f"{number / 1e6:.2g} million" if number >= 1e6 else f"{float(f'{number:.2g}'):,.0f}"
