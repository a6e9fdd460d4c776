"""Sentences that are stored with a bundle, and what it says of them: by these an export, or a later version, is proven.

Translations are subwords, found with each of BEAM_SIZES and without a length penalty, which every system has its own
formula for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from allyouneed.bundle import Bundle
from allyouneed.translation.translator import Translator

BEAM_SIZES = (1, 4)
_COUNT = 20
_LOOKED_AT = 60


def make_samples(bundle: Bundle, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The first sentences of (source, reference) that are translated in one piece and come to an end by themselves."""
    pairs = [pair for pair in pairs[:_LOOKED_AT] if 0 < len(bundle.tokenizer.encode(pair[0])) < bundle.longest_source]
    said = {beam_size: say_samples(bundle, [source for source, _ in pairs], beam_size) for beam_size in BEAM_SIZES}
    samples = []
    for (source, reference), *translations in zip(pairs, *said.values(), strict=True):
        longest = len(bundle.tokenizer.encode(source)) + bundle.config.search.max_extra_length
        if all(len(tokens) < longest for tokens in translations):
            by_beam = {str(beam): tokens for beam, tokens in zip(said, translations, strict=True)}
            samples.append({"source": source, "reference": reference, "said": by_beam})
    return samples[:_COUNT]


def say_samples(bundle: Bundle, sources: Sequence[str], beam_size: int) -> list[list[str]]:
    """Subwords of each source's translation, as samples have them."""
    device = next(bundle.model.parameters()).device
    found = Translator(bundle, device).translate(sources, beam_size=beam_size, length_penalty=0.0)
    return [translation.tokens for translation in found]
