"""States of a sentence pair: the tensors of a forward pass that the views of the layers read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from allyouneed.data.batches import pad
from allyouneed.data.prepared import PreparedData
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.insight.variants.variant import TokenPair
from allyouneed.model.probe import Probe, Site, StateRecorder
from allyouneed.model.transformer import Transformer
from allyouneed.translation.translator import Translator

States = dict[Site, dict[str, Tensor]]


def token_pair(translator: Translator, text: str, translation: str | None = None) -> TokenPair:
    """Encode a text and its translation, by default the model's own.

    Raises:
        UserError: If the text is empty, or a side is longer than the model's learned positions.
    """
    if not text.strip():
        raise UserError("the sentence is empty: give a sentence.")
    target = translator.translate([text])[0].text if translation is None else translation
    pair = TokenPair([*translator.tokenizer.encode(text.strip()), EOS], translator.tokenizer.target.encode(target))
    translator.refuse_beyond_positions(max(len(pair.source), len(pair.target) + 1), "the text or its translation")
    return pair


@torch.inference_mode()
def record_states(translator: Translator, pairs: Sequence[TokenPair], *names: str) -> States:
    """Run one forward pass over a batch of pairs.

    Args:
        translator: Translator whose model is examined.
        pairs: Sentence pairs, padded at the end.
        *names: Names of the tensors to keep, see `Observer`; none for all.

    Returns:
        The tensors by site and name.
    """
    recorder = StateRecorder(*names)
    source = pad([pair.source for pair in pairs]).to(translator.device)
    target = pad([[BOS, *pair.target] for pair in pairs]).to(translator.device)
    translator.model.hidden(source, target, Probe((recorder,)))
    return recorder.sites


def encoder_sites(model: Transformer) -> list[Site]:
    """List the sites of the encoder's residual stream in order: the embedding, then each sub-layer."""
    layers = range(model.config.encoder_layers)
    return [("source", 0), *((kind, layer) for layer in layers for kind in ("encoder", "encoder feed-forward"))]


def decoder_sites(model: Transformer) -> list[Site]:
    """List the sites of the decoder's residual stream in order: the embedding, then each sub-layer."""
    layers = range(model.config.decoder_layers)
    kinds = ("decoder", "cross", "decoder feed-forward")
    return [("target", 0), *((kind, layer) for layer in layers for kind in kinds)]


def residual_stream(states: States, sites: Sequence[Site]) -> Tensor:
    """Stack the results of these sites, shape [site, batch, length, d_model]."""
    return torch.stack([states[site]["result"] for site in sites]).float()


def chunks_of_pairs(pairs: Sequence[TokenPair], tokens: int) -> Iterator[list[TokenPair]]:
    """Split pairs into batches of at most `tokens` tokens per side, padding included, or one pair."""
    batch: list[TokenPair] = []
    for pair in pairs:
        longest = max(max(len(each.source), len(each.target) + 1) for each in [*batch, pair])
        if batch and longest * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def validation_pairs(run: Path, translator: Translator, count: int = 200) -> list[TokenPair]:
    """Encode the first validation pairs of a RUN that are short enough; none for a bundle, which has no text."""
    prepared = PreparedData(run / "data")
    if not prepared.is_complete:
        return []
    encode = translator.tokenizer.encode, translator.tokenizer.target.encode
    encoded = (TokenPair([*encode[0](source), EOS], encode[1](target)) for source, target in prepared.valid_texts())
    limit = translator.longest_source
    short = (pair for pair in encoded if 1 < len(pair.source) <= limit and 0 < len(pair.target) < limit)
    return list(islice(short, count))
