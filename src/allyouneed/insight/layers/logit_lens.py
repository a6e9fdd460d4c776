"""Logit lens: what the model would predict if it stopped after an earlier sub-layer.

Each state of the decoder's residual stream is passed through the final norm, if the model has one (norm "pre"), and
the pre-softmax linear (nostalgebraist 2020, "interpreting GPT: the logit lens"). With norm "post", each sub-layer ends
with a layer norm, so no further norm is applied. Only the last state was trained to be decoded this way: earlier
states may hold the answer in another basis, and the lens then misses it (Belrose et al. 2023, "Eliciting Latent
Predictions from Transformers with the Tuned Lens").

The encoder predicts nothing. For its states, `nearest_source_tokens` gives cosine similarities to source embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.insight.drawable import Drawable
from allyouneed.insight.layers.states import decoder_sites, encoder_sites, record_states, residual_stream, token_pair
from allyouneed.insight.variants.variant import TokenPair
from allyouneed.model.probe import Site
from allyouneed.model.transformer import log_probabilities
from allyouneed.translation.translator import Translator

TOP = 5  # most likely tokens that are kept by default
_MAX_LOGITS = 8_000_000  # logits computed at once


@dataclass(frozen=True, eq=False)
class LogitLens(Drawable):
    """Predictions from every state of the decoder's residual stream for one sentence pair.

    Position t has the input token t and predicts token t + 1. State 0 is the embedding; the last state is the one that
    the model itself uses.

    Attributes:
        sites: Site after which each state is read; ("target", 0) is the embedding.
        inputs: Input tokens of the decoder, beginning with `<s>`.
        given: Token of the translation that follows each input; the last is `</s>`.
        final: Token that the model finally predicts at each position.
        rank: Rank of the final token, from 1, shape [state, position].
        log_p: Its natural log probability, shape [state, position].
        top_ids: Ids of the most likely tokens, shape [state, position, token].
        top_p: Their probabilities, in the same format.
        settled: First state from which the final token stays the most likely one, shape [position].
        states: Input of the pre-softmax linear, shape [state, position, d_model].
    """

    sites: list[Site]
    inputs: list[str]
    given: list[str]
    final: list[str]
    rank: np.ndarray
    log_p: np.ndarray
    top_ids: np.ndarray
    top_p: np.ndarray
    settled: np.ndarray
    states: Tensor = field(repr=False)
    output: nn.Module = field(repr=False)
    tokenizer: AnyTokenizer = field(repr=False)

    @property
    def top(self) -> list[list[str]]:
        """Most likely token of each state and position."""
        return [self.tokenizer.pieces(row) for row in self.top_ids[..., 0]]

    @property
    def agreement(self) -> np.ndarray:
        """Share of positions whose most likely token is the final one, shape [state]."""
        return (self.rank == 1).mean(axis=1)

    def curves(self, tokens: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Follow tokens through all states.

        Args:
            tokens: Token ids at each position, shape [position, token].

        Returns:
            Rank, from 1, and natural log probability, each of shape [position, token, state].
        """
        ranks, log_ps = [], []
        with torch.inference_mode():
            for position, ids in enumerate(tokens):
                logits = self.output(self.states[:, position])  # [state, vocab]
                chosen = logits[:, torch.as_tensor(ids, device=logits.device)]
                log_sum = logits.float().logsumexp(dim=-1, keepdim=True)
                ranks.append([(logits > column[:, None]).sum(dim=-1).add(1).tolist() for column in chosen.T])
                log_ps.append((chosen.float() - log_sum).T.cpu().numpy())
        return np.array(ranks), np.stack(log_ps)


class NearestTokens(NamedTuple):
    """Tokens whose embeddings are most similar to the states of the encoder.

    Attributes:
        sites: Site after which each state is read; ("source", 0) is the embedding with its positional encoding.
        tokens: Source tokens.
        ids: Ids of the nearest tokens, shape [state, position, token].
        cosine: Their cosine similarity, in the same format.
        own_rank: Rank of the input token by similarity, from 1, shape [state, position].
        own_cosine: Its similarity, shape [state, position].
    """

    sites: list[Site]
    tokens: list[str]
    ids: np.ndarray
    cosine: np.ndarray
    own_rank: np.ndarray
    own_cosine: np.ndarray


def logit_lens(translator: Translator, text: str, translation: str | None = None, top: int = TOP) -> LogitLens:
    """Read a prediction from every state of the decoder.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        translation: Translation to examine; None for the model's own.
        top: Number of most likely tokens to keep.

    Returns:
        The predictions.

    Raises:
        UserError: If the text is empty, or a side is longer than the model's learned positions.
    """
    return lens_of_pair(translator, token_pair(translator, text, translation), top)


def nearest_source_tokens(translator: Translator, text: str, top: int = TOP) -> NearestTokens:
    """Find the source tokens whose embeddings are most similar to each state of the encoder.

    A similarity is no prediction: the encoder is not trained to name tokens.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        top: Number of nearest tokens to keep.

    Returns:
        The nearest tokens.

    Raises:
        UserError: If the text is empty, or longer than the model's learned positions.
    """
    return nearest_of_pair(translator, token_pair(translator, text, ""), top)


@torch.inference_mode()
def lens_of_pair(translator: Translator, pair: TokenPair, top: int = TOP) -> LogitLens:
    """Compute `logit_lens` for token ids."""
    model, tokenizer = translator.model, translator.tokenizer.target
    states = decoder_states(translator, [pair])[:, 0]
    top_ids, top_p, final_log_p, ranks = [], [], [], []
    final = model.output(states[-1]).argmax(dim=-1)
    step = max(1, _MAX_LOGITS // (model.output.out_features * states.shape[1]))
    for chunk in states.split(step):
        logits = model.output(chunk)
        log_p = log_probabilities(logits)
        best, best_ids = log_p.topk(min(top, log_p.shape[-1]), dim=-1)
        chosen = final[None, :, None].expand(len(logits), -1, 1)
        top_ids.append(best_ids)
        top_p.append(best.exp())
        final_log_p.append(log_p.gather(-1, chosen)[..., 0])
        ranks.append((logits > logits.gather(-1, chosen)).sum(dim=-1) + 1)
    rank, of_final, ids, p = (torch.cat(each).cpu().numpy() for each in (ranks, final_log_p, top_ids, top_p))
    given = [*pair.target, EOS]
    return LogitLens(
        decoder_sites(model),
        tokenizer.pieces([BOS, *pair.target]),
        tokenizer.pieces(given),
        tokenizer.pieces(final.tolist()),
        rank,
        of_final,
        ids,
        p,
        _settled(rank == 1),
        states,
        model.output,
        tokenizer,
    )


@torch.inference_mode()
def nearest_of_pair(translator: Translator, pair: TokenPair, top: int = TOP) -> NearestTokens:
    """Compute `nearest_source_tokens` for token ids."""
    model, sites = translator.model, encoder_sites(translator.model)
    stream = residual_stream(record_states(translator, [pair], "result"), sites)[:, 0]
    embeddings = nn.functional.normalize(model.source_embedding.tokens.weight.float(), dim=-1)
    own = torch.tensor(pair.source, device=stream.device)[:, None]
    parts = []
    for state in nn.functional.normalize(stream, dim=-1):
        similarity = state @ embeddings.T  # [position, vocab]
        cosine, ids = similarity.topk(min(top, similarity.shape[-1]), dim=-1)
        own_cosine = similarity.gather(-1, own)
        own_rank = (similarity > own_cosine).sum(dim=-1) + 1
        parts.append((ids, cosine, own_rank, own_cosine[:, 0]))
    arrays = (torch.stack(each).cpu().numpy() for each in zip(*parts, strict=True))
    return NearestTokens(sites, translator.tokenizer.pieces(pair.source), *arrays)


def decoder_states(translator: Translator, pairs: Sequence[TokenPair]) -> Tensor:
    """Compute the inputs of the pre-softmax linear after each sub-layer, shape [state, pair, position, d_model]."""
    stream = residual_stream(record_states(translator, pairs, "result"), decoder_sites(translator.model))
    weight = translator.model.output.weight
    states: Tensor = translator.model.decoder.norm(stream.to(weight.dtype))
    return states


def _settled(is_first: np.ndarray) -> np.ndarray:
    """Return the first state of the final run of True in each column: [state, position] -> [position]."""
    since = np.logical_and.accumulate(is_first[::-1], axis=0)[::-1]
    return np.asarray(since.argmax(axis=0))
