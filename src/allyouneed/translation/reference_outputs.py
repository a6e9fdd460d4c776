"""Reference outputs: sentences and translations stored with a bundle, used to verify exports and later versions.

Translations are stored as tokens, one per beam size in `BEAM_SIZES`. They are made without a length penalty, since its
formula differs between systems.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from allyouneed.bundle import Bundle
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.translator import Translator

BEAM_SIZES = (1, 4)
_COUNT = 20
_CANDIDATES = 60


def make_reference_outputs(bundle: Bundle, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Translate the first sentences that fit without splitting and whose translations end before the maximum length.

    Args:
        bundle: The bundle.
        pairs: Sources and references.

    Returns:
        For each sentence, a dictionary with `source`, `reference` and `said` (the generated tokens by beam size).
    """
    limit, tokenizer = bundle.longest_source, bundle.tokenizer
    pairs = [pair for pair in pairs[:_CANDIDATES] if 0 < len(tokenizer.encode(pair[0])) < limit]
    sources = [source for source, _ in pairs]
    outputs = {beam_size: translate_references(bundle, sources, beam_size) for beam_size in BEAM_SIZES}
    samples = []
    for (source, reference), *translations in zip(pairs, *outputs.values(), strict=True):
        max_length = len(tokenizer.encode(source)) + bundle.config.search.max_extra_length
        if all(len(tokens) < max_length for tokens in translations):
            by_beam = {str(beam): tokens for beam, tokens in zip(outputs, translations, strict=True)}
            samples.append({"source": source, "reference": reference, "said": by_beam})
    return samples[:_COUNT]


def translate_references(bundle: Bundle, sources: Sequence[str], beam_size: int) -> list[list[str]]:
    """Translate with the settings of reference outputs, and return the tokens of each translation."""
    device = next(bundle.model.parameters()).device
    options = SearchOptions(beam_size=beam_size, length_penalty=0.0, repetition_guard=False)  # as other systems search
    translations = Translator(bundle, device).translate(sources, options)
    return [translation.tokens for translation in translations]
